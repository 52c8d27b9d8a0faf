/** `POST /jobs/:id/signals/:name`, and `app.jobs.signal`. */
import t from 'tap'
import Fastify, { type FastifyInstance, type LightMyRequestResponse } from 'fastify'
import { asyncEndpoints, type AsyncEndpointsOptions } from '../../plugins/async-endpoints.ts'
import { sagaApp, STORES, type SagaApp } from '../saga/support.ts'

const APPROVAL = { type: 'object', required: ['ok'], additionalProperties: false, properties: { ok: { type: 'boolean' }, by: { type: 'string' }, at: { type: 'object' } } }

function review (app: FastifyInstance): void {
  app.saga({
    name: 'review',
    url: '/reviews',
    maxStepResultBytes: 2_000,
    steps: (s) => s
      .step('draft', { run: () => 1, compensate: () => {} })
      .signal('approval', { schema: APPROVAL, onExhausted: 'fail' })
      .step('publish', ({ results }) => {
        if ((results.approval as { by?: string }).by === 'nobody') throw Object.assign(new Error('not you'), { discard: true })
        return { approval: results.approval as object }
      })
      .signal('second', { parse: (value) => ({ parsed: String(value).length }) })
      .returns(({ results }) => results.publish)
  })
  app.saga({
    name: 'short',
    url: '/short',
    steps: (s) => s.signal('go', {}).step('last', { run: ({ results }) => { if (results.go === 'fail') throw new Error('no'); return results.go as string }, attempts: 1 }).returns(({ results }) => results.last)
  })
  app.defineJob({ name: 'plain', handler: () => 1 })
}

interface World extends SagaApp {
  submit (url?: string): Promise<string>
  send (id: string, name: string, payload: unknown, headers?: Record<string, string>): Promise<LightMyRequestResponse>
}

async function world (t: Parameters<typeof sagaApp>[0], options: AsyncEndpointsOptions = {}): Promise<World> {
  const saga = await sagaApp(t, review, options)
  const { app } = saga
  return {
    ...saga,
    submit: async (url = '/reviews') => (await app.inject({ method: 'POST', url, payload: {}, headers: { 'x-user': 'me' } })).json<{ id: string }>().id,
    send: async (id, name, payload, headers) => await app.inject({
      method: 'POST', url: `/jobs/${id}/signals/${name}`, payload: JSON.stringify(payload), headers: { 'content-type': 'application/json', ...headers }
    })
  }
}

for (const { kind, open } of STORES) {
  t.test(`${kind}: stored, repeated in any order of members, refused when it is another one`, async (t) => {
    const { submit, send, events } = await world(t, { store: await open(t) })
    const id = await submit()
    const first = await send(id, 'approval', { ok: true, by: 'ann', at: { b: 1, a: 2 } }, { 'x-correlation-id': 'corr-1' })
    t.equal(first.statusCode, 202)
    t.match(first.json(), { id, signal: 'approval', status: 'stored', links: { self: `/jobs/${id}` } })
    t.match(first.headers, { location: `/jobs/${id}`, 'retry-after': '1', 'cache-control': 'no-store', 'x-correlation-id': 'corr-1' })
    const again = await send(id, 'approval', { at: { a: 2, b: 1 }, by: 'ann', ok: true })
    t.equal(again.statusCode, 200)
    t.match(again.json(), { status: 'repeated' })
    const other = await send(id, 'approval', { ok: false })
    t.equal(other.statusCode, 409)
    t.match(other.headers['content-type'], /^application\/problem\+json/)
    t.match(other.json(), { code: 'FAE_SIGNAL_CONFLICT', detail: 'Another signal "approval" was sent before; the first one counts' })
    t.match(events.filter(({ name }) => name === 'saga.signalled').map(({ event }) => event), [{ jobId: id, jobName: 'review', signal: 'approval', queue: 'default' }])
  })
}

for (const { kind, open } of STORES) {
  t.test(`${kind}: many at a time: exactly one is stored`, async (t) => {
    const { submit, send, events } = await world(t, { store: await open(t) })
    const id = await submit()
    const answers = await Promise.all(Array.from({ length: 1_000 }, (_, n) => send(id, 'approval', { ok: true, by: `n${n % 2}` })))
    const codes = answers.map(({ statusCode }) => statusCode)
    t.equal(codes.filter((code) => code === 202).length, 1)
    t.equal(codes.filter((code) => code === 200).length, 499)
    t.equal(codes.filter((code) => code === 409).length, 500)
    t.equal(events.filter(({ name }) => name === 'saga.signalled').length, 1)
  })
}

