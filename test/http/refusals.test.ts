import { request as httpRequest } from 'node:http'
import type { AddressInfo } from 'node:net'
import Fastify, { type FastifyInstance, type FastifyServerOptions, type InjectOptions, type LightMyRequestResponse } from 'fastify'
import t, { type Test } from 'tap'
import { echo, testApp } from './support.ts'

const LONG = 'a'.repeat(500)

/** A problem document, with what every answer of our routes has. */
function isProblem (t: Test, answer: LightMyRequestResponse, status: number, about = ''): void {
  t.equal(answer.statusCode, status, about)
  t.match(answer.headers, {
    'content-type': /^application\/problem\+json/, 'x-content-type-options': 'nosniff', 'x-correlation-id': /^.+$/, 'cache-control': 'no-store'
  }, about)
  if (answer.raw.req.method !== 'HEAD') t.match(answer.json(), { type: String, title: String, status, instance: String }, about)
}

const ask = (app: FastifyInstance, method: string, url: string, more: InjectOptions = {}): Promise<LightMyRequestResponse> => app.inject({ method: method as 'GET', url, ...more })

t.test('malformed escapes, long ids, other methods and other paths are problems', async (t) => {
  const { app } = await testApp({ http: { path: '/slow/v1' }, prefix: '/api' })
  for (const method of ['GET', 'HEAD', 'DELETE', 'POST', 'PUT']) isProblem(t, await ask(app, method, '/api/slow/v1/%ff?secret=1'), 400, `${method} %ff`)
  for (const [method, tail] of [['GET', ''], ['HEAD', ''], ['GET', '/result'], ['HEAD', '/result'], ['DELETE', ''], ['POST', '/cancel'], ['POST', '/redrive']] as const) {
    const url = `/api/slow/v1/${LONG}${tail}`
    isProblem(t, await ask(app, method, url), 404, `${method} long${tail}`)
    if (method !== 'HEAD') t.match((await ask(app, method, url)).json(), { code: 'FAE_JOB_NOT_FOUND' })
  }
  for (const [method, tail, allow] of [['PUT', '', 'GET, HEAD, DELETE'], ['PATCH', '', 'GET, HEAD, DELETE'], ['POST', '', 'GET, HEAD, DELETE'], ['DELETE', '/result', 'GET, HEAD'], ['GET', '/cancel', 'POST'], ['GET', '/redrive', 'POST'], ['GET', '/signals/ok', 'POST'], ['PUT', '/signals/ok', 'POST']] as const) {
    const answer = await ask(app, method, `/api/slow/v1/some-id${tail}`, { payload: method === 'GET' ? undefined : '{"broken' })
    isProblem(t, answer, 405, `${method} ${tail}`)
    t.equal(answer.headers.allow, allow)
  }
  for (const path of ['/api/slow/v1/', '/api/slow/v1/a/b/c', '/api/slow/v1/a/', '/api/slow/v1/a//result']) isProblem(t, await ask(app, 'GET', path), 404, path)
  t.notMatch((await ask(app, 'GET', '/api/slow/v1/%ff?secret=1')).body, /secret/)
})

t.test('on submit routes too, where their paths have parameters', async (t) => {
  const { app } = await testApp()
  app.asyncEndpoint({ url: '/things/:id/copies', name: 'copy', handler: echo })
  isProblem(t, await ask(app, 'POST', '/things/%ff/copies', { payload: {} }), 400)
  isProblem(t, await ask(app, 'POST', `/things/${LONG}/copies`, { payload: {} }), 414)
  isProblem(t, await ask(app, 'POST', '/things/1/copies', { payload: '{"a', headers: { 'content-type': 'application/json' } }), 400)
  const csv = await ask(app, 'POST', '/things/1/copies', { payload: 'a', headers: { 'content-type': 'text/csv' } })
  isProblem(t, csv, 415)
  t.match(csv.json(), { detail: /application\/json/ }, 'what to send instead')
  isProblem(t, await ask(app, 'POST', '/things/1/copies', { payload: { a: 'x'.repeat(2_000_000) } }), 413)
})

t.test('an id that is too long is refused by the owner function as any other', async (t) => {
  const { app } = await testApp({ http: { owner: () => { throw Object.assign(new Error('no'), { statusCode: 401 }) } } })
  isProblem(t, await ask(app, 'GET', `/jobs/${LONG}`), 401)
})

