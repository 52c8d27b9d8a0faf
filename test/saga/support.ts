/** An application with sagas on the memory store, and what happened in it. */
import Fastify, { type FastifyInstance } from 'fastify'
import type { Test } from 'tap'
import type { EventMap, EventName } from '../../lib/events/catalogue.ts'
import { EVENT_NAMES } from '../../lib/events/catalogue.ts'
import { runtimeOf } from '../../lib/events/runtime.ts'
import { asyncEndpoints, memoryStore, redisStore, type AsyncEndpointsOptions } from '../../plugins/async-endpoints.ts'
import { sharedRedis } from '../support/redis.ts'

export interface Recorded {
  readonly name: EventName
  readonly event: EventMap[EventName]
}

export interface SagaApp {
  readonly app: FastifyInstance
  /** Step and saga events in their order. */
  readonly events: Recorded[]
  /** The events as short texts: `step.completed upload`. */
  story (): string[]
}

/**
 * @param define defines the sagas
 * @param close ends it in another way
 */
export async function sagaApp (t: Test, define: (app: FastifyInstance) => void, options: AsyncEndpointsOptions = {}, close?: () => Promise<void>): Promise<SagaApp> {
  const app = Fastify()
  await app.register(asyncEndpoints, { observability: false, ...options })
  const events: Recorded[] = []
  for (const name of EVENT_NAMES) {
    if (name.startsWith('step.') || name.startsWith('saga.') || name.startsWith('job.')) runtimeOf(app).bus.on(name, (event) => { events.push({ name, event: { ...event } }) })
  }
  define(app)
  await app.ready()
  t.teardown(close ?? (async () => { await app.close() }))
  return {
    app,
    events,
    story: () => events.filter(({ name }) => !name.startsWith('job.') && name !== 'saga.steps_ready').map(({ name, event }) => 'step' in event && event.step !== '' ? `${name} ${event.step}` : name)
  }
}

/** Submits a saga, and waits until it is over. */
export async function finished (app: FastifyInstance, name: string, body?: unknown) {
  const { id } = await app.jobs.submit(name as never, body as never)
  const job = await app.jobs.waitFor(id, { timeoutMs: 10_000 })
  return { id, job }
}

/** Each kind of store, for tests that must hold on both. A store is for one application. */
export const STORES: ReadonlyArray<{ readonly kind: string, readonly open: (t: Test) => Promise<NonNullable<AsyncEndpointsOptions['store']>> }> = [
  { kind: 'memory', open: async () => memoryStore() },
  {
    kind: 'redis',
    open: async (t) => {
      const { url, prefix, stop } = await sharedRedis()
      // Registered before the application's: it closes first.
      t.teardown(stop)
      return redisStore({ url, prefix })
    }
  }
]
