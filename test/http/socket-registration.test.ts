import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { request } from 'node:https'
import type { AddressInfo } from 'node:net'
import { connect } from 'node:tls'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import Fastify from 'fastify'
import t from 'tap'
import { WebSocket } from 'ws'
import { SOCKET_PROTOCOL } from '../../lib/channels/socket-messages.ts'
import { asyncEndpoints } from '../../plugins/async-endpoints.ts'
import { portOf, SocketClient } from '../support/socket-client.ts'

const PLUGIN = new URL('../../plugins/async-endpoints.js', import.meta.url).href

/** Made for this test, and used nowhere else. */
const KEY = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg8Dfp3hQjMAq0EqZI
+/N92jedN6NNHhE9GumgyxrE6yGhRANCAAR3UZoLmI8I1bO5d3A2egfzfX6stkZJ
bNSgJAnw2beEpIQQizo0Ld+gYiW0Ft6YGCAX4ShNysTZeD8Qkki5sgrv
-----END PRIVATE KEY-----`
const CERTIFICATE = `-----BEGIN CERTIFICATE-----
MIIBfzCCASWgAwIBAgIUEE8NyLXeNMq02pb6n1eM2yny3wkwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyODE2NTQyNVoYDzIxMjYxMTA0
MTY1NDI1WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAR3UZoLmI8I1bO5d3A2egfzfX6stkZJbNSgJAnw2beEpIQQizo0Ld+g
YiW0Ft6YGCAX4ShNysTZeD8Qkki5sgrvo1MwUTAdBgNVHQ4EFgQUStWvux04AlAL
VaevZOMZrESCCGQwHwYDVR0jBBgwFoAUStWvux04AlALVaevZOMZrESCCGQwDwYD
VR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNIADBFAiEA/shD4/Le5Md+ZNd73WUA
PMyE3CQbQ1521KD5kxziT8YCIANAjaT6en+6iJpjSI8KbBOwxig1QDX9F69UCqmn
X4H4
-----END CERTIFICATE-----`

t.test('@fastify/websocket is not installed', async (t) => {
  const hooks = `export async function resolve (name, context, next) {
    if (name === '@fastify/websocket') throw Object.assign(new Error('Cannot find package'), { code: 'ERR_MODULE_NOT_FOUND' })
    return await next(name, context)
  }`
  const program = `
    import { register } from 'node:module'
    register(${JSON.stringify(`data:text/javascript,${encodeURIComponent(hooks)}`)})
    const { asyncEndpoints } = await import(${JSON.stringify(PLUGIN)})
    const { default: Fastify } = await import('fastify')
    const without = Fastify()
    await without.register(asyncEndpoints, { observability: false })
    await without.close()
    await Fastify().register(asyncEndpoints, { observability: false, listening: { webSocket: true } })
      .then(() => console.log('registered'), ({ code, message }) => console.log(code, message))
    process.exit()`
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', program], { cwd: fileURLToPath(new URL('../../../', import.meta.url)), timeout: 30_000 })
  t.match(stdout, /^FAE_INVALID_OPTIONS .*npm install @fastify\/websocket/, 'an error that says what to do; and nothing else needs the package')
})

t.test('below a prefix, with another path, next to a second application context', async (t) => {
  const app = Fastify()
  t.teardown(async () => { await app.close() })
  await app.register(async (api) => {
    await api.register(asyncEndpoints, { observability: false, http: { path: '/tasks' }, listening: { webSocket: true } })
    api.asyncEndpoint({ url: '/quick', name: 'quick', handler: async () => 1 })
  }, { prefix: '/api/v1' })
  app.get('/plain', async () => 'plain')
  const port = await portOf(app)
  const { id } = (await app.inject({ method: 'POST', url: '/api/v1/quick' })).json()
  const socket = await new SocketClient(port, { path: '/api/v1/tasks/socket?x=1' }).opened()
  socket.subscribe(id)
  t.match(await socket.nextOf('end'), { id })
  socket.ws.close()
  t.equal((await new SocketClient(port, { path: '/jobs/socket' }).refused()).status, 404)
})

t.test('two applications in one process share nothing', async (t) => {
  const make = async () => {
    const app = Fastify()
    t.teardown(async () => { await app.close() })
    await app.register(asyncEndpoints, { observability: false, listening: { webSocket: true } })
    return app
  }
  const [one, other] = [await make(), await make()]
  const sockets = [await new SocketClient(await portOf(one)).opened(), await new SocketClient(await portOf(other)).opened()]
  await one.close()
  t.match(await sockets[0]?.closed(), { code: 1001 })
  sockets[1]?.say({ type: 'ping' })
  t.same(await sockets[1]?.next(), { type: 'pong' })
})

t.test('TLS: sockets, and requests that ask for another upgrade', async (t) => {
  const app = Fastify({ https: { key: KEY, cert: CERTIFICATE } })
  t.teardown(async () => { await app.close() })
  await app.register(asyncEndpoints, { observability: false, health: false, listening: { webSocket: true } })
  app.post('/echo', async ({ body }) => body)
  await app.listen({ port: 0, host: '127.0.0.1' })
  const { port } = app.server.address() as AddressInfo
  const ws = new WebSocket(`wss://127.0.0.1:${port}/jobs/socket`, SOCKET_PROTOCOL, { rejectUnauthorized: false, origin: `https://127.0.0.1:${port}` })
  await once(ws, 'open', { signal: AbortSignal.timeout(10_000) })
  ws.send('{"type":"ping"}')
  t.equal(String((await once(ws, 'message'))[0]), '{"type":"pong"}')
  ws.close()
  await once(ws, 'close')

  const raw = connect({ port, host: '127.0.0.1', rejectUnauthorized: false })
  raw.write('POST /echo HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, close\r\nUpgrade: h2c\r\nContent-Type: application/json\r\nContent-Length: 7\r\n\r\n')
  await new Promise((resolve) => { setImmediate(resolve) })
  raw.write('{"a":1}')
  let answer = ''
  raw.on('data', (data) => { answer += data.toString() })
  await once(raw, 'close', { signal: AbortSignal.timeout(10_000) })
  t.match(answer, /200 OK[^]*\{"a":1\}/, 'with its body')

  const [response] = await once(request({ port, host: '127.0.0.1', rejectUnauthorized: false, path: '/jobs/socket' }).end(), 'response')
  response.resume()
  t.equal(response.statusCode, 426)
})

t.test('the route is described for OpenAPI', async (t) => {
  const app = Fastify()
  t.teardown(async () => { await app.close() })
  const seen: Array<{ url: string, schema: unknown }> = []
  app.addHook('onRoute', ({ url, schema, method }) => { if (url === '/jobs/socket') seen.push({ url: `${String(method)} ${url}`, schema }) })
  await app.register(asyncEndpoints, { observability: false, listening: { webSocket: true } })
  await app.ready()
  t.match(seen, [{ url: 'GET /jobs/socket', schema: { operationId: 'openJobSocket', summary: /fae\.jobs\.v1\+json/, response: { 101: {}, 426: {} } } }])
})
