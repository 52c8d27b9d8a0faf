/** The options of the plugin and what it decorates. Compiled with everything else, never run. */
import type { FastifyInstance } from 'fastify'
import asyncEndpoints, { health, jobStore, memoryStore, observability, worker, type AsyncEndpointsOptions, type HealthCheck, type Jobs, type JobStore } from '../../plugins/async-endpoints.ts'
import { same } from './support.ts'

export async function registers (app: FastifyInstance, store: JobStore): Promise<void> {
  await app.register(asyncEndpoints)
  await app.register(asyncEndpoints, { store, worker: { concurrency: 20 }, http: { path: '/tasks' }, health: false, observability: { metrics: false } })
  await app.register(asyncEndpoints, { store: memoryStore(), jobs: { timeoutMs: 1 }, submitTimeoutMs: 100, worker: false, http: false })
  // @ts-expect-error there is no such option
  await app.register(asyncEndpoints, { wroker: false })
  // @ts-expect-error nor inside a part
  await app.register(asyncEndpoints, { worker: { concurency: 3 } })
  // @ts-expect-error a store is an object
  await app.register(asyncEndpoints, { store: 'redis://localhost' })

  await app.register(jobStore, { store })
  await app.register(observability)
  await app.register(worker, { concurrency: 3 })
  await app.register(health)
}

export async function decorates (app: FastifyInstance): Promise<void> {
  same<typeof app.jobs, Jobs>(true)
  const { id, created, job } = await app.jobs.submit('report', { year: 2026 }, { delayMs: 10, owner: 'alice' })
  same<typeof id, string>(true)
  same<typeof created, boolean>(true)
  job.state satisfies 'queued' | 'scheduled' | 'in-progress' | 'completed' | 'failed' | 'cancelled'
  // @ts-expect-error what only the HTTP room may do
  app.jobs.submitJob satisfies unknown
  // @ts-expect-error there is no such setting
  await app.jobs.submit('report', {}, { delay: 10 })
  app.defineJob<{ body: { to: string } }>({ name: 'mail', handler: async (job) => { job.body.to satisfies string } })
}

export function checks (app: FastifyInstance): void {
  app.jobHealth.addCheck('a', async () => 'Healthy')
  app.jobHealth.addCheck('b', () => 'Degraded')
  app.jobHealth.addCheck('c', async ({ signal }) => { signal.throwIfAborted() })
  app.jobHealth.addCheck('d', async () => true, { tags: ['ready'] })
  const either: HealthCheck = () => false
  app.jobHealth.addCheck('e', either)
  // @ts-expect-error there is no such status
  app.jobHealth.addCheck('f', async () => 'healthy')
}

const options: AsyncEndpointsOptions = { http: { owner: (request) => request.headers['x-user']?.toString(), responses: { status: ({ document }) => document.links.self } } }
void options
