import Fastify, { type FastifyInstance } from 'fastify'
import { Webhook } from 'standardwebhooks'
import t, { type Test } from 'tap'
import type { WebhooksOptions } from '../../lib/channels/webhook-options.ts'
import { runtimeOf } from '../../lib/events/runtime.ts'
import { deliveryId, ENDED_SIGNAL } from '../../lib/jobs/webhook.ts'
import asyncEndpoints, { type AsyncEndpointsOptions } from '../../plugins/async-endpoints.ts'
import { until } from '../support/redis-jobs.ts'
import { LOCAL, OLD_SECRET, SECRET, WebhookReceiver, type Received } from '../support/webhook-receiver.ts'

interface Setup { readonly app: FastifyInstance, readonly receiver: WebhookReceiver }

async function setUp (t: Test, webhooks: Partial<WebhooksOptions> = {}, options: AsyncEndpointsOptions = {}): Promise<Setup> {
  const receiver = await WebhookReceiver.start()
  const app = Fastify()
  t.teardown(async () => {
    await app.close()
    await receiver.close()
  })
  await app.register(asyncEndpoints, {
    webhooks: { secret: SECRET, outbound: LOCAL, scheduleMs: [0, 5, 5], ...webhooks }, ...options
  })
  return { app, receiver }
}

/** @throws if the signature does not fit */
function verified ({ headers, body }: Received, secret = SECRET): unknown {
  return new Webhook(secret.replace('whsec_', '')).verify(body, headers as Record<string, string>)
}

/** The answer to a submission. */
interface Accepted { readonly id: string, readonly webhook?: boolean, readonly listening?: { channel: string, url?: string } }

async function submit (
  app: FastifyInstance, url: string, payload: object = {}, headers: Record<string, string> = {}
): Promise<Accepted> {
  const response = await app.inject({ method: 'POST', url, payload, headers })
  if (response.statusCode !== 202) throw new Error(`${response.statusCode}: ${response.body}`)
  return response.json<Accepted>()
}

t.test('the end of a job is delivered, signed and thin', async (t) => {
  const { app, receiver } = await setUp(t, { secret: [SECRET, OLD_SECRET] }, { http: { owner: () => 'ada' } })
  app.asyncEndpoint({
    method: 'POST', url: '/reports', name: 'report', webhook: receiver.url('/hook?token=hush'),
    handler: () => ({ rows: 7 })
  })
  const accepted = await submit(app, '/reports', { year: 2026, iban: 'DE00' }, { 'x-correlation-id': 'corr-1' })
  t.equal(accepted.webhook, true)
  const received = await receiver.message(1)
  t.equal(received.path, '/hook?token=hush')
  t.same(verified(received), received.message)
  t.same(verified(received, OLD_SECRET), received.message, 'each secret has a signature')
  t.throws(() => verified({ ...received, body: received.body.replace('report', 'other') }), 'a changed body is noticed')
  t.equal(received.headers['content-type'], 'application/json')
  t.equal(received.headers['webhook-id'], deliveryId(accepted.id, 0))
  t.equal(received.headers['traceparent'], undefined)
  const { type, timestamp, data } = received.message
  t.equal(type, 'job.completed')
  t.equal(new Date(timestamp).toISOString(), timestamp)
  t.same(data, {
    id: accepted.id, name: 'report', status: 'completed', attempts: { made: 1, max: 3 }, correlationId: 'corr-1',
    links: { self: `/jobs/${accepted.id}`, result: `/jobs/${accepted.id}/result` }
  }, 'neither payload, owner, trace nor result')
  const delivery = await app.jobs.waitFor(deliveryId(accepted.id, 0))
  t.equal(delivery.state, 'completed')
  t.equal(delivery.owner, 'ada')
  const seen = await app.inject({ url: `/jobs/${delivery.id}` })
  t.notMatch(seen.body, /hush|127\.0\.0\.1/, 'nobody sees the URL')
  t.equal((await app.inject({ url: `/jobs/${accepted.id}` })).body.includes('hush'), false)
})

