import { once } from 'node:events'
import { connect as connectHttp2 } from 'node:http2'
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import compress from '@fastify/compress'
import cors from '@fastify/cors'
import helmet from '@fastify/helmet'
import underPressure from '@fastify/under-pressure'
import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import t, { type Test } from 'tap'
import { asyncEndpoints, type AsyncEndpointsOptions } from '../../plugins/async-endpoints.ts'
import { EventClient, SseParser } from '../support/event-client.ts'
import { portOf } from '../support/socket-client.ts'
import { echo, FakeStore, testApp } from './support.ts'

interface Served {
  readonly app: FastifyInstance
  readonly port: number
  /** Ends the attempts of `gated`. */
  readonly open: () => void
  readonly submit: (name?: string, headers?: Record<string, string>) => Promise<string>
  readonly listen: (path: string, headers?: Record<string, string>) => EventClient
}

interface ServeOptions extends AsyncEndpointsOptions {
  readonly before?: (app: FastifyInstance) => Promise<void>
  readonly fastify?: FastifyServerOptions
}

const HOSTILE = 'a\r\n\r\nevent: end\ndata: {"forged":true}\n\n\u0000\u2028id: 9\u2029'

async function serve (t: Test, { before, fastify, ...options }: ServeOptions = {}): Promise<Served> {
  const app = Fastify(fastify)
  let open = (): void => {}
  const gate = new Promise<void>((resolve) => { open = resolve })
  t.teardown(async () => { open(); await app.close() })
  await before?.(app)
  await app.register(asyncEndpoints, { observability: false, ...options })
  app.asyncEndpoint({ url: '/quick', name: 'quick', handler: async () => 'done' })
  app.asyncEndpoint({
    url: '/gated',
    name: 'gated',
    handler: async (job) => {
      await job.progress({ done: 1, total: 2 })
      await Promise.race([gate, once(job.signal, 'abort')])
      job.signal.throwIfAborted()
      return { secret: 'the result' }
    }
  })
  app.asyncEndpoint({
    url: '/hostile',
    name: 'hostile',
    retry: { attempts: 1 },
    handler: async (job) => {
      await job.progress({ done: 1, total: 2, message: HOSTILE })
      await job.step('first', async () => 1)
      await gate
      throw new Error(HOSTILE)
    }
  })
  const port = await portOf(app)
  return {
    app,
    port,
    open,
    submit: async (name = 'gated', headers = {}) => (await app.inject({ method: 'POST', url: `/${name}`, headers })).json().id,
    listen: (path, headers = {}) => {
      const client = new EventClient(port, { path, headers })
      t.teardown(() => { client.leave() })
      return client
    }
  }
}

const several = (ids: readonly string[]): string => `/jobs/events?${ids.map((id) => `id=${id}`).join('&')}`

t.test('one job: a snapshot, its progress, its end; and nothing after that', async (t) => {
  const { app, submit, listen, open } = await serve(t)
  let opened = 0
  app.jobEvents.on('channel.opened', ({ kind }) => { if (kind === 'sse') opened++ })
  const closed = new Promise((resolve) => { app.jobEvents.on('channel.closed', resolve) })
  const id = await submit()
  const client = listen(`/jobs/${id}`)
  const { status, headers } = await client.answered()
  t.equal(status, 200)
  t.match(headers, {
    'content-type': /^text\/event-stream$/,
    'cache-control': 'private, no-store, no-transform',
    'x-accel-buffering': 'no',
    connection: 'close',
    'referrer-policy': 'no-referrer',
    'x-content-type-options': 'nosniff',
    vary: /Accept/
  })
  t.notOk(headers['content-length'])
  t.match(await client.nextOf('status'), { data: { id, name: 'gated' } })
  t.equal(client.parser.retry, 2_000)
  open()
  const events = await client.ended()
  const document = (await app.inject(`/jobs/${id}`)).json()
  const end = events.at(-1)
  t.match(end, { type: 'end', lastEventId: /^\d+\.end$/, data: document })
  t.same(end?.data, document, 'the document of the status route')
  t.equal(events.filter(({ type }) => type === 'end').length, 1)
  t.notMatch(JSON.stringify(events), 'the result', 'results are never sent')
  t.match(await closed, { kind: 'sse', reason: 'done', sent: events.length, durationMs: Number })
  t.equal(opened, 1)

  const again = listen(`/jobs/${id}`, { 'last-event-id': String(end?.lastEventId) })
  t.equal((await again.answered()).status, 204, 'a browser that comes back stays away after this')
  const byParameter = listen(`/jobs/${id}?last_event_id=${String(end?.lastEventId)}`)
  t.equal((await byParameter.answered()).status, 204)
  const both = listen(`/jobs/${id}?last_event_id=${String(end?.lastEventId)}`, { 'last-event-id': '1' })
  t.match(await both.next(), { type: 'end' }, 'the header wins')
  for (const bad of ['x'.repeat(65), 'a%0Ab', '', '%00']) {
    t.match(await listen(`/jobs/${id}?last_event_id=${bad}`).next(), { type: 'end' }, 'and what was never sent says nothing')
  }
})

