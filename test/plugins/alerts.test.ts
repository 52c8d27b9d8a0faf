import Fastify, { type FastifyInstance } from 'fastify'
import t from 'tap'
import { runtimeOf } from '../../lib/events/runtime.ts'
import asyncEndpoints, { alerts, jobStore, redisStore, type AlertNotice, type AlertsOptions, type AsyncEndpointsOptions } from '../../plugins/async-endpoints.ts'
import { SECRET, startReceiver, type Receiver } from '../monitor/alerts/support.ts'
import { startRedis, uniquePrefix } from '../support/redis.ts'
import { until } from '../support/redis-jobs.ts'

type Line = Record<string, unknown>
type Test = { teardown: (fn: () => unknown) => void }

/** An application whose one job fails when it is told to. */
async function failingApp (t: Test, options: AsyncEndpointsOptions): Promise<{ app: FastifyInstance, lines: Line[], fail: (count: number) => Promise<void> }> {
  const lines: Line[] = []
  const app = Fastify({ logger: { level: 'info', stream: { write: (line: string) => { lines.push(JSON.parse(line) as Line) } } } })
  t.teardown(() => app.close())
  await app.register(asyncEndpoints, options)
  app.defineJob<{ body: { password: string } }>({ name: 'report', retry: { attempts: 1 }, handler: async () => { throw new Error('no such year') } })
  await app.ready()
  const fail = async (count: number): Promise<void> => {
    const ids = await Promise.all(Array.from({ length: count }, async () => (await app.jobs.submit('report', { password: 'hunter2' })).id))
    for (const id of ids) await app.jobs.waitFor(id, { timeoutMs: 20_000 })
  }
  return { app, lines, fail }
}

/** What a webhook received, as `type fingerprint`. */
function received ({ deliveries }: Receiver): string[] {
  return deliveries.map(({ body }) => JSON.parse(body) as { type: string, data: { fingerprint: string } }).map(({ type, data }) => `${type} ${data.fingerprint}`)
}

t.test('failing jobs become an alert: a log line, an event, metrics, a webhook, and no payload', async (t) => {
  const receiver = await startReceiver()
  t.teardown(() => receiver.stop())
  const { app, lines, fail } = await failingApp(t, { alerts: { memoryRatio: false, webhook: { url: receiver.url, allowPrivate: true, secret: SECRET } } })
  const events: string[] = []
  app.jobEvents.on('alert.raised', ({ fingerprint, severity }) => { events.push(`${fingerprint} ${severity}`) })
  t.same(await app.jobAlerts.active(), [])
  await fail(20)
  await app.jobAlerts.check()
  t.same(events, ['failure-rate:report high', 'failed-jobs medium'])
  t.same((await app.jobAlerts.active()).map(({ fingerprint }) => fingerprint), ['failure-rate:report', 'failed-jobs'])
  t.match(lines.filter(({ eventId }) => eventId === 10801), [{ level: 40, alert: 'failure-rate:report', details: { failure_rate: 1 } }, { alert: 'failed-jobs' }], 'one line each, by the sender alone')
  t.same(received(receiver), ['alert.raised failure-rate:report', 'alert.raised failed-jobs'])
  t.notMatch(receiver.deliveries.map(({ body }) => body).join(), /hunter2|no such year/)
  const { body } = await app.inject('/metrics')
  t.match(body, /asyncendpoints_alerts_total\{rule="failure-rate",severity="high"\} 1\n/)
  t.match(body, /asyncendpoints_alerts_firing\{rule="failed-jobs",severity="medium"\} 1\n/)
  await app.jobAlerts.check()
  t.equal(receiver.deliveries.length, 2, 'told once')
})

t.test('a broken sender and a hanging one: counted, and the jobs, the others and the shutdown do not notice', async (t) => {
  const heard: AlertNotice[] = []
  let hung: AbortSignal | undefined
  const { app, fail } = await failingApp(t, {
    alerts: {
      memoryRatio: false,
      failureRate: false,
      senders: [
        { name: 'broken', send: () => { throw new Error('no route') } },
        { name: 'hanging', send: (_notice, { signal }) => { hung = signal; return new Promise(() => {}) } },
        { name: 'fine', send: (notice) => { heard.push(notice) } }
      ]
    }
  })
  await fail(10)
  const checked = app.jobAlerts.check()
  await until('the sender that works has it', () => heard.length === 1 && hung !== undefined)
  await fail(1)
  t.match((await app.inject('/metrics')).body, /asyncendpoints_alerts_send_failures_total\{sender="broken"\} 1\n/)
  const startedAt = performance.now()
  await app.close()
  await checked
  t.ok(performance.now() - startedAt < 8_000, 'closing does not wait for what hangs')
  t.ok(hung?.aborted)
})

