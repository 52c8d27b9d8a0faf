/** Finds queues that hold jobs and have no worker. */
import type { Clock } from '../../core/context.ts'
import { FirstOnly } from '../../core/first-only.ts'
import { Periodic } from '../../core/periodic.ts'
import type { SharedState } from '../../core/shared.ts'
import type { UnattendedQueue } from '../../jobs/store.ts'
import type { Connections } from './connections.ts'
import type { QueueBook, Report } from './queues.ts'
import { runScript } from './scripts.ts'

const GROUP = 'consumers'
/** The note of a consumer is gone after this many turns without it. */
const MISSED = 4
/** So many looks in a row have to find a queue without a worker. */
const LOOKS = 3

export interface AttendanceParts {
  readonly connections: Connections
  readonly book: QueueBook
  readonly clock: Clock
  readonly shared: SharedState
  /** Queues that this process works on. */
  readonly consumed: () => ReadonlySet<string>
  readonly report: Report
  readonly everyMs: number
}

/**
 * Finds queues that hold jobs but have no worker. A deploy may have removed the worker of a queue; its jobs would
 * wait for ever, and nothing would report it. Each process writes on the server which queues it works on, and reads
 * what the others wrote.
 */
export class Attendance {
  readonly #parts: AttendanceParts
  /**
   * Queues without a worker, with the number of looks in a row that found them so. One look is not enough: during a
   * deploy a queue has none for a while.
   */
  #suspected: ReadonlyMap<string, number> = new Map()
  #unattended: readonly UnattendedQueue[] = []
  readonly #reported = new FirstOnly()
  readonly #round: Periodic

  constructor (parts: AttendanceParts) {
    this.#parts = parts
    const { clock, everyMs } = parts
    this.#round = new Periodic({ clock, firstDelayMs: everyMs, intervalMs: everyMs, turn: () => this.look().catch(() => { /* the next look */ }) })
  }

  get unattended (): readonly UnattendedQueue[] { return this.#unattended }

  start (): void { this.#round.start() }

  stop (): Promise<void> { return this.#round.stop() }

  /**
   * Writes at once that this process works on a queue. Otherwise other processes would report the queue until the
   * next turn.
   */
  async note (queue: string): Promise<void> {
    await this.#parts.shared.put(GROUP, queue, '1', this.#parts.everyMs * (MISSED + 0.5))
  }

  async look (): Promise<void> {
    const { connections, book, shared, consumed, report } = this.#parts
    if (!connections.live) return
    const own = consumed()
    await Promise.all([...own].map((queue) => this.note(queue)))
    const attended = await shared.entries(GROUP)
    const names = (await book.allNames()).filter((name) => !own.has(name) && !attended.has(name))
    const answer = names.length === 0
      ? []
      : await connections.run((client) => runScript(client, 'waiting', names.map((name) => book.prefixOf(name))))
    const counts = Array.isArray(answer) ? answer.map(Number) : []
    const found = names.map((queue, index) => ({ queue, waiting: counts[index] ?? 0 })).filter(({ waiting }) => waiting > 0)
    this.#suspected = new Map(found.map(({ queue }) => [queue, (this.#suspected.get(queue) ?? 0) + 1]))
    this.#unattended = found.filter(({ queue }) => (this.#suspected.get(queue) ?? 0) >= LOOKS)
    for (const { queue, waiting } of this.#unattended) {
      if (!this.#reported.note(queue)) continue
      report('queue-unattended', `${waiting} ${waiting === 1 ? 'job waits' : 'jobs wait'} in the queue "${queue}", which no worker works on. If a deploy has removed it, start a worker with its jobs once more, or remove them`)
    }
    for (const queue of this.#reported) if (!this.#suspected.has(queue)) this.#reported.forget(queue)
  }
}
