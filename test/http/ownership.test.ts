import Fastify, { type FastifyRequest } from 'fastify'
import t, { type Test } from 'tap'
import type { OwnerFunction } from '../../lib/http/owner.ts'
import { asyncEndpoints, memoryStore } from '../../plugins/async-endpoints.ts'
import { echo, testApp, type TestApp } from './support.ts'

const UNKNOWN = '0b5e9f6e-6a4e-4d0c-9f7e-2f5b0f0c8a11'
const byUser: OwnerFunction = (request) => request.headers['x-user'] as string | undefined
const signedIn: OwnerFunction = (request) => {
  if (request.headers['x-user'] === undefined) throw Object.assign(new Error('sign in first'), { statusCode: 401 })
  return byUser(request)
}

const routes = (id: string) => [
  ['GET', `/jobs/${id}`], ['HEAD', `/jobs/${id}`], ['GET', `/jobs/${id}/result`], ['HEAD', `/jobs/${id}/result`], ['DELETE', `/jobs/${id}`], ['POST', `/jobs/${id}/cancel`], ['POST', `/jobs/${id}/redrive`]
] as const

/** Everything of an answer but its correlation id and its date. */
async function answers ({ app }: TestApp, id: string, headers: Record<string, string>): Promise<string[]> {
  const all: string[] = []
  for (const [method, url] of routes(id)) {
    const { statusCode, body, headers: sent } = await app.inject({ method, url, headers })
    const { 'x-correlation-id': _correlation, date: _date, ...rest } = sent
    all.push(JSON.stringify([method, statusCode, rest, body]).replaceAll(id, 'ID'))
  }
  return all
}

async function submit ({ app }: TestApp, url: string, headers: Record<string, string> = {}): Promise<string> {
  const answer = await app.inject({ method: 'POST', url, headers })
  return answer.json<{ id: string }>().id
}

async function alike (t: Test, test: TestApp, id: string, headers: Record<string, string>, status: number): Promise<void> {
  const [hidden, unknown] = [await answers(test, id, headers), await answers(test, UNKNOWN, headers)]
  t.same(hidden, unknown, 'as for an unknown id')
  t.ok(hidden.every((answer) => answer.includes(`,${status},`)), `all are ${status}`)
}

t.test('an owner function that throws answers for every id alike', async (t) => {
  const test = await testApp({ http: { owner: signedIn } })
  test.app.asyncEndpoint({ url: '/a', name: 'a', handler: echo })
  const id = await submit(test, '/a', { 'x-user': 'alice' })
  await alike(t, test, id, {}, 401)
  await alike(t, test, id, { 'x-user': 'bob' }, 404)
  t.equal((await test.app.inject({ url: `/jobs/${id}`, headers: { 'x-user': 'alice' } })).statusCode, 200)
})

t.test('one that fails unexpectedly, too', async (t) => {
  const broken: OwnerFunction = (request: FastifyRequest & { user?: { id: string } }) => {
    if (request.method === 'POST' && request.url === '/a') return 'alice'
    return Object(request.user).id.toString() as string
  }
  const test = await testApp({ http: { owner: broken } })
  test.app.asyncEndpoint({ url: '/a', name: 'a', handler: echo })
  await alike(t, test, await submit(test, '/a'), {}, 500)
})

t.test('owner functions are asked before the store is, each once, whatever the id', async (t) => {
  const calls: string[] = []
  const test = await testApp({
    http: {
      owner: async (request) => {
        calls.push(`owner, store asked ${test.store.count('get')} times`)
        return byUser(request)
      }
    }
  })
  test.app.asyncEndpoint({ url: '/a', name: 'a', handler: echo })
  test.app.asyncEndpoint({ url: '/b', name: 'b', owner: (request) => { calls.push('own'); return byUser(request) }, handler: echo })
  const id = await submit(test, '/a', { 'x-user': 'alice' })
  for (const asked of [id, UNKNOWN, 'not%20an%20id']) {
    calls.length = 0
    const before = test.store.count('get')
    await test.app.inject({ url: `/jobs/${asked}`, headers: { 'x-user': 'bob' } })
    t.same(calls, [`owner, store asked ${before} times`, 'own'], asked)
  }
})

t.test('an endpoint for others does not shut anybody out, and its jobs stay as hidden as unknown ones', async (t) => {
  const test = await testApp({ http: {} })
  test.app.asyncEndpoint({ url: '/a', name: 'a', owner: signedIn, handler: echo })
  test.app.asyncEndpoint({
    url: '/admin',
    name: 'admin',
    owner: (request) => {
      if (request.headers['x-key'] !== 'secret') throw Object.assign(new Error('no'), { statusCode: 403 })
      return 'admin'
    },
    handler: echo
  })
  test.app.asyncEndpoint({ url: '/open', name: 'open', handler: echo })
  const [alices, admins, open] = [await submit(test, '/a', { 'x-user': 'alice' }), await submit(test, '/admin', { 'x-key': 'secret' }), await submit(test, '/open')]
  const status = async (id: string, headers: Record<string, string>): Promise<number> => (await test.app.inject({ url: `/jobs/${id}`, headers })).statusCode
  t.equal(await status(alices, { 'x-user': 'alice' }), 200)
  t.equal(await status(admins, { 'x-key': 'secret' }), 200)
  t.equal(await status(open, {}), 200, 'a job without an owner, of an endpoint without an owner function')
  await alike(t, test, admins, { 'x-user': 'alice' }, 404)
  await alike(t, test, alices, {}, 401)
})