t.test('JSON as ever for everybody else', async (t) => {
  const { app, submit } = await serve(t)
  const id = await submit()
  for (const accept of ['*/*', 'application/json', 'application/json, text/event-stream', 'text/*']) {
    const answer = await app.inject({ url: `/jobs/${id}`, headers: { accept } })
    t.match(answer.headers, { 'content-type': /^application\/json/, vary: /Accept/ }, accept)
  }
  const off = await serve(t, { listening: { sse: false } })
  const other = await off.submit()
  t.match((await off.app.inject({ url: `/jobs/${other}`, headers: { accept: 'text/event-stream' } })).headers, { 'content-type': /^application\/json/ })
  t.equal((await off.app.inject(several([other]))).statusCode, 404)
})

t.test('an end that was there before, and one that comes between read and subscription', async (t) => {
  const { app, submit, listen } = await serve(t)
  const id = await submit('quick')
  await app.jobs.waitFor(id)
  t.match(await listen(`/jobs/${id}`).ended(), [{ type: 'end', data: { status: 'completed' } }])

  class Hasty extends FakeStore {
    override async get (id: string): ReturnType<FakeStore['get']> {
      const job = await super.get(id)
      if (job?.state === 'queued') this.complete(id, 1)
      return job
    }
  }
  const fake = await testApp({ store: new Hasty() })
  t.teardown(async () => { await fake.app.close() })
  fake.app.asyncEndpoint({ url: '/jobs-of-mine', name: 'mine', handler: echo })
  const port = await portOf(fake.app)
  const hasty = (await fake.app.inject({ method: 'POST', url: '/jobs-of-mine' })).json().id
  const events = await new EventClient(port, { path: `/jobs/${hasty}` }).ended()
  t.match(events.at(-1), { type: 'end', data: { status: 'completed' } })
})

t.test('several jobs on one stream', async (t) => {
  const { app, submit, listen, open } = await serve(t)
  const [first, second, over] = [await submit(), await submit(), await submit('quick')]
  await app.jobs.waitFor(over)
  const client = listen(several([first, second, over, 'unknown', first, '..%2F..%2Fetc%2Fpasswd']))
  t.equal((await client.answered()).status, 200)
  t.match(await client.nextOf('end'), { data: { id: over } })
  await app.jobs.cancel(first)
  t.match(await client.nextOf('end', first), { data: { status: 'cancelled' } })
  const seen = client.parser.lastEventId
  client.leave()
  open()
  const rest = await listen(several([first, second, over, 'unknown', first, '..%2F..%2Fetc%2Fpasswd']), { 'last-event-id': seen }).ended()
  t.same([...new Set(rest.map(({ data }) => data['id']))], [second], 'only what the client does not know to be over')
  t.match(rest.at(-1), { type: 'end', lastEventId: /^v2\.\d+\.[0-9a-z]{9}GGGGGG$/ })
  t.equal(client.parser.events.filter(({ type }) => type === 'gone').length, 2)
  const last = String(rest.at(-1)?.lastEventId)
  t.equal((await listen(several([first, second, over, 'unknown', '..%2F..%2Fetc%2Fpasswd']), { 'last-event-id': last }).answered()).status, 204)

  const nobody = listen(several(['unknown']))
  t.match(await nobody.ended(), [{ type: 'gone', data: { id: 'unknown' } }])
  t.equal((await listen(several(['unknown']), { 'last-event-id': nobody.parser.lastEventId }).answered()).status, 204)
})

