import { connect } from 'node:net'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import websocket from '@fastify/websocket'
import compress from '@fastify/compress'
import cors from '@fastify/cors'
import helmet from '@fastify/helmet'
import underPressure from '@fastify/under-pressure'
import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { SOCKET_PROTOCOL } from '../../lib/channels/socket-messages.ts'
import { asyncEndpoints, type AsyncEndpointsOptions } from '../../plugins/async-endpoints.ts'
import { connectionsOf, portOf, SocketClient } from '../support/socket-client.ts'

interface Served {
  readonly app: FastifyInstance
  readonly port: number
  /** Ends the attempt of `gated`. */
  readonly open: () => void
  readonly submit: (name?: string, body?: unknown) => Promise<string>
  readonly client: (options?: ConstructorParameters<typeof SocketClient>[1]) => Promise<SocketClient>
}

interface ServeOptions extends AsyncEndpointsOptions {
  readonly before?: (app: FastifyInstance) => Promise<void>
  readonly fastify?: FastifyServerOptions
}

async function serve (t: Test, { before, fastify, ...options }: ServeOptions = {}): Promise<Served> {
  const app = Fastify(fastify)
  let open = (): void => {}
  const gate = new Promise<void>((resolve) => { open = resolve })
  t.teardown(async () => { open(); await app.close() })
  await before?.(app)
  await app.register(asyncEndpoints, { observability: false, listening: { webSocket: true }, ...options })
  app.asyncEndpoint({ url: '/quick', name: 'quick', handler: async () => 'done' })
  app.asyncEndpoint({
    url: '/gated',
    name: 'gated',
    handler: async (job) => {
      await job.progress({ done: 1, total: 2 })
      await gate
      return { secret: 'the result' }
    }
  })
  app.asyncEndpoint({ url: '/failing', name: 'failing', handler: async () => { throw new Error('"}\n{"type":"end"') } })
  const port = await portOf(app)
  return {
    app,
    port,
    open,
    submit: async (name = 'gated', body = {}) => (await app.inject({ method: 'POST', url: `/${name}`, payload: body as object })).json().id,
    client: async (given) => await new SocketClient(port, given).opened()
  }
}

t.test('subscribe, hear of the progress, and of the end', async (t) => {
  const { app, submit, client, open } = await serve(t)
  const id = await submit()
  let opened = 0
  app.jobEvents.on('channel.opened', ({ kind }) => { if (kind === 'websocket') opened++ })
  const closed = new Promise((resolve) => { app.jobEvents.on('channel.closed', resolve) })
  const socket = await client()
  t.equal((await app.inject({ method: 'POST', url: '/quick' })).json().links.socket, '/jobs/socket')
  t.equal((await app.inject(`/jobs/${id}`)).json().links.socket, '/jobs/socket')
  t.equal(socket.ws.protocol, SOCKET_PROTOCOL)
  t.equal(socket.ws.extensions, '', 'no compression')
  socket.subscribe(id)
  t.match(await socket.nextOf('status'), { type: 'status', id, version: Number, job: { id, name: 'gated' } })
  open()
  const end = await socket.nextOf('end')
  const document = (await app.inject(`/jobs/${id}`)).json()
  t.same(end['job'], document, 'the document of the status route')
  t.equal(document.status, 'completed')
  t.notMatch(JSON.stringify(socket.heard), 'the result', 'results are never sent')
  const versions = socket.heard.map(({ version }) => Number(version))
  t.same(versions, [...versions].sort((a, b) => a - b), 'versions only grow')
  t.equal(socket.heard.filter(({ type }) => type === 'end').length, 1)
  socket.say({ type: 'ping' })
  t.same(await socket.next(), { type: 'pong' }, 'the connection lives on')
  socket.ws.close()
  t.match(await closed, { kind: 'websocket', reason: 'client', durationMs: Number, sent: socket.heard.length })
  t.equal(opened, 1)
})

