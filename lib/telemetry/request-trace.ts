import { SpanStatusCode, type Context, type Link, type Span } from '@opentelemetry/api'
import type { TraceCarrier } from '../jobs/job.ts'
import { ATTR } from './attributes.ts'
import type { TracerSource } from './tracer-source.ts'

interface RequestTraceParts {
  /** A server span that was opened here, and where it came from. */
  readonly span?: Span
  readonly source?: TracerSource
  readonly carrier?: TraceCarrier
  readonly dropped?: boolean
  readonly link?: Link | undefined
  readonly logFields?: Readonly<Record<string, string>> | undefined
}

/** The trace of a request, for its submission. The HTTP room passes it on untouched, as `requestTrace`. */
export class RequestTrace {
  /**
   * The parent of the submission's span: the server span of the request, existing or new, or the span of the caller.
   */
  readonly context: Context
  /** The server span that was opened here; it is ended with the response. */
  readonly span: Span | undefined
  /** What the caller sent, where it is only passed on. */
  readonly carrier: TraceCarrier | undefined
  /** The request was not sampled, so its job is not traced either. */
  readonly dropped: boolean
  /** The link to an untrusted caller, for the span of the submission when no server span was opened here. */
  readonly link: Link | undefined
  /** Trace ids for the log lines of the request. `undefined`: it is not recorded here, or logging is switched off. */
  readonly logFields: Readonly<Record<string, string>> | undefined
  readonly #source: TracerSource | undefined
  #finished = false

  constructor (context: Context, parts: RequestTraceParts = {}) {
    this.context = context
    this.span = parts.span
    this.carrier = parts.carrier
    this.dropped = parts.dropped ?? false
    this.link = parts.link
    this.logFields = parts.logFields
    this.#source = parts.source
  }

  /** True while a server span that was opened here has not been ended. */
  get open (): boolean { return this.span !== undefined && !this.#finished }

  /** Runs the rest of the request with the server span active, where this process carries contexts. */
  run (work: () => void): void {
    if (this.#source === undefined) work()
    else this.#source.contexts.run(this.context, work)
  }

  /**
   * Ends the server span that was opened here, once. By the conventions for HTTP a 4xx is a mistake of the caller and
   * leaves the status of the span unset.
   *
   * @param statusCode `undefined`: the caller disconnected before there was an answer
   */
  finish (statusCode: number | undefined): void {
    const { span } = this
    if (span === undefined || this.#finished) return
    this.#finished = true
    this.#source?.guard(() => {
      if (statusCode !== undefined) span.setAttribute(ATTR.httpStatus, statusCode)
      if (statusCode !== undefined && statusCode >= 500) {
        span.setAttribute(ATTR.errorType, String(statusCode))
        span.setStatus({ code: SpanStatusCode.ERROR })
      }
      span.end()
    })
  }
}