t.test('what is not ours is answered as before', async (t) => {
  const routes = (app: FastifyInstance): void => {
    app.get('/users/:id', async () => 'user')
    app.setNotFoundHandler((_request, reply) => reply.code(404).send({ mine: true }))
  }
  const bare = Fastify()
  routes(bare)
  const { app } = await testApp({ before: routes })
  app.asyncEndpoint({ url: '/things/:id', name: 'thing', handler: echo })
  for (const [method, url] of [['GET', '/users/%ff'], ['GET', `/users/${LONG}`], ['GET', '/jobs%ff'], ['GET', '/jobs'], ['GET', '/nothing'], ['GET', '/things/%ff'], ['OPTIONS', '/jobs/some-id']] as const) {
    const answers = await Promise.all([bare, app].map(async (server) => {
      const { statusCode, headers: { date: _date, ...headers }, body } = await ask(server, method, url)
      return { statusCode, headers, body }
    }))
    t.same(answers[1], answers[0], `${method} ${url}`)
  }
})

t.test('an application\'s own frameworkErrors answers for the rest, and two servers do not share it', async (t) => {
  const options: FastifyServerOptions = { frameworkErrors: (_error, _request, reply) => { reply.hijack().raw.writeHead(418).end() } }
  const { app } = await testApp({ fastify: options })
  app.get('/users/:id', async () => 'user')
  t.equal((await ask(app, 'GET', '/users/%ff')).statusCode, 418)
  isProblem(t, await ask(app, 'GET', '/jobs/%ff'), 400)
  const other: FastifyInstance = Fastify(options)
  other.get('/jobs/:id', async () => 'mine')
  t.equal((await ask(other, 'GET', '/jobs/%ff')).statusCode, 418)
})

t.test('routes of the application under the same path are left to it', async (t) => {
  const { app } = await testApp({
    before: (app) => { app.get('/jobs/*', async () => 'before') },
    setup: (app) => { app.put('/jobs/:id', async () => 'mine') }
  })
  t.equal((await ask(app, 'GET', '/jobs/a/b/c')).body, 'before')
  t.equal((await ask(app, 'PUT', '/jobs/a')).body, 'mine')
  isProblem(t, await ask(app, 'PATCH', '/jobs/a'), 405)
})

t.test('over a socket: the answer ends, and the connection goes on', async (t) => {
  const { app } = await testApp()
  t.teardown(() => app.close())
  app.get('/users/:id', async () => 'user')
  await app.listen({ port: 0, host: '127.0.0.1' })
  const { port } = app.server.address() as AddressInfo
  for (const [path, type] of [['/jobs/%ff', 'application/problem+json'], ['/users/%ff', 'application/json']] as const) {
    const answer = await new Promise<{ status: number | undefined, type: string | undefined, body: string }>((resolve, reject) => {
      httpRequest({ port, path, signal: AbortSignal.timeout(5_000) }, (response) => {
        let body = ''
        response.setEncoding('utf8').on('data', (chunk: string) => { body += chunk }).on('end', () => { resolve({ status: response.statusCode, type: response.headers['content-type'], body }) })
      }).on('error', reject).end()
    })
    t.match(answer, { status: 400, type: new RegExp(`^${type.replace('+', '\\+')}`), body: /FAE_INVALID_REQUEST|FST_ERR_BAD_URL/ }, path)
  }
})

t.test('of the headers that an error brings, only what is about the refusal reaches the client', async (t) => {
  const { app } = await testApp({
    http: {
      owner: () => {
        throw Object.assign(new Error('no'), {
          statusCode: 429,
          headers: {
            'WWW-Authenticate': 'Bearer', 'retry-after': 7, 'RateLimit-Policy': '"default";q=1', ratelimit: '"default";r=0', 'x-ratelimit-limit': '1', allow: 'GET', 'accept-post': 'a/b', 'proxy-authenticate': 'Basic',
            'set-cookie': 'session=stolen', location: 'http://internal', 'content-type': 'text/html', 'content-length': '1', 'x-internal': '10.0.0.1', 'access-control-allow-origin': '*', 'cache-control': 'public', accept: 'bad\nvalue'
          }
        })
      }
    }
  })
  const answer = await ask(app, 'GET', '/jobs/some-id')
  isProblem(t, answer, 429)
  t.match(answer.headers, { 'www-authenticate': 'Bearer', 'retry-after': '7', 'ratelimit-policy': '"default";q=1', ratelimit: '"default";r=0', 'x-ratelimit-limit': '1', allow: 'GET', 'accept-post': 'a/b', 'proxy-authenticate': 'Basic' })
  t.same(['set-cookie', 'location', 'x-internal', 'access-control-allow-origin', 'accept'].filter((name) => name in answer.headers), [])
})
