import type { InjectOptions, LightMyRequestResponse } from 'fastify'
import t from 'tap'
import { FakeClock } from '../../lib/testing/fake-clock.ts'
import { echo, testApp, type TestApp, type TestAppOptions } from './support.ts'

/** An application with one job, submitted over HTTP. */
async function withJob (options: TestAppOptions = {}, headers: Record<string, string> = {}): Promise<TestApp & { id: string, self: string, ask: (method: NonNullable<InjectOptions['method']>, path?: string, headers?: Record<string, string>) => Promise<LightMyRequestResponse> }> {
  const test = await testApp(options)
  test.app.asyncEndpoint({ url: '/a', name: 'a', schema: { result: { type: 'object', properties: { rows: { type: 'integer' } } } }, handler: echo })
  const { id } = (await test.app.inject({ method: 'POST', url: '/a', headers })).json()
  const self = `/jobs/${id}`
  return { ...test, id, self, ask: (method, path = '', headers = {}) => test.app.inject({ method, url: self + path, headers }) }
}

t.test('the status document and its headers', async (t) => {
  const { ask, id, store } = await withJob()
  store.change(id, { state: 'in-progress', startedAt: Date.now(), attempts: 1, progress: { done: 1, total: 4, message: 'loading' } })
  const response = await ask('GET')
  t.equal(response.statusCode, 200)
  t.match(response.json(), { id, name: 'a', status: 'in-progress', attempts: { made: 1, max: 3 }, progress: { done: 1, total: 4, message: 'loading' }, cancelRequested: false, startedAt: /Z$/ })
  t.match(response.headers, { 'cache-control': 'private, no-cache', etag: /^W\/"/, 'retry-after': '1', vary: 'Prefer', 'content-type': 'application/json; charset=utf-8' })
  t.ok(response.headers['x-correlation-id'])
  store.complete(id, { rows: 1 })
  const over = await ask('GET')
  t.equal(over.headers['retry-after'], undefined, 'nothing to come back for')
  t.not(over.headers.etag, response.headers.etag)
  t.match(over.json(), { status: 'completed', finishedAt: /Z$/ })
  t.notOk('result' in over.json())
})

t.test('If-None-Match: 304 with the headers of a 200', async (t) => {
  const { ask, id, store } = await withJob()
  const first = await ask('GET')
  const etag = first.headers.etag ?? ''
  for (const header of [etag, etag.slice(2), `"other", ${etag}`, '*']) {
    const again = await ask('GET', '', { 'if-none-match': header })
    t.equal(again.statusCode, 304, header)
    t.equal(again.body, '')
    t.equal(again.headers['content-type'], undefined)
    for (const name of ['etag', 'cache-control', 'vary', 'retry-after']) t.equal(again.headers[name], first.headers[name], name)
  }
  store.change(id, { progress: { done: 1 } })
  t.equal((await ask('GET', '', { 'if-none-match': etag })).statusCode, 200)
})

t.test('HEAD is a GET without a body', async (t) => {
  const { ask, id, store } = await withJob()
  const get = await ask('GET')
  const head = await ask('HEAD')
  t.equal(head.statusCode, 200)
  t.equal(head.body, '')
  t.equal(head.headers.etag, get.headers.etag)
  t.equal(head.headers['content-length'], String(Buffer.byteLength(get.body)))
  const unchanged = await ask('HEAD', '', { 'if-none-match': get.headers.etag ?? '' })
  t.equal(unchanged.statusCode, 304)
  t.equal(unchanged.headers['content-length'], undefined)
  t.equal((await ask('HEAD', '/result')).statusCode, 409)
  store.complete(id, { rows: 1 })
  t.equal((await ask('HEAD', '/result')).statusCode, 200)
})

t.test('long poll: returns when the document differs from the one the client has', async (t) => {
  const { ask, id, store, http } = await withJob()
  const { etag = '' } = (await ask('GET')).headers
  const gets = store.count('getMany')
  const polled = ask('GET', '', { 'if-none-match': etag, prefer: 'wait=20' }).then((answer) => answer)
  await store.called('getMany', gets + 1)
  t.equal(http.waiting.size, 1)
  store.change(id, { state: 'in-progress', progress: { done: 1 } })
  const answer = await polled
  t.equal(answer.statusCode, 200)
  t.equal(answer.json().progress.done, 1)
  t.equal(answer.headers['preference-applied'], 'wait=20')
  const stale = await ask('GET', '', { 'if-none-match': etag, prefer: 'wait=20' })
  t.equal(stale.statusCode, 200, 'a document that has changed already is not waited for')
})

t.test('long poll: without a document to compare, it waits for the end', async (t) => {
  const { ask, id, store } = await withJob()
  const polled = ask('GET', '', { prefer: 'wait=20' }).then((answer) => answer)
  await store.called('getMany', 1)
  store.change(id, { state: 'in-progress', progress: { done: 1 } })
  store.complete(id, { rows: 1 })
  t.equal((await polled).json().status, 'completed')
  t.equal((await ask('GET', '', { prefer: 'wait=20' })).json().status, 'completed', 'a job that is over is not waited for')
})

t.test('long poll: time up is a 304, a removed job a 404', async (t) => {
  const clock = new FakeClock()
  const { ask, id, store, http } = await withJob({ clock, http: { maxWaitMs: 3_000 } })
  const { etag = '' } = (await ask('GET')).headers
  const poll = async (): Promise<{ answer: Promise<LightMyRequestResponse> }> => {
    const gets = store.count('getMany')
    const answer = ask('GET', '', { 'if-none-match': etag, prefer: 'wait=99999' }).then((response) => response)
    await store.called('getMany', gets + 1)
    return { answer }
  }
  const unchanged = await poll()
  await clock.advance(3_000)
  const notModified = await unchanged.answer
  t.equal(notModified.statusCode, 304)
  t.equal(notModified.headers['preference-applied'], 'wait=3')
  t.equal(http.waiting.size, 0)
  // Reads follow one another at a pace.
  await clock.advance(50)
  const removed = await poll()
  store.jobs.delete(id)
  await clock.advance(3_000)
  t.equal((await removed.answer).statusCode, 404)
})

t.test('long poll: beyond the cap of waiters it is an ordinary poll', async (t) => {
  const { ask } = await withJob({ http: { maxWaiters: 0 } })
  const answer = await ask('GET', '', { prefer: 'wait=20' })
  t.equal(answer.statusCode, 200)
  t.equal(answer.headers['preference-applied'], undefined, 'and does not claim to have waited')
})

t.test('Prefer that makes no sense does not wait', async (t) => {
  const { ask } = await withJob()
  for (const prefer of ['wait=-1', 'wait=abc', 'respond-async']) t.equal((await ask('GET', '', { prefer })).statusCode, 200, prefer)
})

t.test('the result is written by schema.result, and what is not in there stays inside', async (t) => {
  const { app, ask, id, store } = await withJob()
  await app.ready()
  store.complete(id, { rows: 3, passwordHash: 'secret' })
  const response = await ask('GET', '/result')
  t.equal(response.statusCode, 200)
  t.strictSame(response.json(), { rows: 3 })
  t.equal(response.headers['cache-control'], 'private, no-store')
  t.equal(response.headers['content-type'], 'application/json; charset=utf-8')
})

t.test('a result without a schema is the JSON that was stored', async (t) => {
  const { app, store } = await testApp()
  app.asyncEndpoint({ url: '/b', name: 'b', handler: echo })
  for (const result of [{ a: [1, 'x', null] }, 'text', 0, false, null]) {
    const { id } = (await app.inject({ method: 'POST', url: '/b' })).json()
    store.complete(id, result)
    const response = await app.inject(`/jobs/${id}/result`)
    t.equal(response.statusCode, 200)
    t.equal(response.body, JSON.stringify(result))
    t.equal(response.headers['content-type'], 'application/json; charset=utf-8')
  }
  const { id } = (await app.inject({ method: 'POST', url: '/b' })).json()
  store.complete(id)
  const empty = await app.inject(`/jobs/${id}/result`)
  t.equal(empty.statusCode, 204)
  t.equal(empty.body, '')
})

t.test('no result: the problem names the state', async (t) => {
  const { ask, id, store } = await withJob()
  const problem = async (status: number, code: string, state: string): Promise<Record<string, unknown>> => {
    const response = await ask('GET', '/result')
    t.equal(response.statusCode, status, state)
    t.equal(response.headers['content-type'], 'application/problem+json')
    t.match(response.json(), { code, jobStatus: state, status })
    t.equal(response.headers['retry-after'], code === 'FAE_JOB_NOT_FINISHED' ? '1' : undefined)
    return response.json()
  }
  for (const state of ['queued', 'in-progress', 'scheduled'] as const) {
    store.change(id, { state })
    t.match(await problem(409, 'FAE_JOB_NOT_FINISHED', state), { detail: new RegExp(state) })
  }
  store.change(id, { state: 'failed', error: { code: 'E_NO', message: 'it broke', expose: true } })
  t.match(await problem(409, 'FAE_JOB_FAILED', 'failed'), { detail: 'it broke', error: { code: 'E_NO', message: 'it broke' } })
  store.change(id, { state: 'cancelled' })
  await problem(409, 'FAE_JOB_CANCELLED', 'cancelled')
  store.complete(id, { rows: 1 })
  store.results.delete(id)
  await problem(410, 'FAE_RESULT_EXPIRED', 'completed')
})

t.test('a stored result that does not fit its schema is a 500 without its content', async (t) => {
  const { app, store } = await testApp()
  app.asyncEndpoint({ url: '/b', name: 'b', schema: { result: { type: 'object', required: ['rows'], properties: { rows: { type: 'integer' } } } }, handler: echo })
  const { id } = (await app.inject({ method: 'POST', url: '/b' })).json()
  store.complete(id, { secret: 'hunter2' })
  const response = await app.inject(`/jobs/${id}/result`)
  t.equal(response.statusCode, 500)
  t.equal(response.headers['content-type'], 'application/problem+json')
  t.notMatch(response.body, /hunter2/)
})

t.test('cancel: waiting, running, again, over', async (t) => {
  for (const [method, path] of [['DELETE', ''], ['POST', '/cancel']] as const) {
    const { ask, id, store } = await withJob()
    const waiting = await ask(method, path)
    t.equal(waiting.statusCode, 200)
    t.equal(waiting.json().status, 'cancelled')
    t.equal((await ask(method, path)).statusCode, 200, 'already cancelled')

    store.change(id, { state: 'in-progress' })
    const running = await ask(method, path)
    t.equal(running.statusCode, 202)
    t.match(running.json(), { status: 'in-progress', cancelRequested: true })
    t.equal(running.headers.location, `/jobs/${id}`)
    t.equal(running.headers['retry-after'], '1')

    for (const state of ['completed', 'failed'] as const) {
      store.change(id, { state })
      const over = await ask(method, path)
      t.equal(over.statusCode, 409)
      t.match(over.json(), { code: 'FAE_JOB_FINISHED', detail: new RegExp(state) })
    }
  }
})

t.test('redrive: only a failed job', async (t) => {
  const { ask, id, store } = await withJob()
  const early = await ask('POST', '/redrive')
  t.equal(early.statusCode, 409)
  t.match(early.json(), { code: 'FAE_JOB_NOT_FAILED', detail: /queued/ })
  store.change(id, { state: 'failed', attempts: 3, error: { code: 'E', message: 'm' } })
  const again = await ask('POST', '/redrive')
  t.equal(again.statusCode, 202)
  t.match(again.json(), { id, status: 'queued', attempts: { made: 0 } })
  t.equal(again.headers.location, `/jobs/${id}`)
})

t.test('redrives are admitted like submissions: maxQueued, and a limit for each job', async (t) => {
  const { app, store, events } = await testApp({ http: { maxRedrives: 2 } })
  app.asyncEndpoint({ url: '/a', name: 'a', maxQueued: 3, handler: echo })
  app.asyncEndpoint({ url: '/b', name: 'b', queue: 'b', maxRedrives: 0, handler: echo })
  const submit = async (url: string): Promise<string> => (await app.inject({ method: 'POST', url })).json().id
  const retry = async (id: string): Promise<number> => (await app.inject({ method: 'POST', url: `/jobs/${id}/redrive` })).statusCode
  const ids = [await submit('/a'), await submit('/a'), await submit('/a')]
  store.queued = 3
  for (const id of ids) store.change(id, { state: 'failed' })
  const refused = await app.inject({ method: 'POST', url: `/jobs/${String(ids[0])}/redrive` })
  t.equal(refused.statusCode, 429)
  t.match(refused.json(), { code: 'FAE_QUEUE_FULL' })
  t.equal(refused.headers['retry-after'], '5')
  t.equal(store.count('redrive'), 0)
  t.match(events.filter(({ name }) => name === 'job.rejected').map(({ event }) => event), [{ jobName: 'a', queue: 'default', reason: 'queue-full' }], 'it is counted like a submission')
  t.equal((await app.jobs.redrive(ids[0] ?? '')).state, 'queued', 'code is not refused')

  const b = await submit('/b')
  store.change(b, { state: 'failed' })
  const never = await app.inject({ method: 'POST', url: `/jobs/${b}/redrive` })
  t.equal(never.statusCode, 409)
  t.match(never.json(), { code: 'FAE_REDRIVE_LIMIT', jobStatus: 'failed', status: 409 })
  t.same(Object.keys((await app.inject(`/jobs/${b}`)).json().links), ['self'], 'no link leads to a refusal')
  t.same(Object.keys((await app.inject(`/jobs/${String(ids[1])}`)).json().links), ['self', 'redrive'])

  // The endpoint of this one is defined in another process.
  const foreign = ids[1] ?? ''
  store.change(foreign, { name: 'elsewhere' })
  for (const expected of [202, 202, 409]) {
    t.equal(await retry(foreign), expected)
    store.change(foreign, { state: 'failed' })
  }
})

t.test('a burst of redrives at one process does not get past maxQueued', async (t) => {
  const clock = new FakeClock()
  const { app, store } = await testApp({ clock })
  app.asyncEndpoint({ url: '/a', name: 'a', maxQueued: 5, handler: echo })
  const ids: string[] = []
  for (let index = 0; index < 20; index++) {
    const { id } = await app.jobs.submit('a')
    store.change(id, { state: 'failed' })
    ids.push(id)
  }
  // The count is read anew: what was submitted has left the queue.
  await clock.advance(300)
  const codes = await Promise.all(ids.map(async (id) => (await app.inject({ method: 'POST', url: `/jobs/${id}/redrive` })).statusCode))
  t.equal(codes.filter((code) => code === 202).length, 5)
  t.equal(codes.filter((code) => code === 429).length, 15)
  const again = await app.inject({ method: 'POST', url: `/jobs/${String(ids[codes.indexOf(202)])}/redrive` })
  t.equal(again.statusCode, 409, 'what has not failed is told so, full or not')
})

t.test('somebody else\'s job is a job that is not there', async (t) => {
  const { app, ask, id, store, self } = await withJob({ http: { owner: (request) => request.headers['x-user']?.toString() } }, { 'x-user': 'alice' })
  store.change(id, { state: 'failed' })
  const routes = [['GET', ''], ['GET', '/result'], ['DELETE', ''], ['POST', '/cancel'], ['POST', '/redrive']] as const
  for (const [method, path] of routes) {
    for (const headers of [{ 'x-user': 'bob' }, {}] as Array<Record<string, string>>) {
      const response = await ask(method, path, headers)
      t.equal(response.statusCode, 404, `${method} ${path}`)
      store.jobs.delete(`${id}x`)
      const unknown = await app.inject({ method, url: `${self.slice(0, -1)}_${path}`, headers })
      t.equal(unknown.statusCode, 404)
      t.equal(response.body.replaceAll(id, 'ID'), unknown.body.replaceAll(`${id.slice(0, -1)}_`, 'ID'), 'the same words as for an unknown one')
    }
  }
  t.equal(store.count('cancel') + store.count('redrive') + store.count('result'), 0)
  t.equal(store.jobs.get(id)?.state, 'failed')
  t.equal((await ask('GET', '', { 'x-user': 'alice' })).statusCode, 200)
  t.equal((await ask('POST', '/redrive', { 'x-user': 'alice' })).statusCode, 202)
  t.equal((await ask('DELETE', '', { 'x-user': 'alice' })).statusCode, 200)
})

t.test('an endpoint\'s own owner function rules over its jobs', async (t) => {
  const { app } = await testApp({ http: { owner: () => 'everybody' } })
  app.asyncEndpoint({ url: '/a', name: 'a', owner: async (request) => request.headers['x-team']?.toString(), handler: echo })
  app.asyncEndpoint({ url: '/b', name: 'b', handler: echo })
  const a = (await app.inject({ method: 'POST', url: '/a', headers: { 'x-team': 'red' } })).json()
  const b = (await app.inject({ method: 'POST', url: '/b' })).json()
  t.equal((await app.inject(a.links.self)).statusCode, 404)
  t.equal((await app.inject({ url: a.links.self, headers: { 'x-team': 'red' } })).statusCode, 200)
  t.equal((await app.inject(b.links.self)).statusCode, 200)
})

t.test('an owner function that throws refuses a read as well', async (t) => {
  const { ask, id } = await withJob({ http: { owner: (request) => { if (request.method !== 'POST') throw Object.assign(new Error('who are you'), { statusCode: 401 }); return 'alice' } } })
  t.ok(id)
  const response = await ask('GET')
  t.equal(response.statusCode, 401)
  t.equal(response.json().detail, 'who are you')
})

t.test('a store that is away is a 503 on every route', async (t) => {
  const { ask, store } = await withJob()
  store.faults.set('get', 'reject')
  for (const [method, path] of [['GET', ''], ['GET', '/result'], ['DELETE', ''], ['POST', '/redrive']] as const) {
    const response = await ask(method, path)
    t.equal(response.statusCode, 503)
    t.match(response.json(), { code: 'FAE_STORE_UNAVAILABLE' })
    t.ok(response.headers['retry-after'])
    t.notMatch(response.body, /hunter2/)
  }
})

t.test('POST /jobs/:id/retry is another name of /redrive', async (t) => {
  const { app, store } = await testApp()
  app.asyncEndpoint({ url: '/a', name: 'a', handler: echo })
  const id = String((await app.inject({ method: 'POST', url: '/a' })).headers['x-async-job-id'])
  t.match((await app.inject({ method: 'POST', url: `/jobs/${id}/retry` })).json(), { code: 'FAE_JOB_NOT_FAILED' })
  store.change(id, { state: 'failed', finishedAt: Date.now() })
  const shown = (await app.inject(`/jobs/${id}`)).json()
  t.equal(shown.links.redrive, `/jobs/${id}/redrive`)
  t.equal(shown.links.retry, undefined, 'one link for one thing')
  t.match(await app.inject({ method: 'POST', url: `/jobs/${id}/retry` }).then((response) => [response.statusCode, response.json().status]), [202, 'queued'])
})

t.test('our routes say what they are', async (t) => {
  const seen: Record<string, unknown> = {}
  const { app } = await testApp({ before: (root) => { root.addHook('onRoute', (route) => { seen[`${String(route.method)} ${route.url}`] = (route.config as { asyncEndpoints?: unknown } | undefined)?.asyncEndpoints }) } })
  app.asyncEndpoint({ url: '/a', name: 'a', handler: echo, routeOptions: { config: { mine: 1 } } })
  t.strictSame(seen, {
    'GET /jobs/events': { kind: 'events' },
    'HEAD /jobs/events': { kind: 'events' },
    'GET /jobs/:id': { kind: 'status' },
    'HEAD /jobs/:id': { kind: 'status' },
    'GET /jobs/:id/result': { kind: 'result' },
    'HEAD /jobs/:id/result': { kind: 'result' },
    'DELETE /jobs/:id': { kind: 'cancel' },
    'POST /jobs/:id/cancel': { kind: 'cancel' },
    'POST /jobs/:id/redrive': { kind: 'redrive' },
    'POST /jobs/:id/retry': { kind: 'redrive' },
    'POST /jobs/:id/signals/:name': { kind: 'signal' },
    'GET,HEAD,TRACE,DELETE,PATCH,PUT,POST,QUERY /jobs/*': { kind: 'refusal' },
    'POST /a': { kind: 'submit', name: 'a' }
  })
})