t.test('failed and cancelled jobs', async (t) => {
  const { app, receiver } = await setUp(t)
  app.asyncEndpoint({
    method: 'POST', url: '/fails', name: 'fails', webhook: { url: receiver.url('/fails') }, retry: { attempts: 1 },
    handler: () => { throw new Error('the password is hunter2') }
  })
  app.asyncEndpoint({
    method: 'POST', url: '/later', name: 'later', webhook: receiver.url('/later'), delayMs: 3_600_000, handler: () => 1
  })
  const failing = await submit(app, '/fails')
  const failed = await receiver.message(1)
  t.equal(failed.message.type, 'job.failed')
  t.same(failed.message.data['error'], { code: 'Error', message: 'The handler threw an error' })
  t.same(failed.message.data['links'], { self: `/jobs/${failing.id}` })

  await t.test('a redrive has a webhook of its own', async (t) => {
    await app.jobs.redrive(failing.id)
    const again = await receiver.message(2)
    t.equal(again.message.type, 'job.failed')
    t.equal(again.headers['webhook-id'], deliveryId(failing.id, 1))
    t.not(again.headers['webhook-id'], failed.headers['webhook-id'])
  })

  await t.test('a job that is cancelled while it waits', async (t) => {
    const { id } = await submit(app, '/later')
    await until('the delivery waits for the end', async () => (await app.jobs.get(deliveryId(id, 0)))?.state === 'scheduled')
    await app.jobs.cancel(id, 'no longer wanted')
    const { message } = await receiver.message(3)
    t.equal(message.type, 'job.cancelled')
    t.equal(message.data['id'], id)
    t.match(message.data['error'], { message: 'no longer wanted' })
  })
})

t.test('an attempt that fails is repeated with the same id and the same body', async (t) => {
  const { app, receiver } = await setUp(t)
  receiver.replies = [{ status: 500 }, { status: 302, headers: { location: receiver.url('/elsewhere') } }, { status: 200 }]
  const events: string[] = []
  for (const name of ['webhook.attempt_failed', 'webhook.failed', 'webhook.delivered'] as const) {
    app.jobEvents.on(name, (event) => { events.push(`${name} ${event.statusCode} ${event.attempt}`) })
  }
  app.asyncEndpoint({ method: 'POST', url: '/reports', name: 'report', webhook: receiver.url(), handler: () => 1 })
  const { id } = await submit(app, '/reports')
  const third = await receiver.message(3)
  for (const { headers, body, path } of receiver.received) {
    t.equal(headers['webhook-id'], deliveryId(id, 0))
    t.equal(body, third.body)
    t.equal(path, '/hook', 'no redirect is followed')
  }
  await app.jobs.waitFor(deliveryId(id, 0))
  t.same(events, ['webhook.attempt_failed 500 1', 'webhook.attempt_failed 302 2', 'webhook.delivered 200 3'])
})

t.test('the schedule is over: a failed job that can be redriven', async (t) => {
  const { app, receiver } = await setUp(t)
  receiver.replies = [{ status: 503 }]
  const failures: string[] = []
  app.jobEvents.on('webhook.failed', ({ jobName, errorCode, host, attempt }) => { failures.push(`${jobName} ${errorCode} ${host} ${attempt}`) })
  app.asyncEndpoint({ method: 'POST', url: '/reports', name: 'report', webhook: receiver.url('/hook?token=hush'), handler: () => 1 })
  const { id } = await submit(app, '/reports')
  const dead = await app.jobs.waitFor(deliveryId(id, 0))
  t.equal(dead.state, 'failed')
  t.same(dead.error, { code: 'FAE_WEBHOOK_FAILED', message: 'The receiver answered 503', expose: true })
  t.equal(receiver.received.length, 3)
  t.same(failures, ['report HTTP_503 127.0.0.1 3'])
  receiver.replies = [{ status: 204 }]
  // The job itself may be gone by then.
  await app.jobs.remove(id)
  const response = await app.inject({ method: 'POST', url: `/jobs/${dead.id}/redrive` })
  t.equal(response.statusCode, 202)
  const { body, headers } = await receiver.message(4)
  t.equal(body, receiver.received[0]?.body)
  t.equal(headers['webhook-id'], dead.id)
  t.equal((await app.jobs.waitFor(dead.id)).state, 'completed')
  t.notHas((await app.inject(`/jobs/${dead.id}`)).json(), { steps: [] }, 'a delivery has no steps')
})

