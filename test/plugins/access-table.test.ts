/** What holds for every route of this package, whichever there are: the list is the router's own. */
import { Writable } from 'node:stream'
import Fastify, { type FastifyInstance, type RouteOptions } from 'fastify'
import t, { type Test } from 'tap'
import { asyncEndpoints, memoryStore, type AsyncEndpointsOptions } from '../../plugins/async-endpoints.ts'

const UNKNOWN = '0b5e9f6e-6a4e-4d0c-9f7e-2f5b0f0c8a11'
const keys = [{ id: 'k1', secret: 's'.repeat(32) }]

interface Route { readonly method: string, readonly url: string, readonly kind: string }

interface Built { readonly app: FastifyInstance, readonly routes: readonly Route[], readonly log: () => string }

async function build (t: Test, http: AsyncEndpointsOptions['http'] = {}): Promise<Built> {
  const lines: string[] = []
  const app = Fastify({ logger: { level: 'trace', stream: new Writable({ write (chunk, _, done) { lines.push(String(chunk)); done() } }) } })
  t.teardown(() => app.close())
  const routes: Route[] = []
  app.addHook('onRoute', ({ method, url, config }: RouteOptions) => {
    const kind = config?.asyncEndpoints?.kind
    if (kind !== undefined) for (const each of [method].flat()) routes.push({ method: each, url, kind })
  })
  await app.register(asyncEndpoints, {
    store: memoryStore(),
    worker: { drainTimeoutMs: 10 },
    observability: false,
    health: false,
    listening: { webSocket: true },
    http: { owner: ({ headers }) => headers['x-user'] as string | undefined, authorize: () => true, links: { keys }, ...http as object }
  })
  app.asyncEndpoint({ url: '/work', name: 'work', handler: async () => ({ rows: 1 }) })
  app.asyncEndpoint({ url: '/later', name: 'later', delayMs: 3_600_000, handler: async () => 1 })
  await app.ready()
  return { app, routes, log: () => lines.join('') }
}

async function submit (app: FastifyInstance, url: string): Promise<string> {
  const answer = await app.inject({ method: 'POST', url, headers: { 'x-user': 'alice' } })
  const { id } = answer.json<{ id: string }>()
  if (url === '/work') await app.jobs.waitFor(id, { timeoutMs: 5_000 })
  return id
}

/** The address of a route for one job. Of a route that is about jobs and is not here, nobody has thought. */
function addressed ({ kind, url }: Route, id: string): string | undefined {
  if (url.includes(':id')) return url.replace(':id', id).replace(':name', 'go')
  if (kind === 'events') return `${url}?id=${id}`
  // A list has its own rule. A socket is asked for each subscription: see socket.test.ts. The others name no job.
  if (['list', 'socket', 'submit', 'refusal'].includes(kind)) return undefined
  throw new Error(`a route that this test does not know: ${kind} ${url}`)
}

async function answerTo (app: FastifyInstance, method: string, url: string, id: string, headers: Record<string, string>): Promise<string> {
  const { statusCode, body, headers: { date: _, 'x-correlation-id': __, ...sent } } = await app.inject({ method: method as 'GET', url, headers })
  return JSON.stringify([statusCode, sent, body]).replaceAll(id, 'ID')
}

