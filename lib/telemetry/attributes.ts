import type { Span } from '@opentelemetry/api'
import { SpanStatusCode } from '@opentelemetry/api'
import type { StoredError } from '../jobs/job.ts'

/** The names of span attributes. The first group belongs to this library, the others to OpenTelemetry. */
export const ATTR = {
  jobId: 'job.id',
  jobName: 'job.name',
  jobStatus: 'job.status',
  workerId: 'worker.id',
  storeType: 'store.type',
  handlerType: 'handler.type',
  retryCount: 'retry.count',
  errorType: 'error.type',
  stateNew: 'state.new',
  stateOld: 'state.old',
  replayed: 'job.replayed',
  retryDelay: 'job.delay_ms',
  /** Seconds, as the metric `asyncendpoints.jobs.queue.duration`. */
  queueDuration: 'job.queue.duration',
  /** When the wait began: ISO 8601. */
  availableAt: 'job.available_at',
  storeOperation: 'store.operation',
  stepName: 'step.name',
  stepOrder: 'step.order',
  stepAttempt: 'step.attempt',
  stepMaxAttempts: 'step.max_attempts',
  stepStatus: 'step.status',
  stepDuration: 'step.duration_ms',
  sagaPhase: 'saga.phase',

  messagingSystem: 'messaging.system',
  messagingDestination: 'messaging.destination.name',
  messagingOperationName: 'messaging.operation.name',
  messagingOperationType: 'messaging.operation.type',
  messagingMessageId: 'messaging.message.id',
  messagingConversationId: 'messaging.message.conversation_id',
  messagingClientId: 'messaging.client.id',

  httpMethod: 'http.request.method',
  httpMethodOriginal: 'http.request.method_original',
  httpRoute: 'http.route',
  httpStatus: 'http.response.status_code',
  urlPath: 'url.path',
  urlScheme: 'url.scheme'
} as const

/** Span events that do not have the name of a lifecycle event. */
export const SPAN_EVENT = {
  /** Followed by the state. There are seven states, so the names of span events stay few. */
  stateApplied: 'State Applied: ',
  stateUpdateFailed: 'job.state_update_failed'
} as const

/** Sets the status and `error.type` together: trace back ends search for one and expect the other. */
export function failSpan (span: Span, errorType: string, message: string): void {
  span.setAttribute(ATTR.errorType, errorType)
  span.setStatus({ code: SpanStatusCode.ERROR, message })
}

const MAX_STACK = 4_000

/**
 * Adds the exception as a span event, limited in length and without the fields of the error (the error of a database
 * client may hold the query). With `OTEL_SEMCONV_EXCEPTION_SIGNAL_OPT_IN=logs` only the log line has the exception.
 */
export function recordError (
  span: Span, thrown: unknown, stored: StoredError, redact: (text: string) => string = (text) => text
): void {
  if (exceptionsGoToLogs()) return
  const exception: { name: string, message: string, stack?: string } = { name: stored.code, message: stored.message }
  const frames = framesOf(thrown)
  if (frames !== undefined) exception.stack = `${stored.code}: ${stored.message}\n${redact(frames)}`
  span.recordException(exception)
}

export function exceptionsGoToLogs (env: Readonly<Record<string, string | undefined>> = process.env): boolean {
  return (env.OTEL_SEMCONV_EXCEPTION_SIGNAL_OPT_IN ?? '').split(',').some((entry) => entry.trim() === 'logs')
}

/** The frames of a stack, without the first lines, which repeat the whole message. */
function framesOf (thrown: unknown): string | undefined {
  try {
    if (!(thrown instanceof Error) || typeof thrown.stack !== 'string') return undefined
    const { stack, message } = thrown
    const afterMessage = message === '' ? 0 : Math.max(0, stack.indexOf(message) + message.length - 1)
    const from = stack.indexOf('\n    at ', afterMessage)
    return from < 0 ? undefined : stack.slice(from + 1, from + 1 + MAX_STACK)
  } catch {
    return undefined
  }
}
