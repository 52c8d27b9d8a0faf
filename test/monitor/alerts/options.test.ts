import t from 'tap'
import { readAlertsOptions, type AlertsOptions } from '../../../lib/monitor/alerts/options.ts'
import { memoryUse } from '../../../lib/core/process-memory.ts'

const SECRET = `whsec_${Buffer.alloc(32, 1).toString('base64')}`

t.test('the defaults of the rows S1-58 to S1-69', async (t) => {
  t.match(readAlertsOptions(undefined), {
    intervalMs: 300_000, slowP95Ms: 5_000, slowJobMs: 30_000, failedPerHour: 10, failureRate: 0.1, stuck: { count: 5, afterMs: 600_000 }, memoryRatio: 0.8, log: true, webhooks: [], senders: [], rules: []
  })
  t.match(readAlertsOptions({ stuck: { count: 2 }, slowP95Ms: false }), { stuck: { count: 2, afterMs: 600_000 }, slowP95Ms: false })
  t.match(readAlertsOptions({ webhook: [{ url: 'https://a.test', secret: SECRET }, { url: 'http://10.0.0.1/x', allowPrivate: ['10.0.0.0/8'], secret: [SECRET, SECRET], attempts: 1 }] }).webhooks, [
    { name: 'webhook', url: 'https://a.test', timeoutMs: 5_000, attempts: 3, secrets: [SECRET] }, { name: 'webhook-2', attempts: 1, secrets: [SECRET, SECRET] }
  ])
})

t.test('every bad key in one message, which shows no secret', async (t) => {
  const bad = {
    slowP95: 1,
    failureRate: 10,
    stuck: { count: 0 },
    rules: [{ name: 'slow-p95', evaluate: () => {} }, { name: 'no spaces', evaluate: 5 }],
    senders: [{ name: 'webhook', send: () => {} }, { name: 'ok' }],
    webhook: { url: 'https://user:hunter2@a.test/', secret: 'whsec_c2hvcnQ=', headers: { 'Webhook-Id': 'x', 'b d': 'x' } },
    email: {}
  } as unknown as AlertsOptions
  const thrown = t.throws(() => readAlertsOptions(bad), { code: 'FAE_INVALID_OPTIONS' }) as unknown as Error
  for (const part of [
    'slowP95 is not an option', 'failureRate must be a number from 0 to 1 or false', 'stuck.count must be a whole number of at least 1', 'webhook.url must hold no credentials', 'webhook.secret must be "whsec_"', 'webhook.headers: Webhook-Id is set', 'webhook.headers: "b d" cannot'
  ]) t.match(thrown.message, part)
  t.notMatch(thrown.message, /hunter2|c2hvcnQ/)
  const { slowP95: _, failureRate: __, stuck: ___, webhook: ____, ...rest } = bad as unknown as Record<string, unknown>
  const named = t.throws(() => readAlertsOptions({ ...rest, webhook: { url: 'https://a.test', secret: SECRET } } as AlertsOptions)) as unknown as Error
  for (const part of ['rules.0.name: "slow-p95" is taken', 'rules.1.name must be', 'rules.1.evaluate must be a function', 'senders.0.name: "webhook" is taken', 'senders.1.send must be a function', 'email.send must be a function']) t.match(named.message, part)
  for (const url of ['http://localhost:8080/hook', 'http://10.0.0.1/', 'http://alertmanager:9093/', 'http://[::1]/']) {
    const webhook = { url, secret: SECRET }
    t.throws(() => readAlertsOptions({ webhook }), { message: /^Invalid options for alerts: webhook\.url: its host is [^;]*; if the receiver is in a private network, set allowPrivate to true, or to its ranges$/ }, url)
    t.doesNotThrow(() => readAlertsOptions({ webhook: { ...webhook, allowPrivate: true } }))
  }
  t.throws(() => readAlertsOptions({ webhook: { url: 'http://10.0.0.1/', secret: SECRET, allowPrivate: ['10.0.0.1'] } }), { message: /webhook\.allowPrivate\.0 must be a range/ })
  t.throws(() => readAlertsOptions({ webhook: { url: 'https://a.test/', secret: SECRET, headers: { 'Content-Length': '1' } } }), { message: /"Content-Length" cannot be sent/ })
  for (const url of ['ftp://a.test', 'a.test', 'https://', 'file:///etc/passwd']) t.throws(() => readAlertsOptions({ webhook: { url, secret: SECRET } }), { message: /webhook\.url/ }, url)
})

t.test('memory: the given limit, else the container\'s, else the heap\'s (S1-66)', async (t) => {
  const heap = { usedBytes: 5, limitBytes: 50 }
  const source = (constrained: number | undefined) => ({ containerBytes: () => constrained, machineBytes: () => 1_000, rssBytes: () => 70, heap: () => heap })
  t.same(memoryUse(200, source(500)), { usedBytes: 70, limitBytes: 200 })
  t.same(memoryUse(undefined, source(500)), { usedBytes: 70, limitBytes: 500 })
  for (const none of [undefined, 0, 1_000, 2 ** 64]) t.same(memoryUse(undefined, source(none)), heap, String(none))
  const { usedBytes, limitBytes } = memoryUse(undefined)
  t.ok(usedBytes > 0 && usedBytes < limitBytes)
})
