/** The events of an attempt. An ending is emitted once, and only after the store has stored it. */
import { ownMessage } from '../core/errors.ts'
import type { AttemptFailure } from '../events/catalogue.ts'
import type { JobRuntime } from '../events/runtime.ts'
import type { AttemptScope } from '../jobs/seams.ts'
import type { Claim, SettleVerdict, Settlement } from '../jobs/store.ts'
import { storeNow } from '../jobs/store-clock.ts'
import { errorCodeOf } from '../jobs/stored-error.ts'
import { eventIds } from '../jobs/trace-ids.ts'

/** What events need to know of an attempt. */
export interface AttemptFacts {
  readonly claim: Claim
  readonly workerId: string
  readonly traceIds: AttemptScope['traceIds']
  /** This process has a definition for the job. */
  readonly known: boolean
  /** Monotonic milliseconds. */
  readonly startedAt: number
  readonly endedAt: number | undefined
  /** When the handler threw. */
  readonly failure: AttemptFailure | undefined
}

export function emitClaimed ({ bus, context, store }: JobRuntime, run: AttemptFacts): void {
  const { job, availableAt, claimMs, stalled } = run.claim
  if (claimMs !== undefined && bus.wants('store.operated')) bus.emit('store.operated', { storeType: store.type, operation: 'claim', durationMs: claimMs })
  if (stalled) return emitRecovered(bus, run)
  // A job of an unknown name is not run, so its wait says nothing about how long jobs wait to be run.
  if (!run.known || !bus.wants('job.claimed')) return
  // The attempt has no span yet, and what waited was the submission.
  const ids = eventIds(undefined, job.trace)
  bus.emit('job.claimed', {
    jobId: job.id,
    jobName: job.name,
    queue: job.queue,
    workerId: run.workerId,
    traceId: ids.traceId,
    spanId: ids.spanId,
    attempt: job.attempts,
    queueWaitMs: Math.max(0, storeNow(store, context.clock) - availableAt),
    claimMs
  })
}

function emitRecovered (bus: JobRuntime['bus'], { claim: { job }, workerId }: AttemptFacts): void {
  const ids = eventIds(undefined, job.trace)
  bus.emit('job.recovered', {
    jobId: job.id,
    jobName: job.name,
    queue: job.queue,
    workerId,
    correlationId: job.correlationId,
    traceId: ids.traceId,
    spanId: ids.spanId,
    attempt: job.attempts,
    maxAttempts: job.maxAttempts
  })
}

/** The job goes back to the store: this process has no handler for it. */
export function emitUnhandled ({ bus }: JobRuntime, run: AttemptFacts, delayMs: number): void {
  bus.emit('job.unhandled', { ...aboutJob(run), workerId: run.workerId, delayMs })
}

export function emitStarted ({ bus }: JobRuntime, run: AttemptFacts): void {
  if (!bus.wants('job.started')) return
  const { job } = run.claim
  const ids = eventIds(run.traceIds)
  bus.emit('job.started', {
    jobId: job.id,
    jobName: job.name,
    queue: job.queue,
    workerId: run.workerId,
    correlationId: job.correlationId,
    traceId: ids.traceId,
    spanId: ids.spanId,
    attempt: job.attempts,
    maxAttempts: job.maxAttempts
  })
}

export function emitSettled (runtime: JobRuntime, run: AttemptFacts, settlement: Settlement, verdict: SettleVerdict): void {
  const { bus } = runtime
  const { job } = run.claim
  const { maxAttempts } = job
  emitSettleOperation(runtime, run, verdict)
  const processingMs = Math.max(0, (run.endedAt ?? run.startedAt) - run.startedAt)
  // The usual end first: it costs nothing but its own event.
  if (verdict.kind === 'stored' && settlement.kind === 'completed') return emitCompleted(runtime, run, settlement.resultBytes, processingMs)
  const about = aboutOf(run)
  if (verdict.kind === 'refused') return bus.emit('job.lease_lost', { ...about, attempt: job.attempts, maxAttempts, processingMs })
  if (verdict.kind === 'error') return bus.emit('job.settle_failed', { ...about, attempt: job.attempts, maxAttempts, errorCode: errorCodeOf(verdict.error) })
  // `job.unhandled` was emitted for it.
  if (!run.known) return
  // Somebody had asked the job to stop, so the store ended it, whatever the attempt wanted.
  const { kind } = verdict.instead === 'cancelled' ? { kind: 'cancelled' as const } : settlement
  if (kind === 'cancelled') {
    return bus.emit('job.cancelled', { ...about, processingMs, totalMs: totalMs(runtime, run) })
  }
  switch (settlement.kind) {
    case 'snooze': return bus.emit('job.snoozed', { ...about, delayMs: settlement.delayMs, processingMs })
    case 'release': return bus.emit('job.released', { ...about, processingMs })
    case 'postpone':
      return bus.emit('job.retry_scheduled', { ...about, errorCode: 'FAE_STALLED', attempt: job.attempts - 1, maxAttempts, delayMs: settlement.delayMs })
    case 'failed':
    case 'retry': return emitAttemptFailed(runtime, run, settlement, processingMs)
  }
}

