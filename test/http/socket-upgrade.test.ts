import { EventEmitter, once } from 'node:events'
import { createServer, type IncomingMessage, type Server } from 'node:http'
import { connect } from 'node:net'
import { PassThrough, type Duplex } from 'node:stream'
import t, { type Test } from 'tap'
import { passUpgrades } from '../../lib/http/socket-upgrade.ts'

const OURS = '/jobs/socket'
const UPGRADE = 'Connection: Upgrade\r\nUpgrade: websocket\r\n'

interface Front {
  readonly server: Server
  readonly entry: EventEmitter
  readonly plain: string[]
  /** Writes the chunks one after the other, and resolves with everything that came until the connection closed. */
  readonly talk: (...chunks: readonly string[]) => Promise<string>
  readonly stop: () => void
}

async function front (t: Test): Promise<Front> {
  const plain: string[] = []
  const server = createServer((request, response) => {
    let body = ''
    request.on('data', (chunk: Buffer) => { body += chunk.toString() })
    request.on('end', () => {
      plain.push(`${request.method} ${request.url} [${body}] upgrade=${request.headers.upgrade} connection=${request.headers.connection}`)
      response.end('plain')
    })
  })
  const entry = new EventEmitter()
  entry.on('upgrade', (_: IncomingMessage, socket: Duplex) => { socket.end('taken') })
  const stop = passUpgrades(server, entry, ({ url }) => url === OURS)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => { server.closeAllConnections(); server.close() })
  const talk = async (...chunks: readonly string[]): Promise<string> => {
    const address = server.address()
    const socket = connect(typeof address === 'object' && address !== null ? address.port : 0, '127.0.0.1')
    socket.setNoDelay(true)
    let out = ''
    socket.on('data', (data) => { out += data.toString() })
    socket.setTimeout(5_000, () => { socket.destroy(new Error(`the connection stayed open; so far: ${out}`)) })
    for (const chunk of chunks) {
      socket.write(chunk)
      await new Promise((resolve) => { setImmediate(resolve) })
    }
    await once(socket, 'close')
    return out
  }
  return { server, entry, plain, talk, stop }
}

t.test('an upgrade to a WebSocket on our route goes to the package for sockets', async (t) => {
  const { talk, plain } = await front(t)
  t.equal(await talk(`GET ${OURS} HTTP/1.1\r\nHost: a\r\n${UPGRADE}\r\n`), 'taken')
  t.equal(await talk(`GET ${OURS} HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, upgrade\r\nUpgrade:  WebSocket\r\n\r\n`), 'taken', 'in any case')
  t.same(plain, [])
})

t.test('every other request with an Upgrade header is served as if it had none', async (t) => {
  const { talk, plain } = await front(t)
  const body = '{"name":"\u00e9"}'
  const length = Buffer.byteLength(body)
  const h2c = 'Connection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n'
  t.match(await talk(`POST /reports HTTP/1.1\r\nHost: a\r\n${h2c}Content-Length: ${length}\r\n\r\n${body.slice(0, 4)}`, body.slice(4)), /200 OK[^]*plain/, 'as the HttpClient of Java sends it')
  t.match(await talk('POST /reports HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\nTransfer-Encoding: chunked\r\n\r\n', '3\r\nabc\r\n', '0\r\n\r\n', 'GET /next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n'), /plain[^]*plain/)
  t.match(await talk('GET /other HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n\r\n'), /200 OK/, 'a route of the application')
  t.match(await talk(`POST ${OURS} HTTP/1.1\r\nHost: a\r\nConnection: upgrade, close\r\nUpgrade: websocket\r\nContent-Length: 1\r\n\r\nx`), /200 OK/, 'a WebSocket begins with GET')
  t.match(await talk(`GET ${OURS} HTTP/1.1\r\nHost: a\r\nConnection: upgrade, close\r\nUpgrade: h2c\r\n\r\n`), /200 OK/)
  t.match(await talk('GET /old HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: foo\r\n\r\n'), /200 OK/, 'HTTP/1.0 is closed, as without the header')
  t.same(plain, [
    `POST /reports [${body}] upgrade=undefined connection=close`,
    'POST /reports [abc] upgrade=undefined connection=undefined',
    'GET /next [] upgrade=undefined connection=close',
    'GET /other [] upgrade=undefined connection=close',
    `POST ${OURS} [x] upgrade=undefined connection=close`,
    `GET ${OURS} [] upgrade=undefined connection=close`,
    'GET /old [] upgrade=undefined connection=undefined'
  ])
})

t.test('another listener of the application gets what is not ours', async (t) => {
  const { talk, plain, server } = await front(t)
  server.on('upgrade', (request: IncomingMessage, socket: Duplex) => { if (request.url !== OURS) socket.end('of the application') })
  t.equal(await talk(`GET /other HTTP/1.1\r\nHost: a\r\n${UPGRADE}\r\n`), 'of the application')
  t.equal(await talk(`GET ${OURS} HTTP/1.1\r\nHost: a\r\n${UPGRADE}\r\n`), 'taken')
  t.same(plain, [])
})

t.test('afterwards Node decides again', async (t) => {
  const { talk, plain, stop } = await front(t)
  stop()
  t.match(await talk(`GET ${OURS} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n\r\n`), /200 OK/)
  t.equal(plain.length, 1)
})

t.test('a client that has gone meanwhile, and a version of Node that asks first', async (t) => {
  const server = new EventEmitter() as unknown as Server
  const before = (): boolean => true
  Reflect.set(server, 'shouldUpgradeCallback', before)
  const asked = (): (request: object) => boolean => Reflect.get(server, 'shouldUpgradeCallback') as (request: object) => boolean
  const stop = passUpgrades(server, new EventEmitter(), ({ url }) => url === OURS)
  t.ok(asked()({ method: 'GET', url: OURS, headers: { upgrade: 'websocket' } }))
  t.notOk(asked()({ method: 'GET', url: '/other', headers: { upgrade: 'websocket' } }))
  t.notOk(asked()({ method: 'POST', url: '/reports', headers: { upgrade: 'h2c' } }))
  server.on('upgrade', () => {})
  t.ok(asked()({ method: 'GET', url: '/other', headers: { upgrade: 'websocket' } }), 'the application wants it')
  server.removeAllListeners('upgrade')
  stop()
  t.equal(asked(), before)

  let served = 0
  server.on('connection', () => { served++ })
  passUpgrades(server, new EventEmitter(), () => false)
  const gone = new PassThrough()
  gone.destroy()
  server.emit('upgrade', { method: 'GET', url: '/', headers: { upgrade: 'h2c' }, httpVersion: '1.1', rawHeaders: [] }, gone, Buffer.alloc(0))
  t.equal(served, 0)
  t.ok(gone.destroyed)
})
