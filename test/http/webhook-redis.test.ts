/** Every end of a job is delivered once, whichever process dies, and wherever. */
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import type { Client } from '../../lib/client/client.ts'
import { deliveryId, NOTHING_SENT } from '../../lib/jobs/webhook.ts'
import asyncEndpoints, { redisStore } from '../../plugins/async-endpoints.ts'
import { COMPLETED, openStore, play, until } from '../support/redis-jobs.ts'
import { sharedRedis } from '../support/redis.ts'
import { LOCAL, SECRET, WebhookReceiver } from '../support/webhook-receiver.ts'
import type { WorkerSettings } from './fixtures/webhook-worker.ts'

const WAIT_MS = 60_000

interface Stage {
  /** Takes submissions, and runs nothing. */
  readonly api: FastifyInstance
  readonly receiver: WebhookReceiver
  readonly place: { readonly url: string, readonly prefix: string }
  worker (settings: Pick<WorkerSettings, 'queues' | 'dies'>): Promise<ChildProcess>
}

async function setUp (t: Test): Promise<Stage> {
  const redis = await sharedRedis()
  const place = { url: redis.url, prefix: redis.prefix }
  const receiver = await WebhookReceiver.start()
  const api = Fastify()
  const children: ChildProcess[] = []
  t.teardown(async () => {
    for (const child of children) await kill(child)
    await api.close()
    await receiver.close()
    await redis.stop()
  })
  await api.register(asyncEndpoints, {
    store: redisStore({ ...place, leaseMs: 1_000, stalledIntervalMs: 250 }),
    worker: false,
    health: false,
    observability: false,
    webhooks: { secret: SECRET, outbound: LOCAL, scheduleMs: [0, 50, 50] }
  })
  api.asyncEndpoint({
    method: 'POST', url: '/reports', name: 'report', queue: 'reports', retry: { attempts: 1 }, webhook: receiver.url()
  })
  await api.ready()
  return {
    api,
    receiver,
    place,
    worker: async (settings) => {
      const file = fileURLToPath(new URL('fixtures/webhook-worker.js', import.meta.url))
      const child = fork(file, [JSON.stringify({ ...place, ...settings })], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
      children.push(child)
      await once(child, 'message')
      return child
    }
  }
}

async function kill (child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  child.kill('SIGKILL')
  await once(child, 'exit')
}

async function submit (api: FastifyInstance): Promise<string> {
  return (await api.inject({ method: 'POST', url: '/reports', payload: {} })).json<{ id: string }>().id
}

/** Waits until the delivery is over, and looks whether its end was heard once. */
async function deliveredOnce (t: Test, { api, receiver }: Stage, id: string, type: string): Promise<void> {
  const delivery = await api.jobs.waitFor(deliveryId(id, 0), { timeoutMs: WAIT_MS })
  t.equal(delivery.state, 'completed')
  const heard = receiver.received.filter(({ message }) => message.data['id'] === id)
  t.same(heard.map(({ message }) => message.type), [type])
}

t.test('submitted here, run and delivered by two other processes', async (t) => {
  const stage = await setUp(t)
  await stage.worker({ queues: ['reports'] })
  await stage.worker({ queues: ['webhooks'] })
  const id = await submit(stage.api)
  await deliveredOnce(t, stage, id, 'job.completed')
  const body = stage.receiver.received[0]?.message.data
  t.same(body?.['links'], { self: `/jobs/${id}`, result: `/jobs/${id}/result` }, 'although the process that delivers has no routes')
})

t.test('the process dies right after the end was stored, and wakes nobody', async (t) => {
  const stage = await setUp(t)
  await stage.worker({ queues: ['webhooks'] })
  const id = await submit(stage.api)
  await until('the delivery waits', async () => (await stage.api.jobs.get(deliveryId(id, 0)))?.state === 'scheduled')
  // A consumer that settles and does nothing after it.
  const store = await openStore(stage.place)
  t.teardown(() => store.close(1_000))
  const { consumer } = play(store, { queue: 'reports', script: () => COMPLETED })
  t.teardown(() => consumer.close(1_000))
  await deliveredOnce(t, stage, id, 'job.completed')
})

t.test('the process dies inside of the handler: the stall fails the job, and that is delivered', async (t) => {
  const stage = await setUp(t)
  await stage.worker({ queues: ['webhooks'] })
  const dying = await stage.worker({ queues: ['reports'], dies: true })
  const gone = once(dying, 'exit')
  const id = await submit(stage.api)
  await gone
  await stage.worker({ queues: ['reports'] })
  await deliveredOnce(t, stage, id, 'job.failed')
})

t.test('the process dies while it sends: sent again with the same id, body and signature key', async (t) => {
  const stage = await setUp(t)
  const { api, receiver } = stage
  receiver.hold = new Promise(() => {})
  await stage.worker({ queues: ['reports'] })
  const dying = await stage.worker({ queues: ['webhooks'] })
  const id = await submit(api)
  const first = await receiver.message(1, WAIT_MS)
  await kill(dying)
  receiver.hold = undefined
  await stage.worker({ queues: ['webhooks'] })
  const second = await receiver.message(2, WAIT_MS)
  t.equal(second.headers['webhook-id'], first.headers['webhook-id'])
  t.equal(second.body, first.body)
  t.equal((await api.jobs.waitFor(deliveryId(id, 0), { timeoutMs: WAIT_MS })).state, 'completed')
})

t.test('cancelled where nobody runs jobs, and a submission that was repeated', async (t) => {
  const stage = await setUp(t)
  const { api } = stage
  await stage.worker({ queues: ['webhooks'] })
  const headers = { 'idempotency-key': 'k' }
  const first = await api.inject({ method: 'POST', url: '/reports', payload: {}, headers })
  const second = await api.inject({ method: 'POST', url: '/reports', payload: {}, headers })
  const { id } = first.json<{ id: string }>()
  t.equal(second.json<{ id: string }>().id, id)
  await api.inject({ method: 'DELETE', url: `/jobs/${id}` })
  await deliveredOnce(t, stage, id, 'job.cancelled')
})

t.test('a redrive that was refused does not cost the next one its webhook', async (t) => {
  const stage = await setUp(t)
  const { api, place } = stage
  const store = await openStore(place)
  t.teardown(() => store.close(1_000))
  const failing = play(store, { queue: 'reports', script: () => ({ kind: 'failed', error: { code: 'Error', message: 'no' } }) })
  t.teardown(() => failing.consumer.close(1_000))
  // As deliveries end whose job, or round, has not come.
  const idle = play(store, { queue: 'webhooks', script: () => ({ kind: 'completed', result: NOTHING_SENT, resultBytes: NOTHING_SENT.length }) })
  const id = await submit(api)
  const failed = await api.jobs.waitFor(id, { timeoutMs: WAIT_MS })
  const refused = (api.jobs as unknown as Client).redriveJob(failed, { maxQueued: undefined, maxRedrives: 0 })
  await t.rejects(refused, { code: 'FAE_REDRIVE_LIMIT' })
  t.equal((await api.jobs.waitFor(deliveryId(id, 1), { timeoutMs: WAIT_MS })).state, 'completed')
  await idle.consumer.close(1_000)
  await stage.worker({ queues: ['webhooks'] })
  await api.jobs.redrive(id)
  await stage.receiver.message(1, WAIT_MS)
  t.same(stage.receiver.received.map(({ headers }) => headers['webhook-id']), [deliveryId(id, 1)])
})
