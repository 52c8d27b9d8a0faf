import t from 'tap'
import { echo, testApp } from './support.ts'

t.test('bodies of the application\'s own', async (t) => {
  const { app, store } = await testApp({
    http: {
      responses: {
        submitted: async ({ job, replayed, document }, request, reply) => {
          reply.header('x-mine', request.method)
          return { ticket: job.id, replayed, links: document.links, owner: job.owner ?? null }
        },
        status: ({ job, document }) => ({ state: document.status, correlation: job.correlationId })
      }
    }
  })
  app.asyncEndpoint({ url: '/a', name: 'a', handler: echo })
  app.asyncEndpoint({ url: '/b', name: 'b', responses: { submitted: () => undefined, status: () => ['list'] }, handler: echo })
  const a = await app.inject({ method: 'POST', url: '/a', headers: { 'idempotency-key': 'k' } })
  t.equal(a.statusCode, 202)
  t.match(a.json(), { ticket: store.created[0]?.id, replayed: false, owner: null })
  t.equal(a.headers['x-mine'], 'POST')
  t.equal(a.headers.location, `/jobs/${a.json().ticket}`)
  t.equal((await app.inject({ method: 'POST', url: '/a', headers: { 'idempotency-key': 'k' } })).json().replayed, true)

  const status = await app.inject(a.headers.location ?? '')
  t.strictSame(status.json(), { state: 'queued', correlation: store.created[0]?.correlationId })
  const etag = status.headers.etag ?? ''
  t.equal((await app.inject({ url: a.headers.location, headers: { 'if-none-match': etag } })).statusCode, 304)
  store.change(a.json().ticket, { progress: { done: 1 } })
  t.equal((await app.inject({ url: a.headers.location, headers: { 'if-none-match': etag } })).statusCode, 304, 'the tag is of what is shown')
  store.change(a.json().ticket, { state: 'in-progress' })
  t.equal((await app.inject({ url: a.headers.location, headers: { 'if-none-match': etag } })).statusCode, 200)

  const b = await app.inject({ method: 'POST', url: '/b' })
  t.match(b.json(), { name: 'b', status: 'queued' }, 'undefined keeps the body')
  t.strictSame((await app.inject(b.headers.location ?? '')).json(), ['list'])
})

t.test('other media types', async (t) => {
  const { app } = await testApp()
  const endpoint = (name: string, body: unknown, type?: string): void => {
    app.asyncEndpoint({ url: `/${name}`, name, responses: { submitted: (_context, _request, reply) => { if (type !== undefined) reply.type(type); return body } }, handler: echo })
  }
  endpoint('html', '<p>accepted</p>', 'text/html')
  endpoint('hal', { _links: {} }, 'application/hal+json')
  endpoint('json', { extra: 1 }, 'application/json')
  endpoint('text', 'accepted')
  endpoint('bytes', Buffer.from('accepted'), 'application/octet-stream')
  const bodies: Record<string, string> = {}
  for (const name of ['html', 'hal', 'json', 'text', 'bytes']) {
    const response = await app.inject({ method: 'POST', url: `/${name}` })
    bodies[name] = `${response.statusCode} ${String(response.headers['content-type'])} ${response.body}`
  }
  t.strictSame(bodies, {
    html: '202 text/html <p>accepted</p>',
    hal: '202 application/hal+json {"_links":{}}',
    json: '202 application/json {"extra":1}',
    text: '202 application/json; charset=utf-8 "accepted"',
    bytes: '202 application/octet-stream accepted'
  })
})

t.test('a factory that sends the reply itself', async (t) => {
  const { app } = await testApp({ http: { responses: { status: async (_context, _request, reply) => { await reply.code(418).send('mine') } } } })
  app.asyncEndpoint({ url: '/a', name: 'a', responses: { submitted: async (_context, _request, reply) => { await reply.code(203).send('mine') } }, handler: echo })
  const a = await app.inject({ method: 'POST', url: '/a' })
  t.equal(a.statusCode, 203)
  t.equal(a.body, 'mine')
  t.equal((await app.inject(a.headers.location ?? '')).statusCode, 418)
})

