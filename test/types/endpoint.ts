/** What `app.asyncEndpoint()` infers. Compiled with everything else, never run. */
import { Type, type TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import type { FastifyInstance } from 'fastify'
import { cancel, discard, snooze, type JobContext, type JobDefinition } from '../../plugins/async-endpoints.ts'
import { same, type JsonSchemaProvider } from './support.ts'

type Loose = Readonly<Record<string, unknown>>
type Kept = 'accept-language' | 'user-agent' | 'x-request-id'

const ReportRequest = Type.Object({ year: Type.Integer(), tags: Type.Optional(Type.Array(Type.String())) })
const Report = Type.Object({ rows: Type.Integer() })

export function typeBox (plain: FastifyInstance): void {
  const app = plain.withTypeProvider<TypeBoxTypeProvider>()
  const definition = app.asyncEndpoint({
    url: '/reports/:kind',
    name: 'report',
    headers: ['X-Tenant'],
    schema: { body: ReportRequest, params: Type.Object({ kind: Type.String() }), querystring: Type.Object({ limit: Type.Number() }), result: Report },
    handler: async (job) => {
      same<typeof job.body, { tags?: string[], year: number }>(true)
      same<typeof job.params, { kind: string }>(true)
      same<typeof job.query, { limit: number }>(true)
      same<typeof job.headers, Readonly<Partial<Record<Kept | 'x-tenant', string>>>>(true)
      same<typeof job.id, string>(true)
      same<typeof job.signal, AbortSignal>(true)
      // @ts-expect-error a member that the schema does not have
      job.body.month satisfies unknown
      // @ts-expect-error a header that is not on the allow-list
      job.headers['authorization'] satisfies unknown
      job.progress({ done: 1, total: 2 })
      return { rows: await job.span('load', () => 3) }
    }
  })
  same<typeof definition, JobDefinition<{ body: { tags?: string[], year: number }, result: { rows: number } }>>(true)

  // @ts-expect-error the result is not what schema.result says
  app.asyncEndpoint({ url: '/a', name: 'a', schema: { result: Report }, handler: async () => ({ rows: 'three' }) })
  // @ts-expect-error the result is missing
  app.asyncEndpoint({ url: '/a', name: 'a', schema: { result: Report }, handler: async () => {} })

  // Outcomes may be returned whatever the result is.
  app.asyncEndpoint({ url: '/a', name: 'a', schema: { result: Report }, handler: (job) => job.attempt === 1 ? snooze(1_000) : job.attempt === 2 ? cancel() : job.attempt === 3 ? discard('no') : { rows: 1 } })

  app.asyncEndpoint({
    url: '/b',
    name: 'b',
    handler: async (job) => {
      same<typeof job.body, unknown>(true)
      same<typeof job.params, Loose>(true)
      same<typeof job.query, Loose>(true)
      same<typeof job.headers, Readonly<Record<string, string | undefined>>>(true)
      // @ts-expect-error nothing is known of the body
      job.body.year satisfies unknown
    }
  })
}

export function jsonSchema (plain: FastifyInstance): void {
  const app = plain.withTypeProvider<JsonSchemaProvider>()
  app.asyncEndpoint({
    url: '/a',
    name: 'a',
    schema: {
      body: { type: 'object', properties: { year: { type: 'integer' }, place: { type: 'object', properties: { city: { type: 'string' } } } } },
      result: { type: 'object', properties: { rows: { type: 'integer' } } },
      tags: ['reports'],
      summary: 'A report'
    },
    handler: (job) => {
      // Literals are inferred without `as const`.
      job.body.year satisfies number
      job.body.place.city satisfies string
      // @ts-expect-error a number is not a text
      job.body.year satisfies string
      return { rows: job.body.year }
    }
  })
  app.asyncEndpoint({
    url: '/a',
    name: 'a',
    schema: { result: { type: 'object', properties: { rows: { type: 'integer' } } } },
    // @ts-expect-error the result is not what schema.result says
    handler: () => ({ rows: 'three' })
  })
}

export function byHand (app: FastifyInstance): void {
  app.asyncEndpoint<{ body: { year: number }, params: { kind: string }, query: { limit?: number }, headers: { 'x-tenant'?: string }, result: { rows: number } }>({
    url: '/a',
    name: 'a',
    headers: ['x-tenant'],
    schema: { body: { type: 'object' } },
    handler: async (job) => {
      same<typeof job.body, { year: number }>(true)
      same<typeof job.params, { kind: string }>(true)
      same<typeof job.query, { limit?: number }>(true)
      same<typeof job.headers, { 'x-tenant'?: string }>(true)
      return { rows: job.body.year }
    }
  })
  // @ts-expect-error the result is not what the generic says
  app.asyncEndpoint<{ result: { rows: number } }>({ url: '/a', name: 'a', handler: async () => ({ row: 1 }) })

  // A handler that stands elsewhere.
  const handler = async (job: JobContext<{ body: { year: number } }>): Promise<{ rows: number }> => ({ rows: job.body.year })
  app.asyncEndpoint<{ body: { year: number } }>({ url: '/a', name: 'a', handler })
  // @ts-expect-error without the generic nothing says that the body has a year
  app.asyncEndpoint({ url: '/a', name: 'a', handler })
}

export function options (app: FastifyInstance): void {
  const handler = async (): Promise<void> => {}
  app.asyncEndpoint({
    method: 'PUT',
    url: '/a',
    name: 'a',
    queue: 'slow',
    retry: { attempts: 3, backoff: { type: 'fixed', delayMs: 10 } },
    timeoutMs: 1,
    idempotency: 'required',
    owner: async (request) => request.headers['x-user']?.toString(),
    responses: { submitted: ({ job, document, replayed }, request, reply) => { reply.header('x', request.id); return { id: job.id, status: document.status, replayed } } },
    routeOptions: { onRequest: async (request, reply) => { reply.header('x-ip', request.ip) }, config: { mine: true }, constraints: { host: 'example.com' } },
    handler
  })
  // @ts-expect-error there is no such option
  app.asyncEndpoint({ url: '/a', name: 'a', handler, timeout: 1 })
  // @ts-expect-error a GET must not start work
  app.asyncEndpoint({ method: 'GET', url: '/a', name: 'a', handler })
  // Only declared: the handler is in another process.
  app.asyncEndpoint({ url: '/a', name: 'a' })
  // @ts-expect-error a url is needed
  app.asyncEndpoint({ name: 'a', handler })
  // @ts-expect-error one of three words
  app.asyncEndpoint({ url: '/a', name: 'a', handler, idempotency: 'sometimes' })
  // @ts-expect-error the route's method stands in the endpoint's own options
  app.asyncEndpoint({ url: '/a', name: 'a', handler, routeOptions: { method: 'PUT' } })
  // @ts-expect-error owners are texts
  app.asyncEndpoint({ url: '/a', name: 'a', handler, owner: () => 42 })
}
