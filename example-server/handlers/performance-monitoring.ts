import { setImmediate as turn, setTimeout as pause } from 'node:timers/promises'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import type { FastifyInstance } from 'fastify'
import { Type } from 'typebox'

const PerformanceRequest = Type.Object({
  taskType: Type.Union([Type.Literal('squares'), Type.Literal('cubes')]),
  itemCount: Type.Integer({ minimum: 0, maximum: 1_000_000 }),
  includeIoSimulation: Type.Boolean({ default: false })
}, { additionalProperties: false })
const PerformanceResult = Type.Object({ processedItemCount: Type.Integer(), sum: Type.Number(), processedAt: Type.String() })

/** After so many items the handler lets the event loop turn: leases are renewed, probes answered, and a cancellation arrives. */
const EVERY = 10_000

/** A handler that computes: with metrics by kind of task, and the memory it took. Of several jobs at one time, the memory is that of all. */
export function performanceMonitoring (fastify: FastifyInstance): void {
  const { jobMetricsRegistry: registry } = fastify
  const labels = ['task_type'] as const
  const processingTime = registry.instrument({ name: 'performance.processing_time', kind: 'histogram', unit: 's', description: 'Processing time of performance requests', labels })
  const processedItems = registry.instrument({ name: 'performance.processed_items', kind: 'counter', unit: '{item}', description: 'Items processed', labels })
  const memoryUsage = registry.instrument({
    name: 'performance.memory_usage', kind: 'histogram', unit: 'By', description: 'Growth of the heap during processing', labels, buckets: [65_536, 1_048_576, 16_777_216, 268_435_456]
  })

  fastify.withTypeProvider<TypeBoxTypeProvider>().asyncEndpoint({
    method: 'POST',
    url: '/handlers/performance',
    name: 'PerformanceProcess',
    schema: { summary: 'Compute, and measure it', tags: ['handlers'], body: PerformanceRequest, result: PerformanceResult },
    retry: { attempts: 1 },
    handler: async (job) => {
      const { taskType, itemCount, includeIoSimulation } = job.body
      const startedAt = performance.now()
      const heapBefore = process.memoryUsage().heapUsed
      job.log.info({ taskType, itemCount }, 'Starting performance-intensive operation')
      let sum = 0
      for (let item = 0; item < itemCount; item++) {
        sum += taskType === 'squares' ? item ** 2 : item ** 3
        if (item % EVERY !== 0) continue
        job.progress({ done: item, total: itemCount })
        await turn()
        job.throwIfAborted()
      }
      if (includeIoSimulation) await pause(100, undefined, { signal: job.signal })

      const seconds = (performance.now() - startedAt) / 1_000
      const memoryDeltaBytes = process.memoryUsage().heapUsed - heapBefore
      const cells = { task_type: taskType }
      processingTime.bind(cells).observe(seconds)
      processedItems.bind(cells).add(itemCount)
      // A garbage collection in between makes it less than nothing.
      memoryUsage.bind(cells).observe(Math.max(memoryDeltaBytes, 0))
      job.log.info({ taskType, durationMs: seconds * 1_000, memoryDeltaBytes }, 'Performance operation completed')
      return { processedItemCount: itemCount, sum, processedAt: new Date().toISOString() }
    }
  })
}
