/** Renews the leases of running attempts, and takes back those that ran out while the event loop was blocked. */
import type { Clock } from '../../core/context.ts'
import type { Client } from './internals.ts'
import type { Running } from './running.ts'
import { runScript } from './scripts.ts'

/**
 * BullMQ renews a lease after a quarter to a half of its time. One of this age was not renewed when it should have
 * been.
 */
const LATE = 0.75

export interface LeaseParts {
  readonly clock: Clock
  readonly client: Client
  /** Of the queue's keys. */
  readonly prefix: string
  readonly leaseMs: number
  /** The attempts of this consumer. */
  readonly running: () => Iterable<Running>
}

/**
 * Takes back leases that ran out while the event loop of this process was blocked. On the server BullMQ's lock of
 * such an attempt is gone, but as long as no worker has looked for stalled jobs, its job still stands among the
 * active ones and is nobody else's. Without this, the first thing that a worker did after a block would be to take
 * its own jobs away from itself.
 */
export class Leases {
  readonly #parts: LeaseParts

  constructor (parts: LeaseParts) {
    this.#parts = parts
  }

  /** Whether the lease of an attempt may have run out. */
  late ({ renewedAt }: Running): boolean {
    const { clock, leaseMs } = this.#parts
    return clock.monotonic() - renewedAt >= leaseMs * LATE
  }

  /** Renews by BullMQ's own step. @returns the jobs whose leases are really lost */
  async renew (ids: readonly string[], step: () => Promise<string[]>): Promise<string[]> {
    // Before the answer: it may lie in a buffer while the event loop is blocked.
    const at = this.#parts.clock.monotonic()
    const lost = new Set(await step())
    const running = [...this.#parts.running()]
    for (const one of running) if (ids.includes(one.id) && !lost.has(one.id)) one.renewedAt = at
    if (lost.size === 0) return []
    for (const id of await this.takeBack(running.filter(({ id }) => lost.has(id)))) lost.delete(id)
    return [...lost]
  }

  /** To be called before anybody here looks for stalled jobs. */
  async takeBackLate (): Promise<void> {
    const late = [...this.#parts.running()].filter((running) => this.late(running))
    if (late.length > 0) await this.takeBack(late)
  }

  /** @returns the jobs whose leases are good again; never rejects */
  async takeBack (attempts: readonly Running[]): Promise<readonly string[]> {
    const { clock, client, prefix, leaseMs } = this.#parts
    const at = clock.monotonic()
    // An attempt that has heard of the loss of its lease stays lost: its handler may have stopped half-way.
    const args = attempts.filter(({ leaseLost }) => !leaseLost).flatMap(({ id, token, bullJob }) => [id, token, bullJob.attemptsStarted])
    if (args.length === 0) return []
    try {
      const answer = await runScript(client, 'take-back', [prefix], leaseMs, ...args)
      const good = new Set(Array.isArray(answer) ? answer.map(String) : [])
      for (const attempt of attempts) if (good.has(attempt.id)) attempt.renewedAt = at
      return [...good]
    } catch {
      return []
    }
  }
}
