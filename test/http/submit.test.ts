import type { LightMyRequestResponse } from 'fastify'
import t from 'tap'
import { traceSubmissions, type TracedSubmission } from '../../lib/http/trace-submissions.ts'
import { FakeClock } from '../../lib/testing/fake-clock.ts'
import { echo, testApp } from './support.ts'

const BODY = { type: 'object', required: ['year'], properties: { year: { type: 'integer' } } }

t.test('a submission is answered 202 with everything a client needs to go on', async (t) => {
  const { app, store } = await testApp()
  app.asyncEndpoint({ url: '/reports', name: 'report', schema: { body: BODY }, handler: echo })
  const response = await app.inject({ method: 'POST', url: '/reports', payload: { year: 2026 } })
  t.equal(response.statusCode, 202)
  const job = store.created[0]
  t.ok(job)
  const self = `/jobs/${job?.id}`
  t.strictSame(response.json(), {
    id: job?.id,
    name: 'report',
    status: 'queued',
    createdAt: new Date(job?.createdAt ?? 0).toISOString(),
    links: { self, result: `${self}/result`, cancel: `${self}/cancel`, events: `/jobs/events?id=${job?.id}` }
  })
  t.equal(response.headers.location, self)
  t.equal(response.headers['retry-after'], '1')
  t.equal(response.headers['x-async-job-id'], job?.id)
  t.equal(response.headers['x-correlation-id'], job?.correlationId)
  t.match(response.headers['x-processing-time'], /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
  t.equal(response.headers.vary, 'Prefer')
  t.equal(response.headers['content-type'], 'application/json; charset=utf-8')
  t.equal(response.headers['idempotency-replayed'], undefined)
  const status = await app.inject(self)
  t.equal(status.statusCode, 200, 'a GET straight after the 202 finds the job')
})

t.test('what the request brought is kept, as far as the allow-lists go', async (t) => {
  const { app, store } = await testApp({ http: { headers: ['X-Region'] } })
  app.asyncEndpoint({
    method: 'PUT',
    url: '/reports/:kind',
    name: 'report',
    headers: ['X-Tenant'],
    schema: { body: BODY, params: { type: 'object', properties: { kind: { type: 'string' } } }, querystring: { type: 'object', properties: { limit: { type: 'integer' } } } },
    handler: echo
  })
  const response = await app.inject({
    method: 'PUT',
    url: '/reports/sales?limit=3',
    payload: { year: '2026' },
    headers: { authorization: 'Bearer secret', cookie: 'sid=1', 'x-api-key': 'k', 'x-tenant': 't1', 'x-region': 'eu', 'accept-language': 'de', 'x-correlation-id': 'corr-1.a_b' }
  })
  t.equal(response.statusCode, 202)
  t.equal(response.headers['x-correlation-id'], 'corr-1.a_b')
  const job = store.created[0]
  t.equal(job?.correlationId, 'corr-1.a_b')
  t.same(job?.input.body, { year: 2026 }, 'as validated and coerced')
  t.same({ ...job?.input.params }, { kind: 'sales' })
  t.same({ ...job?.input.query }, { limit: 3 })
  t.same(job?.input.headers, { 'accept-language': 'de', 'user-agent': 'lightMyRequest', 'x-tenant': 't1', 'x-region': 'eu' })
  t.notMatch(JSON.stringify(job), /secret|sid=1/)
})

t.test('a correlation id that could harm is replaced', async (t) => {
  const { app, store } = await testApp()
  app.asyncEndpoint({ url: '/a', name: 'a', handler: echo })
  for (const bad of ['a b', 'a"b', '<script>', 'x'.repeat(129), 'ü', '']) {
    const response = await app.inject({ method: 'POST', url: '/a', headers: { 'x-correlation-id': bad } })
    t.match(response.headers['x-correlation-id'], /^[\w-]{32,36}$/, JSON.stringify(bad).slice(0, 20))
  }
  t.equal(new Set(store.created.map((job) => job.correlationId)).size, store.created.length)
})

t.test('the request\'s logger carries the correlation id', async (t) => {
  const lines: Array<Record<string, unknown>> = []
  const { app } = await testApp({ fastify: { logger: { level: 'debug', stream: { write: (line: string) => { lines.push(JSON.parse(line)) } } } } })
  app.asyncEndpoint({ url: '/a', name: 'a', handler: echo, routeOptions: { preHandler: async (request) => { request.log.info('in the hook') } } })
  await app.inject({ method: 'POST', url: '/a', headers: { 'x-correlation-id': 'c1' }, payload: { secret: 'hunter2' } })
  t.equal(lines.find((line) => line.msg === 'in the hook')?.correlation_id, 'c1')
  t.match(lines.find((line) => line.msg === 'processing job creation'), { correlation_id: 'c1', job_name: 'a', payload_bytes: 20 })
  t.equal(lines.find((line) => line.msg === 'request completed')?.correlation_id, 'c1')
  t.notMatch(JSON.stringify(lines), /hunter2/, 'no payload in a log')
})

t.test('delayMs makes a scheduled job', async (t) => {
  const { app, store } = await testApp()
  app.asyncEndpoint({ url: '/later', name: 'later', delayMs: 90_000, handler: echo })
  const response = await app.inject({ method: 'POST', url: '/later' })
  t.equal(response.json().status, 'scheduled')
  t.equal(response.headers['retry-after'], '60')
  t.equal(store.created[0]?.runAt, (store.created[0]?.createdAt ?? 0) + 90_000)
})

t.test('what tracing attached to the request is handed to the submission', async (t) => {
  const traced: TracedSubmission = { logFields: undefined, open: false, run: (work) => { work() }, finish: () => {} }
  const { app, http } = await testApp({ before: (root) => { traceSubmissions(root, { begin: () => traced }) } })
  let seen: unknown
  http.runtime.submitMiddleware.push(async (scope, next) => { seen = scope.requestTrace; return await next() })
  app.asyncEndpoint({ url: '/a', name: 'a', handler: echo })
  await app.inject({ method: 'POST', url: '/a' })
  t.equal(seen, traced)
})

t.test('submit middleware that calls next() twice: the job is stored once, and the second call is refused', async (t) => {
  const { app, http, store } = await testApp()
  http.runtime.submitMiddleware.push(async (_scope, next) => { await next(); return await next() })
  app.asyncEndpoint({ url: '/a', name: 'a', handler: echo })
  const response = await app.inject({ method: 'POST', url: '/a' })
  t.equal(response.statusCode, 500)
  t.match(response.json(), { code: 'FAE_NEXT_CALLED_TWICE' })
  t.equal(store.created.length, 1)
})

t.test('a repeated request whose job is no longer kept is answered 410, and nothing is run again', async (t) => {
  const { app, store, events } = await testApp()
  app.asyncEndpoint({ url: '/reports', name: 'report', handler: echo })
  const submit = (): Promise<LightMyRequestResponse> => app.inject({ method: 'POST', url: '/reports', payload: { year: 1 }, headers: { 'idempotency-key': 'k1' } })
  const { id } = (await submit()).json()
  store.jobs.delete(id)
  const again = await submit()
  t.equal(again.statusCode, 410)
  t.match(again.json(), { code: 'FAE_JOB_EXPIRED', id })
  t.match(again.headers, { 'content-type': /problem\+json/, 'x-async-job-id': id, 'idempotency-replayed': 'true' })
  t.equal(store.created.length, 1)
  t.equal(events.filter(({ name, event }) => name === 'job.rejected' && event['reason'] === 'job-expired').length, 1, 'once')
})

t.test('an Idempotency-Key gives one job', async (t) => {
  const { app, store, events } = await testApp()
  app.asyncEndpoint({ url: '/reports', name: 'report', schema: { body: BODY }, handler: echo })
  app.asyncEndpoint({ url: '/other', name: 'other', schema: { body: BODY }, handler: echo })
  const submit = (key: string, payload: object, url = '/reports'): Promise<LightMyRequestResponse> => app.inject({ method: 'POST', url, payload, headers: { 'idempotency-key': key } })
  const first = await submit('"k1"', { year: 1 })
  store.change(first.json().id, { state: 'in-progress' })
  const second = await submit('k1', { year: 1 })
  t.equal(second.statusCode, 202)
  t.equal(second.json().id, first.json().id, 'quoted or bare')
  t.equal(second.json().status, 'in-progress')
  t.equal(second.headers['idempotency-replayed'], 'true')
  t.equal(first.headers['idempotency-replayed'], undefined)

  const reused = await submit('k1', { year: 2 })
  t.equal(reused.statusCode, 422)
  t.match(reused.headers['content-type'], 'application/problem+json')
  t.match(reused.json(), { code: 'FAE_IDEMPOTENCY_KEY_REUSED', status: 422 })

  store.complete(first.json().id, { rows: 1 })
  const over = await app.inject({ method: 'POST', url: '/reports', payload: { year: 1 }, headers: { 'idempotency-key': 'k1', prefer: 'wait=20' } })
  t.equal(over.statusCode, 200, 'a repeated request that waits gets the result that is there')
  t.equal(over.headers['idempotency-replayed'], 'true')
  t.strictSame(over.json(), { rows: 1 })
  t.match(await submit('k1', { year: 1 }), { statusCode: 202, headers: { 'retry-after': '0' } })

  const elsewhere = await submit('k1', { year: 2 }, '/other')
  t.equal(elsewhere.statusCode, 202, 'the key of another endpoint is another key')
  t.equal(store.created.length, 2)
  t.equal(events.filter(({ name }) => name === 'job.rejected').length, 1, 'told once')
})

t.test('one client\'s key never reaches another client\'s job', async (t) => {
  const { app, store } = await testApp({ http: { owner: (request) => String(request.headers['x-user']) } })
  app.asyncEndpoint({ url: '/reports', name: 'report', handler: echo })
  const as = (user: string): Promise<LightMyRequestResponse> => app.inject({ method: 'POST', url: '/reports', payload: {}, headers: { 'idempotency-key': 'same', 'x-user': user } })
  const [alice, bob] = [await as('alice'), await as('bob')]
  t.not(alice.json().id, bob.json().id)
  t.same(store.created.map((job) => job.owner), ['alice', 'bob'])
})

t.test('broken, missing and ignored keys', async (t) => {
  const { app, store, events } = await testApp()
  app.asyncEndpoint({ url: '/optional', name: 'optional', handler: echo })
  app.asyncEndpoint({ url: '/required', name: 'required', idempotency: 'required', handler: echo })
  app.asyncEndpoint({ url: '/ignored', name: 'ignored', idempotency: false, handler: echo })
  for (const bad of ['""', '"abc', 'a b', 'a,b', 'x'.repeat(256)]) {
    const response = await app.inject({ method: 'POST', url: '/optional', headers: { 'idempotency-key': bad } })
    t.equal(response.statusCode, 400, bad.slice(0, 10))
    t.equal(response.json().code, 'FAE_INVALID_IDEMPOTENCY_KEY')
  }
  const missing = await app.inject({ method: 'POST', url: '/required' })
  t.equal(missing.statusCode, 400)
  t.equal(missing.json().code, 'FAE_IDEMPOTENCY_KEY_REQUIRED')
  t.equal(store.created.length, 0, 'nothing was stored')
  t.match(events.filter(({ name }) => name === 'job.rejected').at(-1)?.event, { jobName: 'required', queue: 'default', reason: 'idempotency-key-required' })
  for (const key of ['same', '""']) t.equal((await app.inject({ method: 'POST', url: '/ignored', headers: { 'idempotency-key': key } })).statusCode, 202)
})

t.test('maxQueued refuses with 429, and a store that cannot count refuses nobody', async (t) => {
  const { app, store, events } = await testApp()
  app.asyncEndpoint({ url: '/a', name: 'a', maxQueued: 5, handler: echo })
  store.queued = 5
  const full = await app.inject({ method: 'POST', url: '/a' })
  t.equal(full.statusCode, 429)
  t.equal(full.json().code, 'FAE_QUEUE_FULL')
  t.equal(full.headers['retry-after'], '5')
  t.match(events.at(-1), { name: 'job.rejected', event: { jobName: 'a', reason: 'queue-full' } })
})

t.test('an unknown depth leaves the decision to the store', async (t) => {
  for (const fault of ['reject', 'hang'] as const) {
    const { app, store } = await testApp()
    app.asyncEndpoint({ url: '/a', name: 'a', maxQueued: 5, handler: echo })
    store.faults.set('counts', fault)
    t.equal((await app.inject({ method: 'POST', url: '/a' })).statusCode, 202, fault)
  }
})

t.test('a burst does not get past maxQueued: places are taken before the store has confirmed', async (t) => {
  const clock = new FakeClock()
  const { app, store } = await testApp({ clock })
  app.asyncEndpoint({ url: '/a', name: 'a', maxQueued: 5, handler: echo })
  const post = async (): Promise<number> => (await app.inject({ method: 'POST', url: '/a' })).statusCode
  const codes = await Promise.all(Array.from({ length: 40 }, post))
  t.equal(codes.filter((code) => code === 202).length, 5)
  t.equal(codes.filter((code) => code === 429).length, 35)
  t.equal(store.created.length, 5)
  t.equal(store.count('counts'), 1)
})

t.test('a place is given back when the submission fails or is a replay', async (t) => {
  const clock = new FakeClock()
  const { app, store } = await testApp({ clock })
  app.asyncEndpoint({ url: '/a', name: 'a', maxQueued: 2, handler: echo })
  const post = async (key?: string, payload: object = {}): Promise<number> =>
    (await app.inject({ method: 'POST', url: '/a', payload, headers: key === undefined ? {} : { 'idempotency-key': key } })).statusCode
  store.faults.set('create', 'reject')
  for (let i = 0; i < 3; i++) t.equal(await post(), 503)
  store.faults.clear()
  t.equal(await post('k'), 202)
  for (let i = 0; i < 3; i++) t.equal(await post('k'), 202)
  for (let i = 0; i < 3; i++) t.equal(await post('k', { other: true }), 422)
  t.equal(await post(), 202)
  t.equal(await post(), 429)
  t.equal(store.created.length, 2)
})

t.test('a key that is refused because the queue is full is not used up', async (t) => {
  const clock = new FakeClock()
  const { app, store } = await testApp({ clock })
  app.asyncEndpoint({ url: '/a', name: 'a', maxQueued: 1, handler: echo })
  const post = (): Promise<LightMyRequestResponse> => app.inject({ method: 'POST', url: '/a', headers: { 'idempotency-key': 'k' } })
  const first = await post()
  t.equal(first.statusCode, 202)
  t.equal((await post()).statusCode, 429)
  await clock.advance(5_000)
  const again = await post()
  t.equal(again.statusCode, 202)
  t.equal(again.headers['idempotency-replayed'], 'true')
  t.equal(again.json().id, first.json().id)
  t.equal(store.created.length, 1)
})

t.test('waiting for the count is part of submitTimeoutMs', async (t) => {
  for (const [submitTimeoutMs, admissionMs] of [[600, 250], [100, 50]] as const) {
    const clock = new FakeClock()
    const { app, store } = await testApp({ clock, submitTimeoutMs })
    app.asyncEndpoint({ url: '/a', name: 'a', maxQueued: 5, handler: echo })
    store.faults.set('counts', 'hang').set('create', 'hang')
    const answered = app.inject({ method: 'POST', url: '/a' }).then((response) => response)
    await store.called('counts', 1)
    await clock.advance(admissionMs)
    await store.called('create', 1)
    await clock.advance(submitTimeoutMs - admissionMs)
    t.equal(clock.pending, 0, 'the time is up')
    t.equal((await answered).statusCode, 503)
  }
})

t.test('a time beyond all dates is refused, and one that a store has is told as the last there is', async (t) => {
  const { app, store } = await testApp()
  app.asyncEndpoint({ url: '/a', name: 'a', handler: echo })
  await t.rejects(app.jobs.submit('a', {}, { delayMs: 8.64e15 }), { code: 'FAE_INVALID_SUBMISSION', message: /delayMs is beyond/ })
  await t.rejects(app.jobs.submit('a', {}, { runAt: 8.64e15 + 1 }), { code: 'FAE_INVALID_SUBMISSION', message: /runAt is beyond/ })
  const { id } = await app.jobs.submit('a', {}, { runAt: 8.64e15 })
  t.equal((await app.inject(`/jobs/${id}`)).json().scheduledFor, '+275760-09-13T00:00:00.000Z')
  store.change(id, { runAt: 1e17 })
  const response = await app.inject(`/jobs/${id}`)
  t.equal(response.statusCode, 200)
  t.equal(response.json().scheduledFor, '+275760-09-13T00:00:00.000Z')
})

t.test('a store that is away is a 503, soon and without its secrets', async (t) => {
  const clock = new FakeClock()
  const { app, store, events } = await testApp({ clock, submitTimeoutMs: 500 })
  app.asyncEndpoint({ url: '/a', name: 'a', handler: echo })
  store.faults.set('create', 'reject')
  const refused = await app.inject({ method: 'POST', url: '/a' })
  t.equal(refused.statusCode, 503)
  t.match(refused.json(), { code: 'FAE_STORE_UNAVAILABLE', type: 'urn:fastify-async-endpoints:problem:store-unavailable' })
  t.ok(Number(refused.headers['retry-after']) > 0)
  t.notMatch(refused.body, /hunter2|10\.1\.2\.3/)

  store.faults.set('create', 'hang')
  const pending = app.inject({ method: 'POST', url: '/a' })
  const answered = pending.then((response) => response)
  await store.called('create', 2)
  await clock.advance(500)
  t.equal((await answered).statusCode, 503)
  t.match((await answered).json().detail, /may or may not have been stored.*Idempotency-Key header/, 'a request has a header')
  const keyed = app.inject({ method: 'POST', url: '/a', headers: { 'idempotency-key': 'k1' } }).then((response) => response)
  await store.called('create', 3)
  await clock.advance(500)
  t.match((await keyed).json().detail, /with the same Idempotency-Key$/)
  t.same(events.map(({ name }) => name), ['job.submit_failed', 'job.submit_failed', 'job.submit_failed'], 'told by the client of the store alone')
})

t.test('Vary is added to, not replaced', async (t) => {
  const { app } = await testApp({ before: (root) => { root.addHook('onRequest', async (_request, reply) => { reply.header('vary', 'Origin') }) } })
  app.asyncEndpoint({ url: '/a', name: 'a', handler: echo })
  app.asyncEndpoint({ url: '/b', name: 'b', maxWaitMs: 0, handler: echo })
  const a = await app.inject({ method: 'POST', url: '/a' })
  t.equal(a.headers.vary, 'Origin, Prefer')
  t.equal((await app.inject({ method: 'POST', url: '/b' })).headers.vary, 'Origin', 'without waiting, Prefer changes nothing')
  t.equal((await app.inject(a.headers.location ?? '')).headers.vary, 'Origin, Prefer, Accept')
})

t.test('owner functions: async, throwing, wrong', async (t) => {
  const { app, store } = await testApp()
  const endpoint = (name: string, owner: () => unknown): void => { app.asyncEndpoint({ url: `/${name}`, name, owner: owner as () => string, handler: echo }) }
  endpoint('later', async () => await Promise.resolve('bob'))
  endpoint('nobody', () => null)
  endpoint('refuses', () => { throw Object.assign(new Error('log in first'), { statusCode: 401, headers: { 'www-authenticate': 'Bearer' } }) })
  endpoint('breaks', async () => { throw new Error('database password hunter2') })
  endpoint('wrong', () => ({ id: 1 }))
  const post = (name: string): Promise<LightMyRequestResponse> => app.inject({ method: 'POST', url: `/${name}` })
  t.equal((await post('later')).statusCode, 202)
  t.equal((await post('nobody')).statusCode, 202)
  t.same(store.created.map((job) => job.owner), ['bob', undefined])
  const refused = await post('refuses')
  t.equal(refused.statusCode, 401)
  t.equal(refused.headers['www-authenticate'], 'Bearer')
  t.match(refused.json(), { type: 'about:blank', title: 'Unauthorized', detail: 'log in first' })
  for (const name of ['breaks', 'wrong']) {
    const broken = await post(name)
    t.equal(broken.statusCode, 500)
    t.notMatch(broken.body, /hunter2|typeof|owner/)
  }
  t.equal(store.created.length, 2)
})

t.test('the public URL is part of every link', async (t) => {
  const { app } = await testApp({
    http: { publicUrl: 'https://api.example.com/base/', path: '/tasks' },
    prefix: '/v1',
    setup: (app) => { app.asyncEndpoint({ url: '/a', name: 'a', handler: echo }) }
  })
  const response = await app.inject({ method: 'POST', url: '/v1/a' })
  const self = `https://api.example.com/base/v1/tasks/${response.json().id}`
  t.equal(response.headers.location, self)
  t.equal(response.json().links.self, self)
  t.equal((await app.inject(`/v1/tasks/${response.json().id}`)).statusCode, 200)
})
