import type { RouteOptions } from 'fastify'
import { copyErrorHeaders, noSniff } from './error-headers.ts'
import { describeError, PROBLEM_MEDIA_TYPE } from './problem.ts'

/**
 * Route options for the metrics and health routes: errors are answered with problem documents, and browsers must not
 * guess another media type.
 *
 * @param failed called with unexpected errors
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
