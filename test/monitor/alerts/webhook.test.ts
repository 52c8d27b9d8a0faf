import { readFileSync } from 'node:fs'
import t from 'tap'
import { systemClock, type Clock } from '../../../lib/core/context.ts'
import type { AlertSendError } from '../../../lib/monitor/alerts/alert.ts'
import { mailOf } from '../../../lib/monitor/alerts/senders.ts'
import { readWebhook, webhookSender, type AlertWebhookOptions } from '../../../lib/monitor/alerts/webhook.ts'
import { signWebhook } from '../../../lib/core/webhook-signature.ts'
import { freePort } from '../../support/redis.ts'
import { NOTICE, SECRET, startReceiver, type Delivery } from './support.ts'

/** As it stands in the docs. */
const snippet = /```js verify\n([\s\S]*?)```/.exec(readFileSync(new URL('../../../../docs/alerts.md', import.meta.url), 'utf8'))?.[1] ?? ''
const { verify } = await import(`data:text/javascript,${encodeURIComponent(snippet)}`) as { verify: (secret: string, headers: Delivery['headers'], body: string) => boolean }

const receiver = await startReceiver()
t.teardown(() => receiver.stop())
t.beforeEach(() => {
  receiver.deliveries.length = 0
  receiver.answer = (response) => { response.writeHead(204).end() }
})

async function send (options: Partial<AlertWebhookOptions> = {}, signal = new AbortController().signal, clock: Clock = systemClock): Promise<AlertSendError | undefined> {
  try {
    await webhookSender(readWebhook({ url: receiver.url, allowPrivate: true, secret: SECRET, ...options }, 'webhook'), clock, () => 0).send(NOTICE, { signal })
    return undefined
  } catch (error) {
    return error as AlertSendError
  }
}

