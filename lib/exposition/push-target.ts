import type { Clock } from '../core/context.ts'
import { sleep, withDeadline } from '../core/deadline.ts'
import { deliver, DeliveryPace } from '../core/http-delivery.ts'
import { DeliveryError, HttpSender } from '../core/http-sender.ts'
import { operatorPolicy } from '../core/outbound-policy.ts'
import type { ResolvedPushTargetOptions } from './options.ts'

/** What is sent. */
export interface PushPage {
  readonly contentType: string
  readonly body: Buffer
}

/** What became of a page. Exactly one of these is called for each page that was offered. */
export interface PushListener<P extends PushPage> {
  delivered (page: P): void
  failed (page: P, error: DeliveryError): void
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

const LONGEST_BACKOFF_MS = 30_000

/**
 * Sends pages to one HTTP target, one at a time. At most one page waits: a newer one takes its place, because it holds
 * everything that the older one would have reported.
 *
 * ```
 * idle ──offer──▶ sending ──(delivered | failed for good | attempts spent)──▶ idle, or the page that waits
 *                    ▲ └──passing failure──▶ backing off ──┘                  flush: one last attempt without waiting
 * ```
 */
export class PushSender<P extends PushPage> {
  readonly #parts: PushSenderParts<P>
  readonly #sender: HttpSender
  readonly #url: string
  readonly #receiver: string
  readonly #headers: Readonly<Record<string, string>>
  /** Over pages: while the target is away, each page waits longer than the one before. */
  readonly #pace: DeliveryPace
  #pending: P | undefined
  #sending: Promise<void> | undefined
  /** Ends the delivery or the wait that is under way. */
  #abort = new AbortController()
  #flushUntil: number | undefined
  #closed = false

  constructor (parts: PushSenderParts<P>) {
    this.#parts = parts
    this.#pace = new DeliveryPace(parts.clock, LONGEST_BACKOFF_MS, parts.random)
    const policy = operatorPolicy(parts.options.allowPrivate)
    this.#sender = new HttpSender({ clock: parts.clock, policy })
    const url = new URL(parts.options.url)
    const { username, password } = url
    const headers = new Headers(parts.options.headers)
    // The sender refuses credentials in a URL.
    if ((username !== '' || password !== '') && !headers.has('authorization')) {
      headers.set('authorization', `Basic ${Buffer.from(`${decoded(username)}:${decoded(password)}`).toString('base64')}`)
    }
    url.username = url.password = ''
    this.#url = url.href
    this.#receiver = `the push target ${url.host}`
    this.#headers = Object.fromEntries(headers)
  }

  /** Accepts a page; it is sent as soon as the one before is done. */
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
    this.#sender.close()
  }

  async #sendAll (): Promise<void> {
    const { listener } = this.#parts
    while (this.#pending !== undefined) {
      // Wait before the page is made, not after: otherwise old numbers would be sent after a long pause.
      await this.#pause()
      const page = this.#take()
      if (page === undefined) break
      const error = await this.#deliver(page)
      if (error === undefined) listener.delivered(page)
      else listener.failed(page, error)
    }
    this.#sending = undefined
  }

  #take (): P | undefined {
    const page = this.#pending
    this.#pending = undefined
    return page
  }

  async #pause (): Promise<void> {
    const { askedMs } = this.#pace
    if (askedMs <= 0 || this.#flushUntil !== undefined) return
    this.#abort = new AbortController()
    await sleep(this.#parts.clock, askedMs, this.#abort.signal)
  }

  /** @returns what went wrong the last time, if the page could not be delivered */
  async #deliver ({ body, contentType }: P): Promise<DeliveryError | undefined> {
    const { options, mayGoOn, clock } = this.#parts
    if (this.#closed) return new DeliveryError('ETIMEDOUT', `there was no time left for ${this.#receiver}`, false)
    this.#abort = new AbortController()
    const flushing = this.#flushUntil !== undefined
    let takenOver = false
    const error = await deliver({
      clock,
      sender: this.#sender,
      url: this.#url,
      receiver: this.#receiver,
      timeoutMs: Math.min(options.timeoutMs, (this.#flushUntil ?? Infinity) - clock.monotonic()),
      attempts: flushing ? 1 : options.attempts,
      pace: this.#pace,
      signal: this.#abort.signal,
      message: () => ({ headers: { ...this.#headers, 'content-type': contentType }, body: new Uint8Array(body) }),
      mayTry: async (attempt) => {
        // A page that has come in while this one backed off has waited as well by now, and is newer.
        if (attempt > 1 && this.#pending !== undefined) return false
        takenOver = !await mayGoOn()
        return !takenOver
      }
    })
    return takenOver ? new DeliveryError('FAE_EXPORT_FAILED', 'another process has taken the push target over', false) : error
  }
}

function decoded (text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}
