import { SpanStatusCode, type Context, type Link, type Span } from '@opentelemetry/api'
import type { TraceCarrier } from '../jobs/job.ts'
import { ATTR } from './attributes.ts'
import type { TracerSource } from './tracer-source.ts'

interface RequestTraceParts {
  /** Our own server span, and where it came from. */
  readonly span?: Span
  readonly source?: TracerSource
  readonly carrier?: TraceCarrier
  readonly dropped?: boolean
  readonly link?: Link | undefined
  readonly logFields?: Readonly<Record<string, string>> | undefined
}

/** What a request is to its submission: handed through the HTTP room untouched, as `requestTrace`. */
export class RequestTrace {
  /** Parent of the submission's span: holds the request's server span, ours or somebody else's, or the caller's. */
  readonly context: Context
  /** Our own server span, to be ended with the response. */
  readonly span: Span | undefined
  /** What the caller sent, when it is only to be passed on. */
  readonly carrier: TraceCarrier | undefined
  /** This request was not sampled: whatever follows from it is not traced either. */
  readonly dropped: boolean
  /** An untrusted caller, for the submission's span when there is no server span of ours to hold it. */
  readonly link: Link | undefined
  /** For the log lines of the request; `undefined`: it is not recorded here, or nobody wants them. */
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

  /** There is a server span of ours that has to be ended. */
  get open (): boolean { return this.span !== undefined && !this.#finished }

  /** Runs the rest of the request with our server span active, as far as contexts are carried in this process. */
  run (work: () => void): void {
    if (this.#source === undefined) work()
    else this.#source.contexts.run(this.context, work)
  }

  /**
   * Ends our server span, if there is one and nobody has done so. 4xx is the caller's error and leaves the status unset
   * (HTTP conventions).
   *
   * @param statusCode `undefined`: the caller went away before there was an answer
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
