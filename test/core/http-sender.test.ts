import { once } from 'node:events'
import { Agent, createServer as createHttpServer, type RequestListener } from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import { createServer as createTcpServer, isIP, type AddressInfo, type Server, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import { systemClock } from '../../lib/core/context.ts'
import { HttpSender, unsendableHeaders, type DeliveryError, type HttpAnswer, type HttpSenderParts, type SendOptions } from '../../lib/core/http-sender.ts'
import { readOutboundPolicy, type OutboundPolicy } from '../../lib/core/outbound-policy.ts'
import type { ResolveHost } from '../../lib/core/public-address.ts'
import { TEST_CERTIFICATE, TEST_KEY } from '../support/test-certificate.ts'
import { HOSTILE_URLS } from './hostile-urls.ts'

/** Every name is on this machine, and this machine is allowed. */
const LOCAL: OutboundPolicy = { allowHttp: true, ports: 'any', allowPrivate: ['127.0.0.1/32'] }

interface Running { readonly port: number, readonly sockets: Set<Socket>, connections: number, readonly closed: Promise<void>, stop: () => void }

async function listening (t: Test, server: Server, host = '127.0.0.1'): Promise<Running> {
  const sockets = new Set<Socket>()
  server.on('connection', (socket) => {
    running.connections++
    sockets.add(socket)
    socket.on('error', () => {}).on('close', () => sockets.delete(socket))
  })
  server.listen(0, host)
  await once(server, 'listening')
  const stop = (): void => {
    server.close()
    for (const socket of sockets) socket.destroy()
  }
  const running = { port: (server.address() as AddressInfo).port, sockets, connections: 0, closed: once(server, 'close').then(() => {}), stop }
  t.teardown(stop)
  return running
}

const http = (t: Test, listener: RequestListener): Promise<Running> => listening(t, createHttpServer(listener))
const https = (t: Test, listener: RequestListener): Promise<Running> => listening(t, createHttpsServer({ key: TEST_KEY, cert: TEST_CERTIFICATE }, listener))
const tcp = (t: Test, listener: (socket: Socket) => void): Promise<Running> => listening(t, createTcpServer(listener))

function resolver (answers: (hostname: string) => readonly string[]): ResolveHost {
  return (hostname, callback) => { callback(null, answers(hostname).map((address) => ({ address, family: isIP(address) }))) }
}

function senderOf (t: Test, policy: OutboundPolicy = LOCAL, parts: Partial<HttpSenderParts> = {}): HttpSender {
  const sender = new HttpSender({
    clock: systemClock, policy: readOutboundPolicy('webhooks', policy), ca: TEST_CERTIFICATE, resolve: resolver(() => ['127.0.0.1']), ...parts
  })
  t.teardown(() => { sender.close() })
  return sender
}

function send (sender: HttpSender, url: string, options: Partial<SendOptions> = {}): Promise<HttpAnswer> {
  return sender.sendOnce({ url, headers: { 'content-type': 'text/plain' }, body: 'hello', signal: new AbortController().signal, ...options })
}

async function failure (sent: Promise<HttpAnswer>): Promise<DeliveryError> {
  return await sent.then((answer) => { throw new Error(`it was answered: ${answer.status}`) }, (error: unknown) => error as DeliveryError)
}

/** Waits for what happens on the other side of a socket. */
async function until (what: string, ready: () => boolean): Promise<void> {
  const deadline = Date.now() + 20_000
  while (!ready()) {
    if (Date.now() > deadline) throw new Error(`waited in vain: ${what}`)
    await new Promise((resolve) => { setTimeout(resolve, 5) })
  }
}

t.test('no hostile URL is called', async (t) => {
  for (const { url, reason, answers } of HOSTILE_URLS) {
    const resolve = resolver((hostname) => {
      if (answers === undefined) throw new Error(`a name server was asked for ${hostname}`)
      return answers
    })
    const error = await failure(send(senderOf(t, {}, { resolve }), url))
    const code = reason === 'unresolvable' ? 'ENETWORK' : 'FAE_URL_REFUSED'
    t.match(error, { code, reason, passing: reason === 'unresolvable' }, JSON.stringify(url).slice(0, 80))
  }
})

t.test('a message over TLS: what is sent, what comes back, and the connection is kept', async (t) => {
  const received: unknown[] = []
  const server = await https(t, (request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk)).on('end', () => {
      const { host, 'user-agent': agent, 'content-length': length, 'x-own': own } = request.headers
      received.push({ method: request.method, url: request.url, host, agent, length, own, body: Buffer.concat(chunks).toString() })
      response.writeHead(202, { 'retry-after': '7', 'webhook-delivery': 'abort-message', 'webhook-allowed-rate': 'x'.repeat(257), 'set-cookie': 'secret' }).end('secret')
    })
  })
  const sender = senderOf(t)
  const url = `https://receiver.example.:${server.port}/hook?a=b`
  t.strictSame(await send(sender, url, { headers: { 'X-Own': ' yes ' } }), { status: 202, headers: { 'retry-after': '7', 'webhook-delivery': 'abort-message' } })
  await send(sender, url, { method: 'OPTIONS', body: '', headers: { 'user-agent': 'own' } })
  t.match(received, [
    { method: 'POST', url: '/hook?a=b', host: `receiver.example:${server.port}`, agent: 'fastify-async-endpoints', length: '5', own: 'yes', body: 'hello' },
    { method: 'OPTIONS', agent: 'own', body: '' }
  ])
  t.equal(server.connections, 1)
  sender.close()
  server.stop()
  await server.closed
  t.match(await failure(send(sender, url)), { code: 'FAE_CLOSED', passing: false })
})

