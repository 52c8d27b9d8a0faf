import { EventEmitter, once } from 'node:events'
import { connect as connectHttp2, constants } from 'node:http2'
import { connect } from 'node:net'
import type { AddressInfo } from 'node:net'
import Fastify from 'fastify'
import t from 'tap'
import { asyncEndpoints } from '../../plugins/async-endpoints.ts'
import { echo, testApp } from './support.ts'

const BODIES: ReadonlyArray<readonly [string, Record<string, string>, string | undefined]> = [
  ['nothing', {}, undefined],
  ['JSON promised, none sent', { 'content-type': 'application/json' }, undefined],
  ['an empty form, as curl -d "" sends it', { 'content-type': 'application/x-www-form-urlencoded' }, ''],
  ['text', { 'content-type': 'text/plain' }, 'stop it'],
  ['JSON that is none', { 'content-type': 'application/json' }, '{'],
  ['a media type that nobody knows', { 'content-type': 'x/y; z=1' }, 'x'],
  ['more than the body limit', { 'content-type': 'application/json' }, JSON.stringify('x'.repeat(2_000_000))]
]

for (const [what, headers, payload] of BODIES) {
  t.test(`cancel and redrive take ${what}`, async (t) => {
    const { app, store } = await testApp()
    app.asyncEndpoint({ url: '/a', name: 'a', handler: echo })
    const submit = async (): Promise<string> => (await app.inject({ method: 'POST', url: '/a' })).json().id
    const send = async (method: 'POST' | 'DELETE', url: string): Promise<number> => (await app.inject({ method, url, headers, ...(payload === undefined ? {} : { payload }) })).statusCode
    t.equal(await send('DELETE', `/jobs/${await submit()}`), 200)
    t.equal(await send('POST', `/jobs/${await submit()}/cancel`), 200)
    const failed = await submit()
    store.change(failed, { state: 'failed', finishedAt: Date.now() })
    t.equal(await send('POST', `/jobs/${failed}/redrive`), 202)
  })
}

t.test('the routes of the application keep their parsers of bodies', async (t) => {
  const { app } = await testApp()
  app.asyncEndpoint({ url: '/a', name: 'a', handler: echo })
  t.equal((await app.inject({ method: 'POST', url: '/a', headers: { 'content-type': 'application/json' }, payload: '{' })).statusCode, 400)
  t.equal((await app.inject({ method: 'POST', url: '/a', headers: { 'content-type': 'x/y' }, payload: 'x' })).statusCode, 415)
})

t.test('handlerTimeout cuts a wait short', async (t) => {
  const app = Fastify({ handlerTimeout: 400 })
  t.teardown(() => app.close())
  await app.register(asyncEndpoints, { observability: false, health: false })
  app.asyncEndpoint({ url: '/a', name: 'a', handler: async ({ signal }) => { await once(signal, 'abort') }, graceMs: 0 })
  app.asyncEndpoint({ url: '/b', name: 'b', routeOptions: { handlerTimeout: 200 }, handler: async ({ signal }) => { await once(signal, 'abort') }, graceMs: 0 })
  await app.ready()
  for (const url of ['/a', '/b']) {
    const submitted = await app.inject({ method: 'POST', url, headers: { prefer: 'wait=20' } })
    t.equal(submitted.statusCode, 202, `${url}: the job exists`)
    const status = await app.inject({ url: submitted.headers.location ?? '', headers: { prefer: 'wait=20' } })
    t.equal(status.statusCode, 200)
    t.equal(status.json().status, 'in-progress')
    t.match(status.headers['preference-applied'], /^wait=1$/)
    await app.inject({ method: 'DELETE', url: submitted.headers.location ?? '' })
  }
})

t.test('a prefix beyond ASCII: links that a header can carry, and that lead back', async (t) => {
  for (const prefix of ['/größe', '/日本']) {
    const app = Fastify()
    t.teardown(() => app.close())
    await app.register(async (scope) => {
      await scope.register(asyncEndpoints, { observability: false, health: false })
      scope.asyncEndpoint({ url: '/x', name: 'x', handler: async () => ({ ok: 1 }) })
    }, { prefix })
    await app.listen({ port: 0, host: '127.0.0.1' })
    const origin = `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`
    const submitted = await fetch(`${origin}${encodeURI(prefix)}/x`, { method: 'POST' })
    t.equal(submitted.status, 202)
    const location = submitted.headers.get('location') ?? ''
    t.match(location, /^[\x21-\x7e]+$/)
    t.equal((await fetch(origin + location)).status, 200)
    const { links } = await submitted.json() as { links: { self: string } }
    t.equal(links.self, location)
    const malformed = await fetch(`${origin}${encodeURI(prefix)}/jobs/%zz`)
    t.match(await malformed.json(), { code: 'FAE_INVALID_REQUEST' }, 'what the router refuses there is a problem as well')
  }
})

t.test('a prefix that no link could be made of is refused at registration', async (t) => {
  for (const prefix of ['/tenants/:tenant', '/:lang(^[a-z]{2}$)', '/files/*']) {
    const app = Fastify()
    t.teardown(() => app.close())
    await t.rejects(async () => await app.register(async (scope) => { await scope.register(asyncEndpoints, { observability: false, health: false }) }, { prefix }), { code: 'FAE_INVALID_OPTIONS', message: /register the plugin in a context without such a prefix/ }, prefix)
  }
})