for (const { kind, open } of STORES) {
  t.test(`${kind}: what does not fit is refused, and nothing of it is stored`, async (t) => {
    const { app, submit, send } = await world(t, { store: await open(t) })
    const id = await submit()
    for (const payload of [{}, { ok: 'perhaps' }, [], 'yes', null, 5, { ok: true, by: {} }]) {
      const answer = await send(id, 'approval', payload)
      t.match([answer.statusCode, answer.json().code], [400, 'FAE_INVALID_SUBMISSION'], JSON.stringify(payload))
    }
    const bad = async (headers: Record<string, string>, payload: string): Promise<unknown[]> => {
      const answer = await app.inject({ method: 'POST', url: `/jobs/${id}/signals/approval`, headers, payload })
      t.match(answer.headers['content-type'], /^application\/problem\+json/)
      return [answer.statusCode, answer.json().code]
    }
    t.match(await bad({ 'content-type': 'application/json' }, '{"ok":'), [400, String])
    t.match(await bad({ 'content-type': 'application/json' }, ''), [400, String])
    t.match(await bad({ 'content-type': 'application/xml' }, '<ok/>'), [415, 'FAE_UNSUPPORTED_MEDIA_TYPE'])
    t.match(await bad({ 'content-type': 'application/json' }, JSON.stringify({ ok: true, by: 'x'.repeat(2_000_000) })), [413, 'FAE_PAYLOAD_TOO_LARGE'], 'the limit of Fastify')
    t.match(await bad({ 'content-type': 'application/json' }, JSON.stringify({ ok: true, by: 'é'.repeat(1_000) })), [413, 'FAE_PAYLOAD_TOO_LARGE'], 'the limit of the saga, in bytes')
    t.equal((await send(id, 'approval', { ok: true }, { prefer: 'wait=x' })).statusCode, 202, 'none of them was stored; a preference that is none is ignored')
  })
}

for (const { kind, open } of STORES) {
  t.test(`${kind}: only signals of the definition, for jobs that exist`, async (t) => {
    const { app, submit, send } = await world(t, { store: await open(t) })
    const id = await submit()
    for (const name of ['nothing', 'draft', 'APPROVAL', 'a%20b', '%7B%7D', 'a%3Ab', '%F0%9F%8E%89', '..%2F..%2Fresult', '__proto__', 'constructor', 'x'.repeat(90)]) {
      const answer = await send(id, name, { ok: true })
      t.match([answer.statusCode, answer.json().code], [404, 'FAE_SIGNAL_UNKNOWN'], name)
    }
    t.match((await send(id, 'nothing', {})).json(), { detail: 'The job waits for no such signal: its definition has "approval", "second"' })
    const { id: plain } = await app.jobs.submit('plain' as never)
    t.match((await send(plain, 'approval', {})).json(), { status: 404, code: 'FAE_SIGNAL_UNKNOWN', detail: /"plain" is not a saga in this process; define it with app\.saga\(\)/ })
    t.match((await send(id, 'approval', { ok: {}, by: [1, 2] })).json(), {
      status: 400, code: 'FAE_INVALID_SUBMISSION', errors: [{ detail: 'must be boolean', pointer: '#/ok', in: 'body' }]
    }, 'a problem points to what is wrong')
    t.match((await send(id, 'approval', {})).json(), { errors: [{ pointer: '#/ok' }] }, 'also to what is missing')
    t.match((await send('0190b6f0-0000-7000-8000-000000000000', 'approval', {})).json(), { status: 404, code: 'FAE_JOB_NOT_FOUND' })
    t.match((await send('a%2Fb', 'approval', {})).json(), { status: 404, code: 'FAE_JOB_NOT_FOUND' })
  })
}

for (const { kind, open } of STORES) {
  t.test(`${kind}: another owner's job does not exist`, async (t) => {
    const { app, submit, send } = await world(t, { store: await open(t), http: { owner: (request) => request.headers['x-user'] as string | undefined } })
    const id = await submit()
    t.match((await send(id, 'approval', { ok: true }, { 'x-user': 'other' })).json(), { status: 404, code: 'FAE_JOB_NOT_FOUND' })
    t.match((await send(id, 'nothing', { ok: true }, { 'x-user': 'other' })).json(), { code: 'FAE_JOB_NOT_FOUND' })
    t.equal((await send(id, 'approval', { ok: true }, { 'x-user': 'me' })).statusCode, 202)
    t.match(await app.jobs.signal(id, 'approval', { ok: true }), { state: 'repeated' }, 'from code there is no owner')
  })
}

for (const { kind, open } of STORES) {
  t.test(`${kind}: Prefer: wait answers with the result, or as soon as the time is over`, async (t) => {
    const { submit, send } = await world(t, { store: await open(t) })
    const id = await submit('/short')
    const done = await send(id, 'go', 'now', { prefer: 'wait=10' })
    t.equal(done.statusCode, 200)
    t.same(done.json(), 'now')
    t.match(done.headers, { 'preference-applied': 'wait=10', 'content-location': `/jobs/${id}/result`, 'cache-control': 'private, no-store' })
    const late = await send(id, 'go', 'now')
    t.match([late.statusCode, late.json()], [409, { code: 'FAE_JOB_FINISHED', jobStatus: 'completed' }])

    const failing = await submit('/short')
    const failed = await send(failing, 'go', 'fail', { prefer: 'wait=10' })
    t.equal(failed.statusCode, 202, 'a 200 would have the result as its body')
    t.match(failed.json(), { status: 'failed', steps: [{ name: 'go', state: 'completed' }, { name: 'last', state: 'failed' }] })
    t.match(failed.headers, { 'preference-applied': 'wait=10' })

    const slow = await submit()
    const begun = performance.now()
    const pending = await send(slow, 'approval', { ok: true }, { prefer: 'wait=1' })
    t.ok(performance.now() - begun >= 900)
    t.equal(pending.statusCode, 202)
    t.match(pending.json(), { signal: 'approval', status: 'stored' })
    t.notHas(pending.headers, 'preference-applied')
    const repeated = await send(slow, 'approval', { ok: true }, { prefer: 'wait=1' })
    t.equal(repeated.statusCode, 202, 'also a repeated one: with a wait, a 200 has the result')
    t.equal((await send(slow, 'second', 'abc', { prefer: 'wait=10' })).statusCode, 200)
  })
}

