/**
 * Handles the rejection of a promise that is not awaited. A callback of the application that should return at once
 * may be written as `async` by mistake; without this, its rejection would end the process.
 */
export function takeRejection (answer: unknown, failed: (error: unknown) => void = () => {}): void {
  if (typeof answer !== 'object' || answer === null || !('then' in answer)) return
  Promise.resolve(answer).catch(failed)
}