t.test('endpoints may have such a prefix', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(asyncEndpoints, { observability: false, health: false })
  await app.register(async (scope) => { scope.asyncEndpoint({ url: '/x', name: 'x', handler: async ({ params }) => params }) }, { prefix: '/tenants/:tenant' })
  const submitted = await app.inject({ method: 'POST', url: '/tenants/acme/x', headers: { prefer: 'wait=5' } })
  t.same(submitted.json(), { tenant: 'acme' })
  t.equal((await app.inject(submitted.headers.location ?? '')).statusCode, 200)
})

t.test('an HTTP/2 session that is open does not hold up the end', async (t) => {
  const app = Fastify({ http2: true })
  await app.register(asyncEndpoints, { observability: false, health: false, worker: { drainTimeoutMs: 100 } })
  const told = new EventEmitter()
  let aborted = false
  app.defineJob({ name: 'x', graceMs: 100, handler: async ({ signal }) => { told.emit('started'); await once(signal, 'abort'); aborted = true } })
  await app.listen({ port: 0, host: '127.0.0.1' })
  await Promise.all([once(told, 'started'), app.jobs.submit('x', {})])
  const session = connectHttp2(`http://127.0.0.1:${(app.server.address() as AddressInfo).port}`)
  t.teardown(() => session.destroy())
  session.on('error', () => {})
  const stream = session.request({ ':path': '/nothing' }).resume()
  await once(stream, 'end')
  await app.close()
  t.ok(aborted, 'closed, and the running job was aborted')
})

t.test('a client that hangs up before its wait begins takes no place', async (t) => {
  const told = new EventEmitter()
  const { app, http } = await testApp({
    http: {
      owner: async (request) => {
        told.emit('asked')
        await once(request.raw.socket, 'close')
        return 'me'
      }
    }
  })
  t.teardown(() => app.close())
  app.asyncEndpoint({ url: '/a', name: 'a', handler: echo })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const answered = new Promise<void>((resolve) => { app.server.once('request', (_request, response) => { response.once('close', resolve) }) })
  const asked = once(told, 'asked')
  const socket = connect((app.server.address() as AddressInfo).port, '127.0.0.1')
  socket.on('error', () => {})
  socket.write('POST /a HTTP/1.1\r\nhost: x\r\nprefer: wait=20\r\ncontent-length: 0\r\n\r\n')
  await asked
  socket.destroy()
  await answered
  // Whatever the submission still does, it does in the turns that follow.
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => { setImmediate(resolve) })
  t.equal(http.waiting.size, 0)
})

t.test('the same over HTTP/2, where the stream is gone and the connection is not', async (t) => {
  const told = new EventEmitter()
  const app = Fastify({ http2: true })
  t.teardown(() => app.close())
  const closed = once(told, 'closed')
  await app.register(asyncEndpoints, {
    observability: false,
    health: false,
    worker: false,
    http: {
      owner: async () => {
        told.emit('asked')
        await closed
        return 'me'
      }
    }
  })
  app.asyncEndpoint({ url: '/a', name: 'a', handler: echo })
  app.addHook('onRequest', async (request) => { request.raw.once('close', () => { told.emit('closed') }) })
  // Sent only when nobody waits: the wait would last far longer than this test may.
  app.addHook('onSend', async () => { told.emit('answered') })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const session = connectHttp2(`http://127.0.0.1:${(app.server.address() as AddressInfo).port}`)
  t.teardown(() => session.destroy())
  session.on('error', () => {})
  const [asked, answered] = [once(told, 'asked'), once(told, 'answered', { signal: AbortSignal.timeout(10_000) })]
  const stream = session.request({ ':method': 'POST', ':path': '/a', prefer: 'wait=25' }, { endStream: true })
  stream.on('error', () => {})
  await asked
  stream.close(constants.NGHTTP2_CANCEL)
  await answered
})

t.test('one request in another order of members is the same request', async (t) => {
  const { app } = await testApp()
  app.asyncEndpoint({ url: '/a', name: 'a', handler: echo })
  const send = async (payload: string, query = ''): Promise<[number, unknown]> => {
    const { statusCode, headers } = await app.inject({ method: 'POST', url: `/a${query}`, payload, headers: { 'content-type': 'application/json', 'idempotency-key': 'k' } })
    return [statusCode, headers['idempotency-replayed']]
  }
  t.same(await send('{"a":{"x":1,"y":[{"p":1,"q":2}]},"b":2}', '?s=1&t=2'), [202, undefined])
  t.same(await send('{"b":2,"a":{"y":[{"q":2,"p":1}],"x":1}}', '?t=2&s=1'), [202, 'true'])
  t.same(await send('{"b":2,"a":{"y":[{"q":1,"p":2}],"x":1}}', '?t=2&s=1'), [422, undefined])
  t.same(await send('{"a":{"x":1,"y":[{"p":1,"q":2}]},"b":2}', '?s=2&t=1'), [422, undefined])
})
