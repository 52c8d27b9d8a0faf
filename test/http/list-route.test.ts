import Fastify, { type FastifyInstance, type FastifyRequest, type LightMyRequestResponse } from 'fastify'
import swagger from '@fastify/swagger'
import t, { type Test } from 'tap'
import type { AuthorizeFunction } from '../../lib/http/authorize.ts'
import { deliveryId } from '../../lib/jobs/webhook.ts'
import { asyncEndpoints, memoryStore, type HttpOptions } from '../../plugins/async-endpoints.ts'
import { STORES } from '../saga/support.ts'
import { LOCAL, SECRET, WebhookReceiver } from '../support/webhook-receiver.ts'

const keys = [{ id: 'k1', secret: 's'.repeat(32) }]
const everybody: AuthorizeFunction = () => true

async function listing (t: Test, http: HttpOptions): Promise<FastifyInstance> {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(swagger, { openapi: {} })
  await app.register(asyncEndpoints, { store: memoryStore(), worker: false, observability: false, health: false, http })
  app.asyncEndpoint({ url: '/a', name: 'a', queue: 'one', handler: async () => 1 })
  app.asyncEndpoint({ url: '/b', name: 'b', queue: 'two', handler: async () => 1 })
  await app.ready()
  for (const [n, owner] of ['alice', 'bob', 'alice', undefined].entries()) {
    await app.jobs.submit(n % 2 === 0 ? 'a' : 'b', { secret: 'payload' }, owner === undefined ? {} : { owner })
  }
  return app
}

interface List { readonly jobs: ReadonlyArray<Record<string, unknown>>, readonly cursor?: string }

async function count (app: FastifyInstance, query: string): Promise<number> {
  return (await app.inject(`/jobs${query}`)).json<List>().jobs.length
}

t.test('without authorize there is no list', async (t) => {
  const app = await listing(t, { access: 'open' })
  t.equal(app.hasRoute({ method: 'GET', url: '/jobs' }), false)
  t.equal((await app.inject('/jobs')).statusCode, 404)
})

t.test('documents without what was submitted, without results, and without links that open a job', async (t) => {
  const app = await listing(t, { authorize: everybody, links: { keys } })
  const answer = await app.inject('/jobs')
  t.match(answer, { statusCode: 200, headers: { 'cache-control': 'private, no-store', 'content-type': 'application/json; charset=utf-8', 'x-correlation-id': String } })
  const { jobs, cursor } = answer.json<List>()
  t.equal(jobs.length, 4)
  t.equal(cursor, undefined)
  t.notOk('link' in answer.headers)
  t.match(jobs[0], { id: String, name: String, status: 'queued', attempts: { made: 0 }, links: { self: /^\/jobs\/[0-9a-f-]{36}$/ } })
  t.notMatch(answer.body, /payload|sig=|owner/)
  t.match(await app.inject({ method: 'HEAD', url: '/jobs' }), { statusCode: 200, body: '', headers: { 'content-length': String(answer.body.length) } })
})

t.test('filters', async (t) => {
  const app = await listing(t, { authorize: everybody })
  const found: Record<string, number> = {}
  for (const query of ['', '?name=a', '?queue=two', '?state=queued', '?state=failed', '?owner=alice', '?owner=alice&queue=two', '?name=nothing', '?name=a&state=queued&owner=alice&limit=1']) found[query] = await count(app, query)
  t.same(found, {
    '': 4, '?name=a': 2, '?queue=two': 2, '?state=queued': 4, '?state=failed': 0, '?owner=alice': 2, '?owner=alice&queue=two': 0, '?name=nothing': 0, '?name=a&state=queued&owner=alice&limit=1': 1
  })
})

t.test('page by page, by the link to the next one', async (t) => {
  const app = await listing(t, { authorize: everybody })
  const ids = new Set<unknown>()
  let pages = 0
  let url: string | undefined = '/jobs?limit=1&state=queued'
  for (; url !== undefined && pages < 10; pages++) {
    const answer: LightMyRequestResponse = await app.inject(url)
    const { jobs, cursor } = answer.json<List>()
    jobs.forEach(({ id }) => ids.add(id))
    url = /^<(.+)>; rel="next"$/.exec(String(answer.headers.link))?.[1]
    t.equal(url === undefined, cursor === undefined)
    if (url !== undefined) t.match(url, /^\/jobs\?(?=.*limit=1)(?=.*state=queued)(?=.*cursor=)/)
  }
  t.equal(ids.size, 4)
  t.equal(pages <= 5, true)
})

t.test('of one owner only', async (t) => {
  const app = await listing(t, { authorize: (request) => ({ owner: request.headers['x-user'] as string | undefined }) })
  const seen = async (query: string, user?: string): Promise<number> => {
    return (await app.inject({ url: `/jobs${query}`, headers: user === undefined ? {} : { 'x-user': user } })).json<List>().jobs.length
  }
  t.equal(await seen('', 'alice'), 2)
  t.equal(await seen('?owner=alice', 'alice'), 2)
  t.equal(await seen('?owner=bob', 'alice'), 0, 'a filter widens nothing')
  t.equal(await seen('', ''), 0)
  t.equal(await seen(''), 0, 'nobody is signed in: not the jobs of everybody')
  t.equal(await seen('?owner=bob'), 0)
})

t.test('who may not list gets what everybody gets where there is no list, whatever the query', async (t) => {
  const app = await listing(t, { authorize: () => false })
  for (const url of ['/jobs', '/jobs?limit=0']) {
    t.match(await app.inject(url), { statusCode: 404, headers: { 'content-type': /^application\/problem\+json/, 'cache-control': 'no-store' } }, url)
  }
})

