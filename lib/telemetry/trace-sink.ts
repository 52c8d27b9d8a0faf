import { SpanKind, trace, type Attributes, type Span } from '@opentelemetry/api'
import type { Sink } from '../events/router.ts'
import { ATTR, failSpan, SPAN_EVENT } from './attributes.ts'
import type { Tracing } from './tracing.ts'

/**
 * What happens to a job while its attempt is being recorded becomes an event of that span; what somebody does to a job
 * that is not running becomes one of the span in which they do it. The endings of attempts are not here: the middleware
 * writes them, when the store has answered.
 */
export function createTraceSink (tracing: Tracing, detailed: boolean): Sink {
  const tell = (jobId: string, name: string, attributes: Attributes = {}): void => {
    tracing.live.get(jobId)?.span.addEvent(name, attributes)
  }
  const applied = (jobId: string, stateOld: string | undefined, stateNew: string): void => {
    activeSpan(tracing)?.addEvent(`${SPAN_EVENT.stateApplied}${stateNew}`, { [ATTR.jobId]: jobId, [ATTR.stateOld]: stateOld, [ATTR.stateNew]: stateNew })
  }
  const sink: Sink = {
    'job.progressed': ({ jobId, done, total }, name) => { tell(jobId, name, { done, total }) },
    'job.timed_out': ({ jobId, timeoutMs }, name) => { tell(jobId, name, { timeout_ms: timeoutMs }) },
    'job.cancel_requested': ({ jobId, jobName }, name) => {
      tell(jobId, name)
      // The attempt may run in another process; here is who asked.
      if (!tracing.live.has(jobId) && !tracing.excluded(jobName)) activeSpan(tracing)?.addEvent(name, { [ATTR.jobId]: jobId })
    },
    'job.cancelled': ({ jobId, jobName, workerId }) => {
      // Without a worker it never ran; whether it was queued or scheduled is not told.
      if (workerId === '' && !tracing.excluded(jobName)) applied(jobId, undefined, 'cancelled')
    },
    'job.redriven': ({ jobId, jobName }) => { if (!tracing.excluded(jobName)) applied(jobId, 'failed', 'queued') },
    'handler.abandoned': ({ jobId, reason, graceMs }, name) => { tell(jobId, name, { reason, grace_ms: graceMs }) }
  }
  return detailed ? { ...sink, ...storeSpans(tracing) } : sink
}

/** A span per store operation, where something active can own it. */
function storeSpans (tracing: Tracing): Sink {
  const operated = (storeType: string, operation: string, durationMs: number, errorCode?: string): void => {
    // They have spans of their own: `send`, `process` and `settle`.
    if (operation === 'create' || operation === 'claim' || operation === 'settle') return
    const { source } = tracing
    const parent = source.contexts.active()
    if (parent === undefined || trace.getSpan(parent)?.isRecording() !== true) return
    const now = Date.now()
    const span = source.startSpan(`store ${operation}`, { kind: SpanKind.CLIENT, startTime: now - durationMs, attributes: { [ATTR.storeType]: storeType, [ATTR.storeOperation]: operation } }, parent)
    if (span === undefined) return
    if (errorCode !== undefined) failSpan(span, errorCode, errorCode)
    span.end(now)
  }
  return {
    'store.operated': ({ storeType, operation, durationMs }) => { operated(storeType, operation, durationMs) },
    'store.operation_failed': ({ storeType, operation, durationMs, errorCode }) => { operated(storeType, operation, durationMs, errorCode) }
  }
}

function activeSpan (tracing: Tracing): Span | undefined {
  const { contexts } = tracing.source
  const active = contexts.active()
  const span = active === undefined ? undefined : trace.getSpan(active)
  return span?.isRecording() === true ? span : undefined
}