t.test('a receiver can ask for no further attempt', async (t) => {
  for (const reply of [{ status: 410 }, { status: 400, headers: { 'webhook-delivery': 'abort-message' } }]) {
    const { app, receiver } = await setUp(t)
    receiver.replies = [reply]
    app.asyncEndpoint({ method: 'POST', url: '/reports', name: 'report', webhook: receiver.url(), handler: () => 1 })
    const { id } = await submit(app, '/reports')
    t.equal((await app.jobs.waitFor(deliveryId(id, 0))).state, 'failed')
    t.equal(receiver.received.length, 1)
  }
})

t.test('Retry-After lengthens a pause', async (t) => {
  const { app, receiver } = await setUp(t)
  receiver.replies = [{ status: 429, headers: { 'retry-after': '7200' } }]
  app.asyncEndpoint({ method: 'POST', url: '/reports', name: 'report', webhook: receiver.url(), handler: () => 1 })
  const heard = new Promise<number>((resolve) => { app.jobEvents.on('webhook.attempt_failed', ({ delayMs }) => { resolve(delayMs) }) })
  const { id } = await submit(app, '/reports')
  t.equal(await heard, 7_200_000)
  const delivery = await app.jobs.get(deliveryId(id, 0))
  t.equal(delivery?.state, 'scheduled')
})

t.test('the result is in the message if it was asked for and is small', async (t) => {
  const { app, receiver } = await setUp(t)
  app.asyncEndpoint({
    method: 'POST', url: '/small', name: 'small', webhook: { url: receiver.url(), include: 'result' },
    schema: { result: { type: 'object', properties: { rows: { type: 'number' } } } }, handler: () => ({ rows: 7, secret: 1 })
  })
  app.asyncEndpoint({
    method: 'POST', url: '/large', name: 'large', webhook: { url: receiver.url(), include: 'result' }, handler: () => 'x'.repeat(30_000)
  })
  await submit(app, '/small')
  t.same((await receiver.message(1)).message.data['result'], { rows: 7 }, 'as schema.result shows it')
  await submit(app, '/large')
  const { message, body } = await receiver.message(2)
  t.equal(message.data['resultOmitted'], true)
  t.equal(message.data['result'], undefined)
  t.ok(body.length < 1_000)
})

