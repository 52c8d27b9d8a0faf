import { invalidOptions } from '../core/options.ts'
import type { EventBus, EventListener } from './bus.ts'
import { EVENT_CATALOGUE, EVENT_NAMES, type EventMap, type EventName } from './catalogue.ts'

/** One function for each event of interest; `this` is the subscriber. */
export type EventSubscriber = { readonly [N in EventName]?: ((event: EventMap[N], name: N) => unknown) | undefined }

/** An event as the catalogue describes it. */
export interface EventDescription {
  readonly name: EventName
  /** One sentence: what has happened when the event is emitted. */
  readonly about: string
  /** The keys of its numbers; `…Ms` is milliseconds. */
  readonly measurements: readonly string[]
  /** The keys of its other values: ids, names, words. */
  readonly metadata: readonly string[]
}

/**
 * `app.jobEvents`, with which applications listen to events. Listeners are called synchronously
 * after something has happened, and cannot change it; an async listener is not awaited. A listener that throws or
 * rejects harms no job: the failure is logged once and counted in `asyncendpoints.telemetry.failures.total`. A
 * listener must neither change nor keep an event.
 */
export interface JobEvents {
  /**
   * Calls the listener for every event of this name.
   *
   * @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS` for a name that is no event
   * @returns stops it
   */
  on<N extends EventName> (name: N, listener: EventListener<N>): () => void
  /**
   * Subscribes an object with one function per event to all of these events, and emits `subscriber.registered`.
   *
   * @param name of the subscriber, for people who look for it; of few different values
   *
   * @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS` for a key that is no event: it would never be called
   * @returns stops it
   */
  subscribe (name: string, subscriber: EventSubscriber): () => void
  /** Every event there is, and what it means. */
  catalogue (): EventDescription[]
}

/** What is behind `app.jobEvents`. */
export class Subscriptions implements JobEvents {
  readonly #bus: EventBus

  constructor (bus: EventBus) {
    this.#bus = bus
  }

  on<N extends EventName> (name: N, listener: EventListener<N>): () => void {
    check('jobEvents.on', [name], [listener])
    // Wrapped, so that a listener which is added twice is also removed once at a time.
    return this.#bus.on(name, (event, emitted) => listener(event, emitted))
  }

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

  catalogue (): EventDescription[] {
    return EVENT_NAMES.map((name) => ({ name, ...EVENT_CATALOGUE[name] }))
  }
}

/**
 * The keys of a plain object. Of a class instance only the methods that are named like an event, because it may have
 * others.
 */
function namesOf (subscriber: EventSubscriber): string[] {
  if (typeof subscriber !== 'object' || subscriber === null) throw invalidOptions('jobEvents.subscribe', ['the subscriber must be an object with a function per event'])
  if (Object.getPrototypeOf(subscriber) !== Object.prototype) return EVENT_NAMES.filter((name) => typeof subscriber[name] === 'function')
  return Object.keys(subscriber).filter((name) => subscriber[name as EventName] !== undefined)
}

function check (where: string, names: readonly string[], listeners: readonly unknown[]): void {
  const problems = names.flatMap((name, index) => {
    if (!(EVENT_NAMES as readonly string[]).includes(name)) return [`${name} is not an event (app.jobEvents.catalogue lists them)`]
    return typeof listeners[index] === 'function' ? [] : [`${name} must be a function`]
  })
  if (problems.length > 0) throw invalidOptions(where, problems)
}
