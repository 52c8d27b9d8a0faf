import type { Span } from '@opentelemetry/api'
import type { Redaction } from '../core/redact.ts'
import type { StoredError } from '../jobs/job.ts'
import { isOutcome } from '../jobs/outcome.ts'
import { toStoredError } from '../jobs/stored-error.ts'
import { failSpan, recordError } from './attributes.ts'

/** Remembers a thrown value that is no object, on its way through the spans of one attempt. */
export interface ErrorTrail { primitive?: { readonly thrown: unknown } | undefined }

/**
 * How errors come onto spans: status and `error.type` on each that they pass, the exception once, on the innermost. Errors are named
 * as the executor names them, so that spans, metrics and stored jobs agree.
 */
export class SpanErrors {
  readonly #redaction: Redaction
  /** Errors whose exception event was written. */
  readonly #recorded = new WeakSet<object>()

  constructor (redaction: Redaction) {
    this.#redaction = redaction
  }

  /** A snooze, a cancel or a discard may be thrown: it is an answer, not an error. */
  isOutcome (value: unknown): boolean { return isOutcome(value) }

  /** Nothing that looks like credentials is shown. */
  text (message: string): string { return this.#redaction.text(message) }

  stored (thrown: unknown): StoredError {
    const { code, message } = toStoredError(thrown, this.#redaction.text)
    return { code, message: this.text(message) }
  }

  /** Status alone, for an error that was recorded where it happened or has no stack worth showing. */
  mark (span: Span, { code, message }: StoredError): void { failSpan(span, code, this.text(message)) }

  /** @param trail of the attempt; without one only objects are recognised again */
  tell (span: Span, thrown: unknown, trail: ErrorTrail = {}): void {
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
