import { setTimeout as sleep } from 'node:timers/promises'

const PAUSE_MS = { first: 20, last: 500, factor: 1.5 } as const

/**
 * Asks until there is an answer, and gives it; `undefined` when there was none in time. The longer it takes, the more
 * seldom it asks: some questions are whole pages.
 *
 * @throws whatever `ask` throws
 */
export async function eventually<T> (withinMs: number, ask: () => Promise<T | undefined>): Promise<T | undefined> {
  const end = performance.now() + withinMs
  for (let pauseMs: number = PAUSE_MS.first; ; pauseMs = Math.min(PAUSE_MS.last, pauseMs * PAUSE_MS.factor)) {
    const answer = await ask()
    const leftMs = end - performance.now()
    if (answer !== undefined || leftMs < 0) return answer
    // Once more at the very end.
    await sleep(Math.min(pauseMs, leftMs + 1))
  }
}
