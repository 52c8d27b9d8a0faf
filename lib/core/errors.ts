/**
 * The table of all errors that this library throws on purpose: the code, the HTTP status that a client gets, and the
 * title (RFC 9457), one constant sentence. Match on `code`, never on the text of a message.
 */
export const ERROR_TABLE = {
  FAE_INVALID_OPTIONS: { statusCode: 500, title: 'The options are not valid' },
  FAE_DUPLICATE_JOB: { statusCode: 500, title: 'A job with this name is already defined' },
  FAE_UNKNOWN_JOB: { statusCode: 500, title: 'No job with this name is defined' },
  FAE_ILLEGAL_TRANSITION: { statusCode: 500, title: 'The job cannot change to that state' },
  FAE_CLOSED: { statusCode: 503, title: 'The service is shutting down' },

  FAE_INVALID_SUBMISSION: { statusCode: 400, title: 'The submission is not valid' },
  FAE_FORBIDDEN: { statusCode: 403, title: 'Access is not allowed' },
  FAE_INVALID_REQUEST: { statusCode: 400, title: 'The request is not valid' },
  FAE_INVALID_IDEMPOTENCY_KEY: { statusCode: 400, title: 'The Idempotency-Key header is not valid' },
  FAE_IDEMPOTENCY_KEY_REQUIRED: { statusCode: 400, title: 'An Idempotency-Key header is required' },
  FAE_IDEMPOTENCY_KEY_REUSED: { statusCode: 422, title: 'The Idempotency-Key was used for another request' },
  FAE_PAYLOAD_TOO_LARGE: { statusCode: 413, title: 'The request body is too large' },
  FAE_WEBHOOK_REFUSED: { statusCode: 422, title: 'The URL of the webhook is not allowed' },
  FAE_UPGRADE_REQUIRED: { statusCode: 426, title: 'This address is for WebSockets' },
  FAE_URL_REFUSED: { statusCode: 400, title: 'The URL is not allowed' },
  FAE_TOO_MANY_SUBSCRIPTIONS: { statusCode: 400, title: 'The connection has too many subscriptions' },
  FAE_UNSUPPORTED_MEDIA_TYPE: { statusCode: 415, title: 'The media type is not supported' },
  FAE_TOO_MANY_CHANNELS: { statusCode: 429, title: 'Too many open streams and sockets' },
  FAE_TOO_MANY_SUBMISSIONS: { statusCode: 429, title: 'The client has submitted too many jobs' },
  FAE_QUEUE_FULL: { statusCode: 429, title: 'The queue is full' },
  FAE_OVERLOADED: { statusCode: 503, title: 'The server is under pressure' },
  FAE_STORE_UNAVAILABLE: { statusCode: 503, title: 'The job store cannot be reached' },
  FAE_JOB_TOO_LARGE: { statusCode: 413, title: 'The job is larger than the job store allows' },
  FAE_STORE_FULL: { statusCode: 503, title: 'The job store is full' },
  FAE_STORE_UNSUPPORTED: { statusCode: 500, title: 'The server or library behind the job store is not supported' },

  FAE_JOB_NOT_FOUND: { statusCode: 404, title: 'The job does not exist' },
  FAE_JOB_UNREADABLE: { statusCode: 500, title: 'The stored job cannot be read' },
  FAE_JOB_NOT_FINISHED: { statusCode: 409, title: 'The job has not finished' },
  FAE_JOB_FINISHED: { statusCode: 409, title: 'The job has already finished' },
  FAE_JOB_NOT_FAILED: { statusCode: 409, title: 'Only a failed job can be redriven' },
  FAE_REDRIVE_LIMIT: { statusCode: 409, title: 'The job was redriven too often' },
  FAE_JOB_FAILED: { statusCode: 409, title: 'The job failed' },
  FAE_JOB_CANCELLED: { statusCode: 409, title: 'The job was cancelled' },
  FAE_JOB_ACTIVE: { statusCode: 409, title: 'The job is in progress' },
  FAE_WAIT_TIMEOUT: { statusCode: 504, title: 'The job did not finish in time' },
  FAE_JOB_EXPIRED: { statusCode: 410, title: 'The job has ended and is no longer stored' },
  FAE_RESULT_EXPIRED: { statusCode: 410, title: 'The result is no longer stored' },

  FAE_UNKNOWN_FORMAT: { statusCode: 400, title: 'No exporter supports this format' },
  FAE_DUPLICATE_EXPORTER: { statusCode: 500, title: 'An exporter with this name is already registered' },
  FAE_EXPORT_FAILED: { statusCode: 500, title: 'The metrics could not be exported' },

  FAE_ATTEMPT_TIMEOUT: { statusCode: 500, title: 'The attempt took longer than its timeout' },
  FAE_STALLED: { statusCode: 500, title: 'The worker that ran the job stopped renewing its lease' },
  FAE_LEASE_LOST: { statusCode: 500, title: 'The lease of the attempt was lost' },
  FAE_HANDLER_ERROR: { statusCode: 500, title: 'The handler threw something that is not an error' },
  FAE_DISCARDED: { statusCode: 500, title: 'The handler discarded the job' },
  FAE_NEXT_CALLED_TWICE: { statusCode: 500, title: 'A middleware called next() more than once' },
  FAE_NEXT_CALLED_LATE: { statusCode: 500, title: 'A middleware called next() after it had ended' },
  FAE_NO_HANDLER: { statusCode: 500, title: 'No worker has a handler for this job' },
  FAE_RESULT_TOO_LARGE: { statusCode: 500, title: 'The result is larger than maxResultBytes' },
  FAE_RESULT_INVALID: { statusCode: 500, title: 'The result does not match its schema' },
  FAE_RESULT_NOT_SERIALIZABLE: { statusCode: 500, title: 'The result cannot be written as JSON' },
  FAE_WEBHOOK_FAILED: { statusCode: 500, title: 'The webhook could not be delivered' },
  FAE_STEP_TIMEOUT: { statusCode: 500, title: 'The step took longer than its timeout' },
  FAE_STEP_CRASHED: { statusCode: 500, title: 'The step ended its worker process again and again' },
  FAE_STEP_RESULT_NOT_SERIALIZABLE: { statusCode: 500, title: 'The result of the step cannot be written as JSON' },
  FAE_STEP_RESULT_TOO_LARGE: { statusCode: 500, title: 'The result of the step is too large' },
  FAE_DUPLICATE_STEP: { statusCode: 500, title: 'Two steps of one attempt have the same name' },
  FAE_SAGA_TIMEOUT: { statusCode: 500, title: 'The saga took longer than its timeout' },
  FAE_SAGA_CHANGED: { statusCode: 500, title: 'The definition of the saga no longer fits its stored steps' },
  FAE_CHECKPOINT_UNREADABLE: { statusCode: 500, title: 'The stored steps of the job cannot be read' },
  FAE_COMPENSATION_FAILED: { statusCode: 500, title: 'Not all steps of the saga could be undone' },
  FAE_SIGNAL_TIMEOUT: { statusCode: 500, title: 'The signal did not come in time' },
  FAE_SIGNAL_UNKNOWN: { statusCode: 404, title: 'The job waits for no signal of this name' },
  FAE_SIGNAL_CONFLICT: { statusCode: 409, title: 'The job has another signal of this name' },
  FAE_ABORTED: { statusCode: 499, title: 'The attempt was aborted' }
} as const

