import { setTimeout as pause } from 'node:timers/promises'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import type { FastifyInstance } from 'fastify'
import { Type } from 'typebox'

const DataRequest = Type.Object({ data: Type.String({ maxLength: 1_000 }) }, { additionalProperties: false })
const ProcessResult = Type.Object({ processedData: Type.String() })
const NAME = 'MetricsEnhanced'

/**
 * A job with metrics of the application, kept apart from its handler: a subscriber of the library's events has all the times that a
 * handler cannot know (how long the job waited, how long it took in all), and it also hears of jobs that fail.
 */
export function metricsEnhanced (fastify: FastifyInstance): void {
  const { jobMetricsRegistry: registry, jobEvents, log } = fastify
  const processed = registry.instrument({ name: 'example.jobs.processed', kind: 'counter', unit: '{job}', description: 'Jobs of the example that completed', labels: ['job_type'] })
  const failed = registry.instrument({ name: 'example.jobs.failed', kind: 'counter', unit: '{job}', description: 'Jobs of the example that failed', labels: ['job_type', 'error_type'] })
  const queueTime = registry.instrument({ name: 'example.jobs.queue_time', kind: 'histogram', unit: 's', description: 'Time jobs of the example waited', labels: ['job_type'] })
  const processingTime = registry.instrument({ name: 'example.jobs.processing_time', kind: 'histogram', unit: 's', description: 'Time jobs of the example took', labels: ['job_type'] })

  jobEvents.subscribe('example-metrics', {
    'job.completed': ({ jobId, jobName, queueWaitMs, processingMs, totalMs }) => {
      if (jobName !== NAME) return
      processed.bind({ job_type: jobName }).add()
      queueTime.bind({ job_type: jobName }).observe(queueWaitMs / 1_000)
      processingTime.bind({ job_type: jobName }).observe(processingMs / 1_000)
      log.info({ job_id: jobId, totalMs, queueMs: queueWaitMs, processMs: processingMs }, 'job completed, with its times')
    },
    'job.failed': ({ jobId, jobName, errorCode, totalMs }) => {
      if (jobName !== NAME) return
      failed.bind({ job_type: jobName, error_type: errorCode }).add()
      log.error({ job_id: jobId, totalMs, error_type: errorCode }, 'job failed, with its time')
    }
  })

  fastify.withTypeProvider<TypeBoxTypeProvider>().asyncEndpoint({
    method: 'POST',
    url: '/handlers/metrics',
    name: NAME,
    schema: { summary: 'Record metrics of the application', tags: ['handlers'], body: DataRequest, result: ProcessResult },
    retry: { attempts: 1 },
    handler: async (job) => {
      await pause(10, undefined, { signal: job.signal })
      if (job.body.data === '') throw Object.assign(new Error('there is no data'), { code: 'NO_DATA', expose: true })
      return { processedData: job.body.data.toUpperCase() }
    }
  })
}