t.test('URLs that clients choose', async (t) => {
  const { app, receiver } = await setUp(t)
  const refused: string[] = []
  app.jobEvents.on('webhook.refused', ({ jobName, host, reason }) => { refused.push(`${jobName} ${host} ${reason}`) })
  app.asyncEndpoint({ method: 'POST', url: '/header', name: 'header', webhook: { from: 'header' }, handler: () => 1 })
  const post = (url: string, payload: object, headers: Record<string, string>) => app.inject({ method: 'POST', url, payload, headers })
  const none = await post('/header', {}, {})
  t.equal(none.statusCode, 202)
  t.equal(none.json<Accepted>().webhook, false, 'the client could have named a URL')
  const answer = await post('/header', {}, { 'webhook-url': receiver.url('/hook?token=hush') })
  t.equal(answer.statusCode, 422)
  t.match(answer.json(), { code: 'FAE_WEBHOOK_REFUSED', reason: 'not-allowed' })
  t.notMatch(answer.body, /hush/)
  t.same(refused, ['header 127.0.0.1 not-allowed'])
  t.equal((await app.jobs.counts('default')).length, 1)

  await t.test('an allowed origin, in the header or the body', async (t) => {
    const { app, receiver } = await setUp(t)
    await app.close()
    const own = Fastify()
    t.teardown(() => own.close())
    await own.register(asyncEndpoints, {
      webhooks: { secret: SECRET, outbound: LOCAL, allow: [receiver.origin], header: 'Callback' }
    })
    own.asyncEndpoint({ method: 'POST', url: '/header', name: 'header', webhook: { from: 'header' }, handler: () => 1 })
    own.asyncEndpoint({ method: 'POST', url: '/body', name: 'body', webhook: { from: 'body', field: 'callbackUrl' }, handler: () => 1 })
    await submit(own, '/header', {}, { callback: receiver.url('/a') })
    t.equal((await receiver.message(1)).path, '/a')
    await submit(own, '/body', { callbackUrl: receiver.url('/b') })
    t.equal((await receiver.message(2)).path, '/b')
    for (const callbackUrl of ['https://elsewhere.example/', 'http://127.0.0.1:1/x', `${receiver.origin}@evil.example/`]) {
      t.equal((await own.inject({ method: 'POST', url: '/body', payload: { callbackUrl } })).statusCode, 422, callbackUrl)
    }
    for (const callbackUrl of ['no url', 7, { url: 'x' }, `https://a.example/${'x'.repeat(3_000)}`]) {
      t.equal((await own.inject({ method: 'POST', url: '/body', payload: { callbackUrl } })).statusCode, 400, String(callbackUrl).slice(0, 20))
    }
    t.equal((await own.inject({ method: 'POST', url: '/body', payload: { callbackUrl: null } })).statusCode, 202)
  })

  await t.test('a function decides, and only true allows', async (t) => {
    const answers: unknown[] = [true, 'yes', undefined, Promise.resolve(false), Promise.resolve(true)]
    const { app, receiver } = await setUp(t, { allow: (() => answers.shift()) as unknown as WebhooksOptions['allow'] })
    app.asyncEndpoint({ method: 'POST', url: '/header', name: 'header', webhook: { from: 'header' }, handler: () => 1 })
    const codes: number[] = []
    for (let index = 0; index < 5; index++) {
      codes.push((await app.inject({ method: 'POST', url: '/header', payload: {}, headers: { 'webhook-url': receiver.url() } })).statusCode)
    }
    t.same(codes, [202, 422, 422, 422, 202])
  })
})

t.test('URLs that must not be called are refused at submission, also those of the application', async (t) => {
  const { app } = await setUp(t, { outbound: {}, allow: () => true })
  app.asyncEndpoint({ method: 'POST', url: '/header', name: 'header', webhook: { from: 'header' }, handler: () => 1 })
  const hostile = ['http://hooks.example.com/', 'https://127.0.0.1/', 'https://[::1]/', 'https://localhost/', 'https://a.internal/', 'https://x.example:22/', 'https://u:p@x.example/']
  for (const url of hostile) {
    const answer = await app.inject({ method: 'POST', url: '/header', payload: {}, headers: { 'webhook-url': url } })
    t.equal(answer.statusCode, 422, url)
    await t.rejects(app.jobs.submit('header', {}, { webhook: url }), { code: 'FAE_WEBHOOK_REFUSED' }, url)
  }
  await t.rejects(app.jobs.submit('header', {}, { webhook: { url: 7 } as never }), { code: 'FAE_INVALID_SUBMISSION' })
  await t.rejects(app.jobs.submit('header', {}, { webhook: { url: 'https://x.example/', include: 'all' } as never }), { code: 'FAE_INVALID_SUBMISSION' })
})

t.test('the guard also stands before every attempt', async (t) => {
  // A public name, as far as the URL says, with an address that is not.
  const { app } = await setUp(t, { outbound: { allowHttp: true, ports: 'any' }, scheduleMs: [0] })
  const heard = new Promise<string>((resolve) => { app.jobEvents.on('webhook.failed', ({ errorCode }) => { resolve(errorCode) }) })
  app.defineJob({ name: 'report', handler: () => 1 })
  await app.ready()
  const { id } = await app.jobs.submit('report', {}, { webhook: 'https://no-such-name.invalid/' })
  await app.jobs.waitFor(deliveryId(id, 0), { timeoutMs: 20_000 })
  t.ok(await heard)
})