t.test('a query that is not valid: everything that is wrong in one answer', async (t) => {
  const app = await listing(t, { authorize: everybody })
  const answer = await app.inject('/jobs?limit=0&state=done&owner=a&owner=b&nonsense=1&name=')
  t.match(answer, { statusCode: 400, headers: { 'content-type': /^application\/problem\+json/, 'cache-control': 'no-store' } })
  const { errors, code } = answer.json<{ errors: ReadonlyArray<Record<string, unknown>>, code: string }>()
  t.equal(code, 'FAE_INVALID_REQUEST')
  t.same(errors.map(({ pointer, in: where }) => `${String(where)} ${String(pointer)}`).sort(), ['limit', 'name', 'nonsense', 'owner', 'state'].map((name) => `querystring #/${name}`))
  for (const query of ['limit=101', 'limit=-1', 'limit=1.5', 'limit=1e1', 'limit=', 'limit=%31%30%30%30', 'limit=1&limit=2', 'state=', 'state=Queued', '__proto__=1', 'constructor=1', `name=${'x'.repeat(2_001)}`, 'a%2Fb~c=1']) {
    t.equal((await app.inject(`/jobs?${query}`)).statusCode, 400, query)
  }
  t.equal(await count(app, '?cursor=nonsense'), 4, 'a cursor that is none begins from the start, as in the code')
  t.equal(await count(app, '?limit=100'), 4)
})

t.test('in the OpenAPI document', async (t) => {
  const app = await listing(t, { authorize: everybody })
  const paths = (app.swagger() as { paths: Record<string, { get?: { operationId: string, parameters: ReadonlyArray<{ name: string, in: string }>, responses: object } }> }).paths
  const list = paths['/jobs']?.get
  t.match(list, { operationId: 'listJobs' })
  t.same(list?.parameters.filter((parameter) => parameter.in === 'query').map(({ name }) => name).sort(), ['cursor', 'limit', 'name', 'owner', 'queue', 'state'])
  t.same(Object.keys(list?.responses ?? {}), ['200', '400', '404', '503'])
})

t.test('the support of docs/access.md lists and reads every job, and changes none', async (t) => {
  const user = ({ headers }: FastifyRequest): string => String(headers['x-user'])
  const app = await listing(t, {
    owner: user,
    authorize: (request, { action, job }) => {
      if (user(request) === 'support') {
        if (action === 'list') return true
        return action === 'read' ? { owner: job?.owner } : false
      }
      return action === 'list' ? { owner: user(request) } : true
    }
  })
  const as = (name: string) => ({ headers: { 'x-user': name } })
  const listed = async (name: string) => (await app.inject({ url: '/jobs', ...as(name) })).json<List>().jobs.map(({ id }) => String(id))
  const [all, alices] = [await listed('support'), await listed('alice')]
  t.same([all.length, alices.length, (await listed('carol')).length], [4, 2, 0])
  for (const id of all) t.equal((await app.inject({ url: `/jobs/${id}`, ...as('support') })).statusCode, 200)
  t.equal((await app.inject({ method: 'DELETE', url: `/jobs/${String(alices[0])}`, ...as('support') })).statusCode, 404)
})

for (const { kind, open } of STORES) {
  t.test(`${kind}: deliveries of webhooks are listed to those who ask for them`, async (t) => {
    const receiver = await WebhookReceiver.start()
    const app = Fastify()
    t.teardown(async () => {
      await app.close()
      await receiver.close()
    })
    await app.register(asyncEndpoints, {
      store: await open(t), observability: false, health: false, webhooks: { secret: SECRET, outbound: LOCAL },
      http: { owner: () => 'alice', authorize: (_, { action }) => action === 'list' ? { owner: 'alice' } : true }
    })
    app.asyncEndpoint({ url: '/a', name: 'a', webhook: receiver.url(), handler: async () => 1 })
    await app.ready()
    const ids = await Promise.all(Array.from({ length: 3 }, async () => (await app.inject({ method: 'POST', url: '/a' })).json<{ id: string }>().id))
    for (const id of ids) await app.jobs.waitFor(deliveryId(id, 0), { timeoutMs: 10_000 })
    const names = async (query: string): Promise<unknown[]> => (await app.inject(`/jobs${query}`)).json<List>().jobs.map(({ name }) => name)
    t.same(await names(''), ['a', 'a', 'a'])
    t.same(await names('?state=completed'), ['a', 'a', 'a'])
    t.same(await names('?name=webhook-delivery'), new Array(3).fill('webhook-delivery'))
    t.same(await names('?queue=webhooks'), new Array(3).fill('webhook-delivery'))
    t.same(await names('?queue=default'), ['a', 'a', 'a'])
    const found: unknown[] = []
    for (let url: string | undefined = '/jobs?limit=1', pages = 0; url !== undefined && pages < 20; pages++) {
      const answer: LightMyRequestResponse = await app.inject(url)
      found.push(...answer.json<List>().jobs.map(({ id }) => id))
      url = /^<(.+)>; rel="next"$/.exec(String(answer.headers.link))?.[1]
    }
    t.same(found.sort(), [...ids].sort(), 'also page by page')
    t.equal((await app.jobs.list({ owner: 'alice' })).jobs.length, 6, 'in code, all of them')
    t.equal((await app.inject(`/jobs/${deliveryId(ids[0] ?? '', 0)}`)).statusCode, 200, 'the owner may read a delivery by its id')
  })
}