t.test('a factory that throws is a 500 problem, and the job stays', async (t) => {
  const { app, store } = await testApp({ http: { responses: { status: () => { throw new Error('hunter2') } } } })
  app.asyncEndpoint({ url: '/a', name: 'a', responses: { submitted: async () => { throw new Error('hunter2') } }, handler: echo })
  const response = await app.inject({ method: 'POST', url: '/a' })
  t.equal(response.statusCode, 500)
  t.equal(response.headers['content-type'], 'application/problem+json')
  t.notMatch(response.body, /hunter2/)
  t.equal(store.jobs.size, 1)
  t.equal(response.headers['x-async-job-id'], store.created[0]?.id, 'and the client still learns its name')
  t.equal((await app.inject(response.headers.location ?? '')).statusCode, 500)
})

t.test('errors in the application\'s own words', async (t) => {
  const seen: unknown[] = []
  const { app, store } = await testApp({
    http: {
      responses: {
        submitError: ({ error, problem }, _request, reply) => { seen.push(error); reply.header('x-code', problem.code ?? ''); return { refused: problem.code, status: problem.status } },
        exception: ({ problem }) => ({ failed: problem.code ?? problem.status })
      }
    }
  })
  app.asyncEndpoint({ url: '/a', name: 'a', idempotency: 'required', handler: echo })
  app.asyncEndpoint({ url: '/b', name: 'b', responses: { submitted: () => { throw new Error('x') } }, handler: echo })
  const refused = await app.inject({ method: 'POST', url: '/a' })
  t.equal(refused.statusCode, 400)
  t.strictSame(refused.json(), { refused: 'FAE_IDEMPOTENCY_KEY_REQUIRED', status: 400 })
  t.equal(refused.headers['x-code'], 'FAE_IDEMPOTENCY_KEY_REQUIRED')
  t.equal(refused.headers['content-type'], 'application/problem+json')
  t.match(seen, [{ code: 'FAE_IDEMPOTENCY_KEY_REQUIRED' }])
  t.strictSame((await app.inject('/jobs/x')).json(), { failed: 'FAE_JOB_NOT_FOUND' })
  t.strictSame((await app.inject({ method: 'POST', url: '/b' })).json(), { failed: 500 }, 'unexpected errors of a submission as well')
  store.faults.set('create', 'reject')
  t.strictSame((await app.inject({ method: 'POST', url: '/b' })).json(), { refused: 'FAE_STORE_UNAVAILABLE', status: 503 })
})

t.test('an error factory that throws changes nothing but the body', async (t) => {
  const { app } = await testApp({ http: { responses: { exception: async () => { throw new Error('hunter2') } } } })
  const response = await app.inject('/jobs/x')
  t.equal(response.statusCode, 500)
  t.equal(response.headers['content-type'], 'application/problem+json')
  t.strictSame(response.json(), { type: 'about:blank', title: 'Internal Server Error', status: 500, instance: '/jobs/x' })
})

t.test('hooks and serializers of the application', async (t) => {
  const { app } = await testApp({
    before: (root) => {
      root.addHook('preSerialization', async (_request, _reply, payload) => ({ wrapped: payload }))
      root.setSerializerCompiler(() => { return () => 'not our documents' })
      root.setValidatorCompiler(() => { throw new Error('cannot compile plain JSON Schema') })
    }
  })
  app.asyncEndpoint({ url: '/a', name: 'a', handler: echo })
  const a = await app.inject({ method: 'POST', url: '/a' })
  t.equal(a.statusCode, 202)
  t.match(a.json(), { wrapped: { name: 'a' } }, 'a hook sees the document')
  t.match((await app.inject(a.headers.location ?? '')).json(), { wrapped: { name: 'a' } })
})