t.test('the published test vector', async (t) => {
  t.equal(signWebhook(['whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'], 'msg_p5jXN8AQM9LWM0D4loKWxJek', 1614265330, '{"test": 2432232314}'), 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=')
})

t.test('what arrives can be verified as the docs say', async (t) => {
  const other = `whsec_${Buffer.alloc(24, 9).toString('base64')}`
  t.equal(await send({ secret: [SECRET, other], headers: { authorization: 'Bearer x' } }), undefined)
  const [{ headers, body } = { headers: {} as Delivery['headers'], body: '' }] = receiver.deliveries
  t.match(headers, { 'webhook-id': 'alert_1', 'webhook-timestamp': /^\d{10}$/, 'content-type': 'application/json', authorization: 'Bearer x' })
  t.notOk('traceparent' in headers)
  t.ok(verify(SECRET, headers, body))
  t.ok(verify(other, headers, body), 'while secrets change, both hold')
  t.notOk(verify(SECRET, headers, `${body} `))
  t.notOk(verify(SECRET, { ...headers, 'webhook-id': 'alert_2' }, body))
  t.notOk(verify(SECRET, { ...headers, 'webhook-timestamp': String(Number(headers['webhook-timestamp']) - 301) }, body))
  t.notOk(verify(`whsec_${Buffer.alloc(32, 8).toString('base64')}`, headers, body))
  t.same(JSON.parse(body), {
    type: 'alert.raised', timestamp: '2026-01-01T00:00:00.000Z', data: { fingerprint: 'memory:x', rule: 'memory', type: 'System', severity: 'high', title: 'High Memory Usage', message: 'x uses 81 %', details: { instance: 'x' }, startedAt: '2026-01-01T00:00:00.000Z' }
  })
})

t.test('a passing failure is tried again: the same id, a time of its own', async (t) => {
  // Time goes ten times as fast, and is another whenever somebody asks for it.
  let now = NOTICE.at
  const pending = new Set<unknown>()
  const clock: Clock = {
    ...systemClock,
    now: () => (now += 1_000),
    setTimeout: (callback, delayMs) => {
      const timer = systemClock.setTimeout(() => { pending.delete(timer); callback() }, delayMs / 10)
      pending.add(timer)
      return timer
    },
    clearTimeout: (timer) => { pending.delete(timer); systemClock.clearTimeout(timer) }
  }
  receiver.answer = (response) => { response.writeHead(receiver.deliveries.length < 3 ? 503 : 200, receiver.deliveries.length === 2 ? { 'retry-after': '2' } : {}).end() }
  const startedAt = performance.now()
  t.equal(await send({ timeoutMs: 60_000 }, undefined, clock), undefined)
  t.ok(performance.now() - startedAt > 215, 'it waited, the second time as long as it was asked to')
  t.same(receiver.deliveries.map(({ headers }) => headers['webhook-id']), ['alert_1', 'alert_1', 'alert_1'])
  t.equal(new Set(receiver.deliveries.map(({ headers }) => headers['webhook-timestamp'])).size, 3)
  t.equal(pending.size, 0, 'no timer is left')
  receiver.deliveries.length = 0
  receiver.answer = (response) => { response.writeHead(500).end() }
  t.match(await send({ attempts: 2 }, undefined, clock), { code: 'HTTP_500' })
  t.equal(receiver.deliveries.length, 2)
})

t.test('a receiver may ask for patience by a date', async (t) => {
  const pauses: number[] = []
  const now = NOTICE.at
  const clock: Clock = {
    ...systemClock,
    now: () => now,
    setTimeout: (callback, delayMs) => {
      // The limit of an attempt is a timer as well.
      if (delayMs < 60_000) pauses.push(delayMs)
      return systemClock.setTimeout(callback, delayMs < 60_000 ? 0 : delayMs)
    }
  }
  for (const status of [503, 429]) {
    receiver.deliveries.length = 0
    receiver.answer = (response) => { response.writeHead(receiver.deliveries.length === 1 ? status : 204, { 'retry-after': new Date(now + 4_000).toUTCString() }).end() }
    t.equal(await send({ timeoutMs: 60_000 }, undefined, clock), undefined)
    t.equal(receiver.deliveries.length, 2)
  }
  t.same(pauses, [4_000, 4_000])
})

t.test('what will not get better is not tried again', async (t) => {
  for (const status of [400, 401, 404, 410]) {
    receiver.answer = (response) => { response.writeHead(status).end('secret body') }
    t.match(await send(), { code: `HTTP_${status}`, message: `the webhook answered ${status}` })
  }
  t.equal(receiver.deliveries.length, 4)
})

t.test('redirects are not followed', async (t) => {
  receiver.answer = (response) => { response.writeHead(307, { location: `${receiver.url}/elsewhere` }).end() }
  t.match(await send(), { code: 'HTTP_307' })
  t.same(receiver.deliveries.map(({ url }) => url), ['/hook'])
})

t.test('a receiver that hangs, or is not there, is given up, and told without its address', async (t) => {
  receiver.answer = () => {}
  t.match(await send({ timeoutMs: 50, attempts: 1 }), { code: 'ETIMEDOUT', message: 'the webhook did not answer in time' })
  const abort = new AbortController()
  const sent = send({ timeoutMs: 60_000 }, abort.signal)
  await receiver.until('the second delivery', () => receiver.deliveries.length === 2)
  abort.abort()
  t.match(await sent, { code: 'ETIMEDOUT' }, 'an abort ends it at once, without another attempt')
  t.equal(receiver.deliveries.length, 2)
  const port = await freePort()
  const refused = await send({ url: `http://127.0.0.1:${port}/token`, attempts: 1 })
  t.match(refused, { code: 'ECONNREFUSED', message: 'the webhook could not be reached' })
})

t.test('a mail says what and how bad in one line', async (t) => {
  const { subject, text } = mailOf({ ...NOTICE, alert: { ...NOTICE.alert, title: 'High\r\nBcc: x@y.test' } })
  t.equal(subject, '[HIGH] High Bcc: x@y.test')
  t.match(text, /^x uses 81 %\n\nSystem alert of rule memory, raised at 2026-01-01T00:00:00\.000Z/)
  t.match(mailOf({ ...NOTICE, kind: 'resolved' }).subject, /^\[RESOLVED\]/)
})