t.test('fifty jobs, and one more', async (t) => {
  const { app, submit, listen, open } = await serve(t)
  const ids = await Promise.all(Array.from({ length: 51 }, async (_, n) => await submit(n % 2 === 0 ? 'quick' : 'gated')))
  for (const query of [ids, [], ['']]) {
    const refused = await app.inject(several(query))
    t.equal(refused.statusCode, 400)
    t.match(refused.json(), { code: 'FAE_INVALID_REQUEST', status: 400 })
    t.match(refused.headers, { 'content-type': /^application\/problem\+json/, 'cache-control': 'no-store' })
  }
  for (const url of ['/jobs/events', '/jobs/events?id[]=1', '/jobs/events?ids=1']) t.equal((await app.inject(url)).statusCode, 400, url)
  const client = listen(several(ids.slice(0, 50)))
  await client.nextOf('status')
  open()
  const ends = (await client.ended()).filter(({ type }) => type === 'end').map(({ data }) => data['id'])
  t.same(ends.sort(), ids.slice(0, 50).sort(), 'each end once')
  t.equal((await listen(several(ids.slice(0, 50)), { 'last-event-id': client.parser.lastEventId }).answered()).status, 204)
})

t.test('jobs of others', async (t) => {
  const { submit, listen } = await serve(t, {
    http: {
      owner: ({ headers }) => {
        if (headers.authorization === 'busy') throw Object.assign(new Error('later'), { statusCode: 429 })
        if (headers.authorization === 'broken') throw new Error('the sessions are away')
        if (headers.authorization === undefined) throw Object.assign(new Error('Who are you?'), { statusCode: 401 })
        return headers.authorization
      }
    }
  })
  const [alices, bobs] = [await submit('gated', { authorization: 'alice' }), await submit('gated', { authorization: 'bob' })]
  const alice = { authorization: 'alice' }
  const [foreign, unknown] = [listen(`/jobs/${bobs}`, alice), listen('/jobs/unknown', alice)]
  t.equal((await foreign.answered()).status, 404)
  t.equal((await unknown.answered()).status, 404)
  t.equal((await listen(`/jobs/${bobs}`).answered()).status, 401)
  t.equal((await listen(several([alices, bobs])).answered()).status, 401)
  const client = listen(several([bobs, alices, 'unknown']), alice)
  const heard = [await client.next(), await client.next(), await client.next()]
  t.same(heard.filter(({ type }) => type === 'gone').map(({ data }) => data), [{ id: bobs }, { id: 'unknown' }], 'as if they did not exist')
  for (const authorization of ['busy', 'broken']) {
    const passing = listen(`/jobs/${alices}`, { authorization })
    t.equal((await passing.answered()).status, 200)
    t.match(await passing.ended(), [{ type: 'bye', data: { reason: 'unavailable' } }], 'what passes is no error for a browser')
  }
})

t.test('what users write forges nothing', async (t) => {
  const { submit, listen, open } = await serve(t, { http: { exposeErrors: 'all' } })
  const client = listen(`/jobs/${await submit('hostile')}`)
  await client.nextOf('status')
  open()
  const events = await client.ended()
  t.same([...new Set(events.map(({ type }) => type))].filter((type) => !['status', 'progress', 'step', 'end'].includes(type)), [])
  t.notOk(events.some(({ data }) => 'forged' in data || data['id'] === undefined))
  t.match(events.at(-1), { type: 'end', lastEventId: /^\d+\.end$/, data: { status: 'failed', error: { message: String } } })
})

