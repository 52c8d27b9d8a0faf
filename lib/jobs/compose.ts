import { AsyncEndpointsError } from '../core/errors.ts'

/** Wraps work: it is given a scope and `next`, which runs the rest of the chain, and answers for both. */
type Middleware<Scope, Result> = (scope: Scope, next: () => Promise<Result>) => Result | PromiseLike<Result>

/**
 * Runs `last` inside a chain of middleware, the first outermost. Submissions, attempts, handler spans and handlers
 * are all wrapped here.
 *
 * - Whatever a middleware or `last` does, the answer is a promise: a value that is returned is resolved, an error
 *   that is thrown at once is a rejection.
 * - `next` runs the rest of the chain once. A second call would run the handler again, or store the job again: it is
 *   refused with `FAE_NEXT_CALLED_TWICE`, and nothing is run.
 *
 * Plain functions instead of `async` ones: every attempt comes through here two or three times, and each async frame
 * costs half a kilobyte. A caller whose chain is mostly empty asks for its length first, so that `last` need not be
 * made.
 */
export function compose<Scope, Result> (
  chain: ReadonlyArray<Middleware<Scope, Result>>, scope: Scope, last: () => Result | PromiseLike<Result>
): Promise<Result> {
  return runFrom(chain, 0, scope, last)
}

function runFrom<Scope, Result> (
  chain: ReadonlyArray<Middleware<Scope, Result>>, index: number, scope: Scope, last: () => Result | PromiseLike<Result>
): Promise<Result> {
  const middleware = chain[index]
  try {
    if (middleware === undefined) return promiseOf(last())
    let called = false
    return promiseOf(middleware(scope, () => {
      if (called) return refuse()
      called = true
      return runFrom(chain, index + 1, scope, last)
    }))
  } catch (error) {
    return Promise.reject(error)
  }
}

function promiseOf<Result> (answer: Result | PromiseLike<Result>): Promise<Result> {
  return answer instanceof Promise ? answer : new Promise((resolve) => { resolve(answer) })
}

function refuse (): Promise<never> {
  const refused = Promise.reject(new AsyncEndpointsError('FAE_NEXT_CALLED_TWICE', 'A middleware called next() more than once; call it once and keep what it returns'))
  // A middleware that does not wait for its second call has done no harm. Without this, its rejection would end the
  // process.
  refused.catch(() => {})
  return refused
}
