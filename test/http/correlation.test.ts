import swagger from '@fastify/swagger'
import t from 'tap'
import { readHttpOptions } from '../../lib/http/options.ts'
import { echo, testApp } from './support.ts'

type Line = Record<string, unknown>

t.test('every answer of our routes has it, errors and all', async (t) => {
  const { app, store } = await testApp()
  app.asyncEndpoint({ url: '/a', name: 'a', schema: { body: { type: 'object', required: ['n'] } }, handler: echo })
  const headers = { 'x-correlation-id': 'corr-1' }
  const submitted = await app.inject({ method: 'POST', url: '/a', headers, payload: { n: 1 } })
  const id = String(submitted.headers['x-async-job-id'])
  const requests: ReadonlyArray<readonly [what: string, status: number, request: { method: 'GET' | 'POST' | 'DELETE', url: string, payload?: object | string, headers?: Record<string, string> }]> = [
    ['not valid', 400, { method: 'POST', url: '/a', payload: {} }],
    ['not JSON', 400, { method: 'POST', url: '/a', payload: '{', headers: { 'content-type': 'application/json' } }],
    ['status', 200, { method: 'GET', url: `/jobs/${id}` }],
    ['no such job', 404, { method: 'GET', url: '/jobs/x' }],
    ['no result yet', 409, { method: 'GET', url: `/jobs/${id}/result` }],
    ['cancel', 200, { method: 'DELETE', url: `/jobs/${id}` }],
    ['not failed', 409, { method: 'POST', url: `/jobs/${id}/redrive` }]
  ]
  t.equal(submitted.headers['x-correlation-id'], 'corr-1')
  for (const [what, status, request] of requests) {
    const answer = await app.inject({ ...request, headers: { ...headers, ...request.headers } })
    t.equal(answer.statusCode, status, what)
    t.equal(answer.headers['x-correlation-id'], 'corr-1', what)
  }
  store.faults.set('create', 'reject')
  const away = await app.inject({ method: 'POST', url: '/a', headers, payload: { n: 1 } })
  t.equal(away.statusCode, 503)
  t.equal(away.headers['x-correlation-id'], 'corr-1')
})

t.test('a hook of the application that refuses before ours is answered with one, too', async (t) => {
  const { app } = await testApp({ before: (root) => { root.addHook('onRequest', async () => { throw Object.assign(new Error('no'), { statusCode: 401 }) }) } })
  app.asyncEndpoint({ url: '/a', name: 'a', handler: echo })
  const answer = await app.inject({ method: 'POST', url: '/a', headers: { 'x-correlation-id': 'corr-1' } })
  t.equal(answer.statusCode, 401)
  t.equal(answer.headers['x-correlation-id'], 'corr-1')
})

t.test('what a client sends is taken over only when it can do no harm', async (t) => {
  const { app, store } = await testApp()
  app.asyncEndpoint({ url: '/a', name: 'a', handler: echo })
  for (const good of ['a', 'A-b_c.9', 'x'.repeat(128)]) {
    t.equal((await app.inject({ method: 'POST', url: '/a', headers: { 'x-correlation-id': good } })).headers['x-correlation-id'], good)
  }
  for (const bad of ['', 'a b', 'a"b', "a'b", '<script>', 'x'.repeat(129), 'ü', 'a;b', 'a,b', '{}', '\u001b[31m', '%0d%0a', '../a', 'x'.repeat(8_000)]) {
    const answer = await app.inject({ method: 'POST', url: '/a', headers: { 'x-correlation-id': bad } })
    t.match(answer.headers['x-correlation-id'], /^[0-9a-f]{32}$/, JSON.stringify(bad).slice(0, 20))
  }
  const twice = await app.inject({ method: 'POST', url: '/a', headers: { 'x-correlation-id': ['a', 'b'] } })
  t.match(twice.headers['x-correlation-id'], /^[0-9a-f]{32}$/)
  t.same(store.created.slice(0, 3).map(({ correlationId }) => correlationId), ['a', 'A-b_c.9', 'x'.repeat(128)])
})

t.test('a header of another name, in both directions and in the log', async (t) => {
  const lines: Line[] = []
  const { app, store } = await testApp({
    http: { correlationHeader: 'X-Trace-Ref' },
    fastify: { logger: { level: 'debug', stream: { write: (line: string) => { lines.push(JSON.parse(line) as Line) } } } },
    before: async (root) => { await root.register(swagger, { openapi: { openapi: '3.1.0', info: { title: 'test', version: '1' } } }) }
  })
  app.asyncEndpoint({ url: '/a', name: 'a', handler: echo })
  const answer = await app.inject({ method: 'POST', url: '/a', headers: { 'x-trace-ref': 'ref-1', 'x-correlation-id': 'other' } })
  t.equal(answer.headers['x-trace-ref'], 'ref-1')
  t.notOk('x-correlation-id' in answer.headers)
  t.equal(store.created[0]?.correlationId, 'ref-1')
  for (const message of ['processing job creation', 'request completed']) t.equal(lines.find(({ msg }) => msg === message)?.correlation_id, 'ref-1', message)
  const document = JSON.stringify(app.swagger())
  t.match(document, /"X-Trace-Ref"/)
  t.notMatch(document, /x-correlation-id/i)
})

t.test('it is documented, for the request and for every answer', async (t) => {
  const { app } = await testApp({ before: async (root) => { await root.register(swagger, { openapi: { openapi: '3.1.0', info: { title: 'test', version: '1' } } }) } })
  app.asyncEndpoint({ url: '/a', name: 'a', handler: echo })
  await app.ready()
  const paths: unknown = app.swagger().paths
  if (typeof paths !== 'object' || paths === null) throw new Error('no paths')
  for (const [path, methods] of Object.entries(paths as Record<string, Record<string, { description?: string, parameters?: Array<{ name: string }>, responses: Record<string, { headers?: object }> }>>)) {
    for (const [method, operation] of Object.entries(methods)) {
      if (path === '/a') t.match(operation.description, /`X-Correlation-ID`/)
      else t.ok(operation.parameters?.some(({ name }) => name === 'x-correlation-id'), `${method} ${path}`)
      for (const [status, { headers }] of Object.entries(operation.responses)) t.match(headers, { 'X-Correlation-ID': { schema: { type: 'string' }, description: String } }, `${method} ${path} ${status}`)
    }
  }
})

t.test('names that cannot be are refused, with everything else that is wrong', async (t) => {
  t.equal(readHttpOptions({}).correlationHeader, 'X-Correlation-ID')
  for (const [header, problem] of [
    ['a b', /not a header name/], ['', /not a header name/], ['x\r\ny', /not a header name/], ['Authorization', /credentials/], ['cookie', /credentials/], ['Content-Type', /already has another meaning/], ['traceparent', /already has another meaning/]
  ] as const) t.throws(() => readHttpOptions({ correlationHeader: header }), { code: 'FAE_INVALID_OPTIONS', message: problem }, header)
  t.throws(() => readHttpOptions({ correlationHeader: 'host', headers: ['cookie'], maxWaiters: -1 }), { message: /maxWaiters.*cookie.*correlationHeader/ })
})
