import { setTimeout as pause } from 'node:timers/promises'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import type { FastifyInstance } from 'fastify'
import { Type } from 'typebox'

const DataRequest = Type.Object({ data: Type.String({ maxLength: 1_000 }) }, { additionalProperties: false })
const ProcessResult = Type.Object({ processedData: Type.String() })

/**
 * A handler whose lines say who asked. `job.log` carries the ids of job, trace, correlation, request and user; what else a line should have
 * comes from the headers that the endpoint keeps, by a child logger, so that no line has to repeat it.
 */
export function jobContextLogging (fastify: FastifyInstance): void {
  fastify.withTypeProvider<TypeBoxTypeProvider>().asyncEndpoint({
    method: 'POST',
    url: '/handlers/context',
    name: 'ContextLogging',
    // Kept with the job beside `user-agent` and `x-request-id`. An address from `x-forwarded-for` is only as true as the proxy that sets it.
    headers: ['x-user-id', 'x-forwarded-for'],
    schema: { summary: 'Log with context', tags: ['handlers'], body: DataRequest, result: ProcessResult },
    retry: { attempts: 1 },
    handler: async (job) => {
      const { headers } = job
      const log = job.log.child({
        client_ip: headers['x-forwarded-for'],
        user_agent: headers['user-agent']
      })
      log.info({}, 'Processing request with contextual information')
      try {
        if (job.body.data === '') throw Object.assign(new Error('there is no data'), { code: 'NO_DATA', expose: true })
        await pause(10, undefined, { signal: job.signal })
        log.info({}, 'Request processed successfully')
        return { processedData: job.body.data.toUpperCase() }
      } catch (error) {
        log.error({ err: error }, 'Error during request processing with contextual information')
        throw error
      }
    }
  })
}
