import { RESTART_REASONS } from '../events/restart-reasons.ts'
import type { CellOf, Instrument, MetricsRegistry } from './registry.ts'
import { INSTRUMENTS, type InstrumentKind } from './instruments.ts'
import {
  startTimer,
  type AlertLabels, type AlertSenderLabels, type AsyncEndpointsMetrics, type ChannelLabels, type HandlerErrorLabels, type HandlerLabels, type JobErrorLabels, type JobLabels, type JobNameLabels, type JobStatusLabels,
  type MetricTimer, type ProcessingLabels, type QueueLabels, type RecoveredLabels, type RejectedLabels, type RestartLabels, type StateLabels, type StoreErrorLabels,
  type StoreLabels, type StoreOperationLabels, type SubmitLabels, type WorkerLabels
} from './metrics.ts'
import type { ExemplarSource } from './snapshot.ts'

/**
 * Cells by their label values, in nested maps: a look-up costs some 10 ns per label, against some 300 for building and
 * hashing a key. Bounded like the instrument: the overflow cell is never kept under a label set.
 */
class CellCache<K extends InstrumentKind> {
  readonly #instrument: Instrument<K, string>
  readonly #keys: readonly string[]
  readonly #one = new Map<string, CellOf<K>>()
  readonly #two = new Map<string, Map<string, CellOf<K>>>()
  readonly #three = new Map<string, Map<string, Map<string, CellOf<K>>>>()

  constructor (instrument: Instrument<K, string>) {
    this.#instrument = instrument
    this.#keys = instrument.definition.labels
    // Everything goes, not only what was forgotten: that is rare, and the rest is back with its next recording.
    instrument.onForget(() => {
      this.#one.clear()
      this.#two.clear()
      this.#three.clear()
    })
  }

  /** Makes the series exist for good, whether or not anything is ever recorded into it. */
  keep (...values: readonly string[]): void {
    this.#instrument.keep(this.#labels(values))
  }

  at (a: string): CellOf<K> {
    const known = this.#one.get(a)
    if (known !== undefined) return known
    const cell = this.#bind([a])
    if (this.#keeps(cell, [a])) this.#one.set(a, cell)
    return cell
  }

  at2 (a: string, b: string): CellOf<K> {
    const known = this.#two.get(a)?.get(b)
    if (known !== undefined) return known
    const cell = this.#bind([a, b])
    if (this.#keeps(cell, [a, b])) child(this.#two, a).set(b, cell)
    return cell
  }

  at3 (a: string, b: string, c: string): CellOf<K> {
    const known = this.#three.get(a)?.get(b)?.get(c)
    if (known !== undefined) return known
    const cell = this.#bind([a, b, c])
    if (this.#keeps(cell, [a, b, c])) child(child(this.#three, a), b).set(c, cell)
    return cell
  }

  /** Not the overflow cell, nor one whose values were cut or cleaned: endlessly many lead to those. */
  #keeps (cell: CellOf<K>, values: readonly string[]): boolean {
    return !this.#instrument.isOverflow(cell) && this.#keys.every((key, index) => cell.labels[key] === values[index])
  }

  #bind (values: readonly string[]): CellOf<K> {
    return this.#instrument.bind(this.#labels(values))
  }

  #labels (values: readonly string[]): Record<string, string> {
    return Object.fromEntries(this.#keys.map((key, index) => [key, values[index] ?? '']))
  }
}

function child<V> (map: Map<string, Map<string, V>>, key: string): Map<string, V> {
  let inner = map.get(key)
  if (inner === undefined) map.set(key, inner = new Map())
  return inner
}

/** Why a submission may be refused, as `job.rejected` and `job.submit_failed` say it. */
export const REFUSAL_REASONS = [
  'closed', 'invalid-submission', 'invalid-request', 'invalid-idempotency-key', 'idempotency-key-required', 'idempotency-key-reused', 'payload-too-large', 'job-too-large',
  'unsupported-media-type', 'queue-full', 'overloaded', 'store-unavailable', 'store-full', 'job-expired'
] as const

/** The default: every method finds its cell and records into it. */
export class RegistryMetrics implements AsyncEndpointsMetrics {
  readonly #created: CellCache<'counter'>
  readonly #processed: CellCache<'counter'>
  readonly #failed: CellCache<'counter'>
  readonly #retries: CellCache<'counter'>
  readonly #queueDuration: CellCache<'histogram'>
  readonly #processing: CellCache<'histogram'>
  readonly #claim: CellCache<'histogram'>
  readonly #current: CellCache<'gauge'>
  readonly #handler: CellCache<'histogram'>
  readonly #handlerErrors: CellCache<'counter'>
  readonly #operations: CellCache<'counter'>
  readonly #operationDuration: CellCache<'histogram'>
  readonly #storeErrors: CellCache<'counter'>
  readonly #workerRate: CellCache<'counter'>
  readonly #idle: CellCache<'histogram'>
  readonly #utilization: CellCache<'gauge'>
  readonly #submit: CellCache<'histogram'>
  readonly #endToEnd: CellCache<'histogram'>
  readonly #slaMissed: CellCache<'counter'>
  readonly #cancelled: CellCache<'counter'>
  readonly #recovered: CellCache<'counter'>
  readonly #rejected: CellCache<'counter'>
  readonly #restarts: CellCache<'counter'>
  readonly #active: CellCache<'gauge'>
  readonly #abandoned: CellCache<'gauge'>
  readonly #oldest: CellCache<'gauge'>
  readonly #stuck: CellCache<'gauge'>
  readonly #countsAge: CellCache<'gauge'>
  readonly #payloadSize: CellCache<'histogram'>
  readonly #resultSize: CellCache<'histogram'>
  readonly #attempts: CellCache<'histogram'>
  readonly #alerts: CellCache<'counter'>
  readonly #alertsFiring: CellCache<'gauge'>
  readonly #alertSendFailures: CellCache<'counter'>