t.test('the certificate must be good, and for this name', async (t) => {
  const server = await https(t, (_, response) => { response.end() })
  t.match(await failure(send(senderOf(t), `https://other.example:${server.port}/`)), { code: 'ERR_TLS_CERT_ALTNAME_INVALID' })
  t.match(await failure(send(senderOf(t, LOCAL, { ca: undefined }), `https://receiver.example:${server.port}/`)), { code: 'DEPTH_ZERO_SELF_SIGNED_CERT' })
})

t.test('a name that resolves to something else each time: only what was checked is called', async (t) => {
  // 127.0.0.2 stands for a public address, 127.0.0.1 for what must not be reached.
  const policy: OutboundPolicy = { ...LOCAL, allowPrivate: ['127.0.0.2/32'] }
  let reached = 0
  const listener: RequestListener = (request, response) => {
    if (request.socket.localAddress === '127.0.0.1') reached++
    response.writeHead(204, { connection: 'close' }).end()
  }
  const server = await listening(t, createHttpServer(listener), '0.0.0.0')
  let asked = 0
  const sender = senderOf(t, policy, { resolve: resolver(() => [asked++ % 2 === 0 ? '127.0.0.2' : '127.0.0.1']) })
  const url = `http://rebinding.example:${server.port}/`
  for (const round of [1, 2, 3]) {
    t.equal((await send(sender, url)).status, 204)
    t.equal(asked, 2 * round - 1, 'asked once for each connection')
    t.match(await failure(send(sender, url)), { code: 'FAE_URL_REFUSED', reason: 'not-public' })
  }
  t.same([server.connections, reached], [3, 0])
})

t.test('the address of a connection is checked again before anything is written', async (t) => {
  for (const scheme of ['http', 'https']) {
    let bytes = 0
    const server = await tcp(t, (socket) => { socket.on('data', (chunk) => { bytes += chunk.length }) })
    const given = readOutboundPolicy('webhooks', LOCAL)
    let { allowed } = given
    // As if the connection had gone elsewhere than the lookup said.
    const resolve: ResolveHost = (_, callback) => {
      callback(null, [{ address: '127.0.0.1', family: 4 }])
      allowed = []
    }
    const sender = new HttpSender({ clock: systemClock, policy: { ...given, get allowed () { return allowed } }, resolve })
    t.match(await failure(send(sender, `${scheme}://receiver.example:${server.port}/`)), { code: 'FAE_URL_REFUSED', reason: 'not-public' })
    sender.close()
    server.stop()
    await server.closed
    t.same([server.connections, bytes], [1, 0], scheme)
  }
})

