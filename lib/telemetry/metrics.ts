import type { ExemplarSource } from './snapshot.ts'

/** Measures until it is stopped, by hand or at the end of a `using` block. Stopping twice records once. */
export interface MetricTimer extends Disposable {
  /** @returns the seconds that were recorded */
  stop (): number
}

export interface JobNameLabels { readonly jobName: string }
export interface JobLabels { readonly jobName: string, readonly storeType: string }
/** `outcome`: `created`, `replayed`, `rejected` or `failed`. */
export interface SubmitLabels extends JobLabels { readonly outcome: string }
export interface JobStatusLabels extends JobLabels { readonly status: string }
export interface JobErrorLabels extends JobLabels { readonly errorType: string }
export interface ProcessingLabels { readonly jobName: string, readonly status: string }
export interface StoreLabels { readonly storeType: string }
export interface StateLabels { readonly jobStatus: string, readonly storeType: string }
export interface HandlerLabels { readonly jobName: string, readonly handlerType: string }
export interface HandlerErrorLabels { readonly jobName: string, readonly errorType: string }
export interface StoreOperationLabels { readonly operation: string, readonly storeType: string }
export interface StoreErrorLabels extends StoreOperationLabels { readonly errorType: string }
export interface WorkerLabels { readonly workerId: string }
export interface ChannelLabels { readonly channelType: string }
export interface QueueLabels { readonly queue: string, readonly storeType: string }
export interface RecoveredLabels { readonly reason: string, readonly storeType: string }
export interface RestartLabels { readonly queue: string, readonly reason: string }
export interface RejectedLabels { readonly reason: string }
export interface AlertLabels { readonly rule: string, readonly severity: string }
export interface AlertSenderLabels { readonly sender: string }

/**
 * Everything the library measures, as one interface. The
 * default records into the registry behind `/metrics`; an application may replace it whole (`defineMetrics({...})`) or
 * in part (`metrics.recorder`). Methods are synchronous and take durations in seconds, sizes in bytes. One that throws,
 * or returns a promise that rejects, harms nothing: it is counted and reported once.
 *
 * `exemplar` is given when the job is traced and sampled.
 */
export interface AsyncEndpointsMetrics {
  /** A job was stored. Not called for a replayed submission. */
  jobCreated (labels: JobLabels, exemplar?: ExemplarSource): void
  /** A job is over: `status` is `completed`, `failed` or `cancelled`. */
  jobProcessed (labels: JobStatusLabels, exemplar?: ExemplarSource): void
  /** A job ended as failed. */
  jobFailed (labels: JobErrorLabels, exemplar?: ExemplarSource): void
  /** Another attempt will follow. */
  jobRetried (labels: JobLabels, exemplar?: ExemplarSource): void
  /** From the moment the job could run to its claim. */
  jobQueueDuration (seconds: number, labels: JobLabels, exemplar?: ExemplarSource): void
  /** One attempt: `status` is `completed`, `failed`, `cancelled`, `snoozed`, `released` or `lease-lost`. */
  jobProcessingDuration (seconds: number, labels: ProcessingLabels, exemplar?: ExemplarSource): void
  jobClaimDuration (seconds: number, labels: StoreLabels): void
  /** Over all queues, read from the store in the background. */
  jobCurrentCount (count: number, labels: StateLabels): void
  handlerDuration (seconds: number, labels: HandlerLabels, exemplar?: ExemplarSource): void
  handlerError (labels: HandlerErrorLabels, exemplar?: ExemplarSource): void
  /** A store operation ended, well or not. */
  storeOperation (labels: StoreOperationLabels): void
  storeOperationDuration (seconds: number, labels: StoreOperationLabels): void
  storeError (labels: StoreErrorLabels): void
  /** A worker finished an attempt. */
  workerProcessed (labels: WorkerLabels): void
  /** A worker had nothing to do until now. */
  workerIdle (seconds: number, labels: WorkerLabels): void
  /** 0 to 100. */
  channelUtilization (percent: number, labels: ChannelLabels): void
  timeJobProcessing (labels: ProcessingLabels): MetricTimer
  timeHandler (labels: HandlerLabels): MetricTimer