t.test('a repeated submission has one delivery', async (t) => {
  const { app, receiver } = await setUp(t)
  app.asyncEndpoint({ method: 'POST', url: '/reports', name: 'report', webhook: receiver.url(), handler: () => 1 })
  const headers = { 'idempotency-key': 'one' }
  const first = await submit(app, '/reports', {}, headers)
  const second = await submit(app, '/reports', {}, headers)
  t.equal(second.id, first.id)
  t.same([first.webhook, second.webhook], [true, true])
  await app.jobs.waitFor(deliveryId(first.id, 0))
  t.equal(receiver.received.length, 1)
  const [counts] = await app.jobs.counts('webhooks')
  t.equal(counts?.states.completed, 1)
  t.equal(counts?.states.scheduled, 0, 'the delivery that was made in vain is gone')
})

t.test('the answer to a repeated submission says what the job has, not what the request asks for', async (t) => {
  const { app, receiver } = await setUp(t, { allow: () => true })
  const gate = { open: () => {} }
  const opened = new Promise<void>((resolve) => { gate.open = resolve })
  t.teardown(() => { gate.open() })
  app.asyncEndpoint({ method: 'POST', url: '/chosen', name: 'chosen', webhook: { from: 'header' }, handler: () => opened })
  const hook = { 'webhook-url': receiver.url() }
  const post = async (key: string, headers: Record<string, string>) => await submit(app, '/chosen', {}, { ...headers, 'idempotency-key': key })
  t.same([await post('a', {}), await post('a', { ...hook, listening: 'webhook' })].map(({ webhook, listening }) => [webhook, listening]), [[false, undefined], [false, undefined]])
  t.same([await post('b', hook), await post('b', {})].map(({ webhook }) => webhook), [true, true])
})

t.test('a job that fails while its submission waits says whether a webhook is called', async (t) => {
  const { app, receiver } = await setUp(t)
  app.asyncEndpoint({ method: 'POST', url: '/fails', name: 'fails', webhook: receiver.url(), retry: { attempts: 1 }, handler: () => { throw new Error('no') } })
  t.match(await submit(app, '/fails', {}, { prefer: 'wait=10' }), { status: 'failed', webhook: true })
})

t.test('submitted from code, signed with a private key', async (t) => {
  const privateKey = `whsk_${Buffer.alloc(32, 9).toString('base64')}`
  const { app, receiver } = await setUp(t, { secret: () => undefined, privateKey })
  app.defineJob({ name: 'report', handler: () => 1 })
  await app.ready()
  await app.jobs.submit('report', {}, { webhook: receiver.url() })
  const { headers } = await receiver.message(1)
  t.match(headers['webhook-signature'], /^v1a,[A-Za-z0-9+/]{86}==$/)
})

t.test('a receiver without a secret and a key is never called', async (t) => {
  const { app, receiver } = await setUp(t, { secret: () => undefined, scheduleMs: [0] })
  app.defineJob({ name: 'report', handler: () => 1 })
  await app.ready()
  const { id } = await app.jobs.submit('report', {}, { webhook: receiver.url() })
  t.equal((await app.jobs.waitFor(deliveryId(id, 0))).state, 'failed')
  t.equal(receiver.received.length, 0)
})

t.test('a function that gives no secret: nothing is sent, signed with an empty key or held for ever', async (t) => {
  const answers: Record<string, () => string | readonly string[] | Promise<string>> = {
    'bad-secret': () => '',
    'bad-secret ': () => [SECRET, undefined as unknown as string],
    'secret-failed': () => { throw new Error(`${SECRET} is locked`) },
    'no-secret-in-time': () => new Promise<string>(() => {})
  }
  for (const [code, secret] of Object.entries(answers)) {
    const { app, receiver } = await setUp(t, { secret, scheduleMs: [0], attemptTimeoutMs: 100 })
    app.defineJob({ name: 'report', handler: () => 1 })
    await app.ready()
    const { id } = await app.jobs.submit('report', {}, { webhook: receiver.url() })
    const delivery = await app.jobs.waitFor(deliveryId(id, 0))
    t.equal(delivery.state, 'failed')
    t.equal(delivery.error?.message, `The receiver could not be reached (${code.trim()})`)
    t.equal(receiver.received.length, 0)
  }
})

