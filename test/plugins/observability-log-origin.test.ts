/** Who sent a request, on the lines of the handler that works on it, through the queue of either store. */
import Fastify, { type FastifyInstance } from 'fastify'
import t from 'tap'
import { asyncEndpoints, memoryStore, redisStore, type JobStore, type LoggingOptions } from '../../plugins/async-endpoints.ts'
import { sharedRedis } from '../support/redis.ts'

type Line = Record<string, unknown>

interface Suite { readonly app: FastifyInstance, readonly lines: Line[] }

const SENT = { 'x-user-id': 'ann', 'x-request-id': 'gw-7', 'user-agent': 'curl/8' }
const ORIGIN = ['request_id', 'user_id', 'client_ip', 'user_agent'] as const

async function build (test: Pick<typeof t, 'teardown'>, store: JobStore, { logging, owner }: { logging?: LoggingOptions, owner?: string } = {}): Promise<Suite> {
  const lines: Line[] = []
  const app = Fastify({ logger: { level: 'debug', stream: { write: (text: string) => { lines.push(JSON.parse(text) as Line) } } } })
  test.teardown(() => app.close())
  await app.register(asyncEndpoints, { store, ...(logging === undefined ? {} : { observability: { logging } }), ...(owner === undefined ? {} : { http: { owner: () => owner } }) })
  app.asyncEndpoint({
    url: '/reports',
    name: 'report',
    retry: { attempts: 2, backoff: { type: 'fixed', delayMs: 1 } },
    handler: (job) => {
      job.log.info({}, `told ${job.attempt}`)
      if (job.attempt === 1) throw new Error('once more')
    }
  })
  await app.ready()
  return { app, lines }
}

/** What the lines of both attempts, and that of the submission, say of the sender. */
async function told ({ app, lines }: Suite): Promise<{ attempts: Line[], submission: Line, status: string }> {
  const submitted = await app.inject({ method: 'POST', url: '/reports', headers: SENT, payload: {} })
  const { id } = submitted.json<{ id: string }>()
  await app.jobs.waitFor(id, { timeoutMs: 10_000 })
  const pick = (line: Line | undefined): Line => Object.fromEntries(ORIGIN.flatMap((key) => line?.[key] === undefined ? [] : [[key, line[key]]]))
  return {
    attempts: ['told 1', 'told 2'].map((text) => pick(lines.find(({ msg }) => msg === text))),
    submission: pick(lines.find(({ eventId }) => eventId === 10101)),
    status: submitted.body + (await app.inject(`/jobs/${id}`)).body + JSON.stringify(await app.jobs.get(id))
  }
}

t.test('S1-18: request and user by default, all four when asked for, none when not; never in what clients read', async (t) => {
  const { url, prefix, stop } = await sharedRedis()
  t.teardown(stop)
  const all = { request_id: 'gw-7', user_id: 'ann', client_ip: '127.0.0.1', user_agent: 'curl/8' }
  for (const [name, make] of [['memory', () => memoryStore()], ['redis', (n: number) => redisStore({ url, prefix: `${prefix}${n}` })]] as const) {
    const usual = await told(await build(t, make(1)))
    t.same(usual.submission, all, name)
    t.same(usual.attempts, Array(2).fill({ request_id: 'gw-7', user_id: 'ann' }), `${name}: an address and an agent are not stored unless somebody asks for them`)
    const every = await told(await build(t, make(2), { logging: { enrich: [...ORIGIN] } }))
    t.same(every.attempts, Array(2).fill(all), name)
    t.notMatch(every.status, /gw-7|curl\/8|127\.0\.0\.1/, name)
    const none = await told(await build(t, make(3), { logging: { enrich: [] } }))
    t.same([none.submission, ...none.attempts], [{}, {}, {}], name)
    const owned = await told(await build(t, make(4), { owner: 'bob' }))
    t.same(owned.attempts, Array(2).fill({ request_id: 'gw-7', user_id: 'bob' }), `${name}: the owner is known, the header is only said`)
  }
})
