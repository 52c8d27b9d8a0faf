import type { Span } from '@opentelemetry/api'
import type { Redaction } from '../core/redact.ts'
import type { StoredError } from '../jobs/job.ts'
import { isOutcome } from '../jobs/outcome.ts'
import { toStoredError } from '../jobs/stored-error.ts'
import { failSpan, recordError } from './attributes.ts'

/** Remembers a thrown value that is not an object, while it passes the spans of one attempt. */
export interface ErrorTrail { primitive?: { readonly thrown: unknown } | undefined }

/**
 * Writes errors to spans: status and `error.type` to each span that the error passes, the exception to the innermost.
 * Errors have the names that the executor gives them, so that spans, metrics and stored jobs agree.
 */
export class SpanErrors {
  readonly #redaction: Redaction
  /** Errors whose exception was written to a span. */
  readonly #recorded = new WeakSet<object>()

  constructor (redaction: Redaction) {
    this.#redaction = redaction
  }

  /** True for a snooze, a cancel or a discard: it may be thrown, but it is not an error. */
  isOutcome (value: unknown): boolean { return isOutcome(value) }

  /** The text without what looks like credentials. */
  text (message: string): string { return this.#redaction.text(message) }

  stored (thrown: unknown): StoredError {
    const { code, message } = toStoredError(thrown, this.#redaction.text)
    return { code, message: this.text(message) }
  }

  /** Sets the status alone: for an error whose exception is written already, or whose stack says nothing. */
  mark (span: Span, { code, message }: StoredError): void { failSpan(span, code, this.text(message)) }

  /**
   * Sets the status, and writes the exception unless an inner span has it.
   *
   * @param trail of the attempt; without it only objects are recognised again
   */
  record (span: Span, thrown: unknown, trail: ErrorTrail = {}): void {
    if (this.isOutcome(thrown)) return
    const stored = this.stored(thrown)
    failSpan(span, stored.code, stored.message)
    if (this.#wasRecorded(thrown, trail)) return
    recordError(span, thrown, stored, (text) => this.text(text))
  }

  #wasRecorded (thrown: unknown, trail: ErrorTrail): boolean {
    if (typeof thrown === 'object' && thrown !== null) {
      if (this.#recorded.has(thrown)) return true
      this.#recorded.add(thrown)
      return false
    }
    if (trail.primitive !== undefined && Object.is(trail.primitive.thrown, thrown)) return true
    trail.primitive = { thrown }
    return false
  }
}
