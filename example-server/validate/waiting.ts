import { setTimeout as sleep } from 'node:timers/promises'

const PAUSE_MS = 50

/**
 * Asks until there is an answer, and gives it; `undefined` when there was none in time.
 *
 * @throws whatever `ask` throws
 */
export async function eventually<T> (withinMs: number, ask: () => Promise<T | undefined>): Promise<T | undefined> {
  const end = performance.now() + withinMs
  for (;;) {
    const answer = await ask()
    if (answer !== undefined || performance.now() > end) return answer
    await sleep(PAUSE_MS)
  }
}
