/** What the chain of `app.saga()` infers. Compiled with everything else, never run. */
import { Type, type TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import type { FastifyInstance } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'
import type { BodyOf, JobDefinition, ResultOf } from '../../plugins/async-endpoints.ts'
import { same, type JsonSchemaProvider } from './support.ts'

const Upload = Type.Object({ url: Type.String() })
const Done = Type.Object({ hd: Type.String() })
const Approval = Type.Object({ ok: Type.Boolean() })

interface Probe { height: number, tracks: string[] }
const probe = async (): Promise<Probe> => ({ height: 1080, tracks: [] })

export function typeBox (plain: FastifyInstance): void {
  const app = plain.withTypeProvider<TypeBoxTypeProvider>()
  const definition = app.saga({
    name: 'transcode',
    url: '/transcodes',
    schema: { body: Upload, result: Done },
    steps: (s) => s
      .step('upload', {
        run: async ({ body, signal, idempotencyKey }) => {
          same<typeof body, { url: string }>(true)
          same<typeof signal, AbortSignal>(true)
          return { key: body.url + idempotencyKey }
        },
        compensate: ({ outcome, results, reason }) => {
          same<typeof results, Readonly<Partial<Record<never, never>>>>(true)
          same<typeof reason, 'failed' | 'cancelled' | 'timeout'>(true)
          if (outcome.kind === 'completed') same<typeof outcome.result, { key: string }>(true)
        }
      })
      .step('probe', probe)
      .parallel('renditions', (g) => g
        .step('hd', { run: async ({ results }) => ({ path: `hd${results.probe.height}${results.upload.key}` }), compensate: ({ outcome }) => outcome.kind === 'completed' && outcome.result.path, attempts: 5 })
        .step('uhd', { when: ({ results }) => results.probe.height > 1080, run: async () => ({ path: 'uhd', big: true }) }),
      { onError: 'await-all', concurrency: 2 })
      .each('frames', ({ results }) => results.probe.tracks, {
        run: ({ item, index }) => {
          same<typeof item, string>(true)
          return { frame: item.length + index }
        },
        compensate: ({ item, outcome }) => {
          same<typeof item, string>(true)
          if (outcome.kind === 'completed') same<typeof outcome.result, { frame: number }>(true)
        }
      })
      .signal('approval', { schema: Approval, timeoutMs: 1_000 })
      .signal('rating', { parse: (value) => Number(value) })
      .sleep('cool-down', ({ results }) => results.rating)
      .step('notify', { run: () => ({ sent: true }), attempts: 1, onExhausted: 'continue' })
      .step('maybe', { when: ({ results }) => results.rating > 2, run: () => 5 })
      .step('nothing', () => {})
      .step('last', ({ results }) => {
        same<typeof results.upload, { key: string }>(true)
        same<typeof results.probe, Probe>(true)
        same<typeof results.renditions, Readonly<{ hd: { path: string }, uhd: { path: string, big: boolean } | undefined }>>(true)
        same<typeof results.frames, Array<{ frame: number }>>(true)
        same<typeof results.approval, { ok: boolean }>(true)
        same<typeof results.rating, number>(true)
        same<typeof results.notify, { sent: boolean } | undefined>(true)
        same<typeof results.maybe, number | undefined>(true)
        same<typeof results.nothing, void>(true)
        // @ts-expect-error a conditional step may have been skipped
        results.maybe satisfies number
        // @ts-expect-error a misspelled step
        results.uplaod satisfies unknown
        // @ts-expect-error a sleep has no result
        results['cool-down'] satisfies unknown
        return 'end'
      })
      .returns(({ results }) => ({ hd: results.renditions.hd.path }))
  })
  same<typeof definition, JobDefinition<{ body: { url: string }, result: { hd: string } }>>(true)

  // @ts-expect-error the result is not what schema.result says
  app.saga({ name: 'a', schema: { result: Done }, steps: (s) => s.step('a', () => 1).returns(() => ({ hd: 1 })) })
  // @ts-expect-error the chain has to return a result
  app.saga({ name: 'a', schema: { result: Done }, steps: (s) => s.step('a', () => 1) })
}

export function negatives (app: FastifyInstance): void {
  app.saga({ name: 'plain', steps: (s) => s.step('a', ({ body }) => { same<typeof body, unknown>(true) }) })
  // @ts-expect-error duplicate name
  app.saga({ name: 'a', steps: (s) => s.step('a', () => 1).step('a', () => 2) })
  // @ts-expect-error a group with the name of a step
  app.saga({ name: 'a', steps: (s) => s.step('a', () => 1).parallel('a', (g) => g.step('b', () => 2)) })
  // @ts-expect-error two siblings with one name
  app.saga({ name: 'a', steps: (s) => s.parallel('a', (g) => g.step('b', () => 2).step('b', () => 3)) })
  // @ts-expect-error a later step is not known yet
  app.saga({ name: 'a', steps: (s) => s.step('a', ({ results }) => results.b).step('b', () => 1) })
  // @ts-expect-error siblings do not see each other
  app.saga({ name: 'a', steps: (s) => s.parallel('g', (g) => g.step('a', () => 1).step('b', ({ results }) => results.a)) })
  // @ts-expect-error a Map is not JSON
  app.saga({ name: 'a', steps: (s) => s.step('a', () => new Map([[1, 2]])) })
  // @ts-expect-error a Date is not JSON
  app.saga({ name: 'a', steps: (s) => s.step('a', () => ({ at: new Date() })) })
  // @ts-expect-error a bigint is not JSON
  app.saga({ name: 'a', steps: (s) => s.step('a', { run: async () => ({ big: 1n }) }) })
  // @ts-expect-error a function is not JSON
  app.saga({ name: 'a', steps: (s) => s.step('a', async () => () => 1) })
  // @ts-expect-error the result of the saga is not JSON
  app.saga({ name: 'a', steps: (s) => s.step('a', () => 1).returns(() => new Set([1])) })
  // @ts-expect-error a name that is not known at compile time
  app.saga({ name: 'a', steps: (s) => s.step(String(Math.random()), () => 1) })
  // @ts-expect-error compensate without run
  app.saga({ name: 'a', steps: (s) => s.step('a', { compensate: () => {} }) })
  // @ts-expect-error a misspelled option
  app.saga({ name: 'a', steps: (s) => s.step('a', { run: () => 1, attemps: 3 }) })
  // @ts-expect-error nothing stands behind returns
  app.saga({ name: 'a', steps: (s) => s.step('a', () => 1).returns(() => 1).step('b', () => 1) })
}

export function zod (plain: FastifyInstance): void {
  const app = plain.withTypeProvider<ZodTypeProvider>()
  const definition = app.saga({
    name: 'booking',
    schema: { body: z.object({ seats: z.coerce.number(), when: z.string().default('now') }), result: z.object({ id: z.string() }) },
    steps: (s) => s
      .step('hold', ({ body }) => {
        same<typeof body, { seats: number, when: string }>(true)
        return { held: body.seats }
      })
      .signal('payment', { schema: z.object({ paid: z.boolean(), by: z.string().optional() }), timeoutMs: 1_000, onExhausted: 'continue' })
      .signal('rating', { schema: z.object({ stars: z.number() }), parse: ({ stars }) => stars * 2 })
      .step('book', ({ results }) => {
        same<typeof results.hold, { held: number }>(true)
        same<typeof results.payment, { paid: boolean, by?: string | undefined } | undefined>(true)
        same<typeof results.rating, number>(true)
        // @ts-expect-error the payment may not have come
        return { id: String(results.payment.paid) }
      })
      .returns(({ results }) => results.book)
  })
  // What is sent, and not what the schema makes of it.
  same<BodyOf<typeof definition>['when'], string | undefined>(true)
  same<ResultOf<typeof definition>, { id: string }>(true)
  // @ts-expect-error the result is not what the schema says
  app.saga({ name: 'a', schema: { result: z.object({ id: z.string() }) }, steps: (s) => s.step('a', () => 1).returns(({ results }) => ({ id: results.a })) })
}

export function jsonSchema (plain: FastifyInstance): void {
  const app = plain.withTypeProvider<JsonSchemaProvider>()
  app.saga({
    name: 'order',
    // Literals are inferred without `as const`.
    schema: { body: { type: 'object', properties: { sku: { type: 'string' } } } },
    steps: (s) => s
      .step('a', ({ body }) => { same<typeof body.sku, string>(true) })
      .signal('go', { schema: { type: 'object', properties: { amount: { type: 'integer' } } } })
      .step('b', ({ results }) => {
        same<typeof results.go.amount, number>(true)
        // @ts-expect-error a member that the schema does not have
        return String(results.go.price)
      })
  })
}

/** Without a type provider: the types are given. */
export function generics (app: FastifyInstance): void {
  const definition = app.saga<{ body: { n: number }, params: { kind: string }, result: { sum: number } }>({
    name: 'sum',
    url: '/sums/:kind',
    steps: (s) => s
      .step('a', ({ body, params }) => {
        same<typeof body, { n: number }>(true)
        same<typeof params, { kind: string }>(true)
        return body.n
      })
      .signal('go')
      .step('b', ({ results }) => { same<typeof results.go, unknown>(true) })
      .returns(({ results }) => ({ sum: results.a }))
  })
  same<ResultOf<typeof definition>, { sum: number }>(true)
  // @ts-expect-error the result is not the one that was given
  app.saga<{ result: { sum: number } }>({ name: 'a', steps: (s) => s.step('a', () => 1).returns(() => ({ sum: 'one' })) })
  // @ts-expect-error nothing is known of the body
  app.saga({ name: 'a', steps: (s) => s.step('a', ({ body }) => body.n) })
}

export function handlerSteps (app: FastifyInstance): void {
  app.defineJob<{ body: { n: number } }>({
    name: 'a',
    handler: async (job) => {
      const one = await job.step('one', async ({ signal, attempt, idempotencyKey }) => {
        same<typeof signal, AbortSignal>(true)
        same<typeof attempt, number>(true)
        same<typeof idempotencyKey, string>(true)
        return { n: job.body.n }
      })
      same<typeof one, { n: number }>(true)
      const nothing = await job.step('nothing', () => {}, { attempts: 2, backoff: { type: 'fixed', delayMs: 5 }, timeoutMs: 1_000 })
      same<typeof nothing, void>(true)
      // JSON carries a date as a text.
      const dated = await job.step('dated', () => ({ at: new Date() }))
      same<typeof dated, { at: string }>(true)
      // @ts-expect-error steps of handlers have no compensation
      await job.step('undo', () => 1, { compensate: () => {} })
      // @ts-expect-error the work is a function
      await job.step('none', { attempts: 2 })
    }
  })
}
