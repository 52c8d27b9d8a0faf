/** Forgets jobs whose time is over, on one process at a time. */
import { Periodic } from '../../core/periodic.ts'
import type { TerminalState } from '../../jobs/states.ts'
import type { JobRecord } from '../../jobs/job.ts'
import type { Connections } from './connections.ts'
import { limitsOf } from './keeping.ts'
import type { ResolvedRedisStoreOptions } from './options.ts'
import { serverCode } from './errors.ts'
import type { QueueBook, QueueHandle, Report } from './queues.ts'
import { runScript } from './scripts.ts'
import type { ServerClock } from './server-clock.ts'
import type { Repairs } from './unreadable.ts'

const SHORTEST_SWEEP_MS = 1_000
const LONGEST_SWEEP_MS = 30_000
/** Of each kind, queue and sweep: about a hundredth of a second of the server's time. */
const MAX_SWEPT = 1_000

/**
 * Clears old jobs away. The script that ends a job forgets older ones, too, but nothing may end for a long time. So
 * one process at a time sweeps all queues. The clock of the server says when a job's time is over: the clock of this
 * process may be wrong.
 */
export class Retention {
  readonly #connections: Connections
  readonly #book: QueueBook
  readonly #clock: ServerClock
  readonly #repairs: Repairs
  readonly #report: Report
  /** Queues that could not be swept the last time, reported once. */
  readonly #failing = new Set<string>()
  /** The time of the server could not be read, which was reported. */
  #unread = false
  readonly #settings: ResolvedRedisStoreOptions
  readonly #keepMs: Readonly<Record<TerminalState, number>>
  readonly everyMs: number
  readonly #round: Periodic
  #stopped = false

  constructor (connections: Connections, book: QueueBook, clock: ServerClock, settings: ResolvedRedisStoreOptions, repairs: Repairs, report: Report) {
    this.#repairs = repairs
    this.#report = report
    const { completedMs, failedMs } = settings.retention
    this.#connections = connections
    this.#book = book
    this.#clock = clock
    this.#settings = settings
    this.#keepMs = { completed: completedMs, failed: failedMs, cancelled: completedMs }
    this.everyMs = Math.min(Math.max(Math.min(completedMs, failedMs) / 2, SHORTEST_SWEEP_MS), LONGEST_SWEEP_MS)
    this.#round = new Periodic({ clock, firstDelayMs: this.everyMs, intervalMs: this.everyMs, turn: () => this.#sweep().catch(() => { /* the next sweep does it */ }) })
  }

  /** Its time is over, although nobody may have swept it yet. */
  readonly expired = ({ state, finishedAt }: JobRecord): boolean => {
    if (finishedAt === undefined || (state !== 'completed' && state !== 'failed' && state !== 'cancelled')) return false
    return finishedAt + this.#keepMs[state] <= this.#clock.now()
  }

  start (): void { this.#round.start() }

  stop (): Promise<void> {
    this.#stopped = true
    return this.#round.stop()
  }

  async #sweep (): Promise<void> {
    if (!this.#connections.live) return
    const turn = await this.#connections.run((client) => client.set(`${this.#settings.prefix}:sweep`, '1', 'PX', Math.ceil(this.everyMs * 0.9), 'NX'))
    if (turn !== 'OK') return await this.#giveEnd(`${this.#settings.prefix}:sweep`)
    // What is too old is decided by the server's clock, and by no other.
    await this.#clock.ready()
    if (!this.#clock.fresh) return this.#clockUnread()
    this.#unread = false
    await this.#book.refresh()
    for (const name of this.#book.names()) {
      if (this.#stopped || !this.#connections.live) return
      await this.#trySweep(name)
    }
    this.#book.keepEventsShort()
  }

  #clockUnread (): void {
    if (this.#unread || !this.#connections.live) return
    this.#unread = true
    this.#report('clock-unread', 'The time of the Redis server cannot be read (TIME). Old jobs are not cleared away until it can')
  }

  /**
   * The key that keeps other processes from sweeping may have lost its time to live (a restored dump has none). No
   * process would ever sweep again.
   */
  async #giveEnd (key: string): Promise<void> {
    if (await this.#connections.run((client) => client.pttl(key)) !== -1) return
    await this.#connections.run((client) => client.pexpire(key, Math.ceil(this.everyMs)))
    this.#report('key-without-end', `The key ${key} had lost its time to live, and would have kept every process from clearing away old jobs. It has a time to live again`)
  }

  /** A queue that cannot be swept is reported once, and does not stop the sweep of the other queues. */
  async #trySweep (name: string): Promise<void> {
    const handle = this.#book.use(name)
    try {
      await this.#repairs.repair(handle)
      await this.#sweepQueue(handle)
      this.#failing.delete(name)
    } catch (error) {
      if (!this.#connections.live || this.#failing.has(name)) return
      this.#failing.add(name)
      this.#report('sweep-failed', `Old jobs of the queue "${name}" could not be cleared away (${serverCode(error)}). The next sweep tries again`)
    }
  }

  async #sweepQueue ({ prefix }: QueueHandle): Promise<void> {
    await this.#connections.run((client) => runScript(client, 'sweep', [prefix], MAX_SWEPT, ...limitsOf(this.#settings)))
  }
}
