import type { Clock, TimerHandle } from '../core/context.ts'
import { sleep, withDeadline } from '../core/deadline.ts'
import { readRetryAfter } from '../core/retry-after.ts'
import type { ResolvedPushTargetOptions } from './options.ts'

/** What is sent. */
export interface PushPage {
  readonly contentType: string
  readonly body: Buffer
}

/** What became of a page. Each page that was offered is told of once. */
export interface PushListener<P extends PushPage> {
  delivered (page: P): void
  failed (page: P, error: PushError): void
  /** A newer page took its place before it was tried. */
  replaced (page: P): void
}

export interface PushSenderParts<P extends PushPage> {
  readonly clock: Clock
  readonly options: ResolvedPushTargetOptions
  readonly listener: PushListener<P>
  /** Asked before every attempt: `false` when another process sends by now. Must not reject. */
  readonly mayGoOn: () => Promise<boolean>
  /** From 0 to 1. @defaultValue Math.random */
  readonly random?: () => number
}

/** What went wrong, without the URL, its credentials and the headers. */
export class PushError extends Error {
  readonly code: string
  /** Whether trying again makes sense. */
  readonly passing: boolean
  readonly retryAfterMs: number | undefined

  constructor (code: string, message: string, passing: boolean, retryAfterMs?: number) {
    super(message)
    this.code = code
    this.passing = passing
    this.retryAfterMs = retryAfterMs
  }
}

const FIRST_BACKOFF_MS = 500
const LONGEST_BACKOFF_MS = 30_000

/**
 * Sends pages to one HTTP target, one at a time. At most one page waits: a newer one takes its place, because it tells
 * everything that the older one would have.
 *
 * ```
 * idle ──offer──▶ sending ──(delivered | failed for good | attempts spent)──▶ idle, or the page that waits
 *                    ▲ └──passing failure──▶ backing off ──┘                  flush: one last attempt without waiting
 * ```
 */
export class PushSender<P extends PushPage> {
  readonly #parts: PushSenderParts<P>
  readonly #url: string
  readonly #host: string
  readonly #headers: Readonly<Record<string, string>>
  #pending: P | undefined
  #sending: Promise<void> | undefined
  /** Passing failures since the last delivery: how long to wait grows with them, over pages. */
  #failures = 0
  /** What `Retry-After` asked for, on the monotonic clock. */
  #notBefore = -Infinity
  /** Ends the attempt or the wait that is under way. */
  #abort = new AbortController()
  #flushUntil: number | undefined
  #closed = false

  constructor (parts: PushSenderParts<P>) {
    this.#parts = parts
    const url = new URL(parts.options.url)
    const { username, password } = url
    const headers = new Headers(parts.options.headers)
    // `fetch` refuses credentials in a URL, and shows them in its error.
    if ((username !== '' || password !== '') && !headers.has('authorization')) {
      headers.set('authorization', `Basic ${Buffer.from(`${decoded(username)}:${decoded(password)}`).toString('base64')}`)
    }
    url.username = url.password = ''
    this.#url = url.href
    this.#host = url.host
    this.#headers = Object.fromEntries(headers)
  }