t.test('few at a time to one origin, and the others wait without spending attempts', async (t) => {
  const { app, receiver } = await setUp(t, { maxPerOrigin: 2 })
  let release = (): void => {}
  receiver.hold = new Promise<void>((resolve) => { release = resolve })
  app.defineJob({ name: 'report', handler: () => 1 })
  await app.ready()
  const ids: string[] = []
  for (let index = 0; index < 6; index++) ids.push((await app.jobs.submit('report', {}, { webhook: receiver.url() })).id)
  await receiver.message(2)
  for (const id of ids) await app.jobs.waitFor(id)
  release()
  await receiver.message(6, 20_000)
  t.equal(receiver.mostOpen, 2)
  for (const id of ids) t.equal((await app.jobs.waitFor(deliveryId(id, 0))).attempts, 1)
})

t.test('a delivery can be cancelled', async (t) => {
  const { app, receiver } = await setUp(t)
  app.defineJob({ name: 'report', handler: () => 1 })
  await app.ready()
  const { id } = await app.jobs.submit('report', {}, { webhook: receiver.url(), delayMs: 3_600_000 })
  const delivery = deliveryId(id, 0)
  await until('the delivery waits', async () => (await app.jobs.get(delivery))?.state === 'scheduled')
  await app.jobs.cancel(delivery)
  t.equal((await app.jobs.waitFor(delivery)).state, 'cancelled')
  await app.jobs.cancel(id)
  t.equal(receiver.received.length, 0)
})

t.test('a job that is gone before its message was made: somebody hears of it', async (t) => {
  const { app, receiver } = await setUp(t)
  app.defineJob({ name: 'late', handler: () => 1 })
  const failed: string[] = []
  app.jobEvents.on('webhook.failed', ({ jobId, errorCode }) => { failed.push(`${errorCode} ${jobId}`) })
  await app.ready()
  const { id } = await app.jobs.submit('late', {}, { delayMs: 3_600_000, webhook: receiver.url() })
  const delivery = deliveryId(id, 0)
  await until('the delivery has seen it', async () => {
    const job = await app.jobs.get(delivery)
    return job?.state === 'scheduled' && job.startedAt !== undefined
  })
  await app.jobs.remove(id)
  await runtimeOf(app).store.steps?.signal(delivery, ENDED_SIGNAL, 'null')
  await until('the delivery has failed', async () => (await app.jobs.get(delivery))?.state === 'failed')
  t.match(await app.jobs.get(delivery), { error: { code: 'FAE_WEBHOOK_FAILED', message: /removed, or its retention was over/ } })
  t.same(failed, [`job-gone ${id}`])
  t.equal(receiver.received.length, 0)
})

t.test('what the client wants to listen with', async (t) => {
  const { app, receiver } = await setUp(t, {}, { listening: { webSocket: false } })
  app.asyncEndpoint({ method: 'POST', url: '/hooked', name: 'hooked', webhook: receiver.url(), handler: () => 1 })
  app.asyncEndpoint({
    method: 'POST', url: '/plain', name: 'plain', handler: () => 1,
    schema: { querystring: { type: 'object', additionalProperties: false, properties: { listening: { type: 'string' } } } }
  })
  const listened = async (url: string, wish: string) => await submit(app, url, {}, { listening: wish })
  const polled = await listened('/plain', 'poll')
  t.same(polled.listening, { channel: 'poll', url: `/jobs/${polled.id}` })
  const streamed = await listened('/plain', 'sse')
  t.same(streamed.listening, { channel: 'sse', url: `/jobs/${streamed.id}` })
  t.same((await listened('/hooked', 'webhook')).listening, { channel: 'webhook' })
  t.same((await submit(app, '/plain?listening=poll')).listening?.channel, 'poll')
  t.equal((await submit(app, '/plain')).listening, undefined)
  t.equal('webhook' in polled, false, 'an endpoint without webhooks says nothing about them')
  t.equal((await submit(app, '/hooked')).webhook, true)
  t.equal((await listened('/hooked', 'poll')).webhook, true)
  for (const [url, wish] of [['/plain', 'webhook'], ['/plain', 'websocket'], ['/plain', 'pigeon'], ['/plain', 'constructor'], ['/hooked', '']] as const) {
    const answer = await app.inject({ method: 'POST', url, payload: {}, headers: { listening: wish } })
    t.equal(answer.statusCode, 400, `${url} ${wish}`)
    t.equal(answer.json<{ code: string }>().code, 'FAE_INVALID_REQUEST')
  }
})

