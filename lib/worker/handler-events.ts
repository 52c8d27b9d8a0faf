/** The events of a handler, from its call to its end, and of its progress. */
import type { JobRuntime } from '../events/runtime.ts'
import type { JobProgress } from '../jobs/job.ts'
import { isOutcome } from '../jobs/outcome.ts'
import { toStoredError } from '../jobs/stored-error.ts'
import { eventIds } from '../jobs/trace-ids.ts'
import { aboutJob, type AttemptFacts } from './attempt-events.ts'
import { abortDecides } from './classify.ts'
import type { HandlerEnd, RunningHandler } from './running-handler.ts'

export function emitHandlerStarted ({ bus }: JobRuntime, { claim: { job } }: AttemptFacts): void {
  if (!bus.wants('handler.started')) return
  bus.emit('handler.started', { jobId: job.id, jobName: job.name, queue: job.queue, attempt: job.attempts })
}

export function emitTimedOut ({ bus }: JobRuntime, run: AttemptFacts, timeoutMs: number): void {
  const { attempts: attempt, maxAttempts } = run.claim.job
  bus.emit('job.timed_out', { ...aboutJob(run), workerId: run.workerId, attempt, maxAttempts, timeoutMs })
}

/**
 * A thrown snooze, cancel or discard is an answer, and a throw after an abort that the handler could see is
 * obedience: neither is an error.
 */
export function isHandlerError (end: HandlerEnd, handler: RunningHandler): end is HandlerEnd & { kind: 'threw' } {
  if (end.kind !== 'threw' || isOutcome(end.error)) return false
  return handler.abortReason === 'timeout' || !abortDecides(end, handler)
}

export function emitHandlerEnded ({ bus, redaction }: JobRuntime, run: AttemptFacts, end: HandlerEnd, handler: RunningHandler, durationMs: number): void {
  const { id: jobId, name: jobName, queue, correlationId } = run.claim.job
  const { traceId, spanId } = eventIds(run.traceIds)
  if (end.kind === 'abandoned') {
    bus.emit('handler.abandoned', {
      jobId,
      jobName,
      queue,
      correlationId,
      traceId,
      spanId,
      reason: handler.abortReason ?? 'shutdown',
      durationMs,
      graceMs: handler.graceMs
    })
  } else if (isHandlerError(end, handler)) {
    const { code: errorCode } = toStoredError(end.error, redaction.text)
    bus.emit('handler.failed', { jobId, jobName, queue, correlationId, traceId, spanId, durationMs, errorCode })
  } else if (bus.wants('handler.completed')) {
    bus.emit('handler.completed', { jobId, jobName, queue, traceId, spanId, durationMs })
  }
}

export function emitHandlerEndedLate ({ bus }: JobRuntime, run: AttemptFacts, lateMs: number): void {
  bus.emit('handler.ended_late', { ...aboutJob(run), lateMs })
}

export function emitProgressed ({ bus }: JobRuntime, run: AttemptFacts, { done, total }: JobProgress): void {
  bus.emit('job.progressed', { ...aboutJob(run), done, total })
}
