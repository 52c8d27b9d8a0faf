import { CachedAnswer } from '../core/cached-answer.ts'
import type { Clock } from '../core/context.ts'
import type { JobStore, QueueCounts } from './store.ts'

/**
 * How long the counts of a queue are reused: a submission with a limit on the depth of its queue needs them this
 * fresh.
 */
const FRESH_MS = 250

/** The counts of one queue, and when they were asked for: they are at most as old as the question. */
export interface CountsReading {
  readonly counts: QueueCounts
  /** Monotonic. */
  readonly askedAt: number
}

interface Queue {
  readonly answer: CachedAnswer<CountsReading & { readonly submittedBefore: number }>
  /** Jobs that this process has submitted to the queue. */
  submitted: number
}

/**
 * The one cached reader of `store.counts`. Gauges, health checks, alerts and the limit on the depth of a queue all
 * read here, so that for them the store counts a queue at most four times a second for one process, and never twice
 * at the same time. Only `app.jobs.counts()` asks the store itself, because its caller wants the numbers of this
 * moment.
 */
export class StoreCounts {
  readonly #store: Pick<JobStore, 'counts'>
  readonly #clock: Clock
  readonly #quietly: <R>(work: () => R) => R
  readonly #queues = new Map<string, Queue>()

  /** @param quietly runs the question outside of the trace of the caller that happens to ask first */
  constructor (store: Pick<JobStore, 'counts'>, clock: Clock, quietly: <R>(work: () => R) => R = (work) => work()) {
    this.#store = store
    this.#clock = clock
    this.#quietly = quietly
  }

  /** @throws what the store throws; the next caller asks again */
  read (queue: string): Promise<CountsReading> { return this.#queue(queue).answer.get() }

  /** The newest reading and whether it is still reused, without asking the store. */
  known (queue: string): { readonly reading: CountsReading | undefined, readonly fresh: boolean } {
    const { answer } = this.#queue(queue)
    return { reading: answer.newest, fresh: answer.fresh }
  }

  /** Counts a job that this process has just submitted: a burst must not slip past a limit between two readings. */
  submitted (queue: string): void {
    const known = this.#queues.get(queue)
    if (known !== undefined) known.submitted++
  }

  /**
   * Jobs that this process has submitted since the newest reading was asked for. The reading may hold some of them
   * already; to count those twice for a moment is the safe side.
   */
  submittedSince (queue: string): number {
    const { answer, submitted } = this.#queue(queue)
    return submitted - (answer.newest?.submittedBefore ?? 0)
  }

  #queue (queue: string): Queue {
    let known = this.#queues.get(queue)
    if (known === undefined) {
      const made: Queue = {
        submitted: 0,
        answer: new CachedAnswer(this.#clock, FRESH_MS, async () => {
          const [askedAt, submittedBefore] = [this.#clock.monotonic(), made.submitted]
          const counts = await this.#quietly(() => this.#store.counts(queue))
          return { counts, askedAt, submittedBefore }
        })
      }
      this.#queues.set(queue, known = made)
    }
    return known
  }
}
