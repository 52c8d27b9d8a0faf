/**
 * Takes the rejection of an answer that nobody waits for. A function of the application that should answer at once is easily
 * written as `async`; without this, its rejection would end the process.
 */
export function takeRejection (answer: unknown, failed: (error: unknown) => void = () => {}): void {
  if (typeof answer !== 'object' || answer === null || !('then' in answer)) return
  Promise.resolve(answer).catch(failed)
}
