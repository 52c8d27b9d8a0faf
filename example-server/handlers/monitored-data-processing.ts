import { setImmediate as turn } from 'node:timers/promises'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import type { FastifyInstance } from 'fastify'
import { Type } from 'typebox'
import { fetchEntities } from './entities.ts'

const DataProcessingRequest = Type.Object({
  category: Type.String({ minLength: 1, maxLength: 50 }),
  startDate: Type.Optional(Type.String({ format: 'date-time' })),
  endDate: Type.Optional(Type.String({ format: 'date-time' }))
}, { additionalProperties: false })
const DataProcessingResult = Type.Object({ processedCount: Type.Integer(), processedAt: Type.String(), summary: Type.String() })

const EVERY = 100

/**
 * A handler that shows what it does: attributes on its spans, a span of its own, lines with numbers, progress, and two metrics of the
 * application. The start, the end, a cancellation and an error of every job are logged, traced and counted by the library already.
 */
export function monitoredDataProcessing (fastify: FastifyInstance): void {
  const labels = ['category'] as const
  const processed = fastify.jobMetricsRegistry.instrument({ name: 'example.entities.processed', kind: 'counter', unit: '{entity}', description: 'Entities processed', labels })
  const duration = fastify.jobMetricsRegistry.instrument({ name: 'example.entities.duration', kind: 'histogram', unit: 's', description: 'Time to process the entities of a request', labels })

  fastify.withTypeProvider<TypeBoxTypeProvider>().asyncEndpoint({
    method: 'POST',
    url: '/handlers/monitored',
    name: 'MonitoredProcess',
    headers: ['x-user-id'],
    schema: { summary: 'Process the entities of a category', tags: ['handlers'], body: DataProcessingRequest, result: DataProcessingResult },
    retry: { attempts: 1 },
    spanAttributes: {
      input: ({ id, body, headers }) => ({
        'job.id': id,
        'request.category': body.category,
        'request.start_date': body.startDate,
        'request.end_date': body.endDate,
        'request.user_id': headers['x-user-id']
      }),
      result: (result) => ({ 'result.processed_count': result.processedCount })
    },
    handler: async (job) => {
      const { category, startDate, endDate } = job.body
      const startedAt = performance.now()
      job.log.info({ category, startDate, endDate }, 'processing entities')

      const entities = await fetchEntities(category, job.signal)
      job.log.debug({ entities: entities.length }, 'entities fetched')

      const done = await job.span('DataProcessing', async () => {
        const results: string[] = []
        for (const { data } of entities) {
          results.push(data.toUpperCase())
          if (results.length % EVERY !== 0) continue
          job.progress({ done: results.length, total: entities.length, message: 'processing' })
          job.log.info({ done: results.length, total: entities.length }, 'entities processed so far')
          // A turn of the event loop lets a cancellation arrive; the next line then ends the work.
          await turn()
          job.throwIfAborted()
        }
        return results
      })

      const seconds = (performance.now() - startedAt) / 1_000
      processed.bind({ category }).add(done.length)
      duration.bind({ category }).observe(seconds)
      job.log.info({ entities: done.length, durationMs: Math.round(seconds * 1_000) }, 'all entities processed')
      return { processedCount: done.length, processedAt: new Date().toISOString(), summary: `Processed ${done.length} entities in ${seconds.toFixed(2)} s` }
    }
  })
}