t.test('a redirect is an answer', async (t) => {
  let reached = 0
  const inside = await http(t, (_, response) => { reached++; response.end() })
  for (const status of [301, 302, 303, 307, 308]) {
    const server = await http(t, (_, response) => { response.writeHead(status, { location: `http://127.0.0.1:${inside.port}/` }).end() })
    t.strictSame(await send(senderOf(t), `http://receiver.example:${server.port}/`), { status, headers: {} })
  }
  t.equal(reached, 0)
})

t.test('an answer without end is cut off; its status counts', async (t) => {
  let written = 0
  let over = false
  const server = await http(t, (_, response) => {
    response.writeHead(200)
    response.on('close', () => { over = true })
    const more = (): void => {
      if (over) return
      written += 16_384
      response.write(Buffer.alloc(16_384), () => { setImmediate(more) })
    }
    more()
  })
  t.match(await send(senderOf(t), `http://receiver.example:${server.port}/`), { status: 200 })
  await until('the connection is closed', () => over)
  t.ok(written < 64 * 1_048_576, `${written} bytes were taken`)
})

t.test('a slow drip ends with the deadline', async (t) => {
  const drip = (socket: Socket, text: string): void => {
    let at = 0
    const timer = setInterval(() => { socket.write(text[at++ % text.length] ?? '') }, 2)
    socket.on('close', () => { clearInterval(timer) })
  }
  const headers = await tcp(t, (socket) => { drip(socket, 'HTTP/1.1 200 OK\r\nx-a: b\r\n'.padEnd(10_000, 'x')) })
  t.match(await failure(send(senderOf(t), `http://receiver.example:${headers.port}/`, { timeoutMs: 60 })), { code: 'ETIMEDOUT', passing: true })
  await until('the connection is closed', () => headers.sockets.size === 0)
  const body = await tcp(t, (socket) => {
    socket.write('HTTP/1.1 503 Busy\r\nretry-after: 9\r\ntransfer-encoding: chunked\r\n\r\n')
    drip(socket, '1\r\nx\r\n')
  })
  t.strictSame(await send(senderOf(t), `http://receiver.example:${body.port}/`, { timeoutMs: 60 }), { status: 503, headers: { 'retry-after': '9' } })
  await until('the connection is closed', () => body.sockets.size === 0)
  const interim = await tcp(t, (socket) => { drip(socket, 'HTTP/1.1 103 Early Hints\r\n\r\n') })
  t.match(await failure(send(senderOf(t), `http://receiver.example:${interim.port}/`, { timeoutMs: 200 })), { code: 'ETIMEDOUT' }, 'interim answers are none')
})

t.test('receivers that are none', async (t) => {
  const answers: ReadonlyArray<readonly [string, string | RegExp]> = [
    [`HTTP/1.1 200 OK\r\n${Array.from({ length: 2_000 }, (_, index) => `x-${index}: ${'x'.repeat(100)}\r\n`).join('')}\r\n`, 'HPE_HEADER_OVERFLOW'],
    [`HTTP/1.1 200 OK\r\nx: ${'x'.repeat(100_000)}\r\n\r\n`, 'HPE_HEADER_OVERFLOW'],
    ['SSH-2.0-OpenSSH_9.2\r\n', /^HPE_/],
    ['HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n', /^HPE_/],
    ['HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n', /^(ECONNRESET|ENETWORK)$/],
    ['', 'ECONNRESET']
  ]
  for (const [text, code] of answers) {
    const server = await tcp(t, (socket) => { socket.once('data', () => { if (text === '') socket.destroy(); else socket.write(text) }) })
    const error = await failure(send(senderOf(t), `http://receiver.example:${server.port}/hunter2`))
    t.match(error, { code, passing: true, message: 'the receiver could not be reached' }, JSON.stringify(text.slice(0, 40)))
    t.notMatch(JSON.stringify([error, error.stack]), 'hunter2')
    await until('the connection is closed', () => server.sockets.size === 0)
  }
  const closed = await tcp(t, () => {})
  closed.stop()
  await closed.closed
  t.match(await failure(send(senderOf(t), `http://receiver.example:${closed.port}/`)), { code: 'ECONNREFUSED' })
})