  constructor (registry: MetricsRegistry) {
    this.#created = new CellCache(registry.instrument(INSTRUMENTS.jobsCreated))
    this.#processed = new CellCache(registry.instrument(INSTRUMENTS.jobsProcessed))
    this.#failed = new CellCache(registry.instrument(INSTRUMENTS.jobsFailed))
    this.#retries = new CellCache(registry.instrument(INSTRUMENTS.jobsRetries))
    this.#queueDuration = new CellCache(registry.instrument(INSTRUMENTS.jobsQueueDuration))
    this.#processing = new CellCache(registry.instrument(INSTRUMENTS.jobsProcessingDuration))
    this.#claim = new CellCache(registry.instrument(INSTRUMENTS.jobsClaimDuration))
    this.#current = new CellCache(registry.instrument(INSTRUMENTS.jobsCurrentCount))
    this.#handler = new CellCache(registry.instrument(INSTRUMENTS.handlersExecutionDuration))
    this.#handlerErrors = new CellCache(registry.instrument(INSTRUMENTS.handlersErrorRate))
    this.#operations = new CellCache(registry.instrument(INSTRUMENTS.storeOperations))
    this.#operationDuration = new CellCache(registry.instrument(INSTRUMENTS.storeOperationDuration))
    this.#storeErrors = new CellCache(registry.instrument(INSTRUMENTS.storeErrors))
    this.#workerRate = new CellCache(registry.instrument(INSTRUMENTS.backgroundProcessingRate))
    this.#idle = new CellCache(registry.instrument(INSTRUMENTS.backgroundIdleTime))
    this.#utilization = new CellCache(registry.instrument(INSTRUMENTS.backgroundChannelUtilization))
    this.#submit = new CellCache(registry.instrument(INSTRUMENTS.jobsSubmitDuration))
    this.#endToEnd = new CellCache(registry.instrument(INSTRUMENTS.jobsEndToEnd))
    this.#slaMissed = new CellCache(registry.instrument(INSTRUMENTS.jobsSlaMissed))
    this.#cancelled = new CellCache(registry.instrument(INSTRUMENTS.jobsCancelled))
    this.#recovered = new CellCache(registry.instrument(INSTRUMENTS.jobsRecovered))
    this.#rejected = new CellCache(registry.instrument(INSTRUMENTS.requestsRejected))
    this.#restarts = new CellCache(registry.instrument(INSTRUMENTS.workerRestarts))
    this.#active = new CellCache(registry.instrument(INSTRUMENTS.jobsActive))
    this.#abandoned = new CellCache(registry.instrument(INSTRUMENTS.handlersAbandoned))
    this.#oldest = new CellCache(registry.instrument(INSTRUMENTS.jobsOldestAge))
    this.#stuck = new CellCache(registry.instrument(INSTRUMENTS.jobsStuck))
    this.#countsAge = new CellCache(registry.instrument(INSTRUMENTS.storeCountsAge))
    this.#payloadSize = new CellCache(registry.instrument(INSTRUMENTS.jobsPayloadSize))
    this.#resultSize = new CellCache(registry.instrument(INSTRUMENTS.jobsResultSize))
    this.#attempts = new CellCache(registry.instrument(INSTRUMENTS.jobsAttempts))
    this.#alerts = new CellCache(registry.instrument(INSTRUMENTS.alertsRaised))
    this.#alertsFiring = new CellCache(registry.instrument(INSTRUMENTS.alertsFiring))
    this.#alertSendFailures = new CellCache(registry.instrument(INSTRUMENTS.alertSendFailures))
  }

