/** Delivers messages to one HTTP receiver that the operator has chosen: an alert webhook, a push target of metrics. */
import type { Clock } from './context.ts'
import { sleep } from './deadline.ts'
import { DeliveryError, type HttpAnswer, type HttpMessage, type HttpSender } from './http-sender.ts'
import { readRetryAfter } from './retry-after.ts'

const FIRST_BACKOFF_MS = 500

/**
 * When the next attempt may be made. The backoff doubles with each failure in a row; half of it is random, so that
 * what failed together does not return together. `Retry-After` is respected where it asks for more.
 */
export class DeliveryPace {
  readonly #clock: Clock
  readonly #longestMs: number
  readonly #random: () => number
  /** Failures since the last delivery. */
  #failures = 0
  /** What `Retry-After` asked for, on the monotonic clock. */
  #notBefore = -Infinity

  /** @param longestMs no backoff is longer */
  constructor (clock: Clock, longestMs: number, random: () => number = Math.random) {
    this.#clock = clock
    this.#longestMs = longestMs
    this.#random = random
  }

  /** Milliseconds until the end of what `Retry-After` asked for; negative when it is over. */
  get askedMs (): number { return this.#notBefore - this.#clock.monotonic() }

  delivered (): void { this.#failures = 0 }

  /** @returns milliseconds to wait before the next attempt */
  failed (retryAfterMs: number | undefined): number {
    const full = Math.min(this.#longestMs, FIRST_BACKOFF_MS * 2 ** Math.min(this.#failures++, 16))
    if (retryAfterMs !== undefined) this.#notBefore = this.#clock.monotonic() + retryAfterMs
    return Math.ceil(Math.max(full * (0.5 + this.#random() / 2), this.askedMs))
  }
}

export interface DeliveryOptions {
  readonly clock: Clock
  readonly sender: HttpSender
  /** Without credentials: the sender refuses them. */
  readonly url: string
  /** How errors call the receiver. */
  readonly receiver: string
  /** The deadline of one attempt. */
  readonly timeoutMs: number
  readonly attempts: number
  readonly pace: DeliveryPace
  /** Ends the attempt or the wait that is under way, and with it the delivery. */
  readonly signal: AbortSignal
  /** Asked for before every attempt: a signature may hold the time of its attempt. */
  readonly message: () => HttpMessage
  /** Asked before every attempt; `false` ends the delivery. Must not reject. */
  readonly mayTry?: (attempt: number) => boolean | Promise<boolean>
}

/**
 * Sends one message until it is accepted, refused for good, or its attempts are spent.
 * @returns the last error, if it was not delivered
 */
export async function deliver (options: DeliveryOptions): Promise<DeliveryError | undefined> {
  const { clock, attempts, pace, signal, mayTry = () => true } = options
  let error: DeliveryError | undefined
  for (let attempt = 1; await mayTry(attempt); attempt++) {
    error = await post(options)
    if (error === undefined) {
      pace.delivered()
      return undefined
    }
    if (!error.passing) return error
    const waitMs = pace.failed(error.retryAfterMs)
    if (attempt >= attempts || signal.aborted) return error
    await sleep(clock, waitMs, signal)
    if (signal.aborted) return error
  }
  return error ?? new DeliveryError('FAE_CLOSED', 'it was not sent', false)
}

async function post ({ clock, sender, message, ...options }: DeliveryOptions): Promise<DeliveryError | undefined> {
  try {
    const answer = await sender.sendOnce({ ...options, ...message() })
    const accepted = answer.status >= 200 && answer.status < 300
    return accepted ? undefined : refused(options.receiver, answer, clock.now())
  } catch (error) {
    if (error instanceof DeliveryError) return withOption(error)
    return new DeliveryError('ENETWORK', `${options.receiver} could not be reached`, true)
  }
}

/** The receiver is one that the operator chose, and can allow. */
function withOption (error: DeliveryError): DeliveryError {
  if (error.reason !== 'not-public') return error
  const message = `${error.message}; if it is in a private network, set allowPrivate`
  return new DeliveryError(error.code, message, error.passing, undefined, error.reason)
}

function refused (receiver: string, { status, headers }: HttpAnswer, now: number): DeliveryError {
  const passing = status === 408 || status === 425 || status === 429 || status >= 500
  const retryAfterMs = readRetryAfter(headers['retry-after'] ?? null, now)
  return new DeliveryError(`HTTP_${status}`, `${receiver} answered ${status}`, passing, retryAfterMs)
}
