import type { ChurnMap } from '../core/churn-map.ts'
import type { Redaction } from '../core/redact.ts'
import type { Propagation } from '../jobs/definition.ts'
import type { AttemptMiddleware, HandlerSpanMiddleware, StepMiddleware, SubmitMiddleware } from '../jobs/seams.ts'
import { AttemptSpans, type LiveAttempt } from './attempt-spans.ts'
import type { Exclusion } from './job-exclusion.ts'
import { RequestTracing, type RequestRules, type TracedRequest } from './request-tracing.ts'
import { SpanErrors } from './span-errors.ts'
import { SpanMaker } from './span-maker.ts'
import { StepSpans } from './step-spans.ts'
import { submitSpan } from './submit-span.ts'
import type { TracerSource } from './tracer-source.ts'

export type { LiveAttempt } from './attempt-spans.ts'

export interface TracingParts {
  readonly source: TracerSource
  readonly storeType: string
  /** For jobs whose definition says nothing about it. */
  readonly propagation: Propagation
  readonly excluded: Exclusion
  /** Hides credentials. */
  readonly redaction: Redaction
  /** Make spans for store operations too. */
  readonly detailed: boolean
  /** Wall clock, milliseconds since the epoch. */
  readonly now: () => number
}

/**
 * The middleware that opens spans around a submission, an attempt and a handler. Without a tracer, and for work that
 * is not sampled, each middleware makes a few comparisons and calls `next()`.
 *
 * ```
 * SERVER (existing or new) ── send {queue} ──┬── process {queue} ── {job name} ── job.span, instrumented clients
 *                                            ╎ (link)
 *                                            process {queue} ── {job name}         a retry, in a trace of its own
 * ```
 */
export class Tracing {
  readonly submit: SubmitMiddleware
  readonly attempt: AttemptMiddleware
  readonly handler: HandlerSpanMiddleware
  readonly step: StepMiddleware
  readonly excluded: Exclusion
  readonly #maker: SpanMaker
  readonly #attempts: AttemptSpans

  constructor ({ source, storeType, propagation, excluded, redaction, detailed, now }: TracingParts) {
    const maker = this.#maker = new SpanMaker(source, new SpanErrors(redaction), storeType)
    const attempts = this.#attempts = new AttemptSpans({ maker, propagation, excluded, redaction, detailed, now })
    this.excluded = excluded
    this.submit = submitSpan({ maker, excluded, detailed })
    this.attempt = (scope, next) => attempts.attempt(scope, next)
    this.handler = (scope, next) => attempts.handler(scope, next)
    const steps = new StepSpans({ maker, live: attempts.live, spanRunner: attempts.spanRunner })
    this.step = (scope, next) => steps.step(scope, next)
  }

  /** Where spans come from. */
  get source (): TracerSource { return this.#maker.source }

  /** The attempts that are being recorded, by job id. */
  get live (): Pick<ChurnMap<string, LiveAttempt>, 'get' | 'has' | 'size'> { return this.#attempts.live }

  /** The text without what looks like credentials. */
  text (text: string): string { return this.#maker.errors.text(text) }

  /** Makes what traces the requests that submit jobs. */
  requests<R extends TracedRequest> (rules: RequestRules<R>): RequestTracing<R> { return new RequestTracing(this, rules) }

  /** Sets where spans come from. Called once, when the application is ready and its SDK is known. */
  use (source: TracerSource): void { this.#maker.source = source }
}
