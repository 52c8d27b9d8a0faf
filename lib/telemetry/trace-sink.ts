import { SpanKind, trace, type Attributes } from '@opentelemetry/api'
import type { Sink } from '../events/router.ts'
import { ATTR, failSpan } from './attributes.ts'
import type { Tracing } from './tracing.ts'

/**
 * What happens to a job while its attempt is being recorded becomes an event of that span. Endings are not here: the
 * middleware writes them, when the store has answered.
 */
export function createTraceSink (tracing: Tracing, detailed: boolean): Sink {
  const tell = (jobId: string, name: string, attributes: Attributes = {}): void => {
    tracing.live.get(jobId)?.span.addEvent(name, attributes)
  }
  const sink: Sink = {
    'job.progressed': ({ jobId, done, total }, name) => { tell(jobId, name, { done, total }) },
    'job.timed_out': ({ jobId, timeoutMs }, name) => { tell(jobId, name, { timeout_ms: timeoutMs }) },
    'job.cancel_requested': ({ jobId }, name) => { tell(jobId, name) },
    'handler.abandoned': ({ jobId, reason, graceMs }, name) => { tell(jobId, name, { reason, grace_ms: graceMs }) }
  }
  if (!detailed) return sink
  const operated = (storeType: string, operation: string, durationMs: number, errorCode?: string): void => {
    // A submission's `create` has its span around it; here are the others, where something active can own them.
    if (operation === 'create') return
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
    ...sink,
    'store.operated': ({ storeType, operation, durationMs }) => { operated(storeType, operation, durationMs) },
    'store.operation_failed': ({ storeType, operation, durationMs, errorCode }) => { operated(storeType, operation, durationMs, errorCode) }
  }
}
