/** Jobs that end at the worst moment, and messages that come late, twice, in the wrong order or not at all. */
import { setTimeout as sleep } from 'node:timers/promises'
import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { asyncEndpoints, memoryStore, type AsyncEndpointsOptions } from '../../plugins/async-endpoints.ts'
import type { JobUpdate } from '../../lib/jobs/job.ts'
import type { FeedListener, JobFeed, JobStore } from '../../lib/jobs/store.ts'
import { all, listenInEveryWay, StreamListener } from '../support/listeners.ts'
import { until } from '../support/redis-jobs.ts'
import { portOf, SocketClient, type Heard } from '../support/socket-client.ts'
import { withMembers } from '../support/wrapped-store.ts'

const WAIT_SECONDS = 8

interface Gated {
  readonly app: FastifyInstance
  readonly port: number
  /** Jobs that run, and what lets each of them end. */
  readonly running: Map<string, () => void>
}

async function gated (t: Test, store: JobStore, options: AsyncEndpointsOptions = {}): Promise<Gated> {
  const app = Fastify()
  const running = new Map<string, () => void>()
  t.teardown(async () => {
    for (const open of running.values()) open()
    await app.close()
  })
  await app.register(asyncEndpoints, {
    store, observability: false, health: false, worker: { concurrency: 20 }, listening: { webSocket: true }, ...options
  })
  app.asyncEndpoint({ url: '/quick', name: 'quick', handler: async () => 'done' })
  app.asyncEndpoint({
    url: '/gated',
    name: 'gated',
    handler: async (job) => { await new Promise<void>((resolve) => { running.set(job.id, resolve) }) }
  })
  return { app, port: await portOf(app), running }
}

async function untilCompleted (app: FastifyInstance, id: string): Promise<void> {
  await until('the job is completed', async () => (await app.jobs.get(id))?.state === 'completed')
}

t.test('a job that is over before anybody asks for it', async (t) => {
  const { app, port } = await gated(t, memoryStore())
  const { id } = await app.jobs.submit('quick', {})
  await untilCompleted(app, id)
  const stream = new StreamListener(port, id)
  t.match(await stream.read(), { event: 'end', data: { status: 'completed' } })
  t.equal(stream.frames.length, 1, 'nothing but the end is said')
  const socket = await new SocketClient(port).opened()
  t.teardown(() => socket.ws.terminate())
  socket.subscribe(id)
  t.match(await socket.next(), { type: 'end', id, job: { status: 'completed' } })
  t.match((await app.inject({ url: `/jobs/${id}`, headers: { prefer: 'wait=5' } })).json(), { status: 'completed' })
  t.match(await app.jobs.waitFor(id), { state: 'completed' })
})

t.test('a job that ends between the first look and the moment from which changes are heard', async (t) => {
  const store = memoryStore()
  let release = (): void => {}
  const released = new Promise<void>((resolve) => { release = resolve })
  let following = 0
  const late = withMembers(store, {
    listen (listener: FeedListener): JobFeed {
      const feed = store.listen(listener)
      return {
        async follow (job) {
          following++
          await released
          await feed.follow(job)
        },
        unfollow: (job) => { feed.unfollow(job) },
        close: () => { feed.close() }
      }
    }
  })
  const { app, port, running } = await gated(t, late)
  const { id } = await app.jobs.submit('gated', {})
  await until('it runs', () => running.has(id))
  const { ends } = await listenInEveryWay(app, port, id, WAIT_SECONDS)
  await until('somebody follows it', () => following > 0)
  running.get(id)?.()
  await untilCompleted(app, id)
  release()
  t.same(await ends, all('completed'))
})

t.test('a job that ends while it is read', async (t) => {
  const store = memoryStore()
  const held: Array<() => void> = []
  let holding = true
  const slow = withMembers(store, {
    async getMany (jobs) {
      const found = await store.getMany(jobs)
      if (holding) await new Promise<void>((resolve) => { held.push(resolve) })
      return found
    }
  })
  const { app, port, running } = await gated(t, slow)
  const { id } = await app.jobs.submit('gated', {})
  await until('it runs', () => running.has(id))
  const { ends } = await listenInEveryWay(app, port, id, WAIT_SECONDS)
  await until('it was read, and the answer is under way', () => held.length > 0)
  running.get(id)?.()
  await untilCompleted(app, id)
  holding = false
  for (const release of held) release()
  t.same(await ends, all('completed'), 'the message came during the read, so that it is made once more')
})