t.test('a job with an owner is hidden where no owner function speaks for it', async (t) => {
  const test = await testApp()
  test.app.asyncEndpoint({ url: '/a', name: 'a', handler: echo })
  const { id } = await test.app.jobs.submit('a', {}, { owner: 'alice' })
  await alike(t, test, id, {}, 404)
  // Another process, which does not define the endpoint of the job.
  const other = await testApp({ store: test.store })
  other.app.asyncEndpoint({ url: '/b', name: 'b', owner: byUser, handler: echo })
  await alike(t, other, id, { 'x-user': 'alice' }, 404)
  t.equal((await test.app.inject(`/jobs/${await submit(test, '/a')}`)).statusCode, 200, 'one without an owner')
})

t.test('access: owner', async (t) => {
  const test = await testApp({ http: { access: 'owner' } })
  t.throws(() => { test.app.asyncEndpoint({ url: '/a', name: 'a', handler: echo }) }, { code: 'FAE_INVALID_OPTIONS', message: /asyncEndpoint "a": owner is missing/ })
  t.equal(test.app.hasRoute({ method: 'POST', url: '/a' }), false)
  test.app.asyncEndpoint({ url: '/b', name: 'b', owner: byUser, handler: echo })
  const other = await testApp({ store: test.store })
  other.app.asyncEndpoint({ url: '/a', name: 'a', handler: echo })
  const id = await submit(other, '/a')
  t.equal((await other.app.inject(`/jobs/${id}`)).statusCode, 200)
  await alike(t, test, id, {}, 404)
})

t.test('access: what contradicts itself is refused', async (t) => {
  await t.rejects(testApp({ http: { access: 'open', owner: byUser } }), { code: 'FAE_INVALID_OPTIONS', message: /access "open" contradicts owner/ })
  await t.rejects(testApp({ http: { access: 'open', authorize: () => true } }), { code: 'FAE_INVALID_OPTIONS', message: /access "open" contradicts authorize/ })
  await t.rejects(testApp({ http: { access: 'link' } }), { code: 'FAE_INVALID_OPTIONS', message: /access "link" needs links/ })
  // @ts-expect-error not a value
  await t.rejects(testApp({ http: { access: 'closed' } }), { code: 'FAE_INVALID_OPTIONS', message: /access must be "owner", "link" or "open"/ })
})

t.test('idempotency keys of clients that nobody names are told apart by their credentials', async (t) => {
  for (const owner of [undefined, () => undefined]) {
    const test = await testApp({ http: owner === undefined ? {} : { owner } })
    test.app.asyncEndpoint({ url: '/a', name: 'a', handler: echo })
    const ids: string[] = []
    const clients: Array<Record<string, string>> = [{}, { authorization: 'Bearer alice' }, { authorization: 'Bearer bob' }, { cookie: 'session=alice' }, { 'x-api-key': 'alice' }, { 'x-auth-token': 'alice' }]
    for (const client of [...clients, ...clients]) ids.push(await submit(test, '/a', { 'idempotency-key': 'k', ...client }))
    t.equal(new Set(ids).size, clients.length)
    t.same(ids.slice(clients.length), ids.slice(0, clients.length), 'each client gets its own job again')
    t.notOk(JSON.stringify(test.store.created).includes('Bearer'), 'no credential is stored')
  }
})

t.test('app.jobs.list never takes a missing owner for everybody', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(asyncEndpoints, { store: memoryStore(), worker: false })
  app.defineJob({ name: 'a', handler: echo })
  await app.ready()
  await app.jobs.submit('a', {}, { owner: 'alice' })
  await t.rejects(app.jobs.list({ owner: undefined }), { code: 'FAE_INVALID_REQUEST', message: /leave it out/ })
  // @ts-expect-error no text
  await t.rejects(app.jobs.list({ owner: 1 }), { code: 'FAE_INVALID_REQUEST' })
  t.same((await app.jobs.list({ owner: '' })).jobs, [])
  // @ts-expect-error no text
  t.same((await app.jobs.list({ owner: null })).jobs, [])
  t.equal((await app.jobs.list({ owner: 'alice' })).jobs.length, 1)
  t.equal((await app.jobs.list()).jobs.length, 1)
  await t.rejects(app.jobs.submit('a', {}, { owner: '' }), { code: 'FAE_INVALID_SUBMISSION', message: /owner must not be empty/ })
})