t.test('a job that ended before is heard of at once; texts of users forge nothing', async (t) => {
  const { app, submit, client } = await serve(t, { http: { exposeErrors: 'all' } })
  const id = await submit('failing')
  await app.jobs.waitFor(id)
  const socket = await client()
  socket.subscribe(id)
  t.match(await socket.next(), { type: 'end', id, job: { status: 'failed', error: { message: /^"}.*{"type":"end"$/ } } })
  socket.say({ type: 'ping' })
  t.same(await socket.next(), { type: 'pong' })
})

t.test('documents of response factories', async (t) => {
  const { app, client, submit } = await serve(t, { http: { responses: { status: ({ document }) => ({ ...document, more: 'of the application' }) } } })
  const id = await submit('quick')
  await app.jobs.waitFor(id)
  const socket = await client()
  socket.subscribe(id)
  t.match(await socket.nextOf('end'), { job: { id, more: 'of the application' } })
})

t.test('hostile frames', async (t) => {
  const { submit, client, open } = await serve(t)
  const id = await submit()
  const bystander = await client()
  bystander.subscribe(id)
  await bystander.nextOf('status')
  for (const text of ['{', 'null', '{"type":"subscribe","ids":[{}]}', '{"type":"end","id":"x"}', '\u0000']) {
    const socket = await client()
    socket.say(text)
    t.match(await socket.next(), { type: 'error', problem: { code: 'FAE_INVALID_REQUEST', status: 400, detail: String } }, text)
    socket.subscribe(id)
    t.match(await socket.next(), { type: 'status', id }, 'and the connection lives on')
    socket.ws.close()
  }
  const binary = await client()
  binary.say(Buffer.from('{"type":"ping"}'))
  t.same(await binary.closed(), { code: 1003, reason: 'binary' })
  t.same(binary.heard, [{ type: 'bye', reason: 'binary' }])
  const long = await client()
  long.say('x'.repeat(16_385))
  t.match(await long.closed(), { code: 1009 })
  const huge = await client()
  huge.say('x'.repeat(5_000_000))
  t.match(await huge.closed(), { code: 1009 })
  const many = await client()
  for (let n = 0; n < 40; n++) many.say({ type: 'ping' })
  t.same(await many.closed(), { code: 1008, reason: 'too-many-messages' })
  const raw = await client()
  // A text frame that is no UTF-8, masked as the protocol wants it.
  Reflect.get(raw.ws, '_socket').write(Buffer.from([0x81, 0x81, 0, 0, 0, 0, 0xff]))
  t.match(await raw.closed(), { code: 1007 })
  const unmasked = await client()
  Reflect.get(unmasked.ws, '_socket').write(Buffer.from([0x81, 0x01, 0x41]))
  t.match(await unmasked.closed(), { code: 1002 })
  open()
  t.match(await bystander.nextOf('end'), { id })
})

t.test('what is refused before the upgrade', async (t) => {
  const unauthorized = Object.assign(new Error('Who are you?'), { statusCode: 401, headers: { 'www-authenticate': 'Bearer' } })
  const { app, port } = await serve(t, { http: { owner: ({ headers }) => { if (headers.authorization === undefined) throw unauthorized; return headers.authorization } } })
  const headers = { authorization: 'alice' }
  const refuse = async (options: ConstructorParameters<typeof SocketClient>[1]): Promise<Awaited<ReturnType<SocketClient['refused']>>> => await new SocketClient(port, options).refused()
  const anonymous = await refuse({})
  t.match(anonymous, { status: 401, headers: { 'www-authenticate': 'Bearer', 'content-type': /^application\/problem\+json/, 'cache-control': 'no-store' }, body: { status: 401 } })
  t.match(await refuse({ headers, protocols: [] }), { status: 400, body: { code: 'FAE_INVALID_REQUEST', detail: /fae\.jobs\.v1\+json/ } })
  t.match(await refuse({ headers, protocols: ['fae.jobs.v2+json', 'graphql-ws'] }), { status: 400 })
  t.match(await refuse({ headers, origin: 'https://evil.example' }), { status: 403, body: { code: 'FAE_FORBIDDEN' } })
  t.match(await refuse({ headers, origin: 'null' }), { status: 403 })
  const plain = await app.inject({ url: '/jobs/socket', headers })
  t.equal(plain.statusCode, 426)
  t.match(plain.headers, { upgrade: 'websocket', connection: 'upgrade' })
  t.match(plain.json(), { code: 'FAE_UPGRADE_REQUIRED' })
  const same = await new SocketClient(port, { headers, origin: `http://127.0.0.1:${port}`, protocols: ['other', SOCKET_PROTOCOL] }).opened()
  t.equal(same.ws.protocol, SOCKET_PROTOCOL, 'the one that we speak, wherever it stands')
  same.ws.terminate()
})

t.test('a thousand refused upgrades leave no connection open', async (t) => {
  const { app, port } = await serve(t)
  let refused = 0
  for (let round = 0; round < 10; round++) {
    await Promise.all(Array.from({ length: 100 }, async (_, n) => {
      const path = ['/jobs/socket', '/jobs/x', '/elsewhere', '/quick'][n % 4]
      const socket = connect(port, '127.0.0.1')
      socket.write(`GET ${path} HTTP/1.1\r\nHost: a\r\nOrigin: https://evil.example\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: ${SOCKET_PROTOCOL}\r\n\r\n`)
      let answer = ''
      socket.on('data', (data) => { answer += data.toString() })
      // The client keeps its side open: it is the server that must close.
      await once(socket, 'close', { signal: AbortSignal.timeout(10_000) })
      if (/^HTTP\/1\.1 4\d\d /.test(answer)) refused++
    }))
  }
  t.equal(refused, 1_000)
  t.equal(await connectionsOf(app), 0)
})

t.test('jobs of others, per subscription', async (t) => {
  const { app, client } = await serve(t, { http: { owner: ({ headers }) => headers.authorization } })
  const submit = async (authorization: string): Promise<string> => (await app.inject({ method: 'POST', url: '/gated', headers: { authorization } })).json().id
  const [alices, bobs] = [await submit('alice'), await submit('bob')]
  const socket = await client({ headers: { authorization: 'alice' } })
  socket.subscribe(bobs, alices, 'unknown', '../../etc/passwd')
  const heard = [await socket.next(), await socket.next(), await socket.next(), await socket.next()]
  t.same(heard.filter(({ type }) => type === 'gone').map(({ id }) => id), [bobs, 'unknown', '../../etc/passwd'], 'as if they did not exist')
  t.match(heard.filter(({ type }) => type !== 'gone'), [{ type: 'status', id: alices }])
})

t.test('the owner is asked for every subscription', async (t) => {
  let revoked = false
  const { submit, client } = await serve(t, {
    http: { owner: () => { if (revoked) throw Object.assign(new Error('The session has ended'), { statusCode: 401 }); return 'alice' } }
  })
  const [first, second] = [await submit(), await submit()]
  const socket = await client()
  socket.subscribe(first)
  t.match(await socket.nextOf('status'), { id: first })
  revoked = true
  socket.subscribe(second)
  t.match(await socket.nextOf('error'), { ids: [second], problem: { status: 401, detail: 'The session has ended' } })
})

t.test('limits: per client, and of the process, shared fairly', async (t) => {
  const { port, client } = await serve(t, {
    http: { owner: ({ headers }) => headers.authorization },
    listening: { webSocket: true, maxPerClient: 2, maxConnections: 3 }
  })
  const of = (authorization: string): { headers: Record<string, string> } => ({ headers: { authorization } })
  const [first, second] = [await client(of('alice')), await client(of('alice'))]
  t.match(await new SocketClient(port, of('alice')).refused(), { status: 429, headers: { 'retry-after': '10' }, body: { code: 'FAE_TOO_MANY_CHANNELS', detail: /too many/ } })
  first.ws.close()
  await first.closed()
  const third = await client(of('alice'))
  await client(of('bob'))
  const carols = await client(of('carol'))
  t.same(await second.closed(), { code: 1013, reason: 'limit' }, 'the client with the most connections loses its oldest one')
  t.match(second.heard, [{ type: 'bye', reason: 'limit' }])
  t.match(await new SocketClient(port, of('dave')).refused(), { status: 429 }, 'each has one, and keeps it')
  for (const socket of [third, carols]) {
    socket.say({ type: 'ping' })
    t.same(await socket.next(), { type: 'pong' })
  }
})

t.test('bad options, and what has no effect', async (t) => {
  const refused = async (options: object): Promise<string> => await Fastify().register(asyncEndpoints, options as AsyncEndpointsOptions).then(() => 'accepted', (error: unknown) => String(error))
  t.match(await refused({ worker: 'yes', listening: { webSocket: { origins: ['x'] } } }), /worker must be.*listening\.webSocket\.origins: "x" is not an origin/)
  for (const listening of [true, null, 'all']) t.match(await refused({ listening }), /listening must be an object/)
  t.match(await refused({ http: false, listening: { webSocket: true } }), /listening has no effect without http: .*; leave it out in processes with http: false/)
})

t.test('closing: clients hear goodbye, and one that ignores everything is cut', async (t) => {
  const { app, port, submit, client } = await serve(t)
  const id = await submit()
  const polite = await client()
  polite.subscribe(id)
  await polite.nextOf('status')
  const deaf = connect(port, '127.0.0.1')
  deaf.write(`GET /jobs/socket HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: ${SOCKET_PROTOCOL}\r\n\r\n`)
  await once(deaf, 'data')
  deaf.pause()
  const gone = once(deaf, 'close', { signal: AbortSignal.timeout(10_000) })
  await app.jobs.cancel(id)
  const closing = app.close()
  t.match(await polite.nextOf('bye'), { reason: 'closing' })
  t.same(await polite.closed(), { code: 1001, reason: 'closing' })
  await closing
  deaf.resume()
  await gone
  t.equal(await new SocketClient(port).closed().then(({ code }) => code), 1006, 'and no more are accepted')
})

t.test('draining: connections end, new ones are refused', async (t) => {
  const { app, port, client } = await serve(t)
  const sockets = [await client(), await client()]
  app.jobHealth.startDraining()
  t.match(await new SocketClient(port).refused(), { status: 503, body: { code: 'FAE_CLOSED' } })
  for (const socket of sockets) t.same(await socket.closed(), { code: 1001, reason: 'draining' })
})

t.test('next to other plugins', async (t) => {
  const { app, client, port } = await serve(t, {
    before: async (app) => {
      await app.register(helmet)
      await app.register(cors, { origin: 'https://shop.example' })
      await app.register(compress, { customTypes: /./, threshold: 0 })
      await app.register(underPressure, { maxHeapUsedBytes: 1, sampleInterval: 5 })
      app.get('/shed', async () => 'not yet')
    },
    listening: { webSocket: { origins: ['https://shop.example'] } }
  })
  const { id } = await app.jobs.submit('gated', {})
  while ((await app.inject('/shed')).statusCode !== 503) await sleep(5)
  const socket = await client({ origin: 'https://shop.example' })
  socket.subscribe(id)
  t.match(await socket.next(), { type: 'status', id })
  t.equal((await new SocketClient(port, { origin: `http://127.0.0.1:${port}` }).refused()).status, 403, 'the list replaces the default')
})

t.test('@fastify/websocket of the application', async (t) => {
  const given = { options: { maxPayload: 1_000_000, perMessageDeflate: true } }
  const { app, submit, client, open, port } = await serve(t, {
    before: async (app) => {
      await app.register(websocket, given)
      app.get('/chat', { websocket: true }, (socket) => { socket.send(`hello ${socket.protocol}`) })
    }
  })
  const chat = new WebSocket(`ws://127.0.0.1:${port}/chat`, 'chat.v1')
  const [hello] = await once(chat, 'message')
  t.equal(String(hello), 'hello chat.v1', 'its own routes are as before')
  chat.close()
  const id = await submit()
  const socket = await client({ protocols: ['chat.v1', SOCKET_PROTOCOL] })
  t.equal(socket.ws.protocol, SOCKET_PROTOCOL)
  socket.subscribe(id)
  await socket.nextOf('status')
  const long = await client()
  long.say({ type: 'ping', more: 'x'.repeat(20_000) })
  t.same(await long.closed(), { code: 1009, reason: 'too-large' }, 'our limit holds for our route')
  t.equal((await new SocketClient(port, { origin: 'https://evil.example' }).refused()).status, 403)
  t.match(await new SocketClient(port, { protocols: 'other' }).refused(), { status: 400 })
  open()
  await socket.nextOf('end')
  await app.close()
  t.match(await socket.closed(), { code: 1005 }, 'its own preClose hook ran first')
})

t.test('@fastify/websocket of the application, registered later', async (t) => {
  const app = Fastify()
  t.teardown(async () => { await app.close() })
  await app.register(asyncEndpoints, { observability: false, listening: { webSocket: true } })
  app.asyncEndpoint({ url: '/quick', name: 'quick', handler: async () => 'done' })
  await app.register(websocket)
  app.get('/chat', { websocket: true }, (socket) => { socket.send('hello') })
  const port = await portOf(app)
  const chat = new WebSocket(`ws://127.0.0.1:${port}/chat`)
  t.equal(String((await once(chat, 'message'))[0]), 'hello')
  chat.close()
  const socket = await new SocketClient(port).opened()
  socket.say({ type: 'ping' })
  t.same(await socket.next(), { type: 'pong' })
  socket.ws.close()
  t.match(await new SocketClient(port, { origin: 'https://evil.example' }).refused(), { status: 403 })
})

t.test('off by default: the path is that of a job which does not exist', async (t) => {
  const { app, port } = await serve(t, { listening: {} })
  t.equal((await app.inject('/jobs/socket')).statusCode, 404)
  t.equal((await new SocketClient(port).refused()).status, 404)
  t.equal(app.server.listenerCount('upgrade'), 0, 'and Node treats upgrade requests as it always does')
})