t.test('without observability, and as a plugin of its own', async (t) => {
  const { app, lines, fail } = await failingApp(t, { observability: false, health: false, http: false, alerts: true })
  await fail(10)
  await app.jobAlerts.check()
  t.match(lines.filter(({ eventId }) => eventId === 10801), [{ rule: 'failed-jobs', title: 'Many Failed Jobs' }])
  t.notOk((await failingApp(t, {})).app.hasDecorator('alerts'), 'off unless asked for')

  const bare = Fastify()
  t.teardown(() => bare.close())
  await bare.register(jobStore)
  await bare.register(alerts, { memoryLimitBytes: 1 })
  await bare.ready()
  await bare.jobAlerts.check()
  t.match(await bare.jobAlerts.active(), [{ rule: 'memory', fingerprint: `memory:${runtimeOf(bare).context.instanceId}` }])
  await t.rejects(async () => { await Fastify().register(alerts) }, /fastify-async-endpoints\/job-store/)
})

t.test('bad options are part of the one message', async (t) => {
  const bad = { alerts: { intervalMS: 1, webhook: { url: 'x', secret: SECRET } }, worker: { concurency: 1 } } as unknown as AsyncEndpointsOptions
  await t.rejects(async () => { await Fastify().register(asyncEndpoints, bad) }, { message: /worker\.concurency is not an option \(.*\); alerts\.intervalMS is not an option \(.*\); alerts\.webhook\.url must be a URL that begins/ })
  await t.rejects(async () => { await Fastify().register(asyncEndpoints, { alerts: 5 } as unknown as AsyncEndpointsOptions) }, { message: /alerts must be true, false or an object/ })
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(jobStore)
  await app.register(alerts)
  await t.rejects(async () => { await app.register(asyncEndpoints, { alerts: { intervalMs: 1_000 } }) }, { message: /alerts has no effect/ })
})

t.test('two applications on one Redis: one tells, about both, and when it goes the other neither repeats nor forgets', async (t) => {
  const redis = await startRedis()
  t.teardown(() => redis.stop())
  const receiver = await startReceiver()
  t.teardown(() => receiver.stop())
  const prefix = uniquePrefix()
  const settings: AlertsOptions = { intervalMs: 200, cooldownMs: 0, memoryRatio: false, failureRate: false, webhook: { url: receiver.url, allowPrivate: true, secret: SECRET } }
  let over = false
  const rules = [{ name: 'switch', evaluate: () => over ? undefined : { title: 'On', message: 'the switch is on' } }]
  const start = (worker: boolean): ReturnType<typeof failingApp> => failingApp(t, { store: redisStore({ url: redis.url, prefix }), worker, alerts: { ...settings, rules } })
  const one = await start(true)
  await until('the first evaluates', () => one.app.jobAlerts.leading)
  await receiver.until('the switch is told', () => receiver.deliveries.length === 1)
  const two = await start(true)
  // Whoever runs them: together they are enough.
  await one.fail(10)
  await receiver.until('the failures of both are told', () => receiver.deliveries.length === 2)
  t.same(received(receiver), ['alert.raised switch', 'alert.raised failed-jobs'])
  t.same([one.app.jobAlerts.leading, two.app.jobAlerts.leading], [true, false])
  t.same((await two.app.jobAlerts.active()).map(({ rule }) => rule), ['switch', 'failed-jobs'])

  await one.app.close()
  await until('the second evaluates', () => two.app.jobAlerts.leading)
  const judged = two.lines.length
  await two.app.jobAlerts.check()
  await two.app.jobAlerts.check()
  t.same(received(receiver), ['alert.raised switch', 'alert.raised failed-jobs'], 'not repeated')
  t.equal(two.lines.slice(judged).filter(({ eventId }) => eventId === 10801).length, 0)
  over = true
  await receiver.until('that it is over', () => receiver.deliveries.length === 3)
  t.same(received(receiver).at(-1), 'alert.resolved switch')
})

t.test('Redis dies: each application says so once, and goes on when it is back', async (t) => {
  const redis = await startRedis({ durable: true })
  t.teardown(() => redis.stop())
  const receiver = await startReceiver()
  t.teardown(() => receiver.stop())
  const prefix = uniquePrefix()
  const apps = await Promise.all([1, 2].map(() => failingApp(t, {
    store: redisStore({ url: redis.url, prefix }), worker: false, alerts: { intervalMs: 300, storeUnreachableMs: 0, memoryRatio: false, webhook: { url: receiver.url, allowPrivate: true, secret: SECRET } }
  })))
  await until('one evaluates', () => apps.some(({ app }) => app.jobAlerts.leading))
  await redis.kill()
  await receiver.until('both tell it', () => receiver.deliveries.length === 2)
  const fingerprints = apps.map(({ app }) => `store-unreachable:${runtimeOf(app).context.instanceId}`).sort()
  t.same(received(receiver).sort(), fingerprints.map((fingerprint) => `alert.raised ${fingerprint}`))
  t.notOk(apps.some(({ app }) => app.jobAlerts.leading), 'without the store nobody evaluates')
  await redis.start()
  await receiver.until('both tell that it is over', () => receiver.deliveries.length >= 4)
  t.same(received(receiver).slice(2).sort(), fingerprints.map((fingerprint) => `alert.resolved ${fingerprint}`))
  await until('one evaluates again', () => apps.some(({ app }) => app.jobAlerts.leading))
})
