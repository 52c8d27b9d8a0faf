import { setTimeout as sleep } from 'node:timers/promises'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import type { FastifyInstance } from 'fastify'
import { Type } from 'typebox'

const SleepRequest = Type.Object({
  ms: Type.Integer({ minimum: 0, maximum: 3_600_000, default: 50 }),
  failTimes: Type.Integer({ minimum: 0, maximum: 1_000, default: 0 })
}, { additionalProperties: false })

/** Jobs for trying out retries, cancellation, timeouts and shutdown. */
export function demoEndpoints (fastify: FastifyInstance): void {
  fastify.withTypeProvider<TypeBoxTypeProvider>().asyncEndpoint({
    method: 'POST',
    url: '/demo/sleep',
    name: 'demo-sleep',
    schema: {
      summary: 'Sleep, and fail the first attempts if asked to',
      operationId: 'demoSleep',
      tags: ['demo'],
      body: SleepRequest,
      result: Type.Object({ sleptMs: Type.Integer(), attempt: Type.Integer() })
    },
    retry: { attempts: 3, backoff: { type: 'fixed', delayMs: 100, jitter: 0 } },
    handler: async (job) => {
      const { ms, failTimes } = job.body
      await sleep(ms, undefined, { signal: job.signal })
      // The client may read this message. Without `expose`, it would see only the code and a fixed text.
      if (job.attempt <= failTimes) throw Object.assign(new Error(`attempt ${job.attempt} fails as asked`), { expose: true })
      return { sleptMs: ms, attempt: job.attempt }
    }
  })
}
