import type { RouteOptions } from 'fastify'
import { copyErrorHeaders, noSniff } from './error-headers.ts'
import { describeError, PROBLEM_MEDIA_TYPE } from './problem.ts'

/**
 * For routes beside those of jobs (metrics, health): whatever goes wrong is a problem document, and no answer is taken for
 * another media type.
 *
 * @param failed is called with what nobody expected
 */
export function plainProblems (failed: (error: unknown) => void): Pick<RouteOptions, 'onRequest' | 'errorHandler'> {
  return {
    onRequest: (_request, reply, done) => {
      noSniff(reply)
      done()
    },
    errorHandler: (error, request, reply) => {
      const { problem, code } = describeError(error, request, reply)
      if (problem.status >= 500 && code === undefined) failed(error)
      noSniff(reply)
      copyErrorHeaders(error, reply)
      return reply.code(problem.status).type(PROBLEM_MEDIA_TYPE).header('cache-control', 'no-store').serializer(JSON.stringify).send(problem)
    }
  }
}
