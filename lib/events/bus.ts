import type { Logger } from '../core/context.ts'
import { FirstOnly } from '../core/first-only.ts'
import { EVENT_NAMES, type EventMap, type EventName } from './catalogue.ts'
import { takeRejection } from '../core/rejections.ts'
import { cut } from '../core/text.ts'

/** May be async: the bus does not wait for it. */
export type EventListener<N extends EventName> = (event: EventMap[N], name: N) => unknown

type ListenerTable = { [N in EventName]: readonly EventListener<N>[] }

/**
 * Calls the listeners of every event, synchronously and in the order in which they subscribed. A listener that throws
 * or rejects does no harm: its first error for each event is logged, and every error is emitted as
 * `telemetry.listener_failed`.
 */
export class EventBus {
  // One array per event. A change replaces the array, so that emitting needs no copy.
  readonly #listeners: ListenerTable
  readonly #logger: Logger
  readonly #reported = new WeakMap<object, FirstOnly<EventName>>()

  constructor (logger: Logger) {
    this.#logger = logger
    this.#listeners = Object.fromEntries(EVENT_NAMES.map((name) => [name, []])) as unknown as ListenerTable
  }

  /** @returns a function that removes the listener */
  on<N extends EventName> (name: N, listener: EventListener<N>): () => void {
    const table = this.#listeners as Record<N, readonly EventListener<N>[]>
    table[name] = [...table[name], listener]
    return () => { table[name] = table[name].filter((entry) => entry !== listener) }
  }

  /** Whether the event has a listener. A hot path asks first, to skip building an event that is not needed. */
  wants (name: EventName): boolean {
    return this.#listeners[name].length > 0
  }

  emit<N extends EventName> (name: N, event: EventMap[N]): void {
    const listeners = (this.#listeners as Record<N, readonly EventListener<N>[]>)[name]
    for (let index = 0; index < listeners.length; index++) {
      const listener = listeners[index] as EventListener<N>
      try {
        const answer = listener(event, name)
        if (answer !== undefined) takeRejection(answer, (error) => { this.#failed(name, listener, error) })
      } catch (error) {
        this.#failed(name, listener, error)
      }
    }
  }

  #failed (name: EventName, listener: object, error: unknown): void {
    const message = error instanceof Error ? error.message : 'not an Error'
    let reported = this.#reported.get(listener)
    if (reported === undefined) this.#reported.set(listener, reported = new FirstOnly())
    if (reported.note(name)) {
      try { this.#logger.warn({ event: name, err: error }, 'an event listener failed; further failures of it for this event are counted, not logged') } catch { /* there is nowhere else to log it */ }
    }
    // A failing listener of `telemetry.listener_failed` would otherwise cause that event again, without end.
    if (name !== 'telemetry.listener_failed') this.emit('telemetry.listener_failed', { source: name, message: cut(message, 200) })
  }
}
