/** What `app.jobs` takes and gives for a job that is known. Compiled with everything else, never run. */
import { Type, type TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import type { FastifyInstance } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { cancel, discard, snooze, type JobContext, type JobDefinition, type ResultOf, type Submittable } from '../../plugins/async-endpoints.ts'
import { same } from './support.ts'

interface Order { sku: string, lines?: Line[] }
interface Line { order: Order, at: Date }

export async function byHand (app: FastifyInstance): Promise<void> {
  const mail = app.defineJob<{ body: { to: string }, result: { sent: Date } }>({ name: 'mail', handler: () => ({ sent: new Date() }) })
  await app.jobs.submit(mail, { to: 'ann' }, { delayMs: 1 })
  // @ts-expect-error a member that the body does not have
  await app.jobs.submit(mail, { too: 'ann' })
  // @ts-expect-error the body is missing
  await app.jobs.submit(mail)
  // @ts-expect-error there is no such setting
  await app.jobs.submit(mail, { to: 'ann' }, { delay: 1 })
  // @ts-expect-error a submission cannot be aborted
  await app.jobs.submit(mail, { to: 'ann' }, { signal: new AbortController().signal })
  await app.jobs.submitMany(mail, [{ body: { to: 'ann' }, delayMs: 1 }])
  // @ts-expect-error the wrong body in one of many
  await app.jobs.submitMany(mail, [{ body: { too: 'ann' } }])
  // @ts-expect-error no body in one of many
  await app.jobs.submitMany(mail, [{ delayMs: 1 }])
  const result = await app.jobs.result(mail, 'id')
  // A date arrives as a text.
  same<typeof result, { sent: string }>(true)
  const unnamed = await app.jobs.result('id')
  same<typeof unnamed, unknown>(true)

  // Nothing is known: anything may be submitted.
  const any = app.defineJob({ name: 'any' })
  await app.jobs.submit(any)
  await app.jobs.submit(any, 7)
  await app.jobs.submit('by its name', { a: 1 })
  await app.jobs.submitMany('by its name', [{ body: 1 }, {}])
  same<ResultOf<typeof any>, unknown>(true)

  // A body that may be left out.
  const maybe = app.defineJob<{ body: { a: number } | undefined }>({ name: 'maybe' })
  await app.jobs.submit(maybe)
  await app.jobs.submit(maybe, { a: 1 })

  app.defineJob({
    name: 'parent',
    handler: async (job: JobContext) => {
      await job.submit(mail, { to: 'ann' })
      // @ts-expect-error the wrong body, inside of a handler
      await job.submit(mail, { too: 'ann' })
    }
  })
}

export async function whatJsonLoses (app: FastifyInstance): Promise<void> {
  // A type that travels stays itself, also one that refers to itself.
  same<Submittable<Order>, Order>(true)
  same<Submittable<{ at: Date, link: URL }>, { at: Date, link: URL }>(true)
  same<Submittable<{ ids: Set<string>, n?: bigint, m: Map<string, number>[] }>, { ids: never, n?: never, m: never[] }>(true)
  const lossy = app.defineJob<{ body: { tags: Map<string, string> } }>({ name: 'lossy' })
  // @ts-expect-error a Map is refused at run time
  await app.jobs.submit(lossy, { tags: new Map() })
}

export async function fromSchemas (plain: FastifyInstance): Promise<void> {
  const box = plain.withTypeProvider<TypeBoxTypeProvider>()
  const report = box.asyncEndpoint({
    url: '/reports', name: 'report', schema: { body: Type.Object({ year: Type.Integer() }), result: Type.Object({ rows: Type.Integer() }) }, handler: () => ({ rows: 1 })
  })
  await plain.jobs.submit(report, { year: 2026 })
  // @ts-expect-error the wrong body
  await plain.jobs.submit(report, { year: 'last' })
  same<ResultOf<typeof report>, { rows: number }>(true)

  const zod = plain.withTypeProvider<ZodTypeProvider>()
  const booked = zod.asyncEndpoint({
    url: '/book',
    name: 'book',
    schema: { body: z.object({ seats: z.number().default(1), tags: z.array(z.string()).transform((tags) => new Set(tags)) }), result: z.object({ code: z.string() }) },
    handler: async () => ({ code: 'x' })
  })
  // What the schema takes, not what it makes: a default may be left out.
  same<typeof booked, JobDefinition<{ body: { seats?: number | undefined, tags: string[] }, result: { code: string } }>>(true)
  await plain.jobs.submit(booked, { tags: ['a'] })
  // @ts-expect-error a text is no number
  await plain.jobs.submit(booked, { seats: '2', tags: [] })
}

export function fromHandlers (app: FastifyInstance): void {
  // Without a schema the result is what the handler returns, whatever else it may say.
  const later = app.asyncEndpoint({ url: '/a', name: 'a', handler: async (job) => job.attempt === 1 ? snooze(1_000) : job.attempt === 2 ? cancel() : job.attempt === 3 ? discard('no') : { at: new Date() } })
  same<ResultOf<typeof later>, { at: string }>(true)
  const now = app.asyncEndpoint({ url: '/b', name: 'b', handler: (job) => job.id.length })
  same<ResultOf<typeof now>, number>(true)
  const nothing = app.asyncEndpoint({ url: '/c', name: 'c', handler: async () => {} })
  same<ResultOf<typeof nothing>, void>(true)
  const byHand = app.asyncEndpoint<{ body: { n: number } }>({ url: '/d', name: 'd', handler: (job) => job.body.n })
  same<typeof byHand, JobDefinition<{ body: { n: number }, result: unknown }>>(true)
  const declared = app.asyncEndpoint({ url: '/e', name: 'e' })
  same<typeof declared, JobDefinition<{ body: unknown, result: unknown }>>(true)
}
