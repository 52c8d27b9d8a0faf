/** An attempt that has begun and not ended. */
export interface AttemptUnderWay {
  /** Of its job. */
  readonly id: string
  readonly name: string
  readonly queue: string
  /** From 1. */
  readonly attempt: number
  readonly runningMs: number
}

/** How busy this process is with one queue. */
export interface WorkerLoad {
  readonly queue: string
  /** Slots that are taken: attempts under way, and abandoned handlers that keep theirs. */
  readonly active: number
  /** Slots in all. */
  readonly concurrency: number
}

/** `app.jobWorker`: the worker of this process. */
export interface JobWorker {
  /** The name of this worker in logs, metrics and leases (`worker.workerId`). */
  readonly id: string
  /** How long running attempts have to end on shutdown, in milliseconds. */
  readonly drainTimeoutMs: number
  /** True from the end of its start until it begins to stop. */
  readonly running: boolean
  /** True once the worker claims no more jobs because the process is about to stop. It stays true. */
  readonly draining: boolean
  /** Attempts under way. */
  readonly active: number
  /** Handlers that ignored their abort and still run, although their attempts were settled without them. */
  readonly abandoned: number
  /** Attempts that can run at one time, over all queues. */
  readonly concurrency: number
  /** How busy each queue is. */
  loads (): WorkerLoad[]
  /** The attempts that have run the longest, the oldest first. @param limit at most so many */
  oldestAttempts (limit: number): AttemptUnderWay[]
  /** Stops claiming jobs, of one queue or of all; attempts under way go on. */
  pause (queue?: string): void
  /** Claims jobs again, of one queue or of all. Without effect while the worker drains. */
  resume (queue?: string): void
  /**
   * Replaces the consumer of a queue, as the watchdog does for one that claims nothing. Attempts under way go on, and
   * their own consumer settles them.
   *
   * @returns `false` when nothing was replaced: this worker does not work on the queue, all its slots are taken, it
   * is paused, or the worker drains
   */
  restart (queue: string): boolean
}
