/** What the store does while the server refuses to serve: because it is a replica, out of memory, or loading. */
import type { Clock } from '../../core/context.ts'
import { sleep } from '../../core/deadline.ts'
import { Periodic } from '../../core/periodic.ts'
import type { StoreReport } from '../../jobs/store.ts'
import { ReportPace } from './report-pace.ts'

interface Refusal {
  readonly about: string
  /** Another server may serve by now under the same address: connecting again finds it. */
  readonly reconnect: boolean
}

/** The words that an error of the server begins with when it cannot serve any command that writes. */
const REFUSALS: Readonly<Record<string, Refusal>> = {
  READONLY: { about: 'it is a replica now and takes no writes', reconnect: true },
  MASTERDOWN: { about: 'it is a replica that has lost its primary', reconnect: true },
  UNBLOCKED: { about: 'it has just become a replica', reconnect: true },
  // A server that was restarted has closed its connections; one that loads behind an open connection copies a new
  // primary.
  LOADING: { about: 'it is loading its data set', reconnect: true },
  MISCONF: { about: 'it cannot save to its disk and takes no writes', reconnect: false },
  NOREPLICAS: { about: 'it has fewer replicas than min-replicas-to-write asks for', reconnect: false },
  OOM: { about: 'it is out of memory: raise maxmemory or keep fewer finished jobs', reconnect: false },
  CLUSTERDOWN: { about: 'the cluster does not serve all of its slots', reconnect: false },
  NOPERM: { about: 'the user of this connection may not run a command that the job store needs', reconnect: false },
  NOAUTH: { about: 'it wants a password', reconnect: false },
  WRONGPASS: { about: 'user or password is wrong', reconnect: false },
  BUSY: { about: 'a script that another client runs blocks it', reconnect: false }
}

/** Between two attempts to find another server, and between two questions whether the refusal is over. */
const AGAIN_MS = 1_000

export interface RefusalParts {
  readonly clock: Clock
  readonly report: (report: StoreReport) => void
  /** Connects again, to wherever the address leads now. */
  readonly reconnect: (code: string) => void
  /** Rejects while the server refuses; writes something and leaves nothing. */
  readonly probe: () => Promise<unknown>
  /** Host and port, where they are known. */
  readonly server?: string | undefined
}

/**
 * Hears every refusal of the server, also those of commands inside scripts, and decides what helps. While the server
 * refuses it is asked once a second whether that is over, so that recovery does not depend on anybody submitting a
 * job.
 *
 * ```
 * serving ──heard──▶ refused (once a second: reconnect where it helps, probe) ──probe succeeds──▶ serving
 * ```
 */
export class Refusals {
  readonly #parts: RefusalParts
  readonly #pace: ReportPace
  /** Asks the server until it serves again; `undefined` while it serves. */
  #asking: Periodic | undefined
  #reconnectedAt = -Infinity
  readonly #paused = new Set<AbortController>()

  constructor (parts: RefusalParts) {
    this.#parts = parts
    this.#pace = new ReportPace(parts.clock)
  }

  /** Takes the code of any error, and ignores those that are no refusal. Never throws. */
  heard (code: string): void {
    const refusal = REFUSALS[code]
    if (refusal === undefined) return
    this.#report(code, refusal)
    if (refusal.reconnect) this.#reconnect(code)
    if (this.#asking !== undefined) return
    this.#asking = new Periodic({ clock: this.#parts.clock, intervalMs: AGAIN_MS, turn: () => this.#ask() })
    this.#asking.start()
  }

  /** Waits, but no longer than until the server serves again. */
  async pause (delayMs: number): Promise<void> {
    const end = new AbortController()
    this.#paused.add(end)
    await sleep(this.#parts.clock, delayMs, end.signal)
    this.#paused.delete(end)
  }

  stop (): void { this.#serves() }

  async #ask (): Promise<void> {
    try {
      await this.#parts.probe()
    } catch {
      // Still refused: the next turn asks again.
      return
    }
    this.#serves()
  }

  #serves (): void {
    this.#asking?.cancel()
    this.#asking = undefined
    for (const pause of this.#paused) pause.abort()
  }

  #reconnect (code: string): void {
    const now = this.#parts.clock.monotonic()
    if (now - this.#reconnectedAt < AGAIN_MS) return
    this.#reconnectedAt = now
    this.#parts.reconnect(code)
  }

  #report (code: string, { about, reconnect }: Refusal): void {
    if (!this.#pace.due(code)) return
    const then = reconnect ? 'connecting again, in case another server has taken over' : 'waiting until it serves again'
    const { server, report } = this.#parts
    report({ kind: 'error', code, message: `The Redis server${server === undefined ? '' : ` at ${server}`} refuses to serve the job store (${code}): ${about}; ${then}` })
  }
}
