/** Nothing that is promised is dead: jobs of all fates on both stores, and every instrument has a value, every event its fields. */
import { join } from 'node:path'
import { InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-node'
import Fastify, { type FastifyInstance } from 'fastify'
import { Redis } from 'ioredis'
import t from 'tap'
import { runtimeOf, workerOf } from '../../lib/events/runtime.ts'
import { EVENT_CATALOGUE, EVENT_NAMES, type EventName } from '../../lib/events/catalogue.ts'
import { INSTRUMENTS } from '../../lib/telemetry/instruments.ts'
import type { MetricFamily } from '../../lib/telemetry/snapshot.ts'
import type { Worker } from '../../lib/worker/worker.ts'
import asyncEndpoints, { cancel, memoryStore, redisStore, snooze, type JobStore } from '../../plugins/async-endpoints.ts'
import { until } from '../support/redis-jobs.ts'
import { sharedRedis } from '../support/redis.ts'
import { LOCAL, SECRET, WebhookReceiver } from '../support/webhook-receiver.ts'
import { deliveryId } from '../../lib/jobs/webhook.ts'

const WAIT_MS = 30_000
const LEASE_MS = 500

/** What other tests bring about: a server that goes away, a worker that stops or hangs, a wedged one, a slow machine, what lasts for minutes, health. */
const ELSEWHERE: ReadonlySet<EventName> = new Set<EventName>([
  'job.released', 'job.timed_out', 'job.settle_failed', 'job.unhandled', 'handler.abandoned', 'handler.ended_late', 'worker.exhausted', 'worker.relieved', 'worker.draining', 'worker.stopped', 'worker.failed', 'store.disconnected', 'store.failed', 'store.warned',
  'step.abandoned', 'step.refused', 'saga.definition_changed',
  'health.check_changed', 'health.changed', 'performance.memory_spike', 'performance.event_loop_lagged', 'performance.bottleneck_found', 'alert.reminded', 'telemetry.plugin_unregistered', 'subscriber.unregistered'
])
/** Only a store behind a server has these. */
const SHARED_ONLY: ReadonlySet<EventName> = new Set<EventName>(['store.connected', 'telemetry.cache_synced'])

type Test = Pick<typeof t, 'same' | 'equal' | 'ok' | 'rejects'>

interface Heard { readonly names: Set<EventName>, readonly wrong: Set<string> }

/** Remembers which events came, and which had other fields than the catalogue says. */
function hear (app: FastifyInstance): Heard {
  const names = new Set<EventName>()
  const wrong = new Set<string>()
  for (const name of EVENT_NAMES) {
    const { measurements, metadata } = EVENT_CATALOGUE[name]
    const fields = [...measurements, ...metadata].sort().join()
    runtimeOf(app).bus.on(name, (event) => {
      names.add(name)
      // An alert has one payload for all that is told of it.
      if (Object.keys(event).sort().join() !== fields && !name.startsWith('alert.')) wrong.add(`${name}: ${Object.keys(event).sort().join()}`)
    })
  }
  return { names, wrong }
}

/** A job of each fate, by its name. @param lose takes the lease of a running job away */
function defineJobs (app: FastifyInstance, lose: (id: string) => Promise<void>): void {
  const retry = { attempts: 2, backoff: { type: 'fixed', delayMs: 1, jitter: 0 } } as const
  const schema = { body: { type: 'object', required: ['n'] } } as const
  app.asyncEndpoint({
    url: '/jobs-that-complete',
    name: 'completes',
    schema,
    // Whatever client leaves database attributes on a span is a query.
    spanAttributes: { input: () => ({ 'db.system': 'postgresql', 'db.statement': 'select * from orders' }) },
    handler: async (job) => { job.progress(50); return 'done' }
  })
  app.asyncEndpoint({ url: '/jobs-that-fail', name: 'fails', retry, slaMs: 1, handler: async () => { throw new TypeError('no') } })
  let snoozes = 0
  app.asyncEndpoint({ url: '/jobs-that-snooze', name: 'snoozes', handler: async () => snoozes++ === 0 ? snooze(1) : cancel('enough') })
  app.asyncEndpoint({
    url: '/jobs-that-stall',
    name: 'stalls',
    retry,
    handler: async (job) => {
      if (job.attempt > 1) return
      const lost = new Promise((resolve) => { job.signal.addEventListener('abort', resolve) })
      await lose(job.id)
      await lost
    }
  })
  app.asyncEndpoint({
    url: '/jobs-that-are-stopped',
    name: 'stopped',
    handler: async (job) => { await new Promise((_resolve, reject) => { job.signal.addEventListener('abort', () => { reject(job.signal.reason as Error) }) }) }
  })
}

/** A saga of each fate. */
function defineSagas (app: FastifyInstance): void {
  const once = { attempts: 1 } as const
  let tries = 0
  app.saga({
    name: 'goes-well',
    steps: (s) => s
      .step('retried', {
        attempts: 2,
        backoff: { type: 'fixed', delayMs: 1, jitter: 0 },
        run: () => { if (tries++ === 0) throw new TypeError('no') }
      })
      .step('skipped', { when: () => false, run: () => {} })
      .parallel('both', (g) => g.step('one', () => 1).step('other', () => 2))
      .signal('go')
  })
  app.saga({
    name: 'goes-ill',
    steps: (s) => s
      .step('undone', { run: () => 1, compensate: () => {} })
      .step('slow', { ...once, timeoutMs: 20, run: ({ signal }) => new Promise<void>((_resolve, reject) => { signal.addEventListener('abort', () => { reject(signal.reason as Error) }) }) })
  })
  app.saga({
    name: 'cannot-be-undone',
    steps: (s) => s
      .step('kept', { run: () => 1, compensate: { ...once, run: () => { throw new TypeError('no') } } })
      .step('bad', { ...once, run: () => { throw new TypeError('no') } })
  })
  app.saga({ name: 'not-wanted', steps: (s) => s.step('undone', { run: () => 1, compensate: () => {} }).signal('go') })
}

async function runSagas (t: Test, app: FastifyInstance): Promise<void> {
  const suspended = new Map<string, () => void>()
  app.jobEvents.on('saga.suspended', ({ jobId }) => { suspended.get(jobId)?.() })
  const states: Record<string, string> = {}
  for (const name of ['goes-well', 'goes-ill', 'cannot-be-undone', 'not-wanted'] as const) {
    const delayMs = 50
    // The id is known before the saga runs.
    const { id } = await app.jobs.submit(name, {}, { delayMs })
    const waits = new Promise<void>((resolve) => { suspended.set(id, resolve) })
    if (name === 'goes-well' || name === 'not-wanted') await waits
    if (name === 'goes-well') await app.jobs.signal(id, 'go', {})
    if (name === 'not-wanted') await app.jobs.cancel(id)
    states[name] = (await app.jobs.waitFor(id, { timeoutMs: WAIT_MS })).state
  }
  t.same(states, { 'goes-well': 'completed', 'goes-ill': 'failed', 'cannot-be-undone': 'failed', 'not-wanted': 'cancelled' })
}

async function submit (app: FastifyInstance, fate: string, headers: Record<string, string> = {}): Promise<string> {
  const { statusCode, body } = await app.inject({ method: 'POST', url: `/jobs-that-${fate}`, payload: { n: 1 }, headers })
  if (statusCode !== 202) throw new Error(`${fate}: ${statusCode} ${body}`)
  return (JSON.parse(body) as { id: string }).id
}

async function runAll (t: Test, app: FastifyInstance): Promise<void> {
  const states: Record<string, string> = {}
  for (const fate of ['complete', 'fail', 'snooze', 'stall']) {
    const id = await submit(app, fate)
    states[fate] = (await app.jobs.waitFor(id, { timeoutMs: WAIT_MS })).state
    if (fate === 'fail') await app.jobs.redrive(id)
    if (fate === 'complete') await app.jobs.remove(id)
  }
  t.same(states, { complete: 'completed', fail: 'failed', snooze: 'cancelled', stall: 'completed' })
  const started = new Promise<void>((resolve) => { app.jobEvents.on('handler.started', ({ jobName }) => { if (jobName === 'stopped') resolve() }) })
  const stopped = await submit(app, 'are-stopped', { 'idempotency-key': 'k' })
  t.equal(await submit(app, 'are-stopped', { 'idempotency-key': 'k' }), stopped, 'a replay')
  await started
  await app.inject({ method: 'DELETE', url: `/jobs/${stopped}` })
  await app.jobs.waitFor(stopped, { timeoutMs: WAIT_MS })
  const { id: waiting } = await app.jobs.submit('completes', { n: 1 }, { delayMs: 60_000 })
  await app.jobs.cancel(waiting)
  await app.inject({ method: 'POST', url: '/jobs-that-complete', payload: {} })
  const circle: Record<string, unknown> = {}
  circle.self = circle
  await t.rejects(app.jobs.submit('completes', circle), { code: 'FAE_INVALID_SUBMISSION' })
}

/** A webhook that is taken, one that is not, one whose delivery is cancelled, and one that is refused. */
async function sendWebhooks (t: Test, app: FastifyInstance, receiver: WebhookReceiver): Promise<void> {
  receiver.replies = [{ status: 204 }, { status: 410 }]
  for (const state of ['completed', 'failed']) {
    const { id } = await app.jobs.submit('completes', { n: 1 }, { webhook: receiver.url() })
    t.equal((await app.jobs.waitFor(deliveryId(id, 0), { timeoutMs: WAIT_MS })).state, state)
  }
  const { id: late } = await app.jobs.submit('completes', { n: 1 }, { webhook: receiver.url(), delayMs: 3_600_000 })
  await until('its delivery waits', async () => (await app.jobs.get(deliveryId(late, 0)))?.state === 'scheduled', WAIT_MS)
  t.equal((await app.jobs.cancel(deliveryId(late, 0)))?.state, 'cancelled')
  await t.rejects(app.jobs.submit('completes', { n: 1 }, { webhook: 'ftp://example.com/' }), { code: 'FAE_WEBHOOK_REFUSED' })
}

/** A stream about a job that is over. */
async function listenTo (t: Test, app: FastifyInstance): Promise<void> {
  const { id } = await app.jobs.submit('completes', { n: 1 })
  await app.jobs.waitFor(id, { timeoutMs: WAIT_MS })
  t.ok((await app.inject(`/jobs/events?id=${id}`)).body.includes('event: end'))
}

/** What an operator, a worker and an application do besides running jobs. */
async function doTheRest (t: Test, app: FastifyInstance): Promise<void> {
  app.jobWorker.pause()
  app.jobWorker.resume()
  t.ok(app.jobWorker.restart('default'))
  const kept: unknown[] = []
  app.jobMonitor.monitor('fill a heap', () => { kept.push(Array.from({ length: 100_000 }, (_, n) => ({ n }))) })
  const many = app.jobMetricsRegistry.instrument({ name: 'test.many', kind: 'counter', unit: '1', description: 'Many series', labels: ['n'] })
  for (let n = 0; n < 501; n++) many.bind({ n: String(n) }).add()
  app.jobExporters.register({ name: 'broken', formats: ['broken'], contentType: 'text/plain', export: () => { throw new Error('broken') } })
  t.equal((await app.inject('/metrics?format=broken')).statusCode, 500)
  app.jobEvents.subscribe('broken', { 'alert.raised': () => { throw new Error('broken') } })
  await app.jobAlerts.check()
  await app.jobAlerts.check()
}

function hasValue (family: MetricFamily | undefined): boolean {
  if (family === undefined) return false
  if (family.kind === 'gauge') return family.points.every(({ value }) => Number.isFinite(value))
  return family.points.some((point) => 'count' in point ? point.count > 0 : point.value > 0)
}

for (const kind of ['memory', 'redis'] as const) {
  t.test(`on the ${kind} store: every instrument of the table has a value, every event the fields of the catalogue`, async (t) => {
    const redis = kind === 'redis' ? await sharedRedis() : undefined
    const store: JobStore = redis === undefined ? memoryStore({ leaseMs: LEASE_MS }) : redisStore({ url: redis.url, prefix: redis.prefix, leaseMs: LEASE_MS, stalledIntervalMs: 100 })
    const exporter = new InMemorySpanExporter()
    const app = Fastify()
    const receiver = await WebhookReceiver.start()
    // What is left open is reported in production only.
    const { NODE_ENV: environment } = process.env
    process.env.NODE_ENV = 'production'
    t.teardown(async () => {
      if (environment === undefined) delete process.env.NODE_ENV
      else process.env.NODE_ENV = environment
      await app.close()
      await receiver.close()
      await redis?.stop()
    })
    let wrong = true
    await app.register(asyncEndpoints, {
      store,
      health: { pressure: false },
      webhooks: { secret: SECRET, outbound: LOCAL },
      alerts: {
        memoryRatio: false,
        cooldownMs: 0,
        log: false,
        rules: [{ name: 'once', evaluate: () => { const found = wrong ? { title: 'Once', message: 'It is wrong' } : undefined; wrong = false; return found } }],
        senders: [{ name: 'broken', send: () => { throw new Error('broken') } }]
      },
      observability: {
        detailedMetrics: true,
        metrics: { gaugesIntervalMs: 100 },
        performance: { slowMs: 0, slowQueryMs: 0, sampleIntervalMs: 100 },
        tracing: { spanProcessors: [new SimpleSpanProcessor(exporter)], maxTracesPerSecond: 1_000 },
        export: { targets: { file: { path: join(t.testdir(), 'metrics.prom'), intervalMs: 100 } }, syncIntervalMs: 1_000 }
      }
    })
    const { names, wrong: differing } = hear(app)
    const client = redis === undefined ? undefined : new Redis(redis.url)
    t.teardown(() => client?.disconnect())
    defineJobs(app, async (id) => {
      // As if another worker had it, until it stops renewing as well.
      if (redis !== undefined) await client?.set(`${redis.prefix}:default:${id}:lock`, 'somebody else', 'PX', LEASE_MS)
      else {
        // In memory only a consumer that is gone loses a lease.
        await workerOf<Worker>(app)?.consumers().find(({ queue }) => queue === 'default')?.close(0)
        app.jobWorker.restart('default')
      }
    })
    defineSagas(app)
    await app.ready()
    await runAll(t, app)
    await runSagas(t, app)
    await sendWebhooks(t, app, receiver)
    await listenTo(t, app)
    await doTheRest(t, app)

    const silent = (): string[] => EVENT_NAMES.filter((name) => !names.has(name) && !ELSEWHERE.has(name) && !(kind === 'memory' && SHARED_ONLY.has(name)))
    const dead = (): string[] => {
      const families = new Map(app.jobMetricsRegistry.families().map((family) => [family.name, family]))
      return Object.values(INSTRUMENTS).map(({ name }) => name).filter((name) => !hasValue(families.get(name)))
    }
    // Gauges, exports and the retried job take their time.
    await until('all of them', () => silent().length + dead().length === 0, WAIT_MS).catch(() => { /* shown by what follows */ })
    t.same(dead(), [])
    t.same(silent(), [])
    t.same([...differing], [])

    const stall = exporter.getFinishedSpans().find(({ attributes }) => attributes['job.name'] === 'stalls' && attributes['error.type'] === 'FAE_STALLED')
    t.same(stall?.events.map(({ name }) => name), ['State Applied: queued', 'State Applied: in-progress', 'State Applied: scheduled'], 'a stall can be seen in the trace')
    const queued = app.jobMetricsRegistry.snapshot().families.find(({ name }) => name === INSTRUMENTS.jobQueueDuration.name)
    const exemplar = queued?.kind === 'histogram' ? queued.points.find(({ labels }) => labels['job_name'] === 'completes')?.exemplars.find((entry) => entry !== undefined) : undefined
    t.ok(exporter.getFinishedSpans().some((span) => span.name === 'send default' && span.spanContext().spanId === exemplar?.spanId), 'from a bucket of the queue wait to the submission')
  })
}
