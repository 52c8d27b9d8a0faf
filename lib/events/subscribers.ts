import { invalidOptions } from '../core/options.ts'
import type { EventBus, EventListener } from './bus.ts'
import { EVENT_CATALOGUE, EVENT_NAMES, type EventMap, type EventName } from './catalogue.ts'

/** One function per event that it cares for; `this` is the subscriber. */
export type EventSubscriber = { readonly [N in EventName]?: (event: EventMap[N], name: N) => unknown }

/** What the catalogue says about an event. */
export interface EventDescription {
  readonly name: EventName
  /** One sentence: what has happened when it is told. */
  readonly about: string
  /** Keys of its numbers; `…Ms` is milliseconds. */
  readonly measurements: readonly string[]
  /** Keys of its words. */
  readonly metadata: readonly string[]
}

/**
 * What `app.jobEvents` is: listening for applications. Listeners are called synchronously, after the fact, and can change
 * nothing; nobody waits for an async one. One that throws or rejects is logged once, counted in `asyncendpoints.telemetry.failures.total`, and harms no job. An event
 * is not to be changed or kept.
 */
export class JobEvents {
  readonly #bus: EventBus

  constructor (bus: EventBus) {
    this.#bus = bus
  }

  /**
   * @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS` for a name that is no event
   * @returns stops the listening
   */
  on<N extends EventName> (name: N, listener: EventListener<N>): () => void {
    check('jobEvents.on', [name], [listener])
    // A function of its own: one that listens twice is stopped once at a time.
    return this.#bus.on(name, (event, told) => listener(event, told))
  }

  /**
   * Subscribes to several events at once, and tells so: `subscriber.registered`.
   *
   * @param name who subscribes, for whoever looks for it; low-cardinality
   * @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS` for a key that is no event: it would never be called
   * @returns takes the subscriber away
   */
  subscribe (name: string, subscriber: EventSubscriber): () => void {
    const names = namesOf(subscriber)
    check(`subscriber "${name}"`, names, names.map((event) => subscriber[event as EventName]))
    const stops = names.map((event) => this.#bus.on(event as EventName, (subscriber[event as EventName] as EventListener<EventName>).bind(subscriber)))
    this.#bus.emit('subscriber.registered', { name, events: stops.length })
    let subscribed = true
    return () => {
      if (!subscribed) return
      subscribed = false
      for (const stop of stops) stop()
      this.#bus.emit('subscriber.unregistered', { name, events: stops.length })
    }
  }

  /** Every event there is, with what it means. */
  catalogue (): EventDescription[] {
    return EVENT_NAMES.map((name) => ({ name, ...EVENT_CATALOGUE[name] }))
  }
}

/** Own keys; of an instance of a class its methods that are named like an event, because it may have others. */
function namesOf (subscriber: EventSubscriber): string[] {
  if (typeof subscriber !== 'object' || subscriber === null) throw invalidOptions('jobEvents.subscribe', ['the subscriber must be an object with a function per event'])
  if (Object.getPrototypeOf(subscriber) !== Object.prototype) return EVENT_NAMES.filter((name) => typeof subscriber[name] === 'function')
  return Object.keys(subscriber).filter((name) => subscriber[name as EventName] !== undefined)
}

function check (where: string, names: readonly string[], listeners: readonly unknown[]): void {
  const problems = names.flatMap((name, index) => {
    if (!(EVENT_NAMES as readonly string[]).includes(name)) return [`${name} is not an event`]
    return typeof listeners[index] === 'function' ? [] : [`${name} must be a function`]
  })
  if (problems.length > 0) throw invalidOptions(where, problems)
}