  /** Takes a page on its way. */
  offer (page: P): void {
    if (this.#closed) return
    if (this.#pending !== undefined) this.#parts.listener.replaced(this.#pending)
    this.#pending = page
    this.#sending ??= this.#sendAll()
  }

  /** Sends this page as the last, in one attempt that may take as long as is left. Never rejects. */
  async flush (page: P | undefined, deadlineMs: number): Promise<void> {
    const { clock } = this.#parts
    this.#flushUntil = clock.monotonic() + deadlineMs
    // An attempt at an older page, or a wait, would use up the time.
    this.#abort.abort()
    if (page !== undefined) this.offer(page)
    if (this.#sending !== undefined) await withDeadline(clock, deadlineMs, this.#sending)
    this.#closed = true
    this.#abort.abort()
  }

  async #sendAll (): Promise<void> {
    while (this.#pending !== undefined) {
      // Before a page is taken: the one that is sent after a long pause shall be of now.
      await this.#wait(this.#notBefore - this.#parts.clock.monotonic())
      const page = this.#take()
      if (page === undefined) break
      const error = await this.#deliver(page)
      if (error === undefined) this.#parts.listener.delivered(page)
      else this.#parts.listener.failed(page, error)
    }
    this.#sending = undefined
  }

  #take (): P | undefined {
    const page = this.#pending
    this.#pending = undefined
    return page
  }

  /** @returns what went wrong the last time, if the page could not be delivered */
  async #deliver (page: P): Promise<PushError | undefined> {
    const { options, mayGoOn, clock } = this.#parts
    for (let attempt = 1; ; attempt++) {
      if (!await mayGoOn()) return new PushError('FAE_EXPORT_FAILED', 'another process has taken the push target over', false)
      const error = await this.#post(page)
      if (error === undefined) {
        this.#failures = 0
        return undefined
      }
      if (!error.passing) return error
      this.#failures++
      if (error.retryAfterMs !== undefined) this.#notBefore = clock.monotonic() + error.retryAfterMs
      const given = this.#flushUntil !== undefined || attempt >= options.attempts
      if (!given) await this.#wait(Math.max(this.#backoffMs(), this.#notBefore - clock.monotonic()))
      // The next page has waited as well by now, and what it says is newer.
      if (given || this.#pending !== undefined || this.#closed) return error
    }
  }

  #backoffMs (): number {
    const { random = Math.random } = this.#parts
    const full = Math.min(LONGEST_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** Math.min(this.#failures - 1, 16))
    // Half of it by chance: what failed together must not come back together.
    return full * (0.5 + random() / 2)
  }

  async #wait (delayMs: number): Promise<void> {
    if (delayMs <= 0 || this.#flushUntil !== undefined) return
    await sleep(this.#parts.clock, delayMs, this.#abort.signal)
  }

  async #post ({ body, contentType }: P): Promise<PushError | undefined> {
    const { clock, options } = this.#parts
    if (this.#closed) return new PushError('ETIMEDOUT', `there was no time left to push to ${this.#host}`, false)
    // An abort is for what was under way when it came.
    if (this.#abort.signal.aborted) this.#abort = new AbortController()
    const abort = this.#abort
    const left = this.#flushUntil === undefined ? Infinity : this.#flushUntil - clock.monotonic()
    let late = false
    const timer: TimerHandle = clock.setTimeout(() => {
      late = true
      abort.abort()
    }, Math.max(0, Math.min(options.timeoutMs, left)))
    try {
      // A redirect would carry headers with secrets to somebody else.
      const response = await fetch(this.#url, { method: 'POST', headers: { ...this.#headers, 'content-type': contentType }, body: new Uint8Array(body), redirect: 'manual', signal: abort.signal })
      await response.body?.cancel()
      return response.ok ? undefined : this.#refused(response)
    } catch (error) {
      if (late) return new PushError('ETIMEDOUT', `the push target ${this.#host} did not answer in time`, true)
      return new PushError(networkCode(error), `the push target ${this.#host} could not be reached`, true)
    } finally {
      clock.clearTimeout(timer)
      // It is used up: what comes next needs another.
      if (abort.signal.aborted && this.#abort === abort && !this.#closed) this.#abort = new AbortController()
    }
  }

  #refused ({ status, headers }: Response): PushError {
    const passing = status === 408 || status === 429 || status >= 500
    const retryAfterMs = status === 429 || status === 503 ? readRetryAfter(headers.get('retry-after'), this.#parts.clock.now()) : undefined
    return new PushError(`HTTP_${status}`, `the push target ${this.#host} answered ${status}`, passing, retryAfterMs)
  }
}

/** `fetch failed` says nothing; its cause does. */
function networkCode (error: unknown): string {
  const cause: unknown = error instanceof Error ? error.cause : undefined
  const code: unknown = typeof cause === 'object' && cause !== null ? Reflect.get(cause, 'code') : undefined
  return typeof code === 'string' && /^[A-Z][A-Z0-9_]{1,40}$/.test(code) ? code : 'FAE_EXPORT_FAILED'
}

function decoded (text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}