  /** Until the submission was answered, one way or another. */
  jobSubmitDuration (seconds: number, labels: SubmitLabels, exemplar?: ExemplarSource): void
  /** From the submission to the end of the job: what a client waits for. */
  jobEndToEndDuration (seconds: number, labels: ProcessingLabels, exemplar?: ExemplarSource): void
  jobCancelled (labels: JobLabels, exemplar?: ExemplarSource): void
  /** A job was completed or failed later than the `slaMs` of its endpoint. */
  jobSlaMissed (labels: JobLabels, exemplar?: ExemplarSource): void
  /** A job of a lost worker was taken over. */
  jobRecovered (labels: RecoveredLabels): void
  /** A submission was refused. */
  requestRejected (labels: RejectedLabels): void
  /** A consumer that claimed nothing was made anew. */
  workerRestarted (labels: RestartLabels): void
  jobsActive (count: number, labels: StoreLabels): void
  /** Handlers that run on after their attempts were settled without them. */
  handlersAbandoned (count: number, labels: StoreLabels): void
  jobsOldestAge (seconds: number, labels: QueueLabels): void
  jobsStuck (count: number, labels: QueueLabels): void
  /** How old the numbers of `jobCurrentCount`, `jobsOldestAge` and `jobsStuck` are. */
  storeCountsAge (seconds: number, labels: StoreLabels): void

  /** The body of a submission over HTTP, as it came in. With `detailedMetrics` only, and where its size is known. */
  jobPayloadSize (bytes: number, labels: JobNameLabels): void
  /** The stored result of a completed job, if it has one. With `detailedMetrics` only. */
  jobResultSize (bytes: number, labels: JobNameLabels): void
  /** How many attempts a job took until it was completed or failed. With `detailedMetrics` only. */
  jobAttempts (attempts: number, labels: JobNameLabels): void

  alertRaised (labels: AlertLabels): void
  /** Set by the process that evaluates, to 0 as well. */
  alertsFiring (count: number, labels: AlertLabels): void
  /** A sender could not pass a notice on. */
  alertSendFailed (labels: AlertSenderLabels): void
}

export type MetricMethod = keyof AsyncEndpointsMetrics
type TimerMethod = 'timeJobProcessing' | 'timeHandler'
type RecordMethod = Exclude<MetricMethod, TimerMethod>

// A record, so that the compiler refuses a method that is missing here.
const RECORDS: Readonly<Record<RecordMethod, true>> = {
  jobCreated: true,
  jobProcessed: true,
  jobFailed: true,
  jobRetried: true,
  jobQueueDuration: true,
  jobProcessingDuration: true,
  jobClaimDuration: true,
  jobCurrentCount: true,
  handlerDuration: true,
  handlerError: true,
  storeOperation: true,
  storeOperationDuration: true,
  storeError: true,
  workerProcessed: true,
  workerIdle: true,
  channelUtilization: true,
  jobSubmitDuration: true,
  jobEndToEndDuration: true,
  jobCancelled: true,
  jobSlaMissed: true,
  jobRecovered: true,
  requestRejected: true,
  workerRestarted: true,
  jobsActive: true,
  handlersAbandoned: true,
  jobsOldestAge: true,
  jobsStuck: true,
  storeCountsAge: true,
  jobPayloadSize: true,
  jobResultSize: true,
  jobAttempts: true,
  alertRaised: true,
  alertsFiring: true,
  alertSendFailed: true
}

export const RECORD_METHODS = Object.keys(RECORDS) as RecordMethod[]
export const METRIC_METHODS: readonly MetricMethod[] = [...RECORD_METHODS, 'timeJobProcessing', 'timeHandler']

/** Starts a timer that hands its seconds to `record`, once. */
export function startTimer (record: (seconds: number) => void, monotonic: () => number = () => performance.now()): MetricTimer {
  const startedAt = monotonic()
  let seconds: number | undefined
  const stop = (): number => {
    if (seconds === undefined) {
      seconds = (monotonic() - startedAt) / 1_000
      record(seconds)
    }
    return seconds
  }
  return { stop, [Symbol.dispose]: () => { stop() } }
}

const NOOP_TIMER: MetricTimer = Object.freeze({ stop: () => 0, [Symbol.dispose]: () => {} })