  /** Makes the counters of a job exist at 0, for good, so that a rate over its first event is not lost. */
  prepareJob (jobName: string, storeType: string): void {
    this.#created.keep(jobName, storeType)
    this.#retries.keep(jobName, storeType)
    this.#cancelled.keep(jobName, storeType)
    for (const status of ['completed', 'failed', 'cancelled']) this.#processed.keep(jobName, status, storeType)
  }

  /** The same for the counters of a queue's consumers, and of jobs with a promise. */
  prepareQueue (queue: string): void {
    for (const reason of RESTART_REASONS) this.#restarts.keep(queue, reason)
  }

  prepareSla (jobName: string, storeType: string): void { this.#slaMissed.keep(jobName, storeType) }

  /** The same for the counters that all jobs share: an alert over their increase would miss the first burst of a series that is born with it. */
  prepareProcess (storeType: string, operations: readonly string[]): void {
    this.#recovered.keep('stalled', storeType)
    for (const reason of REFUSAL_REASONS) this.#rejected.keep(reason)
    for (const operation of operations) {
      this.#operations.keep(operation, storeType)
      this.#storeErrors.keep(operation, 'FAE_STORE_UNAVAILABLE', storeType)
    }
  }

  jobCreated (labels: JobLabels, exemplar?: ExemplarSource): void { this.#created.at2(labels.jobName, labels.storeType).add(1, exemplar) }
  jobProcessed (labels: JobStatusLabels, exemplar?: ExemplarSource): void { this.#processed.at3(labels.jobName, labels.status, labels.storeType).add(1, exemplar) }
  jobFailed (labels: JobErrorLabels, exemplar?: ExemplarSource): void { this.#failed.at3(labels.jobName, labels.errorType, labels.storeType).add(1, exemplar) }
  jobRetried (labels: JobLabels, exemplar?: ExemplarSource): void { this.#retries.at2(labels.jobName, labels.storeType).add(1, exemplar) }
  jobQueueDuration (seconds: number, labels: JobLabels, exemplar?: ExemplarSource): void { this.#queueDuration.at2(labels.jobName, labels.storeType).observe(seconds, exemplar) }
  jobProcessingDuration (seconds: number, labels: ProcessingLabels, exemplar?: ExemplarSource): void { this.#processing.at2(labels.jobName, labels.status).observe(seconds, exemplar) }
  jobClaimDuration (seconds: number, labels: StoreLabels): void { this.#claim.at(labels.storeType).observe(seconds) }
  jobCurrentCount (count: number, labels: StateLabels): void { this.#current.at2(labels.jobStatus, labels.storeType).set(count) }
  handlerDuration (seconds: number, labels: HandlerLabels, exemplar?: ExemplarSource): void { this.#handler.at2(labels.jobName, labels.handlerType).observe(seconds, exemplar) }
  handlerError (labels: HandlerErrorLabels, exemplar?: ExemplarSource): void { this.#handlerErrors.at2(labels.jobName, labels.errorType).add(1, exemplar) }
  storeOperation (labels: StoreOperationLabels): void { this.#operations.at2(labels.operation, labels.storeType).add(1) }
  storeOperationDuration (seconds: number, labels: StoreOperationLabels): void { this.#operationDuration.at2(labels.operation, labels.storeType).observe(seconds) }
  storeError (labels: StoreErrorLabels): void { this.#storeErrors.at3(labels.operation, labels.errorType, labels.storeType).add(1) }
  workerProcessed (labels: WorkerLabels): void { this.#workerRate.at(labels.workerId).add(1) }
  workerIdle (seconds: number, labels: WorkerLabels): void { this.#idle.at(labels.workerId).observe(seconds) }
  channelUtilization (percent: number, labels: ChannelLabels): void { this.#utilization.at(labels.channelType).set(percent) }

  timeJobProcessing (labels: ProcessingLabels): MetricTimer { return startTimer((seconds) => this.jobProcessingDuration(seconds, labels)) }
  timeHandler (labels: HandlerLabels): MetricTimer { return startTimer((seconds) => this.handlerDuration(seconds, labels)) }

  jobSubmitDuration (seconds: number, labels: SubmitLabels, exemplar?: ExemplarSource): void { this.#submit.at3(labels.jobName, labels.storeType, labels.outcome).observe(seconds, exemplar) }
  jobEndToEndDuration (seconds: number, labels: ProcessingLabels, exemplar?: ExemplarSource): void { this.#endToEnd.at2(labels.jobName, labels.status).observe(seconds, exemplar) }
  jobCancelled (labels: JobLabels, exemplar?: ExemplarSource): void { this.#cancelled.at2(labels.jobName, labels.storeType).add(1, exemplar) }
  jobSlaMissed (labels: JobLabels, exemplar?: ExemplarSource): void { this.#slaMissed.at2(labels.jobName, labels.storeType).add(1, exemplar) }
  jobRecovered (labels: RecoveredLabels): void { this.#recovered.at2(labels.reason, labels.storeType).add(1) }
  requestRejected (labels: RejectedLabels): void { this.#rejected.at(labels.reason).add(1) }
  workerRestarted (labels: RestartLabels): void { this.#restarts.at2(labels.queue, labels.reason).add(1) }
  jobsActive (count: number, labels: StoreLabels): void { this.#active.at(labels.storeType).set(count) }
  handlersAbandoned (count: number, labels: StoreLabels): void { this.#abandoned.at(labels.storeType).set(count) }
  jobsOldestAge (seconds: number, labels: QueueLabels): void { this.#oldest.at2(labels.queue, labels.storeType).set(seconds) }
  jobsStuck (count: number, labels: QueueLabels): void { this.#stuck.at2(labels.queue, labels.storeType).set(count) }
  storeCountsAge (seconds: number, labels: StoreLabels): void { this.#countsAge.at(labels.storeType).set(seconds) }
  jobPayloadSize (bytes: number, labels: JobNameLabels): void { this.#payloadSize.at(labels.jobName).observe(bytes) }
  jobResultSize (bytes: number, labels: JobNameLabels): void { this.#resultSize.at(labels.jobName).observe(bytes) }
  jobAttempts (attempts: number, labels: JobNameLabels): void { this.#attempts.at(labels.jobName).observe(attempts) }
  alertRaised (labels: AlertLabels): void { this.#alerts.at2(labels.rule, labels.severity).add(1) }
  alertsFiring (count: number, labels: AlertLabels): void { this.#alertsFiring.at2(labels.rule, labels.severity).set(count) }
  alertSendFailed (labels: AlertSenderLabels): void { this.#alertSendFailures.at(labels.sender).add(1) }
}