t.test('from code: the same checks and errors, and the value of the sender stays as it is', async (t) => {
  const { app, submit } = await world(t)
  const id = await submit()
  await t.rejects(app.jobs.signal(id, 'approval', { ok: 'no' }), { code: 'FAE_INVALID_SUBMISSION', statusCode: 400 })
  await t.rejects(app.jobs.signal(id, 'approval'), { code: 'FAE_INVALID_SUBMISSION' }, 'nothing is null')
  await t.rejects(app.jobs.signal(id, 'approval', { ok: true, at: new Map() }), { code: 'FAE_INVALID_SUBMISSION', message: /the signal\.at is a Map/ })
  await t.rejects(app.jobs.signal(id, 'approval', 5n), { code: 'FAE_INVALID_SUBMISSION' })
  const circular: Record<string, unknown> = { ok: true }
  circular['at'] = circular
  await t.rejects(app.jobs.signal(id, 'approval', circular), { code: 'FAE_INVALID_SUBMISSION' })
  await t.rejects(app.jobs.signal(id, 'approval', { ok: true, by: 'x'.repeat(3_000) }), { code: 'FAE_PAYLOAD_TOO_LARGE' })
  await t.rejects(app.jobs.signal(id, 'none', {}), { code: 'FAE_SIGNAL_UNKNOWN' })
  await t.rejects(app.jobs.signal('none', 'approval', {}), { code: 'FAE_JOB_NOT_FOUND' })
  const value = Object.freeze({ ok: true, by: 'ann' })
  t.match(await app.jobs.signal(id, 'approval', value), { state: 'stored', job: { id, name: 'review' } })
  t.match(await app.jobs.signal(id, 'second', 'abc'), { state: 'stored' }, 'before anything waits for it')
  const job = await app.jobs.waitFor(id, { timeoutMs: 10_000 })
  t.equal(job.state, 'completed')
  await t.rejects(app.jobs.signal(id, 'second', 'abc'), { code: 'FAE_JOB_FINISHED', details: { jobStatus: 'completed' } })
  await app.close()
  await t.rejects(app.jobs.signal(id, 'second', 'abc'), { code: 'FAE_CLOSED' })
})

t.test('what was sent is in no log line, metric or status; the line of the signal is', async (t) => {
  const lines: string[] = []
  const app = Fastify({ logger: { level: 'trace', stream: { write: (line: string) => { lines.push(line) } } } })
  t.teardown(() => app.close())
  await app.register(asyncEndpoints)
  review(app)
  await app.ready()
  const { id } = (await app.inject({ method: 'POST', url: '/reviews', payload: {} })).json<{ id: string }>()
  const url = `/jobs/${id}/signals/approval`
  for (const payload of [{ ok: true, by: 'hunter2' }, { ok: true, by: 'hunter2' }, { ok: false, by: 'hunter2' }, { ok: 'hunter2' }]) {
    t.notMatch((await app.inject({ method: 'POST', url, payload })).body, 'hunter2')
  }
  const shown = [await app.inject(`/jobs/${id}`), await app.inject('/metrics'), await app.inject('/health')].map(({ body }) => body)
  t.notMatch([...lines, ...shown].join(), 'hunter2')
  t.match(lines.map((line) => JSON.parse(line) as object).filter((line) => 'signal' in line), [{ event: 'saga.signalled', signal: 'approval', job_id: id }])
})

t.test('the route is in the OpenAPI document, once, with its answers', async (t) => {
  const routes: Array<{ url: string, schema: Record<string, unknown>, config: Record<string, unknown> }> = []
  const app = Fastify()
  t.teardown(() => app.close())
  app.addHook('onRoute', ({ url, schema, config }) => { if (url.includes('/signals/')) routes.push({ url, schema: schema as never, config: config as never }) })
  await app.register(asyncEndpoints, { observability: false })
  await app.ready()
  t.match(routes, [{
    url: '/jobs/:id/signals/:name',
    schema: { operationId: 'signalJob', params: { required: ['id', 'name'] }, response: { 200: {}, 202: {}, 204: {}, 400: {}, 404: {}, 409: {}, 413: {}, 415: {}, 503: {} } },
    config: { asyncEndpoints: { kind: 'signal' }, pressureHandler: Function }
  }])
  t.equal(routes.length, 1)
})