t.test('deadlines and aborts end a lookup, a handshake and a request', async (t) => {
  const silent = await tcp(t, (socket) => { socket.resume() })
  const never: ResolveHost = () => {}
  const cases: ReadonlyArray<readonly [string, string, Partial<HttpSenderParts>]> = [
    ['lookup', 'https', { resolve: never }], ['handshake', 'https', {}], ['answer', 'http', {}]
  ]
  for (const [name, scheme, parts] of cases) {
    const url = `${scheme}://receiver.example:${silent.port}/`
    t.match(await failure(send(senderOf(t, LOCAL, parts), url, { timeoutMs: 30 })), { code: 'ETIMEDOUT', message: 'the receiver did not answer in time' }, name)
    const abort = new AbortController()
    const connected = silent.connections
    const sent = failure(send(senderOf(t, LOCAL, parts), url, { signal: abort.signal }))
    if (name !== 'lookup') await until('a connection', () => silent.connections > connected)
    abort.abort()
    t.match(await sent, { code: 'ETIMEDOUT' }, `${name}, aborted`)
    const closing = senderOf(t, LOCAL, parts)
    const last = failure(send(closing, url))
    closing.close()
    t.match(await last, { code: 'ETIMEDOUT' }, `${name}, closed`)
    await until('all connections are closed', () => silent.sockets.size === 0)
  }
  t.match(await failure(send(senderOf(t), `http://receiver.example:${silent.port}/`, { signal: AbortSignal.abort() })), { code: 'ETIMEDOUT' })
})

t.test('a kept connection that the receiver has closed is replaced', async (t) => {
  let requests = 0
  const server = await tcp(t, (socket) => {
    let first = true
    socket.on('data', () => {
      requests++
      // Closes at the second request: what a sender sees that writes just when the receiver gives up waiting.
      if (first) socket.write('HTTP/1.1 204 No Content\r\n\r\n')
      else socket.destroy()
      first = false
    })
  })
  const sender = senderOf(t)
  const url = `http://receiver.example:${server.port}/`
  t.equal((await send(sender, url, { body: '' })).status, 204)
  await until('the connection is free again', () => server.sockets.size === 1)
  t.equal((await send(sender, url, { body: '' })).status, 204)
  t.same([server.connections, requests], [2, 3])
})

t.test('an agent of the application makes the connections; URLs are still checked', async (t) => {
  const server = await http(t, (_, response) => { response.writeHead(204).end() })
  const agent = new Agent({ keepAlive: true })
  t.teardown(() => { agent.destroy() })
  const sender = senderOf(t, { allowHttp: true, ports: 'any', agent }, { resolve: () => { throw new Error('not asked') } })
  // An egress proxy, as far as the sender can see: it goes to the same place for every name.
  const create = agent.createConnection.bind(agent)
  agent.createConnection = (options, callback) => create({ ...options, host: '127.0.0.1' }, callback)
  t.equal((await send(sender, `http://receiver.example:${server.port}/`)).status, 204)
  t.match(await failure(send(sender, `http://127.0.0.1:${server.port}/`)), { reason: 'ip-literal' })
  sender.close()
  t.equal(Object.keys(agent.freeSockets).length, 1, 'it is not closed: others may use it')
  t.match(await failure(send(senderOf(t, { agent }), 'https://receiver.example/')), { code: 'ERR_INVALID_PROTOCOL' }, 'it must fit the scheme')
})

t.test('headers that cannot be sent', async (t) => {
  t.same(unsendableHeaders({ good: 'yes', 'not good': 'x', bad: 'a\nb', 'Transfer-Encoding': 'chunked', connection: 'close' }), ['not good', 'bad', 'Transfer-Encoding', 'connection'])
})