t.test('the job of another owner is an unknown one, on every route', async (t) => {
  const { app, routes } = await build(t)
  let asked = 0
  for (const id of [await submit(app, '/work'), await submit(app, '/later')]) {
    for (const accept of ['application/json', 'text/event-stream']) {
      for (const user of [{ 'x-user': 'bob' }, undefined]) {
        for (const route of routes) {
          const [url, unknown] = [addressed(route, id), addressed(route, UNKNOWN)]
          if (url === undefined || unknown === undefined) continue
          const headers: Record<string, string> = { accept, ...user }
          // A stream about several jobs says of each which are gone, and stays open until it is told that all are.
          if (route.kind === 'events') headers['accept'] = 'text/event-stream'
          const hidden = await answerTo(app, route.method, url, id, headers)
          t.equal(hidden, await answerTo(app, route.method, unknown, UNKNOWN, headers), `${route.method} ${route.url}`)
          if (route.kind !== 'events') t.match(hidden, /^\[404,/, `${route.method} ${route.url} is 404`)
          asked++
        }
      }
    }
  }
  t.ok(asked >= 80, `${asked} requests`)
  t.same([...new Set(routes.map(({ kind }) => kind))].sort(), ['cancel', 'events', 'list', 'redrive', 'refusal', 'result', 'signal', 'socket', 'status', 'submit'])
})

/** The `Cache-Control` of each kind of route: of its successes; problems are `no-store`. */
const CACHING: Readonly<Record<string, string>> = {
  submit: 'no-store',
  list: 'private, no-store',
  status: 'private, no-cache',
  result: 'private, no-store',
  cancel: 'no-store',
  redrive: 'no-store',
  signal: 'no-store',
  events: 'private, no-store, no-transform'
}

t.test('no cache keeps what only one client may see, on every route', async (t) => {
  const { app, routes } = await build(t)
  const kinds = new Set<string>()
  for (const route of routes) {
    // A stream about a job that has not ended stays open.
    const ids = [await submit(app, '/work'), ...(route.kind === 'events' ? [] : [await submit(app, '/later')]), UNKNOWN]
    for (const id of ids) {
      const url = addressed(route, id) ?? route.url.replace('*', 'no/such/path')
      const answer = await app.inject({ method: route.method as 'GET', url, headers: { 'x-user': 'alice' } })
      const { 'cache-control': caching, 'content-type': type } = answer.headers
      const refused = answer.statusCode >= 400
      t.equal(caching, refused ? 'no-store' : CACHING[route.kind], `${route.method} ${url} ${answer.statusCode}`)
      if (refused) t.match(type, /^application\/problem\+json/)
      else kinds.add(route.kind)
      t.equal(answer.headers['referrer-policy'], 'no-referrer', 'it may have links that open jobs')
    }
  }
  t.same([...kinds].sort(), ['cancel', 'events', 'list', 'result', 'status', 'submit'])
})

t.test('no log line has a link, whatever the route', async (t) => {
  const { app, routes, log } = await build(t)
  const id = await submit(app, '/later')
  const link = app.jobLink(id, { scope: 'cancel' })
  const sig = link.slice(link.indexOf('=') + 1)
  for (const route of routes.filter(({ kind }) => kind !== 'submit')) {
    const url = addressed(route, id) ?? route.url.replace('*', 'no/such/path')
    const answer = await app.inject({ method: route.method as 'GET', url: `${url}${url.includes('?') ? '&' : '?'}sig=${sig}` })
    if (answer.statusCode >= 400) t.notOk(answer.body.includes(sig), `${route.method} ${url}: the problem does not repeat it`)
    await app.inject({ method: route.method as 'GET', url, headers: { authorization: `Bearer ${sig}` } })
  }
  t.match(log(), /sig=\[redacted\]/)
  t.same(log().split('\n').filter((line) => line.includes(sig)), [])
  t.equal((await app.inject(`/jobs/${id}?sig=${sig}`)).json<{ status: string }>().status, 'cancelled', 'it was a link that works')
})

t.test('an application\'s own serializer of requests stays', async (t) => {
  const lines: string[] = []
  const stream = new Writable({ write (chunk, _, done) { lines.push(String(chunk)); done() } })
  const app = Fastify({ logger: { stream, serializers: { req: ({ url, headers }) => ({ path: url, mine: true, headers: { referer: headers['referer'] } }) } } })
  t.teardown(() => app.close())
  await app.register(asyncEndpoints, { worker: false, observability: false, http: { links: { keys } } })
  await app.ready()
  const link = app.jobLink(UNKNOWN)
  await app.inject({ url: link, headers: { referer: `https://shop.example${link}` } })
  t.match(lines.join(''), /"mine":true/)
  t.match(lines.join(''), /"path":"\/jobs\/[0-9a-f-]+\?sig=\[redacted\]"/)
  t.notOk(lines.join('').includes(link.slice(link.indexOf('=') + 1)))
})

t.test('app.jobLink', async (t) => {
  const { app } = await build(t, { publicUrl: 'https://api.example.com' })
  const id = await submit(app, '/later')
  const link = app.jobLink(id, { ttlMs: 60_000 })
  t.match(link, /^https:\/\/api\.example\.com\/jobs\/[0-9a-f-]{36}\?sig=k1\.\d+\.read\./)
  t.equal((await app.inject(link)).statusCode, 200)
  t.equal((await app.inject({ method: 'DELETE', url: link })).statusCode, 404)
  const bad: ReadonlyArray<readonly [unknown, unknown]> = [['', {}], ['a/b', {}], [1, {}], [id, { scope: 'admin' }], [id, { ttlMs: 0 }], [id, { ttlMs: NaN }], [id, { ttlMs: Infinity }], [id, { ttl: 60_000 }], [id, { scopes: ['read'] }], [id, null]]
  for (const [wrong, options] of bad) t.throws(() => app.jobLink(wrong as string, options as object), { code: 'FAE_INVALID_OPTIONS' }, JSON.stringify([wrong, options]))
  const { app: other } = await build(t, { links: undefined })
  t.throws(() => other.jobLink(id), { code: 'FAE_INVALID_OPTIONS', message: /http\.links/ })
})
