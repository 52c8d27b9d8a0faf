/** The order of one queue in memory: what is claimed next. */
import type { JobState } from '../../jobs/states.ts'
import { JobHeap } from './heap.ts'
import { LinkedList } from '../../core/linked-list.ts'
import type { StoredJob } from './record.ts'
import type { QueueSagas } from './steps.ts'

/** A consumer, as a queue sees it. */
export interface Wakeable {
  /** There may be work. */
  wake (): void
}

const byPriority = (a: StoredJob, b: StoredJob): boolean => a.priority < b.priority || (a.priority === b.priority && a.turn < b.turn)
const byTime = (a: StoredJob, b: StoredJob): boolean => a.runAt < b.runAt || (a.runAt === b.runAt && a.turn < b.turn)

/**
 * The order of one queue. Jobs without a priority stand in plain lists (O(1) in, out and withdrawn), those with one in
 * a heap, those for later in a heap by time (both O(log n)).
 */
export class MemoryQueue {
  readonly name: string
  readonly states: Record<JobState, number> = { queued: 0, scheduled: 0, 'in-progress': 0, completed: 0, failed: 0, cancelled: 0 }
  readonly consumers: Wakeable[] = []
  /** Of a queue without sagas, nothing. */
  sagas: QueueSagas | undefined
  /** Handed back or stalled: they had their turn and go first. */
  readonly #returned = new LinkedList<StoredJob>()
  readonly #plain = new LinkedList<StoredJob>()
  readonly #urgent = new JobHeap<StoredJob>(byPriority)
  /** The jobs of the heap, in the order of their arrival: the heap does not know which of them waits longest. */
  readonly #urgentArrivals = new LinkedList<StoredJob>()
  readonly #scheduled = new JobHeap<StoredJob>(byTime)
  #turns = 0

  constructor (name: string) {
    this.name = name
  }

  /** Jobs that can be claimed now. */
  get waiting (): number { return this.#returned.size + this.#plain.size + this.#urgent.size }

  /** Nobody needs the queue: no job is left in it, nobody consumes it. */
  get idle (): boolean {
    const { queued, scheduled, completed, failed, cancelled } = this.states
    return this.consumers.length === 0 && queued + scheduled + this.states['in-progress'] + completed + failed + cancelled === 0
  }

  /** When the next scheduled job is due, on the wall clock. */
  get dueAt (): number | undefined { return this.#scheduled.top?.runAt }

  /** Since when the job waits that waits longest. */
  get oldestQueuedAt (): number | undefined {
    let oldest: number | undefined
    for (const { head } of [this.#returned, this.#plain, this.#urgentArrivals]) {
      if (head !== undefined && (oldest === undefined || head.runAt < oldest)) oldest = head.runAt
    }
    return oldest
  }

  /** To the end of the line. */
  enqueue (job: StoredJob): void {
    job.turn = this.#turns++
    if (job.priority === 0) this.#plain.push(job)
    else this.#pushUrgent(job)
    this.#wake()
  }

  /** Back to the front, before its equals. */
  putBack (job: StoredJob): void {
    // With the turn that it had, it stands before everything of its priority that came after it.
    if (job.priority === 0) this.#returned.push(job)
    else this.#pushUrgent(job)
    this.#wake()
  }

  schedule (job: StoredJob): void {
    job.turn = this.#turns++
    this.#scheduled.push(job)
  }

  /** The job whose turn it is. */
  take (): StoredJob | undefined {
    const plain = this.#returned.shift() ?? this.#plain.shift()
    if (plain !== undefined) return plain
    const urgent = this.#urgent.pop()
    if (urgent !== undefined) this.#urgentArrivals.remove(urgent)
    return urgent
  }

  /** The next scheduled job whose time has come. */
  takeDue (now: number): StoredJob | undefined {
    const { top } = this.#scheduled
    return top !== undefined && top.runAt <= now ? this.#scheduled.pop() : undefined
  }

  /** Takes a waiting job out of the line, wherever it stands. */
  withdraw (job: StoredJob): void {
    if (job.state === 'scheduled') return this.#scheduled.remove(job)
    job.list?.remove(job)
    if (job.priority > 0) this.#urgent.remove(job)
  }

  #pushUrgent (job: StoredJob): void {
    this.#urgent.push(job)
    this.#urgentArrivals.push(job)
  }

  #wake (): void {
    for (let index = 0; index < this.consumers.length; index++) this.consumers[index]?.wake()
  }
}