t.test('the store is away: the client may come back', async (t) => {
  const { app, store } = await testApp()
  t.teardown(async () => { await app.close() })
  app.asyncEndpoint({ url: '/mine', name: 'mine', handler: echo })
  const port = await portOf(app)
  const { id } = (await app.inject({ method: 'POST', url: '/mine' })).json()
  store.faults.set('get', 'reject')
  for (const path of [`/jobs/${id}`, several([id, 'x'])]) {
    const client = new EventClient(port, { path })
    t.equal((await client.answered()).status, 200)
    t.same((await client.ended()).map(({ type, data }) => [type, data]), [['bye', { reason: 'unavailable' }]])
    t.ok((client.parser.retry ?? 0) >= 2_500)
  }
  t.equal((await app.inject({ url: `/jobs/${id}`, headers: { accept: 'application/json' } })).statusCode, 503, 'JSON as ever')
  store.faults.clear()
  const client = new EventClient(port, { path: `/jobs/${id}` })
  await client.nextOf('status')
  store.faults.set('getMany', 'reject')
  store.change(id, { state: 'in-progress' })
  await store.called('getMany', 2)
  store.faults.clear()
  store.complete(id)
  t.match((await client.ended()).at(-1), { type: 'end', data: { status: 'completed' } }, 'a stream outlives an outage')
})

t.test('limits: per client, and of the process, shared fairly', async (t) => {
  const { submit, listen } = await serve(t, {
    http: { owner: ({ headers }) => headers.authorization },
    listening: { maxPerClient: 2, maxConnections: 3 }
  })
  const stream = async (authorization: string): Promise<EventClient> => {
    const client = listen(`/jobs/${await submit('gated', { authorization })}`, { authorization })
    await client.answered()
    return client
  }
  const first = await stream('alice')
  await first.nextOf('status')
  const second = await stream('alice')
  await second.nextOf('status')
  const third = await stream('alice')
  t.equal((await third.answered()).status, 200)
  t.match(await third.ended(), [{ type: 'bye', data: { reason: 'limit' } }])
  t.ok((third.parser.retry ?? 0) >= 5_000)
  const bobs = await stream('bob')
  await bobs.nextOf('status')
  const carols = await stream('carol')
  await carols.nextOf('status')
  t.match((await first.ended()).at(-1), { type: 'bye', data: { reason: 'limit' } }, 'the client with the most streams loses its oldest')
  t.match(await (await stream('dave')).ended(), [{ type: 'bye', data: { reason: 'limit' } }])
})

t.test('draining: streams end one by one, and new ones at once', async (t) => {
  const { app, submit, listen } = await serve(t)
  const id = await submit()
  const clients = [listen(`/jobs/${id}`), listen(several([id, 'x'])), listen(`/jobs/${id}`)]
  for (const client of clients) await client.nextOf('status')
  app.jobHealth.startDraining()
  t.match(await listen(`/jobs/${id}`).ended(), [{ type: 'bye', data: { reason: 'draining' } }])
  for (const client of clients) t.match((await client.ended()).at(-1), { type: 'bye', data: { reason: 'draining' } })
})

t.test('closing: every client hears goodbye, and one that does not read holds up nothing', async (t) => {
  const { app, port, submit, listen, open } = await serve(t)
  const id = await submit()
  const clients = Array.from({ length: 20 }, () => listen(`/jobs/${id}`))
  for (const client of clients) await client.nextOf('status')
  const deaf = connect(port, '127.0.0.1')
  deaf.write(`GET /jobs/${id} HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n`)
  await once(deaf, 'data')
  deaf.pause()
  const closing = app.close()
  for (const client of clients) {
    t.match((await client.ended()).at(-1), { type: 'bye', data: { reason: 'closing' } })
    t.ok((client.parser.retry ?? 0) >= 2_500 && (client.parser.retry ?? 0) <= 7_500)
  }
  t.equal(new Set(clients.map(({ parser }) => parser.retry)).size > 1, true, 'they do not all come back at once')
  open()
  await closing
  deaf.destroy()
})

