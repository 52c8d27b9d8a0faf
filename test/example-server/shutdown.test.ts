/** Deploys: every process is told to leave by a real signal while requests keep coming, and nobody notices. */
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { startRedis } from '../support/redis.ts'
import { boot, eventually, json, metric, submit, untilOver, type Running } from './support.ts'

// Seven processes are started, one after the other at times.
t.setTimeout(180_000)

const DELAY_MS = 500
const DRAIN_MS = 1_000
/** Grace and hand-back by their defaults, and what a busy machine needs to end a process. */
const LEFT_WITHIN_MS = DELAY_MS + DRAIN_MS + 2_000 + 2_500 + 3_000
/** The submission that is refused (2 s), the drain, a hand-back that is given up, connections that are cut; and the machine. */
const FROZEN_LEFT_WITHIN_MS = 2_000 + DRAIN_MS + 2_500 + 1_000 + 2_500
const LONG_MS = 600_000

async function leave (server: Running): Promise<{ code: number | null, ms: number }> {
  const startedAt = performance.now()
  return { code: await server.end('SIGTERM'), ms: performance.now() - startedAt }
}

/** Sends to whoever is ready, in turn, as a load balancer does. */
class Balancer {
  readonly acknowledged: string[] = []
  readonly troubles: string[] = []
  readonly #servers = new Map<Running, boolean>()
  readonly #stop = new AbortController()
  readonly #loops: Array<Promise<void>> = []
  readonly #open = new Set<Promise<void>>()
  #turn = 0

  add (server: Running): void {
    this.#servers.set(server, false)
    this.#loops.push(this.#watch(server))
  }