t.test('options that do not fit are named in one message', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  const failing = async () => await app.register(asyncEndpoints, {
    webhooks: {
      secret: 'short', privateKey: 'none', allow: ['https://a.example/path', 'nothing'],
      outbound: { deny: ['300.0.0.0/8'] }
    }
  })
  await t.rejects(failing, {
    code: 'FAE_INVALID_OPTIONS',
    message: /outbound\.deny.*secret must be "whsec_".*privateKey must be "whsk_".*allow\.0.*allow\.1/
  })
  const bare = Fastify()
  t.teardown(() => bare.close())
  await t.rejects(async () => await bare.register(asyncEndpoints, { webhooks: {} }), { message: /secret and privateKey are missing/ })
})

t.test('an origin that clients may choose must be one that may be called', async (t) => {
  const register = async (allow: string[], outbound = {}): Promise<void> => {
    const app = Fastify()
    t.teardown(() => app.close())
    await app.register(asyncEndpoints, { webhooks: { secret: SECRET, allow, outbound } })
  }
  for (const [origin, more] of [
    ['http://hooks.example.com', 'it is not an https URL; set outbound.allowHttp'],
    ['https://hooks.example.com:444', 'its port is not allowed; add the port to outbound.ports'],
    ['https://10.0.0.1', 'its host is an IP address; set outbound.allowPrivate'],
    ['https://hooks.internal', 'its host is not a public host name; set outbound.allowPrivate']
  ] as const) {
    await t.rejects(register(['https://hooks.example.com', origin]), {
      code: 'FAE_INVALID_OPTIONS', message: `Invalid options for asyncEndpoints: webhooks.allow.1 has no effect: ${more}`
    })
  }
  await register(['http://127.0.0.1:4000'], LOCAL)
  await register(['http://127.0.0.1:4000'], { allowHttp: true, allowPrivate: ['127.0.0.0/8'], ports: [4000] })
})

t.test('a webhook without the option webhooks is refused', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(asyncEndpoints)
  const strict = Fastify()
  t.teardown(() => strict.close())
  await strict.register(asyncEndpoints, { webhooks: { secret: SECRET } })
  t.throws(() => strict.asyncEndpoint({ method: 'POST', url: '/a', name: 'a', webhook: 'https://10.0.0.1/', handler: () => 1 }), {
    message: /webhook: its host is an IP address; webhooks\.outbound/
  })
  t.throws(() => strict.asyncEndpoint({ method: 'POST', url: '/a', name: 'a', webhook: { from: 'cookie' } as never, handler: () => 1 }), {
    code: 'FAE_INVALID_OPTIONS'
  })
  t.throws(() => strict.saga({ name: 'no-url', webhook: { from: 'header' }, steps: (s) => s.step('one', () => 1) }), {
    message: /webhook has no effect without a url/
  })
  t.throws(() => app.asyncEndpoint({ method: 'POST', url: '/a', name: 'a', webhook: { from: 'header' }, handler: () => 1 }), {
    message: /webhook has no effect without the option webhooks.*give it at least webhooks: \{ secret \}/
  })
  app.defineJob({ name: 'report', handler: () => 1 })
  await t.rejects(app.jobs.submit('report', {}, { webhook: 'https://x.example/' }), { code: 'FAE_INVALID_SUBMISSION' })
})
