import type { InjectOptions, LightMyRequestResponse } from 'fastify'
import t, { type Test } from 'tap'
import { AsyncEndpointsError } from '../../lib/core/errors.ts'
import { echo, testApp, type TestApp } from './support.ts'

const BODY = { type: 'object', required: ['year'], additionalProperties: false, properties: { year: { type: 'integer' }, tags: { type: 'array', items: { type: 'string' } } } }

function isProblem (t: Test, response: LightMyRequestResponse, status: number, code: string | undefined, what: string): Record<string, unknown> {
  t.equal(response.statusCode, status, what)
  t.equal(response.headers['content-type'], 'application/problem+json', what)
  t.equal(response.headers['cache-control'], 'no-store', what)
  t.ok(response.headers['x-correlation-id'], what)
  const problem = response.json()
  t.match(problem, { status, type: String, title: String, instance: String }, what)
  t.equal(problem.code, code, what)
  t.notOk('stack' in problem)
  return problem
}

async function strictApp (): Promise<TestApp> {
  const test = await testApp({ fastify: { ajv: { customOptions: { removeAdditional: false } } } })
  test.app.asyncEndpoint({ url: '/reports', name: 'report', bodyLimit: 1_000, schema: { body: BODY, querystring: { type: 'object', properties: { limit: { type: 'integer' } } } }, handler: echo })
  return test
}

t.test('a body that cannot be read', async (t) => {
  const { app, store, events } = await strictApp()
  const cases: Array<[string, InjectOptions, number, string]> = [
    ['malformed JSON', { payload: '{"year": 20', headers: { 'content-type': 'application/json' } }, 400, 'FAE_INVALID_REQUEST'],
    ['empty JSON', { payload: '', headers: { 'content-type': 'application/json' } }, 400, 'FAE_INVALID_REQUEST'],
    ['poisoned prototype', { payload: '{"year":1,"__proto__":{"admin":true}}', headers: { 'content-type': 'application/json' } }, 400, 'FAE_INVALID_REQUEST'],
    ['poisoned constructor', { payload: '{"year":1,"constructor":{"prototype":{"admin":true}}}', headers: { 'content-type': 'application/json' } }, 400, 'FAE_INVALID_REQUEST'],
    ['huge', { payload: { year: 1, tags: ['x'.repeat(2_000)] } }, 413, 'FAE_PAYLOAD_TOO_LARGE'],
    ['a media type nobody reads', { payload: '<year/>', headers: { 'content-type': 'application/xml' } }, 415, 'FAE_UNSUPPORTED_MEDIA_TYPE'],
    ['no media type at all', { payload: 'year', headers: { 'content-type': 'garbage' } }, 415, 'FAE_UNSUPPORTED_MEDIA_TYPE'],
    ['text where an object belongs', { payload: 'year', headers: { 'content-type': 'text/plain' } }, 400, 'FAE_INVALID_REQUEST'],
    ['nothing', {}, 400, 'FAE_INVALID_REQUEST'],
    ['null', { payload: 'null', headers: { 'content-type': 'application/json' } }, 400, 'FAE_INVALID_REQUEST']
  ]
  for (const [what, options, status, code] of cases) {
    isProblem(t, await app.inject({ ...options, method: 'POST', url: '/reports' }), status, code, what)
  }
  t.equal(store.created.length, 0)
  t.equal(events.length, cases.length)
  t.ok(events.every(({ name }) => name === 'job.rejected'))
  t.notOk('admin' in {}, 'no prototype was changed')
})

t.test('wrong types are pointed at', async (t) => {
  const { app } = await strictApp()
  const post = (payload: object, url = '/reports'): Promise<LightMyRequestResponse> => app.inject({ method: 'POST', url, payload })
  t.same(isProblem(t, await post({ year: 'abc' }), 400, 'FAE_INVALID_REQUEST', 'type').errors, [{ detail: 'must be integer', pointer: '#/year', in: 'body' }])
  t.same(isProblem(t, await post({}), 400, 'FAE_INVALID_REQUEST', 'missing').errors, [{ detail: 'must have required property \'year\'', pointer: '#/year', in: 'body' }])
  t.same(isProblem(t, await post({ year: 1, tags: ['a', { b: 1 }] }), 400, 'FAE_INVALID_REQUEST', 'nested').errors, [{ detail: 'must be string', pointer: '#/tags/1', in: 'body' }])
  t.match(isProblem(t, await post({ year: 1, extra: 1 }), 400, 'FAE_INVALID_REQUEST', 'additional').errors, [{ detail: /additional/, in: 'body' }])
  const problem = isProblem(t, await post({ year: 1 }, '/reports?limit=many&token=hunter2'), 400, 'FAE_INVALID_REQUEST', 'query')
  t.same(problem.errors, [{ detail: 'must be integer', pointer: '#/limit', in: 'querystring' }])
  t.equal(problem.instance, '/reports', 'without the query')
  t.notMatch(JSON.stringify(problem), /hunter2|many/, 'values are not echoed')
})

