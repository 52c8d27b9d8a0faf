/** The recipe for links of people without an account, in an application whose users sign in (docs/recipes.md). */
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import Fastify, { type FastifyInstance, type FastifyRequest } from 'fastify'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { asyncEndpoints } from '../../plugins/async-endpoints.ts'

interface Submitted { readonly id: string, readonly links: Readonly<Record<string, string>> }

/** As `request.jwtVerify()` does: throws a 401 unless the request has a token that it knows. */
function verify ({ headers: { authorization } }: FastifyRequest): string {
  const user = /^Bearer user-(\w+)$/.exec(authorization ?? '')?.[1]
  if (user === undefined) throw Object.assign(new Error('sign in first'), { statusCode: 401 })
  return user
}

interface Shop {
  readonly app: FastifyInstance
  submit (user: string): Promise<Submitted>
  ended (id: string): Promise<void>
}

async function shop (t: Test): Promise<Shop> {
  const app = Fastify()
  t.teardown(() => app.close())
  let jobs: FastifyInstance['jobs'] | undefined
  await app.register(async (api) => {
    await api.register(asyncEndpoints, {
      listening: { webSocket: true },
      http: {
        links: { keys: [{ id: 'k1', secret: 's'.repeat(32) }] },
        owner: async (request) => verify(request),
        authorize: (request, { action }) => action === 'list' ? { owner: verify(request) } : true
      }
    })
    jobs = api.jobs
    await api.register(async (users) => {
      users.addHook('onRequest', async (request) => { verify(request) })
      users.asyncEndpoint({ url: '/reports', name: 'report', handler: () => 7 })
    })
  }, { prefix: '/api' })
  await app.ready()
  return {
    app,
    submit: async (user) => {
      const answer = await app.inject({ method: 'POST', url: '/api/reports', headers: { authorization: `Bearer user-${user}` } })
      t.equal(answer.statusCode, 202)
      return answer.json<Submitted>()
    },
    ended: async (id) => { t.equal((await jobs?.waitFor(id, { timeoutMs: 10_000 }))?.state, 'completed') }
  }
}

t.test('a link opens its job without a token, and nothing else', async (t) => {
  const { app, submit, ended } = await shop(t)
  const { id, links } = await submit('ann')
  await submit('bob')
  await ended(id)
  const sig = new URL(links['self'] ?? '', 'http://x').searchParams.get('sig') ?? ''
  const status = async (method: 'GET' | 'POST' | 'DELETE', url: string, token?: string): Promise<number> => {
    const headers = token === undefined ? {} : { authorization: `Bearer ${token}` }
    return (await app.inject({ method, url, headers })).statusCode
  }
  t.equal(await status('GET', links['self'] ?? ''), 200, 'status')
  t.equal(await status('GET', links['result'] ?? ''), 200, 'result')
  t.match(await app.inject(links['events'] ?? ''), { statusCode: 200, body: /event: end/ }, 'stream')
  t.equal(await status('GET', `/api/jobs/${id}`, sig), 200, 'the signature as a token')
  t.equal(await status('DELETE', links['self'] ?? ''), 401, 'it does not cancel')
  t.equal(await status('GET', `/api/jobs/${id}`), 401)
  t.equal(await status('GET', `/api/jobs?sig=${sig}`), 401, 'it does not list')
  t.equal(await status('POST', `/api/reports?sig=${sig}`), 401, 'it does not submit')
  t.equal(await status('POST', '/api/reports', sig), 401)
  t.equal(await status('GET', `/api/jobs/${id}`, 'user-ann'), 200)
  t.equal(await status('GET', `/api/jobs/${id}`, 'user-bob'), 404)
  const list = await app.inject({ url: '/api/jobs', headers: { authorization: 'Bearer user-ann' } })
  t.same(list.json<{ jobs: Submitted[] }>().jobs.map((job) => job.id), [id])
})

t.test('a socket is opened without a token, and each subscription needs its link', async (t) => {
  const { app, submit, ended } = await shop(t)
  const { id, links } = await submit('ann')
  await app.listen({ port: 0, host: '127.0.0.1' })
  const { port } = app.server.address() as AddressInfo
  const socket = new WebSocket(`ws://127.0.0.1:${port}/api/jobs/socket`, 'fae.jobs.v1+json')
  t.teardown(() => { socket.terminate() })
  const signal = AbortSignal.timeout(10_000)
  await once(socket, 'open', { signal })
  const next = async (job: object): Promise<unknown> => {
    const message = once(socket, 'message', { signal })
    socket.send(JSON.stringify({ type: 'subscribe', jobs: [job] }))
    return JSON.parse(String((await message)[0]))
  }
  await ended(id)
  t.match(await next({ id }), { type: 'error', problem: { status: 401 } }, 'the id alone opens nothing')
  const sig = new URL(links['self'] ?? '', 'http://x').searchParams.get('sig')
  t.match(await next({ id, sig }), { type: 'end', id })
})
