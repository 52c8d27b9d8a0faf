/** Exporters and targets that fail in every way they can: no job, request or scrape may notice. */
import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import Fastify, { type FastifyInstance } from 'fastify'
import t from 'tap'
import type { MetricsExporter } from '../../lib/exposition/exporter.ts'
import { FakeClock } from '../../lib/testing/fake-clock.ts'
import { asyncEndpoints, type ObservabilityOptions } from '../../plugins/async-endpoints.ts'
import { jobStore } from '../../plugins/job-store.ts'

const HOUR = 3_600_000
const STEP = 2_000
const REAL_LIMIT_MS = 20_000

async function build (test: Pick<typeof t, 'teardown'>, observability: ObservabilityOptions, clock: FakeClock): Promise<FastifyInstance> {
  const app = Fastify()
  await app.register(jobStore, { clock })
  // No pressure rules: a machine under load is not what is tried here.
  await app.register(asyncEndpoints, { observability, health: false })
  app.asyncEndpoint({ url: '/reports', name: 'report', handler: async () => 'done' })
  test.teardown(() => closing(app, clock))
  return app
}

/** Runs one job over HTTP and looks at the page, as everybody does while something is wrong. */
async function worksAsEver (app: FastifyInstance, clock: FakeClock): Promise<string> {
  const submitted = await app.inject({ method: 'POST', url: '/reports' })
  if (submitted.statusCode !== 202) throw new Error(`${submitted.statusCode} ${submitted.body}`)
  const { id } = submitted.json<{ id: string }>()
  for (let n = 0; n < 100 && (await app.jobs.get(id))?.state !== 'completed'; n++) await clock.advance(0)
  const state = (await app.jobs.get(id))?.state
  const page = await app.inject('/metrics')
  return `${state} ${page.statusCode} ${/asyncendpoints_jobs_processed_total{[^}]*status="completed"[^}]*} (\d+)/.exec(page.body)?.[1]}`
}

/** Closes an application whose clock stands still: it moves until that is done. */
async function closing (app: FastifyInstance, clock: FakeClock): Promise<void> {
  const moving = new AbortController()
  const done = app.close().finally(() => { moving.abort() })
  while (!moving.signal.aborted) await clock.advance(STEP)
  await done
}

/** What a push target does with a request. */
type Mood = 'refuse' | 'hang' | 'take' | 'busy'

/** A push target with moods, and a `fetch` that tells how many requests are under way: real sockets under a clock that stands still. */
class Place {
  mood: Mood = 'take'
  readonly pages: string[] = []
  requests = 0
  #held = new Set<ServerResponse>()
  #underWay = 0
  #server: Server | undefined
  readonly #fetch = globalThis.fetch
  port = 0