  start (): void { this.#loops.push(this.#submit()) }

  async stop (): Promise<void> {
    this.#stop.abort()
    await Promise.all(this.#loops)
    await Promise.all(this.#open)
  }

  async untilReady (server: Running): Promise<void> {
    await eventually('the balancer to know that a server is ready', async () => this.#servers.get(server) === true || undefined)
  }

  async #watch (server: Running): Promise<void> {
    while (!this.#stop.signal.aborted) {
      this.#servers.set(server, await fetch(`${server.url}/health/ready`).then(({ ok }) => ok, () => false))
      await sleep(50)
    }
  }

  async #submit (): Promise<void> {
    while (!this.#stop.signal.aborted) {
      const ready = [...this.#servers].filter(([, is]) => is).map(([server]) => server)
      const server = ready[this.#turn++ % ready.length]
      if (server === undefined) this.troubles.push('nobody was ready')
      else {
        const sent = submit(`${server.url}/demo/sleep`, { ms: 30 }).then(({ status, body }) => {
          if (status === 202) this.acknowledged.push(String(body['id']))
          else this.troubles.push(`status ${status}`)
        }, (error: Error) => { this.troubles.push(`${error.message} ${String(error.cause)}`) }).finally(() => { this.#open.delete(sent) })
        this.#open.add(sent)
      }
      await sleep(20)
    }
  }
}

t.test('a rolling restart of the APIs and the workers under load: nothing is lost, refused, cut off or counted', async (t) => {
  const redis = await startRedis()
  t.teardown(() => redis.stop())
  const start = (role: string): Promise<Running> => boot(t, { ROLE: role, REDIS_URL: redis.url, LOG_LEVEL: 'error', SHUTDOWN_DELAY_MS: String(DELAY_MS), DRAIN_TIMEOUT_MS: String(DRAIN_MS) })
  const [api, other, ...workers] = await Promise.all([start('api'), start('api'), start('worker'), start('worker')])
  const balancer = new Balancer()
  t.teardown(() => balancer.stop())
  for (const server of [api, other]) balancer.add(server)
  for (const server of [api, other]) await balancer.untilReady(server)
  balancer.start()

  const long = await submit(`${api.url}/demo/sleep`, { ms: LONG_MS })
  const status = async (): Promise<Record<string, unknown>> => (await json(`${other.url}/jobs/${String(long.body['id'])}`)).body
  await eventually('the long job to begin', async () => (await status())['status'] === 'in-progress' || undefined)

  // They wait for the end of a job that does not end, and are open when the process is told to leave.
  const waiting = { prefer: 'wait=60' }
  const polled = json(`${api.url}/jobs/${String(long.body['id'])}`, { headers: waiting })
  const submitted = submit(`${api.url}/demo/sleep`, { ms: LONG_MS }, waiting)
  // What came before this has arrived, and is served while the load balancers are given time.
  t.equal((await json(`${api.url}/health/live`)).status, 200)
  const left = await leave(api)
  t.equal(left.code, 0)
  t.ok(left.ms < LEFT_WITHIN_MS, `the API left within ${Math.round(left.ms)} ms`)
  t.match(await polled, { status: 200, body: { status: 'in-progress' } }, 'a long-poll is answered with what is known')
  const accepted = await submitted
  t.match(accepted, { status: 202, body: { id: String } }, 'a submission that waits is answered with its 202')

  const next = await start('api')
  balancer.add(next)
  await balancer.untilReady(next)
  t.equal((await leave(other)).code, 0)

  for (const worker of workers) {
    const replacement = start('worker')
    const left = await leave(worker)
    t.equal(left.code, 0)
    t.ok(left.ms < LEFT_WITHIN_MS, `a worker left within ${Math.round(left.ms)} ms`)
    await replacement
  }
  await balancer.stop()

  const ids = [long, accepted].map(({ body }) => String(body['id']))
  for (const id of ids) {
    t.match(await eventually('a long job to go on elsewhere', async () => {
      const { body } = await json(`${next.url}/jobs/${id}`)
      return body['status'] === 'in-progress' ? body : undefined
    }), { attempts: { made: 1 } }, 'handed on, twice at the most, and no attempt spent')
    await json(`${next.url}/jobs/${id}`, { method: 'DELETE' })
    t.match(await untilOver(`${next.url}/jobs/${id}`), { status: 'cancelled' })
  }
  t.same(balancer.troubles, [], 'every submission was answered 202, if need be when the machine was less busy')
  t.ok(balancer.acknowledged.length > 50, `${balancer.acknowledged.length} were acknowledged`)
  const ends = new Map<string, number>()
  for (const id of balancer.acknowledged) {
    const { status, attempts } = await untilOver(`${next.url}/jobs/${id}`) as { status: string, attempts: { made: number } }
    const end = `${status} after ${attempts.made}`
    ends.set(end, (ends.get(end) ?? 0) + 1)
  }
  t.same([...ends], [['completed after 1', balancer.acknowledged.length]], 'all of them are completed, each in one attempt')
})

t.test('Redis says nothing while a process leaves: it is not waited for', async (t) => {
  const redis = await startRedis()
  t.teardown(() => redis.stop())
  const server = await boot(t, { ROLE: 'all', REDIS_URL: redis.url, LOG_LEVEL: 'silent', SHUTDOWN_DELAY_MS: '0', DRAIN_TIMEOUT_MS: String(DRAIN_MS) })
  const long = await submit(`${server.url}/demo/sleep`, { ms: LONG_MS })
  await eventually('the job to begin', async () => (await json(server.url + long.headers.get('location'))).body['status'] === 'in-progress' || undefined)
  const waiting = { prefer: 'wait=60' }
  const open = [submit(`${server.url}/demo/sleep`, { ms: LONG_MS }, waiting), json(server.url + long.headers.get('location'), { headers: waiting })]
  await eventually('both jobs to be stored', async () => await metric(server.url, 'asyncendpoints_jobs_created_total', 'job_name="demo-sleep"') === 2 || undefined)
  redis.freeze()
  const late = submit(`${server.url}/demo/sleep`, { ms: 1 })
  t.equal((await json(`${server.url}/health/live`)).status, 200)
  const { code, ms } = await leave(server)
  t.equal(code, 0)
  t.ok(ms < FROZEN_LEFT_WITHIN_MS, `left within ${Math.round(ms)} ms`)
  t.equal((await late).status, 503, 'what could not be stored is refused')
  t.same((await Promise.all(open)).map(({ status }) => status), [202, 200], 'who waits is answered with what is known')
})