t.test('Prefer that makes no sense is ignored', async (t) => {
  const { app } = await testApp()
  app.asyncEndpoint({ url: '/a', name: 'a', handler: echo })
  for (const prefer of ['wait=-1', 'wait=abc', 'wait=0', 'wait', '', 'handling=lenient', '\u00ff=1']) {
    const response = await app.inject({ method: 'POST', url: '/a', headers: { prefer } })
    t.equal(response.statusCode, 202, prefer)
    t.equal(response.headers['preference-applied'], undefined)
  }
})

t.test('ids that are no ids', async (t) => {
  const { app, store } = await testApp()
  const odd = ['unknown', '%00', '%2e%2e%2f', '..%2f..%2fetc%2fpasswd', '%F0%9F%92%A3', 'a%0d%0aSet-Cookie:x', '%22%3E%3Cscript%3E', '__proto__', 'constructor', '00000000-0000-4000-8000-000000000000', 'a:b', '*', '%7Bjob%7D']
  for (const id of odd) {
    for (const [method, url] of [['GET', `/jobs/${id}`], ['GET', `/jobs/${id}/result`], ['DELETE', `/jobs/${id}`], ['POST', `/jobs/${id}/cancel`], ['POST', `/jobs/${id}/redrive`], ['HEAD', `/jobs/${id}`]] as const) {
      const response = await app.inject({ method, url })
      t.equal(response.statusCode, 404, `${method} ${url}`)
      if (method === 'HEAD') continue
      const problem = isProblem(t, response, 404, 'FAE_JOB_NOT_FOUND', url)
      t.equal(problem.instance, url)
    }
  }
  // For the router they are no parameters: its limit is below that of ids.
  isProblem(t, await app.inject(`/jobs/${'a'.repeat(5_000)}`), 404, 'FAE_JOB_NOT_FOUND', 'long')
  t.ok(store.count('get') > 0)
  t.equal(store.count('cancel') + store.count('redrive') + store.count('result'), 0, 'nothing is done to a job that was not found')
})

t.test('a router that takes long parameters', async (t) => {
  const { app, store } = await testApp({ fastify: { routerOptions: { maxParamLength: 10_000 } } })
  const problem = isProblem(t, await app.inject(`/jobs/${'a'.repeat(5_000)}`), 404, 'FAE_JOB_NOT_FOUND', 'long')
  t.equal(String(problem.instance).length, 300)
  t.equal(store.count('get'), 0, 'the store is not asked for what cannot be an id')
})

t.test('errors of hooks and of under-pressure on our routes are problems, elsewhere they are the application\'s', async (t) => {
  const failure: { error: unknown } = { error: undefined }
  const { app, events } = await testApp({
    before: (root) => {
      root.setErrorHandler((error, _request, reply) => { reply.code(599).send({ mine: String(error) }) })
      root.addHook('onRequest', async () => { if (failure.error !== undefined) throw failure.error })
      root.get('/other', async () => { throw new Error('other') })
      root.post('/validated', { schema: { body: BODY } }, async () => 'ok')
    }
  })
  app.asyncEndpoint({ url: '/a', name: 'a', schema: { body: BODY }, handler: echo })
  t.equal((await app.inject('/other')).statusCode, 599)
  t.equal((await app.inject({ method: 'POST', url: '/validated', payload: {} })).statusCode, 599)
  isProblem(t, await app.inject({ method: 'POST', url: '/a', payload: {} }), 400, 'FAE_INVALID_REQUEST', 'ours')

  failure.error = Object.assign(new Error('no token'), { statusCode: 401 })
  for (const [method, url] of [['POST', '/a'], ['GET', '/jobs/x']] as const) isProblem(t, await app.inject({ method, url }), 401, undefined, url)
  failure.error = Object.assign(new Error('Service Unavailable'), { statusCode: 503, code: 'FST_UNDER_PRESSURE' })
  const overloaded = await app.inject({ method: 'POST', url: '/a' })
  isProblem(t, overloaded, 503, 'FAE_OVERLOADED', 'pressure')
  t.equal(overloaded.headers['retry-after'], '10')
  t.match(events.at(-1), { name: 'job.rejected', event: { reason: 'overloaded' } })
  failure.error = 'a string'
  isProblem(t, await app.inject('/jobs/x'), 500, undefined, 'a string')
  const before = events.length
  failure.error = new Error('hunter2')
  t.notMatch((await app.inject({ method: 'POST', url: '/a' })).body, /hunter2/)
  t.equal(events.length, before, 'an unexpected error is no refusal')
})

t.test('Retry-After of a hook is kept', async (t) => {
  const { app } = await testApp({ before: (root) => { root.addHook('onRequest', async (_request, reply) => { reply.header('retry-after', '77'); throw new AsyncEndpointsError('FAE_OVERLOADED', 'x') }) } })
  t.equal((await app.inject('/jobs/x')).headers['retry-after'], '77')
})