/** Records nothing: what `metrics: false` puts in the place of the default, so that no caller has to ask. */
export class NoopMetrics implements AsyncEndpointsMetrics {
  jobCreated (): void {}
  jobProcessed (): void {}
  jobFailed (): void {}
  jobRetried (): void {}
  jobQueueDuration (): void {}
  jobProcessingDuration (): void {}
  jobClaimDuration (): void {}
  jobCurrentCount (): void {}
  handlerDuration (): void {}
  handlerError (): void {}
  storeOperation (): void {}
  storeOperationDuration (): void {}
  storeError (): void {}
  workerProcessed (): void {}
  workerIdle (): void {}
  channelUtilization (): void {}
  timeJobProcessing (): MetricTimer { return NOOP_TIMER }
  timeHandler (): MetricTimer { return NOOP_TIMER }
  jobSubmitDuration (): void {}
  jobEndToEndDuration (): void {}
  jobCancelled (): void {}
  jobSlaMissed (): void {}
  jobRecovered (): void {}
  requestRejected (): void {}
  workerRestarted (): void {}
  jobsActive (): void {}
  handlersAbandoned (): void {}
  jobsOldestAge (): void {}
  jobsStuck (): void {}
  storeCountsAge (): void {}
  jobPayloadSize (): void {}
  jobResultSize (): void {}
  jobAttempts (): void {}
  alertRaised (): void {}
  alertsFiring (): void {}
  alertSendFailed (): void {}
}

type Recorder = (...values: unknown[]) => unknown
type Table = Record<string, Recorder>

/**
 * A whole implementation from a part of one: what is left out records nothing, and the two timers feed the durations
 * that are there. Give it as `metrics.recorder` to replace the default whole.
 */
export function defineMetrics (part: Partial<AsyncEndpointsMetrics>): AsyncEndpointsMetrics {
  return assemble(new NoopMetrics(), part, (_method, recorder) => recorder)
}

/**
 * The given methods over the base, each of them guarded: `failed` hears what one throws, and the caller nothing.
 *
 * @param failed must not throw
 */
export function overrideMetrics (base: AsyncEndpointsMetrics, part: Partial<AsyncEndpointsMetrics>, failed: (method: MetricMethod, error: unknown) => void): AsyncEndpointsMetrics {
  return assemble(base, part, (method, recorder) => (...values) => {
    try {
      const outcome = recorder(...values)
      // Not agreed, but an `async` method is easily written, and its rejection would end the process.
      if (outcome instanceof Promise) outcome.catch((error: unknown) => failed(method, error))
      return outcome
    } catch (error) {
      failed(method, error)
      return undefined
    }
  })
}

function assemble (base: AsyncEndpointsMetrics, part: Partial<AsyncEndpointsMetrics>, wrap: (method: MetricMethod, recorder: Recorder) => Recorder): AsyncEndpointsMetrics {
  // The one place that treats the methods alike; the shape it returns is the interface's by construction.
  const given = part as unknown as Partial<Table>
  const fallback = base as unknown as Table
  const table: Table = {}
  for (const method of RECORD_METHODS) {
    const own = given[method]
    table[method] = typeof own === 'function' ? wrap(method, (...values) => own.apply(part, values)) : (...values) => fallback[method]?.apply(base, values)
  }
  const metrics = table as unknown as AsyncEndpointsMetrics
  const timed = (method: TimerMethod, start: (labels: never) => MetricTimer): void => {
    const own = given[method]
    if (typeof own !== 'function') {
      table[method] = (labels) => start(labels as never)
      return
    }
    const begin = wrap(method, (labels) => own.call(part, labels))
    table[method] = (labels) => guardTimer(begin(labels), (stop) => wrap(method, stop))
  }
  timed('timeJobProcessing', (labels: ProcessingLabels) => startTimer((seconds) => metrics.jobProcessingDuration(seconds, labels)))
  timed('timeHandler', (labels: HandlerLabels) => startTimer((seconds) => metrics.handlerDuration(seconds, labels)))
  return metrics
}

/** A timer of an application's own, which may be missing or throw when stopped. */
function guardTimer (timer: unknown, wrap: (stop: Recorder) => Recorder): MetricTimer {
  if (typeof timer !== 'object' || timer === null) return NOOP_TIMER
  const own = timer as Partial<MetricTimer>
  const stop = wrap(() => typeof own.stop === 'function' ? own.stop() : own[Symbol.dispose]?.())
  const end = (): number => {
    const seconds = stop()
    return typeof seconds === 'number' ? seconds : 0
  }
  return { stop: end, [Symbol.dispose]: () => { end() } }
}
