import type { Clock, Logger } from '../../core/context.ts'
import { EXPIRED, withDeadline } from '../../core/deadline.ts'
import { FirstOnly } from '../../core/first-only.ts'
import type { Redaction } from '../../core/redact.ts'
import { singleLine } from '../../core/text.ts'
import type { EventBus } from '../../events/bus.ts'
import { AlertSendError, type AlertSender } from './alert.ts'
import type { Owed } from './ledger.ts'
import { writeLine } from './senders.ts'

export interface DispatcherParts {
  readonly clock: Clock
  readonly bus: EventBus
  readonly logger: Logger
  readonly redaction: Redaction
  readonly senders: readonly AlertSender[]
  readonly timeoutMs: number
}

/** Calls of one sender that may be left hanging; then it is not called again before one of them ends. */
const MAX_HANGING = 2
const MAX_MESSAGE = 200

/**
 * Hands notices to senders: side by side, each under its deadline, in order for each sender. What a sender does wrong stays with
 * it: it is counted, told as `alert.send_failed`, logged once until it works again, and the notice stays owed to it.
 */
export class Dispatcher {
  readonly #parts: DispatcherParts
  readonly #hanging = new Map<string, number>()
  readonly #failing = new FirstOnly()
  /** Calls under way. */
  readonly #calls = new Set<AbortController>()
  #closed = false

  constructor (parts: DispatcherParts) {
    this.#parts = parts
  }

  /** A sender has something in hand. */
  get sending (): boolean { return this.#calls.size > 0 }

  get names (): string[] { return this.#parts.senders.map(({ name }) => name) }

  /** Strikes from what is owed whatever was delivered. Never rejects. */
  async deliver (owed: readonly Owed[]): Promise<void> {
    // A list of its own: what comes in meanwhile has its turn later.
    const list = owed.filter(({ senders }) => senders.size > 0)
    await Promise.all(this.#parts.senders.map((sender) => this.#deliverTo(sender, list)))
  }

  /** Cuts off the calls that are under way, and makes no more. */
  close (): void {
    this.#closed = true
    for (const call of this.#calls) call.abort()
  }

  async #deliverTo (sender: AlertSender, owed: readonly Owed[]): Promise<void> {
    const { clock, timeoutMs } = this.#parts
    const until = clock.monotonic() + timeoutMs
    let given = false
    for (const entry of owed) {
      if (!entry.senders.has(sender.name)) continue
      if (this.#closed) return
      // After one that took its whole time the others would only take theirs as well; and the next evaluation does not wait for ever.
      if (given || clock.monotonic() >= until) return
      const error: AlertSendError | undefined = await this.#send(sender, entry)
      if (error === undefined) {
        entry.senders.delete(sender.name)
        this.#failing.forget(sender.name)
      } else if (!this.#closed) {
        given = error.code === 'ETIMEDOUT'
        this.#failed(sender.name, entry, error)
      }
    }
  }

  /** @returns what went wrong, if anything did */
  async #send (sender: AlertSender, { notice }: Owed): Promise<AlertSendError | undefined> {
    const { clock, timeoutMs, redaction } = this.#parts
    if ((this.#hanging.get(sender.name) ?? 0) >= MAX_HANGING) return new AlertSendError('ETIMEDOUT', 'it has not ended what it was given before')
    const call = new AbortController()
    this.#calls.add(call)
    const sending = (async () => { await sender.send(notice, { signal: call.signal }) })()
    try {
      if (await withDeadline(clock, timeoutMs, Promise.race([sending, cut(call.signal)])) !== EXPIRED) return undefined
      this.#leave(sender.name, sending)
      return new AlertSendError('ETIMEDOUT', `it did not end within ${timeoutMs} ms`)
    } catch (error) {
      return toSendError(error, redaction)
    } finally {
      this.#calls.delete(call)
      call.abort()
    }
  }

  #leave (name: string, sending: Promise<void>): void {
    this.#hanging.set(name, (this.#hanging.get(name) ?? 0) + 1)
    const ended = (): void => { this.#hanging.set(name, (this.#hanging.get(name) ?? 1) - 1) }
    sending.then(ended, ended)
  }

  #failed (sender: string, { notice: { alert: { fingerprint, rule } }, tries }: Owed, { code, message }: AlertSendError): void {
    const { bus, logger } = this.#parts
    const payload = { sender, fingerprint, rule, errorCode: code, message, tries: tries + 1 }
    if (this.#failing.note(sender)) writeLine(logger, 'alert.send_failed', payload)
    bus.emit('alert.send_failed', payload)
  }
}

/** Rejects when the call is cut off; who does not listen to its signal is not waited for. */
function cut (signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    signal.addEventListener('abort', () => { reject(new AlertSendError('FAE_CLOSED', 'the application is closing')) }, { once: true })
  })
}

/** What somebody's sender threw, as far as it may be shown. */
function toSendError (error: unknown, redaction: Redaction): AlertSendError {
  if (error instanceof AlertSendError) return error
  const code: unknown = error instanceof Error ? Reflect.get(error, 'code') : undefined
  const shown = typeof code === 'string' && /^[A-Za-z][A-Za-z0-9_]{0,60}$/.test(code) ? code : error instanceof Error ? 'ERROR' : 'UNKNOWN'
  return new AlertSendError(shown, error instanceof Error ? singleLine(error.message, MAX_MESSAGE, redaction.text) : 'it threw something that is not an Error')
}
