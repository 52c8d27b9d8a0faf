import { setTimeout as sleep } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import Fastify from 'fastify'
import t from 'tap'
import { backboneOf } from '../../lib/channels/backbone.ts'
import { asyncEndpoints } from '../../plugins/async-endpoints.ts'
import { connectionsOf, portOf, SocketClient } from '../support/socket-client.ts'

const CONNECTS = 3_000
const AT_ONCE = 50

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

/** Waits until it holds, and says so when it does not come true. */
async function until (what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const end = performance.now() + 20_000
  while (!await holds()) {
    if (performance.now() > end) throw new Error(`waited in vain until ${what}`)
    await sleep(5)
  }
}

const timers = (): number => process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length

t.test('thousands of connections come and go, in every way, and leave nothing', async (t) => {
  const app = Fastify()
  let open = (): void => {}
  const gate = new Promise<void>((resolve) => { open = resolve })
  t.teardown(async () => { open(); await app.close() })
  await app.register(asyncEndpoints, { observability: false, listening: { webSocket: true } })
  app.asyncEndpoint({ url: '/gated', name: 'gated', handler: async () => { await gate } })
  const port = await portOf(app)
  const { id } = await app.jobs.submit('gated', {})
  const backbone = backboneOf(app)
  const visit = async (n: number): Promise<void> => {
    const client = await new SocketClient(port).opened()
    if (n % 5 !== 0) {
      client.subscribe(id)
      if (n % 5 !== 1) await client.nextOf('status')
    }
    if (n % 2 === 0) client.ws.terminate()
    else client.ws.close()
    await client.closed()
  }
  const round = async (count: number): Promise<void> => {
    for (let n = 0; n < count; n += AT_ONCE) await Promise.all(Array.from({ length: AT_ONCE }, async (_, at) => { await visit(n + at) }))
    await until('every connection is gone', async () => await connectionsOf(app) === 0 && backbone.size === 0)
  }
  await round(500)
  const before = { timers: timers(), listeners: listenersOf(app.server), heap: heap() }
  await round(CONNECTS)
  t.equal(await connectionsOf(app), 0)
  t.equal(backbone.size, 0)
  t.same(listenersOf(app.server), before.listeners)
  await until('the timers are those of before', () => timers() <= before.timers)
  const kept = (heap() - before.heap) / CONNECTS
  t.ok(kept < 1_000, `${Math.round(kept)} bytes are kept for each connection`)
})

t.test('one job with very many listeners is read once', async (t) => {
  const app = Fastify()
  let open = (): void => {}
  const gate = new Promise<void>((resolve) => { open = resolve })
  t.teardown(async () => { open(); await app.close() })
  await app.register(asyncEndpoints, { observability: false, listening: { webSocket: true } })
  app.asyncEndpoint({ url: '/gated', name: 'gated', handler: async () => { await gate } })
  const port = await portOf(app)
  const { id } = await app.jobs.submit('gated', {})
  const clients = await Promise.all(Array.from({ length: 100 }, async () => await new SocketClient(port).opened()))
  for (const client of clients) {
    client.subscribe(id)
    await client.nextOf('status')
  }
  t.equal(backboneOf(app).size, 1)
  open()
  for (const client of clients) {
    t.match(await client.nextOf('end'), { id, job: { status: 'completed' } })
    client.ws.terminate()
  }
})

function listenersOf (server: NodeJS.EventEmitter): Record<string, number> {
  return Object.fromEntries(server.eventNames().map((name) => [String(name), server.listenerCount(name)]))
}

function heap (): number {
  for (let n = 0; n < 3; n++) collect()
  return process.memoryUsage().heapUsed
}
