import { readOptions, type OptionsSchema } from '../core/options.ts'
import type { HandlerMiddleware } from '../jobs/definition.ts'
import { WATCHDOG_DEFAULTS, watchdogSchema, type WatchdogOptions } from './watchdog.ts'

export interface QueueWorkerOptions {
  /** Slots of this process for this queue: attempts that run at one time. @defaultValue `concurrency` of the worker */
  concurrency?: number | undefined
}

export interface WorkerOptions {
  /**
   * Slots for each queue without a number of its own: attempts of the queue that run at one time in this process.
   * @defaultValue 10
   */
  concurrency?: number | undefined
  /**
   * Settings of single queues, by name; with `onlyTheseQueues` these are also the only ones that this process works
   * on.
   */
  queues?: Readonly<Record<string, QueueWorkerOptions>> | undefined
  /** Claims jobs only from the queues that are named in `queues`. @defaultValue false */
  onlyTheseQueues?: boolean | undefined
  /**
   * How long running attempts have on shutdown to end by themselves, in milliseconds. Those that have not ended by
   * then are aborted, get their `graceMs` (5 s at most) and are handed back to the store, which has 2 s to answer.
   * Keep the sum below the time that your orchestrator gives a process (30 s in Kubernetes): a process that is killed
   * leaves its jobs to be found stalled.
   * @defaultValue 20000
   */
  drainTimeoutMs?: number | undefined
  /**
   * What happens to the slot of a handler that ignores its abort: the handler runs on after its `graceMs`, although
   * its attempt was settled without it. `true`: it keeps its slot until it ends, so that `concurrency` bounds what
   * really runs; when such handlers hold every slot of a queue, nothing is claimed from it until one ends (event
   * `worker.exhausted`). `false`: another job takes the slot at once, and nothing bounds how many handlers run.
   * @defaultValue true
   */
  countAbandoned?: boolean | undefined
  /**
   * Replaces the consumer of a queue that claims nothing although the store answers. `false`: nothing is watched or
   * replaced.
   */
  watchdog?: false | WatchdogOptions | undefined
  /** Functions that wrap every handler, the first outermost. Each calls `next()` once. */
  middleware?: readonly HandlerMiddleware[] | undefined
  /** The name of this worker in logs, metrics and leases. @defaultValue host:pid:random */
  workerId?: string | undefined
}

export const workerSchema: OptionsSchema = {
  type: 'object',
  additionalProperties: false,
  properties: {
    concurrency: { type: 'integer', minimum: 1, maximum: 10_000 },
    queues: {
      type: 'object',
      additionalProperties: {
        type: 'object',
        additionalProperties: false,
        properties: { concurrency: { type: 'integer', minimum: 1, maximum: 10_000 } }
      }
    },
    onlyTheseQueues: { type: 'boolean' },
    drainTimeoutMs: { type: 'number', minimum: 0 },
    countAbandoned: { type: 'boolean' },
    watchdog: watchdogSchema,
    middleware: { type: 'array', items: { isFunction: true } },
    workerId: { type: 'string', minLength: 1, maxLength: 200 }
  }
}

export const WORKER_DEFAULTS = Object.freeze({
  concurrency: 10,
  queues: Object.freeze({}) as Readonly<Record<string, QueueWorkerOptions>>,
  onlyTheseQueues: false,
  drainTimeoutMs: 20_000,
  countAbandoned: true,
  watchdog: WATCHDOG_DEFAULTS as false | WatchdogOptions,
  middleware: Object.freeze([]) as readonly HandlerMiddleware[]
})

export type ResolvedWorkerOptions = Readonly<WorkerOptions & typeof WORKER_DEFAULTS>

/** @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS` */
export function readWorkerOptions (options: WorkerOptions | undefined): ResolvedWorkerOptions {
  return readOptions<WorkerOptions, typeof WORKER_DEFAULTS>('worker', workerSchema, WORKER_DEFAULTS, options)
}