/**
 * A settlement is an operation of the store. The wrapper that reports those sees no call for it, because the consumer
 * settles inside the store.
 */
function emitSettleOperation ({ bus, context, store }: JobRuntime, run: AttemptFacts, verdict: SettleVerdict): void {
  const failed = verdict.kind === 'error'
  if (!failed && !bus.wants('store.operated')) return
  const now = context.clock.monotonic()
  const about = { storeType: store.type, operation: 'settle', durationMs: now - (run.endedAt ?? now) }
  if (failed) bus.emit('store.operation_failed', { ...about, errorCode: errorCodeOf(verdict.error), message: ownMessage(verdict.error) })
  else bus.emit('store.operated', about)
}

function emitCompleted (runtime: JobRuntime, run: AttemptFacts, resultBytes: number | undefined, processingMs: number): void {
  const { bus } = runtime
  if (!bus.wants('job.completed')) return
  const { job, availableAt } = run.claim
  const ids = eventIds(run.traceIds)
  bus.emit('job.completed', {
    jobId: job.id,
    jobName: job.name,
    queue: job.queue,
    workerId: run.workerId,
    correlationId: job.correlationId,
    traceId: ids.traceId,
    spanId: ids.spanId,
    attempt: job.attempts,
    maxAttempts: job.maxAttempts,
    processingMs,
    queueWaitMs: Math.max(0, (job.startedAt ?? availableAt) - availableAt),
    totalMs: totalMs(runtime, run),
    resultBytes
  })
}

function emitAttemptFailed (runtime: JobRuntime, run: AttemptFacts, settlement: Settlement & { kind: 'failed' | 'retry' }, processingMs: number): void {
  const { bus } = runtime
  const { job } = run.claim
  const about = { ...aboutOf(run), maxAttempts: job.maxAttempts }
  const { code: errorCode, message: errorMessage } = settlement.error
  const final = settlement.kind === 'failed'
  // A stall that spent the last attempt: no handler was called in the attempt of this claim.
  const attempt = run.claim.stalled ? job.attempts - 1 : job.attempts
  if (!run.claim.stalled) bus.emit('job.attempt_failed', { ...about, errorCode, errorMessage, failure: run.failure, final, attempt, processingMs })
  if (settlement.kind === 'retry') {
    bus.emit('job.retry_scheduled', { ...about, errorCode, attempt, delayMs: settlement.delayMs })
  } else {
    bus.emit('job.failed', { ...about, errorCode, errorMessage, attempt, processingMs, totalMs: totalMs(runtime, run) })
  }
}

/** For an event about the ending of an attempt. */
function aboutOf ({ claim: { job }, workerId, traceIds }: AttemptFacts) {
  const { traceId, spanId } = eventIds(traceIds)
  return { jobId: job.id, jobName: job.name, queue: job.queue, workerId, correlationId: job.correlationId, traceId, spanId }
}

/**
 * For an event that happens while an attempt runs, or that has no attempt: where that is not recorded, its submission
 * may be.
 */
export function aboutJob ({ claim: { job }, traceIds }: AttemptFacts) {
  const { traceId, spanId } = eventIds(traceIds, job.trace)
  return { jobId: job.id, jobName: job.name, queue: job.queue, correlationId: job.correlationId, traceId, spanId }
}

/** From the submission to now; a delay that was asked for counts. */
function totalMs ({ context, store }: JobRuntime, run: AttemptFacts): number {
  return Math.max(0, storeNow(store, context.clock) - run.claim.job.createdAt)
}