t.test('the end of a long stream: the client comes back and misses nothing', async (t) => {
  const { submit, listen, open } = await serve(t, { listening: { maxAgeMs: 1_000, pingMs: 100 } })
  const id = await submit()
  const client = listen(`/jobs/${id}`)
  await client.nextOf('status')
  t.match(await client.nextOf('ping'), { data: {} })
  t.match(await client.nextOf('bye'), { data: { reason: 'max-age' } })
  open()
  const rest = await listen(`/jobs/${id}`, { 'last-event-id': client.parser.lastEventId }).ended()
  t.match(rest.at(-1), { type: 'end' })
})

t.test('a job that is redriven after its end is heard of again', async (t) => {
  const { app, submit, listen, open } = await serve(t)
  open()
  const id = await submit('hostile')
  await app.jobs.waitFor(id)
  const last = String((await listen(`/jobs/${id}`).ended()).at(-1)?.lastEventId)
  t.equal((await listen(`/jobs/${id}`, { 'last-event-id': last }).answered()).status, 204)
  t.equal((await app.inject({ method: 'POST', url: `/jobs/${id}/redrive` })).statusCode, 202)
  const again = await listen(`/jobs/${id}`, { 'last-event-id': last }).ended()
  t.match(again.at(-1), { type: 'end', data: { id, status: 'failed' } })
  t.not(again.at(-1)?.lastEventId, last)
})

t.test('of several jobs, one that was redriven and has ended again is heard of again', async (t) => {
  const { app, submit, listen, open } = await serve(t)
  open()
  const [redriven, other] = [await submit('hostile'), await submit('quick')]
  await Promise.all([app.jobs.waitFor(redriven), app.jobs.waitFor(other)])
  const both = several([redriven, other])
  const last = String((await listen(both).ended()).at(-1)?.lastEventId)
  t.equal((await listen(both, { 'last-event-id': last }).answered()).status, 204)
  t.equal((await app.inject({ method: 'POST', url: `/jobs/${redriven}/redrive` })).statusCode, 202)
  await app.jobs.waitFor(redriven)
  const again = await listen(both, { 'last-event-id': last }).ended()
  t.same(again.map(({ type, data }) => [type, data['id']]), [['end', redriven]])
  t.equal((await listen(both, { 'last-event-id': String(again.at(-1)?.lastEventId) }).answered()).status, 204)
})

t.test('ids that are given twice, or are empty, leave each signature with its id', async (t) => {
  const keys = [{ id: 'k1', secret: 's'.repeat(32) }]
  const { app, submit, listen } = await serve(t, { http: { links: { keys } } })
  const [a, b] = [await submit('gated'), await submit('gated')]
  const [sigA, sigB] = [a, b].map((id) => new URL(app.jobLink(id), 'http://x').searchParams.get('sig') ?? '')
  const first = async (query: string): Promise<unknown> => {
    const client = listen(`/jobs/events?${query}`)
    const types = [await client.next(), await client.next()].map(({ type, data }) => `${type} ${data['id'] === a ? 'a' : 'b'}`)
    client.leave()
    return types.sort()
  }
  const shown = ['status a', 'status b']
  t.same(await first(`id=${a}&id=${b}&sig=${sigA}&sig=${sigB}`), shown)
  t.same(await first(`id=${a}&id=${a}&id=${b}&sig=${sigA}&sig=${sigA}&sig=${sigB}`), shown, 'one for each id as it stands there')
  t.same(await first(`id=${a}&id=${a}&id=${b}&sig=&sig=${sigA}&sig=${sigB}`), shown)
  t.same(await first(`id=${a}&id=${a}&id=${b}&sig=${sigA}&sig=${sigB}`), shown, 'one for each job')
  t.same(await first(`id=&id=${a}&id=${b}&sig=&sig=${sigA}&sig=${sigB}`), shown)
  t.same(await first(`id=${a}&id=${b}&sig=${sigB}&sig=${sigA}`), ['gone a', 'gone b'])
})

