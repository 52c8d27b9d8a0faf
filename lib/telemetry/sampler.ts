import { createContextKey, trace, type Context } from '@opentelemetry/api'
import { hasIds, isSampled } from './propagation.ts'

/** New traces a second that a process records when nobody says otherwise: in development all, under load few. */
export const DEFAULT_TRACES_PER_SECOND = 50
/** Sampled traces of others that it follows each second: as many as it would begin itself. */
export const DEFAULT_REMOTE_TRACES_PER_SECOND = 50

const NOT_RECORD = 0
const RECORD_AND_SAMPLED = 2

/** Set in a context when the bucket was asked already: the sampler takes no second token for the same trace. */
const DECIDED = createContextKey('fastify-async-endpoints sampling decided')

export function markSampled (context: Context): Context {
  return context.setValue(DECIDED, true)
}

/** Lets `perSecond` through each second, and after a pause as many at once. */
export class TokenBucket {
  readonly #perSecond: number
  readonly #monotonic: () => number
  #tokens: number
  #filledAt: number

  /** @param monotonic milliseconds */
  constructor (perSecond: number, monotonic: () => number) {
    this.#perSecond = perSecond
    this.#monotonic = monotonic
    this.#tokens = this.#capacity
    this.#filledAt = monotonic()
  }

  take (): boolean {
    const now = this.#monotonic()
    this.#tokens = Math.min(this.#capacity, this.#tokens + (now - this.#filledAt) * this.#perSecond / 1_000)
    this.#filledAt = now
    if (this.#tokens < 1) return false
    this.#tokens--
    return true
  }

  /** Less than one a second must still be able to save up one. */
  get #capacity (): number { return this.#perSecond === 0 ? 0 : Math.max(1, this.#perSecond) }
}

/** The part of an SDK's sampler that both lines of the SDK have. */
export interface SamplerLike {
  shouldSample (context: Context, traceId: string): { decision: number }
  toString (): string
}

/** A trace that came in keeps its decision; a new one needs a token. */
export function bucketSampler (bucket: TokenBucket): SamplerLike {
  return {
    shouldSample (context) {
      const parent = trace.getSpanContext(context)
      const sampled = parent !== undefined && hasIds(parent)
        ? isSampled(parent)
        : context.getValue(DECIDED) === true || bucket.take()
      return { decision: sampled ? RECORD_AND_SAMPLED : NOT_RECORD }
    },
    toString: () => 'ParentBased{root=TokenBucket}'
  }
}
