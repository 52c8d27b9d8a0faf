/** Delivers messages to one HTTP receiver that the operator has chosen: an alert webhook, a push target of metrics. */
import type { Clock } from './context.ts'
import { sleep } from './deadline.ts'
import { readRetryAfter } from './retry-after.ts'

const FIRST_BACKOFF_MS = 500
const NETWORK_CODE = /^[A-Z][A-Z0-9_]{1,40}$/

/** What went wrong, without the URL, its credentials and the headers: all may hold secrets. */
export class DeliveryError extends Error {
  /** `HTTP_503`, `ECONNREFUSED`, `ETIMEDOUT`, …; `ENETWORK` where the system gave no code. */
  readonly code: string
  /** Whether another attempt makes sense. */
  readonly passing: boolean
  readonly retryAfterMs: number | undefined

  constructor (code: string, message: string, passing: boolean, retryAfterMs?: number) {
    super(message)
    this.name = 'DeliveryError'
    this.code = code
    this.passing = passing
    this.retryAfterMs = retryAfterMs
  }
}

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

export interface HttpMessage {
  readonly headers: Readonly<Record<string, string>>
  readonly body: string | Uint8Array<ArrayBuffer>
}

export interface DeliveryOptions {
  readonly clock: Clock
  /** Without credentials: `fetch` refuses them. */
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

async function post (
  { clock, url, receiver, timeoutMs, signal, message }: DeliveryOptions
): Promise<DeliveryError | undefined> {
  const late = new AbortController()
  const timer = clock.setTimeout(() => { late.abort() }, Math.max(0, timeoutMs))
  try {
    const { headers, body } = message()
    // A redirect would carry the message, and headers with secrets, to another receiver.
    const response = await fetch(url, { method: 'POST', headers, body, redirect: 'manual', signal: AbortSignal.any([signal, late.signal]) })
    await response.body?.cancel()
    return response.ok ? undefined : refused(receiver, response, clock.now())
  } catch (error) {
    if (late.signal.aborted || signal.aborted) return new DeliveryError('ETIMEDOUT', `${receiver} did not answer in time`, true)
    return new DeliveryError(networkCode(error), `${receiver} could not be reached`, true)
  } finally {
    clock.clearTimeout(timer)
  }
}

function refused (receiver: string, { status, headers }: Response, now: number): DeliveryError {
  const passing = status === 408 || status === 425 || status === 429 || status >= 500
  return new DeliveryError(`HTTP_${status}`, `${receiver} answered ${status}`, passing, readRetryAfter(headers.get('retry-after'), now))
}

/** The message of `fetch` is always "fetch failed"; its cause holds the code of the system. */
function networkCode (error: unknown): string {
  const cause: unknown = error instanceof Error ? error.cause : undefined
  const code: unknown = typeof cause === 'object' && cause !== null ? Reflect.get(cause, 'code') : undefined
  return typeof code === 'string' && NETWORK_CODE.test(code) ? code : 'ENETWORK'
}

/** The names of the headers that `fetch` would refuse. */
export function unsendableHeaders (headers: Readonly<Record<string, string>>): string[] {
  return Object.entries(headers).filter(([name, value]) => !canBeSent(name, value)).map(([name]) => name)
}

function canBeSent (name: string, value: string): boolean {
  try {
    return new Headers({ [name]: value }) !== undefined
  } catch {
    return false
  }
}