t.test('misspelt parameters are refused and named; others are those of the application, or of a mailer', async (t) => {
  const { app, submit } = await serve(t)
  const id = await submit('quick')
  await app.jobs.waitFor(id)
  const asked = async (url: string) => await app.inject({ url, method: 'HEAD' })
  for (const [url, name] of [
    [`/jobs/events?id=${id}&ids=b`, 'ids'], [`/jobs/events?id=${id}&jobId=b`, 'jobId'], [`/jobs/events?id=${id}&ID=b`, 'ID'], [`/jobs/events?id=${id}&jobs=b`, 'jobs'],
    [`/jobs/events?id=${id}&lastEventId=1`, 'lastEventId'], [`/jobs/events?id=${id}&Last-Event-ID=1`, 'Last-Event-ID'], [`/jobs/events?id=${id}&wait=1`, 'wait'],
    [`/jobs/${id}?wait=20`, 'wait'], [`/jobs/${id}?prefer=wait`, 'prefer'], [`/jobs/${id}/result?wait=20`, 'wait'], [`/jobs/${id}?signature=x`, 'signature']
  ] as const) {
    const answer = await app.inject(url)
    t.match(answer, { statusCode: 400, headers: { 'content-type': /^application\/problem\+json/ } }, url)
    t.match(answer.json(), { code: 'FAE_INVALID_REQUEST', errors: [{ pointer: `#/${name}`, in: 'querystring' }] })
    t.equal((await asked(url)).statusCode, 400)
  }
  for (const query of ['token=x', 'access_token=x', 'utm_source=mail', 'fbclid=x', '_=1700000000', 'key=x', 'id2=x', 'listening=sse']) {
    t.equal((await asked(`/jobs/events?id=${id}&${query}`)).statusCode, 200, query)
    t.equal((await asked(`/jobs/${id}?${query}`)).statusCode, 200, query)
    t.equal((await asked(`/jobs/${id}/result?${query}`)).statusCode, 200, query)
  }
})

t.test('response factories make the documents of streams, too', async (t) => {
  let broken = false
  const { submit, listen, open } = await serve(t, {
    http: {
      responses: {
        status: ({ document: { id, status } }) => {
          if (broken) throw new Error('the factory')
          return { job: { id, state: status } }
        }
      }
    }
  })
  const id = await submit()
  const client = listen(`/jobs/${id}`)
  t.match(await client.nextOf('status'), { data: { job: { id } } })
  open()
  t.same((await client.ended()).at(-1)?.data, { job: { id, state: 'completed' } })
  broken = true
  t.match(await listen(`/jobs/${id}`).ended(), [{ type: 'bye', data: { reason: 'error' } }])
})

t.test('HEAD: the headers only', async (t) => {
  const { app, port, submit } = await serve(t)
  const id = await submit()
  for (const path of [`/jobs/${id}`, several([id])]) {
    const client = new EventClient(port, { path, method: 'HEAD' })
    t.match(await client.answered(), { status: 200, headers: { 'content-type': 'text/event-stream' } })
    await client.ended()
    t.equal(client.bytes, 0)
  }
  t.equal((await app.inject({ method: 'HEAD', url: '/jobs/unknown', headers: { accept: 'text/event-stream' } })).statusCode, 404)
})

t.test('a stream outlives handlerTimeout, connectionTimeout and requestTimeout', async (t) => {
  const { submit, listen, open } = await serve(t, { fastify: { handlerTimeout: 50, requestTimeout: 50, connectionTimeout: 500 }, listening: { pingMs: 100 } })
  const client = listen(`/jobs/${await submit()}`)
  for (let n = 0; n < 8; n++) await client.nextOf('ping')
  open()
  t.match((await client.ended()).at(-1), { type: 'end' })
})

