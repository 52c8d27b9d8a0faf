/** Parameters of a query that look like one that the route has, and are not. */
import type { FastifyRequest } from 'fastify'
import { AsyncEndpointsError } from '../core/errors.ts'

/** What a parameter of one of the job routes is probably meant to be, by its name without case, signs and plural. */
const MEANT: ReadonlyMap<string, string> = new Map([
  ['id', 'id'], ['job', 'id'], ['jobid', 'id'], ['lasteventid', 'last_event_id'], ['lastevent', 'last_event_id'],
  ['sig', 'sig'], ['sign', 'sig'], ['signature', 'sig']
])
/** A client that waits in vain would not notice it: the answer is there at once. */
const PREFERENCES: ReadonlySet<string> = new Set(['wait', 'prefer'])
const MAX_NAMES = 100

/**
 * Refuses a misspelt parameter, which would otherwise be ignored without a word: `?ids=a` instead of `?id=a`. Every
 * other name is left alone. It may be one that a hook of the application reads (a browser's EventSource sends no
 * headers, so that tokens stand in the query), or one that a mailer has added to a link.
 *
 * @param known the parameters of the route
 * @throws {AsyncEndpointsError} `FAE_INVALID_REQUEST`, with each of them in `errors`
 */
export function assertSpelling ({ query }: Pick<FastifyRequest, 'query'>, known: readonly string[]): void {
  if (typeof query !== 'object' || query === null) return
  const wrong: QueryProblem[] = []
  for (const name of Object.keys(query).slice(0, MAX_NAMES)) {
    if (known.includes(name)) continue
    const plain = name.toLowerCase().replaceAll(/[^a-z0-9]/g, '').replace(/s$/, '')
    const meant = MEANT.get(plain)
    if (meant !== undefined && known.includes(meant)) {
      wrong.push({ name, message: `is no parameter here; is ${meant} meant?` })
    } else if (PREFERENCES.has(plain)) {
      const message = 'is no parameter here; a submission and the status of a job wait with the header Prefer: wait=20'
      wrong.push({ name, message })
    }
  }
  if (wrong.length > 0) throw invalidQuery(wrong)
}

/** What is wrong with one parameter. */
export interface QueryProblem {
  readonly name: string
  readonly message: string
}

/** An error that is answered as Fastify's validators have theirs answered: with a pointer to each parameter. */
export function invalidQuery (problems: readonly QueryProblem[]): AsyncEndpointsError {
  const validation = problems.map(({ name, message }) => ({
    instancePath: `/${name.slice(0, 100).replaceAll('~', '~0').replaceAll('/', '~1')}`, message
  }))
  const error = new AsyncEndpointsError('FAE_INVALID_REQUEST', 'The query is not valid; errors says what is wrong')
  return Object.assign(error, { validation, validationContext: 'querystring' })
}
