/**
 * Handles the rejection of a promise that is not awaited. A callback of the application that should return at once
 * may be written as `async` by mistake; without this, its rejection would end the process.
 */
export function takeRejection (answer: unknown, failed: (error: unknown) => void = () => {}): void {
  if (typeof answer !== 'object' || answer === null || !('then' in answer)) return
  Promise.resolve(answer).catch(failed)
}

/** Whether a value can be awaited: a promise, and anything else with a `then`, such as the query of a query builder. */
export function isThenable (value: unknown): value is PromiseLike<unknown> {
  if (value === null || (typeof value !== 'object' && typeof value !== 'function')) return false
  return typeof Reflect.get(value, 'then') === 'function'
}
