/** What a handler gets of what travelled as JSON. Compiled with everything else, never run. */
import type { FastifyBaseLogger, FastifyInstance } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'
import type { Travelled } from '../../plugins/async-endpoints.ts'
import { same } from './support.ts'

export function values (): void {
  same<Travelled<unknown>, unknown>(true)
  same<Travelled<string | number | undefined>, string | number | undefined>(true)
  same<Travelled<{ readonly a: number, b?: string }>, { readonly a: number, b?: string }>(true)
  same<Travelled<{ at: Date, link?: URL }>, { at: string, link?: string }>(true)
  same<Travelled<[Date, { n: number }[]]>, [string, { n: number }[]]>(true)
  same<Travelled<{ ids: Set<string>, n: bigint }>, { ids: never, n: never }>(true)
  same<Travelled<{ name: string, greet: () => void }>, { name: string }>(true)
  same<Travelled<Readonly<Record<string, unknown>>>, Readonly<Record<string, unknown>>>(true)
}

export function zod (plain: FastifyInstance): void {
  plain.withTypeProvider<ZodTypeProvider>().asyncEndpoint({
    url: '/d',
    name: 'd',
    schema: { body: z.object({ at: z.coerce.date(), ids: z.array(z.string()).transform((ids) => new Set(ids)) }), result: z.object({ year: z.number() }) },
    handler: async (job) => {
      same<typeof job.body, { at: string, ids: never }>(true)
      return { year: new Date(job.body.at).getFullYear() }
    }
  })
  plain.defineJob<{ body: { at: Date } }>({
    name: 'e',
    schema: { body: z.object({ at: z.date() }) },
    handler: async (job) => { job.body.at satisfies string }
  })
}

export function logs (app: FastifyInstance): void {
  app.defineJob({
    name: 'f',
    handler: async ({ log }) => {
      log.info('text')
      log.fatal({ a: 1 }, 'in %s of %d', 'one', 2)
      log.child({ part: 'a' }).warn('text %s', 'more')
      // Whatever takes a logger of Fastify's takes this one.
      log satisfies FastifyBaseLogger
    }
  })
}