t.test('a stream that is asked for behind another on its connection is not left open', async (t) => {
  const { app, port, submit } = await serve(t)
  let open = 0
  app.jobEvents.on('channel.opened', () => { open++ })
  const closed = new Promise((resolve) => { app.jobEvents.on('channel.closed', () => { if (--open === 0) resolve(true) }) })
  const socket = connect(port, '127.0.0.1')
  socket.write(`GET ${several([await submit()])} HTTP/1.1\r\nHost: x\r\n\r\n`.repeat(5))
  let text = ''
  socket.on('data', (data) => { text += String(data) })
  while (!text.includes('event: status')) await once(socket, 'data')
  socket.destroy()
  t.ok(await closed, 'none is open after the connection')
})

t.test('HTTP/2', async (t) => {
  const app = Fastify({ http2: true })
  t.teardown(async () => { await app.close() })
  await app.register(asyncEndpoints, { observability: false })
  let open = (): void => {}
  const gate = new Promise<void>((resolve) => { open = resolve })
  t.teardown(() => { open() })
  app.asyncEndpoint({ url: '/gated', name: 'gated', handler: async () => { await gate } })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const { id } = await app.jobs.submit('gated', {})
  const session = connectHttp2(`http://127.0.0.1:${(app.server.address() as { port: number }).port}`)
  t.teardown(() => { session.destroy() })
  const read = (path: string): { parser: SseParser, headers: Promise<Record<string, unknown>>, ended: Promise<unknown>, cancel: () => void } => {
    const stream = session.request({ ':path': path, accept: 'text/event-stream' })
    const parser = new SseParser()
    stream.setEncoding('utf8')
    stream.on('data', (text: string) => { parser.add(text) })
    return { parser, headers: once(stream, 'response').then(([headers]) => headers), ended: once(stream, 'close'), cancel: () => { stream.close(8) } }
  }
  const [one, gone] = [read(`/jobs/${id}`), read(several([id, 'x']))]
  const headers = await one.headers
  t.match(headers, { ':status': 200, 'content-type': 'text/event-stream' })
  t.notOk('connection' in headers)
  await gone.headers
  const left = new Promise((resolve) => { app.jobEvents.on('channel.closed', ({ reason }) => { if (reason === 'client') resolve(true) }) })
  gone.cancel()
  t.ok(await left, 'a stream that the client resets is closed')
  open()
  await one.ended
  t.match(one.parser.events.at(-1), { type: 'end', data: { id } })
})

t.test('next to other plugins', async (t) => {
  const { app, submit, listen, open } = await serve(t, {
    before: async (app) => {
      await app.register(helmet)
      await app.register(cors, { origin: 'https://shop.example', credentials: true, exposedHeaders: ['Location', 'Retry-After', 'ETag'] })
      await app.register(compress, { customTypes: /^text\//, threshold: 0 })
      app.addHook('onSend', async (_, __, payload) => payload)
    }
  })
  const id = await submit()
  const client = listen(`/jobs/${id}`, { origin: 'https://shop.example', 'accept-encoding': 'gzip, br' })
  const { headers } = await client.answered()
  t.match(headers, {
    'content-type': 'text/event-stream',
    'access-control-allow-origin': 'https://shop.example',
    'access-control-allow-credentials': 'true',
    'x-frame-options': 'SAMEORIGIN',
    'referrer-policy': 'no-referrer',
    vary: /Accept/
  })
  t.notOk(headers['content-encoding'], 'never compressed')
  await client.nextOf('status')
  open()
  t.match((await client.ended()).at(-1), { type: 'end' })
  t.match((await app.inject({ url: `/jobs/${id}`, headers: { 'accept-encoding': 'gzip' } })).headers, { 'content-encoding': 'gzip' }, 'but JSON is')
})

t.test('under pressure, clients still hear of their jobs', async (t) => {
  const { app, listen } = await serve(t, {
    before: async (app) => {
      await app.register(underPressure, { maxHeapUsedBytes: 1, sampleInterval: 5 })
      app.get('/shed', async () => 'not yet')
    }
  })
  const { id } = await app.jobs.submit('gated', {})
  while ((await app.inject('/shed')).statusCode !== 503) await sleep(5)
  t.match(await listen(`/jobs/${id}`).next(), { type: 'status', data: { id } })
  t.match(await listen(several([id])).next(), { type: 'status', data: { id } })
})
