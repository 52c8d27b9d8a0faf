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

/**
 * A sender with this many calls that have not ended after their timeout is not called again before one of them ends.
 */
const MAX_HANGING = 2
const MAX_MESSAGE = 200

/**
 * Sends notices. The senders work in parallel, each with a deadline; each gets its notices in order. A sender that
 * fails does not affect the others: the failure is emitted as `alert.send_failed`, which counts it, and logged once
 * until the sender works again. The notice stays owed to that sender.
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

  /** A call of a sender is under way. */
  get sending (): boolean { return this.#calls.size > 0 }

  get names (): string[] { return this.#parts.senders.map(({ name }) => name) }

  /** Removes each sender that succeeds from `senders` of its notice. Never rejects. */
  async deliver (owed: readonly Owed[]): Promise<void> {
    // A copy: notices that are added while these are sent wait for the next delivery.
    const list = owed.filter(({ senders }) => senders.size > 0)
    await Promise.all(this.#parts.senders.map((sender) => this.#deliverTo(sender, list)))
  }

  /** Aborts the calls that are under way, and makes no more. */
  close (): void {
    this.#closed = true
    for (const call of this.#calls) call.abort()
  }

  async #deliverTo (sender: AlertSender, owed: readonly Owed[]): Promise<void> {
    const { clock, timeoutMs } = this.#parts
    const until = clock.monotonic() + timeoutMs
    let timedOut = false
    for (const entry of owed) {
      if (!entry.senders.has(sender.name)) continue
      if (this.#closed) return
      // After a timeout, further notices to this sender would probably time out too. The total time is bounded as well,
      // because the next evaluation waits for it.
      if (timedOut || clock.monotonic() >= until) return
      const error: AlertSendError | undefined = await this.#send(sender, entry)
      if (error === undefined) {
        entry.senders.delete(sender.name)
        this.#failing.forget(sender.name)
      } else if (!this.#closed) {
        timedOut = error.code === 'ETIMEDOUT'
        this.#failed(sender.name, entry, error)
      }
    }
  }

  /** @returns why the notice could not be sent; `undefined`: it was sent */
  async #send (sender: AlertSender, { notice }: Owed): Promise<AlertSendError | undefined> {
    const { clock, timeoutMs, redaction } = this.#parts
    if ((this.#hanging.get(sender.name) ?? 0) >= MAX_HANGING) {
      return new AlertSendError('ETIMEDOUT', 'earlier calls of this sender have not ended yet')
    }
    const call = new AbortController()
    this.#calls.add(call)
    const sending = (async () => { await sender.send(notice, { signal: call.signal }) })()
    try {
      if (await withDeadline(clock, timeoutMs, Promise.race([sending, aborted(call.signal)])) !== EXPIRED) return undefined
      this.#countHanging(sender.name, sending)
      return new AlertSendError('ETIMEDOUT', `the sender did not end within ${timeoutMs} ms`)
    } catch (error) {
      return toSendError(error, redaction)
    } finally {
      this.#calls.delete(call)
      call.abort()
    }
  }

  #countHanging (name: string, sending: Promise<void>): void {
    this.#hanging.set(name, (this.#hanging.get(name) ?? 0) + 1)
    const ended = (): void => { this.#hanging.set(name, (this.#hanging.get(name) ?? 1) - 1) }
    sending.then(ended, ended)
  }

  #failed (sender: string, { notice, tries }: Owed, { code, message }: AlertSendError): void {
    const { bus, logger } = this.#parts
    const { fingerprint, rule } = notice.alert
    const payload = { sender, fingerprint, rule, errorCode: code, message, tries: tries + 1 }
    if (this.#failing.note(sender)) writeLine(logger, 'alert.send_failed', payload)
    bus.emit('alert.send_failed', payload)
  }
}

/** Rejects when the signal aborts, so that closing does not wait for a sender that ignores its signal. */
function aborted (signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    signal.addEventListener('abort', () => { reject(new AlertSendError('FAE_CLOSED', 'the application is closing')) }, { once: true })
  })
}

/**
 * What a sender of the application threw, reduced to what may be shown: a code of harmless characters and a redacted
 * message.
 */
function toSendError (error: unknown, redaction: Redaction): AlertSendError {
  if (error instanceof AlertSendError) return error
  const code: unknown = error instanceof Error ? Reflect.get(error, 'code') : undefined
  if (!(error instanceof Error)) return new AlertSendError('UNKNOWN', 'the sender threw something that is not an Error')
  const shown = typeof code === 'string' && /^[A-Za-z][A-Za-z0-9_]{0,60}$/.test(code) ? code : 'ERROR'
  return new AlertSendError(shown, singleLine(error.message, MAX_MESSAGE, redaction.text))
}
