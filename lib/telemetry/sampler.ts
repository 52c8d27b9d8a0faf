import { createContextKey, trace, type Context } from '@opentelemetry/api'
import { hasIds, isSampled } from './propagation.ts'

/** How many new traces a process records per second by default: in development all of them, under load a few. */
export const DEFAULT_TRACES_PER_SECOND = 50
/** How many sampled traces of callers it follows per second by default: as many as it would begin itself. */
export const DEFAULT_REMOTE_TRACES_PER_SECOND = 50

const NOT_RECORD = 0
const RECORD_AND_SAMPLED = 2

/** Set in a context when the token was taken already, so that the sampler takes no second one for the same trace. */
const DECIDED = createContextKey('fastify-async-endpoints sampling decided')

export function markSampled (context: Context): Context {
  return context.setValue(DECIDED, true)
}

/** Gives `perSecond` tokens per second; after a pause, as many at once. */
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

  /** A rate below one per second must still be able to save up one token. */
  get #capacity (): number { return this.#perSecond === 0 ? 0 : Math.max(1, this.#perSecond) }
}

/** The part of a sampler that both SDK lines have. */
export interface SamplerLike {
  shouldSample (context: Context, traceId: string): { decision: number }
  toString (): string
}

/** A sampler: a trace with a parent keeps its decision, a new trace needs a token. */
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
