import { AsyncEndpointsError } from '../core/errors.ts'

/** Wraps work: it is given a scope and `next`, which runs the rest of the chain, and answers for both. */
type Middleware<Scope, Result> = (scope: Scope, next: () => Promise<Result>) => Result | PromiseLike<Result>

/**
 * Runs `last` inside a chain of middleware, the first outermost. Submissions, attempts, handler spans and handlers
 * are all wrapped here.
 *
 * - Whatever a middleware or `last` does, the answer is a promise: a value that is returned is resolved, an error that is thrown at once
 *   is a rejection.
 * - `next` runs the rest of the chain once. A second call would run the handler again, or store the job again: it is refused with
 *   `FAE_NEXT_CALLED_TWICE`, and nothing is run.
 * - A middleware of the application (`foreign`) may forget to wait for `next`. An error of the rest then ends no process, and a call after
 *   the middleware has ended is refused with `FAE_NEXT_CALLED_LATE`: the attempt is settled by then, and the handler would run without a
 *   lease. Our own middleware is spared the two promises that this costs.
 *
 * Plain functions instead of `async` ones: every attempt comes through here two or three times, and each async frame
 * costs half a kilobyte. A caller whose chain is mostly empty asks for its length first, so that `last` need not be
 * made.
 */
export function compose<Scope, Result> (
  chain: ReadonlyArray<Middleware<Scope, Result>>, scope: Scope, last: () => Result | PromiseLike<Result>, foreign = false
): Promise<Result> {
  return runFrom(chain, 0, scope, last, foreign)
}

function runFrom<Scope, Result> (
  chain: ReadonlyArray<Middleware<Scope, Result>>, index: number, scope: Scope, last: () => Result | PromiseLike<Result>, foreign: boolean
): Promise<Result> {
  const middleware = chain[index]
  let state: 'open' | 'called' | 'over' = 'open'
  try {
    if (middleware === undefined) return promiseOf(last())
    const answer = promiseOf(middleware(scope, () => {
      if (state !== 'open') return refuse(state)
      state = 'called'
      const rest = runFrom(chain, index + 1, scope, last, foreign)
      if (foreign) rest.catch(() => {})
      return rest
    }))
    if (foreign) {
      const over = (): void => { if (state === 'open') state = 'over' }
      answer.then(over, over)
    }
    return answer
  } catch (error) {
    if (state === 'open') state = 'over'
    return Promise.reject(error)
  }
}

function promiseOf<Result> (answer: Result | PromiseLike<Result>): Promise<Result> {
  return answer instanceof Promise ? answer : new Promise((resolve) => { resolve(answer) })
}

function refuse (state: 'called' | 'over'): Promise<never> {
  const refused = Promise.reject(state === 'called'
    ? new AsyncEndpointsError('FAE_NEXT_CALLED_TWICE', 'A middleware called next() more than once; call it once and keep what it returns')
    : new AsyncEndpointsError('FAE_NEXT_CALLED_LATE', 'A middleware called next() after it had ended; await or return what next() returns'))
  // A middleware that does not wait for a refused call has done no harm. Without this, its rejection would end the process.
  refused.catch(() => {})
  return refused
}
