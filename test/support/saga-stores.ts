/** Runs a test of sagas on both stores, so that neither can differ silently. */
import Fastify, { type FastifyInstance } from 'fastify'
import type { Test } from 'tap'
import { runtimeOf } from '../../lib/events/runtime.ts'
import { readHead, readStep, type StepLetter } from '../../lib/jobs/saga-facts.ts'
import type { JobRecord } from '../../lib/jobs/job.ts'
import type { JobStore } from '../../lib/jobs/store.ts'
import asyncEndpoints, { memoryStore, redisStore } from '../../plugins/async-endpoints.ts'
import { sharedRedis, uniquePrefix } from './redis.ts'
import { until } from './redis-jobs.ts'

export interface OpenOptions {
  /** Puts something around the store. */
  readonly around?: (store: JobStore) => JobStore
  readonly concurrency?: number
}

/** An application on a store of its own, ready as soon as its sagas are defined. */
export type OpenApp = (define: (app: FastifyInstance) => void, options?: OpenOptions) => Promise<FastifyInstance>

export function onBothStores (t: Test, name: string, work: (t: Test, open: OpenApp) => Promise<void>): void {
  const stores: Readonly<Record<string, (t: Test) => Promise<JobStore>>> = {
    memory: async () => memoryStore(),
    redis: async (t) => {
      const server = await sharedRedis()
      t.teardown(() => server.stop())
      return redisStore({ url: server.url, prefix: uniquePrefix() })
    }
  }
  for (const [kind, make] of Object.entries(stores)) {
    t.test(`${name} (${kind})`, async (t) => {
      await work(t, async (define, { around = (store: JobStore) => store, concurrency = 20 } = {}) => {
        const app = Fastify()
        // Before the store's server stops.
        const store = around(await make(t))
        t.teardown(() => app.close())
        const worker = { concurrency, drainTimeoutMs: 0 }
        await app.register(asyncEndpoints, { store, worker, observability: false, health: false })
        define(app)
        await app.ready()
        return app
      })
    })
  }
}

export async function recordOf (app: FastifyInstance, id: string): Promise<JobRecord> {
  const record = await app.jobs.get(id)
  if (record === undefined) throw new Error(`there is no job ${id}`)
  return record
}

/** Waits until a step has this state. */
export async function untilStep (app: FastifyInstance, id: string, path: string, letter: StepLetter): Promise<void> {
  await until(`step ${path} is ${letter}`, async () => readStep((await recordOf(app, id)).facts, path)?.s === letter)
}

/** Waits until the saga holds no slot. */
export async function untilSuspended (app: FastifyInstance, id: string): Promise<void> {
  await until('the saga is suspended', async () => (await recordOf(app, id)).state === 'scheduled')
}

export async function signal (app: FastifyInstance, id: string, name: string, value: unknown): Promise<void> {
  await runtimeOf(app).store.steps?.signal(id, name, JSON.stringify(value))
}

export interface End {
  readonly state: string
  readonly code: string | undefined
  readonly phase: string | undefined
  readonly attempts: number
}

export async function endOf (app: FastifyInstance, id: string): Promise<End> {
  await app.jobs.waitFor(id)
  const { state, error, attempts, facts } = await recordOf(app, id)
  return { state, code: error?.code, phase: readHead(facts)?.p, attempts }
}
