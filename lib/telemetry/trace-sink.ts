import { SpanKind, trace, type Attributes, type Span } from '@opentelemetry/api'
import type { Sink } from '../events/router.ts'
import { ATTR, failSpan, SPAN_EVENT } from './attributes.ts'
import { sagaSpanEvents } from './saga-span-events.ts'
import type { Tracing } from './tracing.ts'

/**
 * Writes events to spans. What happens to a job during a recorded attempt becomes an event of the span of the
 * attempt. What is done to a job that does not run (cancel, redrive) becomes an event of the span that is active
 * where it is done. The middleware writes the endings of attempts, after the store has answered.
 */
export function createTraceSink (tracing: Tracing, detailed: boolean): Sink {
  const add = (jobId: string, name: string, attributes: Attributes = {}): void => {
    tracing.live.get(jobId)?.span.addEvent(name, attributes)
  }
  const applied = (jobId: string, stateOld: string | undefined, stateNew: string): void => {
    const attributes = { [ATTR.jobId]: jobId, [ATTR.stateOld]: stateOld, [ATTR.stateNew]: stateNew }
    activeSpan(tracing)?.addEvent(`${SPAN_EVENT.stateApplied}${stateNew}`, attributes)
  }
  const sink: Sink = {
    'job.progressed': ({ jobId, done, total }, name) => { add(jobId, name, { done, total }) },
    'job.timed_out': ({ jobId, timeoutMs }, name) => { add(jobId, name, { timeout_ms: timeoutMs }) },
    'job.cancel_requested': ({ jobId, jobName }, name) => {
      add(jobId, name)
      // The attempt may run in another process: then the span of the request that asked gets the event.
      if (tracing.live.has(jobId) || tracing.excluded(jobName)) return
      activeSpan(tracing)?.addEvent(name, { [ATTR.jobId]: jobId })
    },
    'job.cancelled': ({ jobId, jobName, workerId }) => {
      // Without a worker it did not run. The event does not say whether it was queued or scheduled.
      if (workerId === '' && !tracing.excluded(jobName)) applied(jobId, undefined, 'cancelled')
    },
    'job.redriven': ({ jobId, jobName }) => { if (!tracing.excluded(jobName)) applied(jobId, 'failed', 'queued') },
    'handler.abandoned': ({ jobId, reason, graceMs }, name) => { add(jobId, name, { reason, grace_ms: graceMs }) },
    'saga.signalled': ({ jobId, jobName, signal }, name) => {
      if (!tracing.excluded(jobName)) activeSpan(tracing)?.addEvent(name, { [ATTR.jobId]: jobId, signal })
    },
    ...sagaSpanEvents(add)
  }
  return detailed ? { ...sink, ...storeSpans(tracing) } : sink
}

/** A span for each store operation that happens inside an active recorded span. */
function storeSpans (tracing: Tracing): Sink {
  const operated = (storeType: string, operation: string, durationMs: number, errorCode?: string): void => {
    // These have spans of their own: `send`, `process` and `settle`.
    if (operation === 'create' || operation === 'claim' || operation === 'settle') return
    const { source } = tracing
    const parent = source.contexts.active()
    if (parent === undefined || trace.getSpan(parent)?.isRecording() !== true) return
    const now = Date.now()
    const attributes = { [ATTR.storeType]: storeType, [ATTR.storeOperation]: operation }
    const options = { kind: SpanKind.CLIENT, startTime: now - durationMs, attributes }
    const span = source.startSpan(`store ${operation}`, options, parent)
    if (span === undefined) return
    if (errorCode !== undefined) failSpan(span, errorCode, errorCode)
    span.end(now)
  }
  return {
    'store.operated': ({ storeType, operation, durationMs }) => { operated(storeType, operation, durationMs) },
    'store.operation_failed': ({ storeType, operation, durationMs, errorCode }) => {
      operated(storeType, operation, durationMs, errorCode)
    }
  }
}

function activeSpan (tracing: Tracing): Span | undefined {
  const { contexts } = tracing.source
  const active = contexts.active()
  const span = active === undefined ? undefined : trace.getSpan(active)
  return span?.isRecording() === true ? span : undefined
}
