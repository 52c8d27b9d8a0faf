import type { Clock, TimerHandle } from '../../core/context.ts'
import type { TerminalState } from '../../jobs/states.ts'
import type { JobRecord } from '../../jobs/job.ts'
import type { Connections } from './connections.ts'
import { limitsOf } from './keeping.ts'
import type { RedisSettings } from './options.ts'
import type { QueueBook, QueueHandle } from './queues.ts'
import { runScript } from './scripts.ts'

const SHORTEST_SWEEP_MS = 1_000
const LONGEST_SWEEP_MS = 30_000
/** Of each kind, queue and sweep: about a hundredth of a second of the server's time. */
const MAX_SWEPT = 1_000

/**
 * The script that ends a job forgets older ones, too. Nothing may end for long, so one process at a time looks after
 * the rest. When a job's time is over is said by the clock of the server: that of this process may be wrong.
 */
export class Retention {
  readonly #connections: Connections
  readonly #book: QueueBook
  readonly #clock: Clock
  readonly #settings: RedisSettings
  readonly #keepMs: Readonly<Record<TerminalState, number>>
  readonly #everyMs: number
  #timer: TimerHandle
  #stopped = false

  constructor (connections: Connections, book: QueueBook, clock: Clock, settings: RedisSettings) {
    const { completedMs, failedMs } = settings.retention
    this.#connections = connections
    this.#book = book
    this.#clock = clock
    this.#settings = settings
    this.#keepMs = { completed: completedMs, failed: failedMs, cancelled: completedMs }
    this.#everyMs = Math.min(Math.max(Math.min(completedMs, failedMs) / 2, SHORTEST_SWEEP_MS), LONGEST_SWEEP_MS)
  }

  /** Its time is over, although nobody may have swept it yet. */
  readonly expired = ({ state, finishedAt }: JobRecord): boolean => {
    if (finishedAt === undefined || (state !== 'completed' && state !== 'failed' && state !== 'cancelled')) return false
    return finishedAt + this.#keepMs[state] <= this.#clock.now()
  }

  start (): void {
    this.#timer = this.#clock.setTimeout(() => {
      this.#sweep().catch(() => { /* the next sweep does it */ }).finally(() => { if (!this.#stopped) this.start() })
    }, this.#everyMs)
  }

  stop (): void {
    this.#stopped = true
    if (this.#timer !== undefined) this.#clock.clearTimeout(this.#timer)
  }

  async #sweep (): Promise<void> {
    if (!this.#connections.live) return
    const turn = await this.#connections.run((client) => client.set(`${this.#settings.prefix}:sweep`, '1', 'PX', Math.ceil(this.#everyMs * 0.9), 'NX'))
    if (turn !== 'OK') return
    await this.#book.refresh()
    for (const name of this.#book.names()) {
      if (this.#stopped) return
      await this.#sweepQueue(this.#book.use(name))
    }
  }

  async #sweepQueue ({ prefix }: QueueHandle): Promise<void> {
    await this.#connections.run((client) => runScript(client, 'sweep', [prefix], MAX_SWEPT, ...limitsOf(this.#settings)))
  }
}
