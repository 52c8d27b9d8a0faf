import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import Fastify, { type FastifyInstance } from 'fastify'
import t from 'tap'
import { backboneOf } from '../../lib/channels/backbone.ts'
import { asyncEndpoints, type AsyncEndpointsOptions } from '../../plugins/async-endpoints.ts'
import { EventClient } from '../support/event-client.ts'
import { connectionsOf, portOf } from '../support/socket-client.ts'
import { echo, testApp } from './support.ts'

const CONNECTS = 10_000
const AT_ONCE = 100
const DEAF = 200

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

async function until (what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const end = performance.now() + 20_000
  while (!await holds()) {
    if (performance.now() > end) throw new Error(`waited in vain until ${what}`)
    await sleep(5)
  }
}

const timers = (): number => process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length

function listenersOf (server: NodeJS.EventEmitter): Record<string, number> {
  return Object.fromEntries(server.eventNames().map((name) => [String(name), server.listenerCount(name)]))
}

/** The heap, and what is outside of it: written strings. */
function held (): number { return heap() + process.memoryUsage().external }

function heap (): number {
  for (let n = 0; n < 3; n++) collect()
  return process.memoryUsage().heapUsed
}

async function serve (test: typeof t, options: AsyncEndpointsOptions, handler: (gate: Promise<void>) => Parameters<FastifyInstance['asyncEndpoint']>[0]['handler']): Promise<{ app: FastifyInstance, port: number, open: () => void }> {
  const app = Fastify()
  let open = (): void => {}
  const gate = new Promise<void>((resolve) => { open = resolve })
  test.teardown(async () => { open(); await app.close() })
  await app.register(asyncEndpoints, { observability: false, ...options })
  app.asyncEndpoint({ url: '/gated', name: 'gated', handler: handler(gate) })
  return { app, port: await portOf(app), open }
}

/** A stream without a parser: the client must cost little. */
async function stream (port: number, path: string): Promise<Socket> {
  const socket = connect(port, '127.0.0.1')
  socket.on('error', () => { /* the server may cut it */ })
  socket.write(`GET ${path} HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n`)
  await once(socket, 'data')
  return socket
}

t.test('ten thousand streams come and go, in every way, and leave nothing', async (t) => {
  const { app, port } = await serve(t as never, {}, (gate) => async () => { await gate })
  const ids = [(await app.jobs.submit('gated', {})).id, (await app.jobs.submit('gated', {})).id]
  const backbone = backboneOf(app)
  const visit = async (n: number): Promise<void> => {
    const path = n % 3 === 0 ? `/jobs/events?id=${ids.join('&id=')}` : `/jobs/${ids[0]}`
    if (n % 7 === 0) {
      const socket = connect(port, '127.0.0.1')
      // Gone before the answer.
      socket.write(`GET ${path} HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n`, () => { socket.resetAndDestroy() })
      await once(socket, 'close')
      return
    }
    const socket = await stream(port, path)
    if (n % 2 === 0) socket.resetAndDestroy()
    else socket.end()
    if (!socket.destroyed) await once(socket.resume(), 'close')
  }
  const round = async (count: number): Promise<void> => {
    for (let n = 0; n < count; n += AT_ONCE) await Promise.all(Array.from({ length: AT_ONCE }, async (_, at) => { await visit(n + at) }))
    await until('every stream is gone', async () => await connectionsOf(app) === 0 && backbone.size === 0)
  }
  await round(1_000)
  const before = { timers: timers(), listeners: listenersOf(app.server), heap: heap() }
  await round(CONNECTS)
  t.equal(await connectionsOf(app), 0)
  t.equal(backbone.size, 0)
  t.same(listenersOf(app.server), before.listeners)
  await until('the timers are those of before', () => timers() <= before.timers)
  const kept = (heap() - before.heap) / CONNECTS
  t.ok(kept < 500, `${Math.round(kept)} bytes are kept for each stream`)
})

t.test('large documents that nobody reads are not kept', async (t) => {
  const text = 'x'.repeat(200_000)
  const { app, store } = await testApp({ http: { responses: { status: ({ document }) => ({ ...document, text }) } } })
  t.teardown(async () => { await app.close() })
  app.asyncEndpoint({ url: '/mine', name: 'mine', handler: echo })
  const port = await portOf(app)
  const { id } = (await app.inject({ method: 'POST', url: '/mine' })).json()
  const deaf = await Promise.all(Array.from({ length: 20 }, async () => (await stream(port, `/jobs/${id}`)).pause()))
  const reader = new EventClient(port, { path: `/jobs/${id}` })
  await reader.nextOf('status')
  const change = async (times: number): Promise<void> => {
    for (let n = 0; n < times; n++) {
      store.change(id, { state: n % 2 === 0 ? 'in-progress' : 'queued' })
      await reader.nextOf('status')
      reader.forget()
    }
  }
  // Until the buffers of the kernel are full.
  await change(60)
  const before = held()
  await change(60)
  const grown = held() - before
  t.ok(grown < 5_000_000, `${Math.round(grown / 1_000)} kB more are held, of ${deaf.length * 60 * 200} kB`)
  store.complete(id)
  t.match((await reader.ended()).at(-1), { type: 'end' })
  for (const socket of deaf) socket.destroy()
})

t.test('clients that never read cost no more and no more', async (t) => {
  const { app, port, open } = await serve(t as never, { listening: { pingMs: 100, maxPerClient: DEAF + 1 } }, (gate) => async (job) => {
    const end = { over: false }
    gate.then(() => { end.over = true }, () => {})
    for (let done = 0; !end.over; done++) {
      await job.progress({ done, total: 1_000_000, message: 'x'.repeat(200) })
      await sleep(1)
    }
  })
  const { id } = await app.jobs.submit('gated', {})
  const deaf = await Promise.all(Array.from({ length: DEAF }, async () => {
    const socket = await stream(port, `/jobs/${id}`)
    return socket.pause()
  }))
  const reader = new EventClient(port, { path: `/jobs/${id}` })
  for (let n = 0; n < 8; n++) await reader.nextOf('progress')
  const before = heap()
  for (let n = 0; n < 16; n++) await reader.nextOf('progress')
  const grown = heap() - before
  t.ok(grown < 4_000_000, `the heap grew by ${Math.round(grown / 1_000)} kB`)
  open()
  t.match((await reader.ended()).at(-1), { type: 'end' })
  for (const socket of deaf) socket.destroy()
})