/** A code of {@link ERROR_TABLE}. */
export type ErrorCode = keyof typeof ERROR_TABLE

export interface AsyncEndpointsErrorOptions {
  /** The error that caused this one. It is logged, never sent to a client. */
  cause?: unknown
  /** How many seconds a client should wait before it tries again (`Retry-After`, RFC 9110 §10.2.3). */
  retryAfterSeconds?: number | undefined
  /** Members that a problem document may show to the client (RFC 9457 §3.2). Never put a payload here. */
  details?: Readonly<Record<string, unknown>> | undefined
  /** The message is meant for the client: it is shown even with a status of 500 or more. */
  expose?: true | undefined
}

/** An error with a stable code. `message` says what to do; Fastify answers with `statusCode`. */
export class AsyncEndpointsError extends Error {
  readonly code: ErrorCode
  readonly statusCode: number
  readonly retryAfterSeconds: number | undefined
  readonly details: Readonly<Record<string, unknown>> | undefined
  readonly expose?: true

  constructor (code: ErrorCode, message: string, options: AsyncEndpointsErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'AsyncEndpointsError'
    this.code = code
    this.statusCode = ERROR_TABLE[code].statusCode
    this.retryAfterSeconds = options.retryAfterSeconds
    this.details = options.details
    if (options.expose === true) this.expose = true
  }
}

/** Whether an error is one of this library's, with this code or any; also one of another copy of the package. */
export function isAsyncEndpointsError (error: unknown, code?: ErrorCode): error is AsyncEndpointsError {
  if (!(error instanceof Error) || error.name !== 'AsyncEndpointsError') return false
  return code === undefined || (error as { code?: unknown }).code === code
}

/** The message of an error of this library, which never holds a payload; an empty text for any other error. */
export function ownMessage (error: unknown): string { return isAsyncEndpointsError(error) ? error.message : '' }