t.test('a job that is removed while it is waited for', async (t) => {
  const store = memoryStore()
  const { app, port } = await gated(t, store)
  const { id } = await app.jobs.submit('quick', {}, { delayMs: 3_600_000 })
  const stream = new StreamListener(port, id)
  const last = stream.read()
  await stream.begun
  const socket = await new SocketClient(port).opened()
  t.teardown(() => socket.ws.terminate())
  socket.subscribe(id)
  await socket.nextOf('status', id)
  const polled = app.inject({ url: `/jobs/${id}`, headers: { prefer: `wait=${WAIT_SECONDS}` } }).then(({ statusCode }) => statusCode)
  const waited = t.rejects(app.jobs.waitFor(id), { code: 'FAE_JOB_NOT_FOUND' })
  await new Promise((resolve) => { setImmediate(resolve) })
  t.equal(await store.remove(id), 'removed')
  t.match(await last, { event: 'gone' })
  t.match(await socket.nextOf('gone', id), { id })
  t.equal(await polled, 404)
  await waited
})

/** Random numbers that are the same in every run. */
function seeded (seed: number): () => number {
  let state = seed
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return state / 2 ** 32
  }
}

/** Messages and answers of reads come in any order; some messages come twice, and some not at all. */
function scrambled (store: JobStore, random: () => number): JobStore {
  const soon = (ms: number): Promise<unknown> => sleep(random() * ms)
  return withMembers(store, {
    async getMany (jobs) {
      const found = await store.getMany(jobs)
      await soon(60)
      return found
    },
    listen (listener) {
      const deliver = async (update: JobUpdate): Promise<void> => {
        await soon(900)
        listener.changed(update)
      }
      return store.listen({
        changed (update) {
          const over = update.state === 'completed'
          const copies = over ? 2 : Math.floor(random() * 3)
          for (let n = 0; n < copies; n++) deliver(update).catch(t.threw)
        },
        missed: () => { listener.missed() }
      })
    }
  })
}

/** A job whose progress is reported for some time, three streams and a socket about it, and messages in any order. */
async function listenToScrambled (t: Test, seed: number): Promise<void> {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(asyncEndpoints, {
    store: scrambled(memoryStore(), seeded(seed)),
    observability: false,
    health: false,
    worker: { concurrency: 20 },
    listening: { webSocket: true }
  })
  let begin = (): void => {}
  const begun = new Promise<void>((resolve) => { begin = resolve })
  app.asyncEndpoint({
    url: '/steps',
    name: 'steps',
    handler: async (job) => {
      await begun
      for (let done = 1; done <= 20; done++) {
        job.progress({ done, total: 20 })
        await sleep(100)
      }
    }
  })
  const port = await portOf(app)
  const { id } = await app.jobs.submit('steps', {})
  const streams = Array.from({ length: 3 }, () => new StreamListener(port, id))
  const read = streams.map((stream) => stream.read())
  const socket = await new SocketClient(port).opened()
  socket.subscribe(id)
  await Promise.all(streams.map((stream) => stream.begun))
  begin()
  for (const last of await Promise.all(read)) t.match(last, { event: 'end', data: { status: 'completed' } }, `seed ${seed}`)
  await socket.nextOf('end', id)
  socket.ws.terminate()
  for (const { frames } of streams) {
    t.same(outOfOrder(frames.map(({ id: version }) => Number.parseInt(version ?? 'NaN', 10))), [])
    t.same(outOfOrder(frames.map(({ data }) => doneOf(data))), [])
    t.equal(frames.filter(({ event }) => event === 'end').length, 1)
  }
  const heard: readonly Heard[] = socket.heard
  const ofJob = heard.filter((message) => message['id'] === id)
  t.same(outOfOrder(ofJob.map(({ version }) => Number(version))), [])
  t.same(outOfOrder(ofJob.map((message) => doneOf(Object(message['job'] ?? message)))), [])
  t.ok(streams.some(({ frames }) => frames.some(({ event }) => event === 'progress')), 'progress was shown on the way')
}

t.test('messages in the wrong order: nobody is shown what is older than what was shown', async (t) => {
  await Promise.all([1, 2, 3, 4, 5, 6].map((seed) => listenToScrambled(t, seed)))
})

/** What is smaller than something before it. */
function outOfOrder (values: readonly number[]): number[] {
  return values.filter((value, at) => Number.isNaN(value) || values.slice(0, at).some((before) => before > value))
}

function doneOf (document: Record<string, unknown>): number {
  return Number(Reflect.get(Object(document['progress']), 'done') ?? 0)
}
