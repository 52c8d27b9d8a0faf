import type { JobUpdate } from '../jobs/job.ts'
import type { JobStore } from '../jobs/store.ts'

/** The decorator that holds the backbone. A symbol, so that it cannot collide with a decorator of the application. */
export const BACKBONE: unique symbol = Symbol.for('fastify-async-endpoints.backbone')

export type UpdateListener = (update: JobUpdate) => void

/**
 * Shares one subscription to the store's updates among all watchers of this process. It begins with the first watcher
 * and ends after the last, so a thousand waiting clients cost the server behind the store one connection.
 */
export class Backbone {
  readonly #store: JobStore
  readonly #watchers = new Map<string, Set<UpdateListener>>()
  #subscription: Promise<() => void> | undefined

  constructor (store: JobStore) {
    this.#store = store
  }

  /** The number of jobs that are watched. */
  get size (): number { return this.#watchers.size }

  /**
   * Resolves when the subscription is active. Read the job after that, so that no change is missed in between.
   *
   * @returns a function that stops watching
   * @throws {AsyncEndpointsError} `FAE_STORE_UNAVAILABLE` when the store cannot be subscribed to
   */
  async watch (id: string, listener: UpdateListener): Promise<() => void> {
    const listeners = this.#watchers.get(id) ?? new Set()
    this.#watchers.set(id, listeners.add(listener))
    const stop = (): void => this.#unwatch(id, listener)
    try {
      this.#subscription ??= this.#store.subscribe((update) => this.#deliver(update))
      await this.#subscription
    } catch (error) {
      this.#subscription = undefined
      stop()
      throw error
    }
    return stop
  }

  #deliver (update: JobUpdate): void {
    const listeners = this.#watchers.get(update.id)
    if (listeners === undefined) return
    for (const listener of [...listeners]) listener(update)
  }

  #unwatch (id: string, listener: UpdateListener): void {
    const listeners = this.#watchers.get(id)
    if (listeners === undefined || !listeners.delete(listener) || listeners.size > 0) return
    this.#watchers.delete(id)
    if (this.#watchers.size > 0 || this.#subscription === undefined) return
    const ending = this.#subscription
    this.#subscription = undefined
    ending.then((stop) => stop(), () => { /* the subscription failed, so there is nothing to end */ })
  }
}

/** @throws `FST_ERR_DEC_UNDECLARED` of Fastify when the plugin of the job store is not registered in this context */
export function backboneOf (app: { getDecorator<T> (name: symbol): T }): Backbone {
  return app.getDecorator<Backbone>(BACKBONE)
}
