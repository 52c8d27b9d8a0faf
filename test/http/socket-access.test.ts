import { randomBytes } from 'node:crypto'
import Fastify from 'fastify'
import t, { type Test } from 'tap'
import { FakeClock } from '../../lib/testing/fake-clock.ts'
import { asyncEndpoints, type HttpOptions } from '../../plugins/async-endpoints.ts'
import { portOf, SocketClient, type Heard } from '../support/socket-client.ts'

const KEYS = [{ id: 'k1', secret: randomBytes(32) }]

async function serve (t: Test, http: HttpOptions, clock?: FakeClock) {
  const app = Fastify()
  let open = (): void => {}
  const gate = new Promise<void>((resolve) => { open = resolve })
  t.teardown(async () => { open(); await app.close() })
  await app.register(asyncEndpoints, { observability: false, health: false, worker: false, listening: { webSocket: true }, http, clock })
  app.asyncEndpoint({ url: '/gated', name: 'gated', handler: async () => { await gate } })
  const port = await portOf(app)
  const submit = async (headers: Record<string, string> = {}): Promise<{ id: string, sig: string }> => {
    const { id, links } = (await app.inject({ method: 'POST', url: '/gated', headers })).json()
    return { id, sig: new URL(links.self, 'http://a').searchParams.get('sig') ?? '' }
  }
  return { app, port, submit }
}

async function answers (socket: SocketClient, count: number): Promise<Heard[]> {
  const heard: Heard[] = []
  while (heard.length < count) heard.push(await socket.next())
  return heard
}

t.test('links of jobs, one for each subscription', async (t) => {
  const { port, submit } = await serve(t, { access: 'link', links: { keys: KEYS } })
  const [first, second] = [await submit(), await submit()]
  const socket = await new SocketClient(port).opened()
  socket.say({ type: 'subscribe', jobs: [first, { id: second.id }] })
  t.match((await answers(socket, 2)).sort(byType), [{ type: 'gone', id: second.id }, { type: 'status', id: first.id }], 'without its link')
  const [head = '', ...rest] = second.sig.split('.')
  const forged = [
    first.sig, `${second.sig}x`, second.sig.slice(0, -1), [head, ...rest.slice(0, -1), 'A'.repeat(43)].join('.'), ['k2', ...rest].join('.'),
    [head, String(Number(rest[0]) + 1), ...rest.slice(1)].join('.'), '.', '...', 'null', '💥'
  ]
  for (const sig of forged) {
    socket.say({ type: 'subscribe', jobs: [{ id: second.id, sig }] })
    t.same(await socket.next(), { type: 'gone', id: second.id }, sig)
  }
  socket.say({ type: 'subscribe', ids: [second.id], sig: second.sig })
  const status = await socket.next()
  t.match(status, { type: 'status', id: second.id })
  t.ok(JSON.stringify(status['job']).includes(`?sig=${second.sig}`), 'the links in the document are no better than the one of the client')
  socket.ws.close()
})

t.test('a subscription ends with its link', async (t) => {
  const clock = new FakeClock({ startAt: Date.now() })
  const { app, port, submit } = await serve(t, { access: 'link', links: { keys: KEYS, ttlMs: 20_000 } }, clock)
  const job = await submit()
  const socket = await new SocketClient(port).opened()
  socket.say({ type: 'subscribe', jobs: [job] })
  t.match(await socket.next(), { type: 'status', id: job.id })
  const next = socket.next()
  const waiting = { on: true }
  next.finally(() => { waiting.on = false }).catch(() => {})
  while (waiting.on) await clock.advance(1_000)
  t.same(await next, { type: 'gone', id: job.id })
  socket.say({ type: 'subscribe', jobs: [job] })
  t.same(await socket.next(), { type: 'gone', id: job.id }, 'an old link opens nothing')
  t.equal((await app.inject(`/jobs/${job.id}?sig=${job.sig}`)).statusCode, 404)
  socket.ws.terminate()
})

t.test('an owner needs no link, and a link is enough where nobody is known', async (t) => {
  const unauthorized = Object.assign(new Error('Who are you?'), { statusCode: 401 })
  const { port, submit } = await serve(t, {
    links: { keys: KEYS },
    owner: ({ headers }) => { if (headers.authorization === undefined) throw unauthorized; return headers.authorization }
  })
  const job = await submit({ authorization: 'alice' })
  const alice = await new SocketClient(port, { headers: { authorization: 'alice' } }).opened()
  alice.subscribe(job.id)
  t.match(await alice.next(), { type: 'status', id: job.id })
  const bob = await new SocketClient(port, { headers: { authorization: 'bob' } }).opened()
  bob.subscribe(job.id)
  t.same(await bob.next(), { type: 'gone', id: job.id })
  const anonymous = await new SocketClient(port).opened()
  anonymous.subscribe(job.id)
  t.match(await anonymous.next(), { type: 'error', ids: [job.id], problem: { status: 401 } })
  anonymous.say({ type: 'subscribe', jobs: [job] })
  t.match(await anonymous.next(), { type: 'status', id: job.id })
  for (const { ws } of [alice, bob, anonymous]) ws.terminate()
})

t.test('http.authorize is asked for every subscription', async (t) => {
  const asked: string[] = []
  let allowed = true
  const { port, submit } = await serve(t, {
    authorize: (_, { action, job }) => {
      asked.push(`${action} ${job?.id ?? 'unknown'}`)
      return allowed
    }
  })
  const [first, second] = [await submit(), await submit()]
  asked.length = 0
  const socket = await new SocketClient(port).opened()
  socket.subscribe(first.id)
  t.match(await socket.next(), { type: 'status', id: first.id })
  allowed = false
  socket.subscribe(second.id)
  t.same(await socket.next(), { type: 'gone', id: second.id })
  t.same(asked.filter((entry) => entry.startsWith('read')), [`read ${first.id}`, `read ${second.id}`])
  socket.ws.terminate()
})

function byType (a: Heard, b: Heard): number { return a.type < b.type ? -1 : 1 }