  async open (): Promise<void> {
    this.#server = createServer((request, response) => { void this.#answer(request, response) })
    this.#server.listen(this.port, '127.0.0.1')
    await once(this.#server, 'listening')
    this.port = (this.#server.address() as AddressInfo).port
  }

  async shut (): Promise<void> {
    this.#server?.closeAllConnections()
    this.#server?.close()
    if (this.#server !== undefined) await once(this.#server, 'close')
    this.#server = undefined
  }

  watch (): void {
    globalThis.fetch = async (...values) => {
      this.requests++
      this.#underWay++
      try {
        return await this.#fetch(...values)
      } finally {
        this.#underWay--
      }
    }
  }

  async end (): Promise<void> {
    globalThis.fetch = this.#fetch
    await this.shut()
  }

  /** Until every request has come to its end, or is held here. */
  async settled (): Promise<void> {
    const until = Date.now() + REAL_LIMIT_MS
    while (this.#underWay > this.#held.size) {
      if (Date.now() > until) throw new Error(`waited for ${this.#underWay} requests, of which ${this.#held.size} are held`)
      await turn()
    }
  }

  async #answer (request: IncomingMessage, response: ServerResponse): Promise<void> {
    let page = ''
    for await (const chunk of request) page += String(chunk)
    if (this.mood === 'hang') {
      this.#held.add(response)
      response.once('close', () => { this.#held.delete(response) })
      return
    }
    if (this.mood === 'take') this.pages.push(page)
    response.writeHead(this.mood === 'take' ? 204 : 503, this.mood === 'busy' ? { 'retry-after': '120' } : {}).end()
  }
}

t.test('a push target that is away for an hour: jobs, requests and scrapes go on, and little is tried or kept', async (t) => {
  const clock = new FakeClock()
  const place = new Place()
  await place.open()
  place.watch()
  t.teardown(() => place.end())
  const app = await build(t, { export: { targets: { push: { url: `http://127.0.0.1:${place.port}/ingest`, allowPrivate: true, intervalMs: 15_000 } } } }, clock)
  const outcomes = new Map<string, number>()
  for (const event of ['telemetry.export_failed', 'telemetry.export_completed'] as const) {
    app.jobEvents.on(event, ({ target }) => { if (target === 'push') outcomes.set(event, (outcomes.get(event) ?? 0) + 1) })
  }
  await app.ready()
  const pass = async (ms: number): Promise<void> => {
    for (let passed = 0; passed < ms; passed += STEP) {
      await clock.advance(STEP)
      await place.settled()
    }
  }
  await pass(30_000)
  t.ok(place.pages.length >= 1, 'it is there, and gets its pages')

  // A third of the hour the port is closed, a third it takes requests and never answers, a third it is too busy.
  place.requests = 0
  outcomes.clear()
  await place.shut()
  await pass(HOUR / 3)
  t.equal(await worksAsEver(app, clock), 'completed 200 1')
  place.mood = 'hang'
  await place.open()
  await pass(HOUR / 3)
  t.equal(await worksAsEver(app, clock), 'completed 200 2')
  place.mood = 'busy'
  await pass(HOUR / 3)
  t.equal(await worksAsEver(app, clock), 'completed 200 3')
  t.ok(place.requests > 40 && place.requests < 300, `${place.requests} requests in an hour: tried again, with patience`)
  t.ok((outcomes.get('telemetry.export_failed') ?? 0) > 10, 'what could not be delivered was told')
  t.equal(outcomes.get('telemetry.export_completed') ?? 0, 0)

  // A page is made every 15 seconds: the one that waits knows of the third job now.
  await pass(20_000)
  place.mood = 'take'
  place.pages.length = 0
  await pass(150_000)
  t.match(place.pages[0], /asyncendpoints_jobs_processed_total{[^}]*status="completed"[^}]*} 3/, 'the first page it gets is of now')
  const page = (await app.inject('/metrics')).body
  const exports = (outcome: string): number => Number(new RegExp(`asyncendpoints_exports_total{[^}]*outcome="${outcome}"[^}]*} (\\d+)`).exec(page)?.[1] ?? 0)
  t.ok(exports('completed') >= 2 && exports('failed') > 10 && exports('replaced') > 10, 'each page is counted by how it ended')
  place.mood = 'hang'
  await closing(app, clock)
  t.equal(clock.pending, 0, 'closing waits for nobody and leaves no timer')
})

t.test('an exporter that hangs, one that throws, and hooks that throw: only who asked for it is told', async (t) => {
  const clock = new FakeClock()
  const app = await build(t, { export: { targets: { file: { path: join(t.testdir(), 'metrics.prom'), format: 'stuck', intervalMs: 5_000 } } } }, clock)
  const fails = (): never => { throw new Error('broken') }
  const exporter = (format: string, parts: Partial<MetricsExporter>): MetricsExporter => ({ name: format, formats: [format], contentType: 'text/plain', export: () => 'page', ...parts })
  app.jobExporters.register(exporter('stuck', { export: () => new Promise(() => {}) }))
  app.jobExporters.register(exporter('throws', { export: fails }))
  app.jobExporters.register(exporter('rejects', { export: async () => fails() }))
  app.jobExporters.register(exporter('nothing', { export: () => undefined as never }))
  app.jobExporters.register(exporter('hooked', { onRequested: fails, onCompleted: (async () => fails()) as never, onSync: fails }))
  await app.ready()

  let answered = false
  const stuck = app.inject('/metrics?format=stuck').finally(() => { answered = true })
  await clock.advance(9_000)
  t.equal(answered, false)
  t.equal(await worksAsEver(app, clock), 'completed 200 1', 'others are not kept waiting')
  await clock.advance(2_000)
  const given = await stuck
  t.equal(given.statusCode, 500)
  t.match(given.headers['content-type'], /^application\/problem\+json/)
  t.equal(given.json<{ code: string }>().code, 'FAE_EXPORT_FAILED')
  for (const format of ['throws', 'rejects', 'nothing']) t.equal((await app.inject(`/metrics?format=${format}`)).statusCode, 500, format)
  t.equal((await app.inject('/metrics?format=hooked')).body, 'page')
  await clock.advance(60_000)
  t.equal(await worksAsEver(app, clock), 'completed 200 2')
  const page = (await app.inject('/metrics')).body
  t.match(page, /asyncendpoints_exports_total{[^}]*target="file",outcome="failed"[^}]*} [1-9]/)
  t.match(page, /asyncendpoints_telemetry_failures_total{[^}]*source="exporter"[^}]*} 2/)
  const before = clock.monotonic()
  await closing(app, clock)
  t.ok(clock.monotonic() - before < 10_000, 'closing does not wait for it')
})

t.test('a file target whose folder is gone', async (t) => {
  const clock = new FakeClock({ settleTurns: 50 })
  const app = await build(t, { export: { targets: { file: { path: join(t.testdir(), 'gone', 'metrics.prom'), intervalMs: 5_000 } } } }, clock)
  const told: string[] = []
  app.jobEvents.on('telemetry.export_failed', ({ target, errorCode }) => { told.push(`${target} ${errorCode}`) })
  await app.ready()
  for (let n = 0; n < 100 && told.length < 3; n++) await clock.advance(1_000)
  t.same(told.slice(0, 3), ['file ENOENT', 'file ENOENT', 'file ENOENT'], 'tried again turn by turn')
  t.equal(await worksAsEver(app, clock), 'completed 200 1')
})
