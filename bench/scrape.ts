/**
 * What a scrape costs: `node dist/bench/scrape.js [--smoke]`, after `npm run build`. Applications in processes of their own
 * are scraped over HTTP, in turns: their CPU per scrape (all threads, garbage collection included) and the longest time for
 * which the event loop was held up. Each has 20 counters and 10 histograms of 18 buckets with so many label sets, and each
 * value is new at every scrape. Beside them the exporter of the OpenTelemetry SDK on the same numbers, where it is installed.
 *
 * `--smoke` runs small sizes, to see that the benchmark works; its figures mean nothing.
 */
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { Agent, get } from 'node:http'
import { fileURLToPath } from 'node:url'
import { MeterProvider, type MetricReader, type ResourceMetrics } from '@opentelemetry/sdk-metrics'
import Fastify, { type FastifyInstance } from 'fastify'
import { runtimeOf } from '../lib/events/runtime.ts'
import { JOB_BUCKETS } from '../lib/telemetry/instruments.ts'
import asyncEndpoints, { memoryStore } from '../plugins/async-endpoints.ts'

const SMOKE = process.argv.includes('--smoke')
const COUNTERS = 20
const HISTOGRAMS = 10
/** Label sets of each metric. */
const SIZES = SMOKE ? [1, 10] : [4, 33, 333]
const JOBS = SMOKE ? 5_000 : 1_000_000
const ROUNDS = SMOKE ? 2 : 7
/** Scrapes that are counted together: few of them are hit by a large garbage collection, so one alone says little. */
const SCRAPES = SMOKE ? 3 : 20
const TRACE = { traceId: '0af7651916cd43dd8448eb211c80319c', spanId: 'b7ad6b7169203331' }

/** What a child is. */
type Kind = 'ours' | 'otel' | 'heap'
/** What is measured: CPU undisturbed, or the event loop by a probe that costs CPU itself. */
type Mode = 'cpu' | 'loop'
type Command = { readonly begin: Mode } | 'end' | 'inject'
interface Figures { readonly cpuMs: number, readonly blockMs: number }

// ---------------------------------------------------------------------------------------------------------------------
// The measured processes

/** CPU and blocked time of what happens between `begin` and `end`, but for what the benchmark does itself. */
class Meter {
  #cpu = process.cpuUsage()
  #ownMicros = 0
  #mode: Mode = 'cpu'
  #blockMs = 0
  #probing = false
  #last = 0
  #lastCpuMs = 0

  begin (mode: Mode): void {
    this.#mode = mode
    this.#ownMicros = this.#blockMs = 0
    this.#cpu = process.cpuUsage()
  }

  end (): Figures {
    const { user, system } = process.cpuUsage(this.#cpu)
    return { cpuMs: (user + system - this.#ownMicros) / 1_000, blockMs: this.#blockMs }
  }

  /** Measures the scrapes of an application; `touch` gives every series a new value after each, uncounted. */
  watch (app: FastifyInstance, touch: () => void): void {
    app.addHook('onRequest', async () => { this.#scrapeStarts() })
    app.addHook('onResponse', async () => {
      this.#scrapeEnds()
      this.#aside(touch)
    })
  }

  /** What runs in here is not counted. */
  #aside (work: () => void): void {
    const before = process.cpuUsage()
    work()
    const { user, system } = process.cpuUsage(before)
    this.#ownMicros += user + system
  }

  #scrapeStarts (): void {
    if (this.#mode === 'cpu' || this.#probing) return
    this.#probing = true
    const before = this.#blockMs
    this.#note()
    this.#blockMs = before
    const probe = (): void => {
      if (!this.#probing) return
      this.#note()
      setImmediate(probe)
    }
    setImmediate(probe)
  }

  #scrapeEnds (): void {
    if (this.#probing) this.#note()
    this.#probing = false
  }

  /** Time that this process did not get from the system is nobody's block: the wall clock, but no more than the CPU used. */
  #note (): void {
    const now = performance.now()
    const { user, system } = process.cpuUsage()
    const cpuMs = (user + system) / 1_000
    this.#blockMs = Math.max(this.#blockMs, Math.min(now - this.#last, cpuMs - this.#lastCpuMs))
    this.#last = now
    this.#lastCpuMs = cpuMs
  }
}

/** Most durations of a job lie close together: they fill some four buckets. */
function duration (): number {
  return 0.2 * Math.exp(Math.random() + Math.random() + Math.random() - 1.5)
}

/** Makes the series; the function gives each of them a new value, and a new exemplar to one in twenty. */
function fillOurs (app: FastifyInstance, labelSets: number): () => void {
  const updates: Array<(source: typeof TRACE | undefined) => void> = []
  const labels = ['job_name', 'status', 'store_type'] as const
  const values = Array.from({ length: labelSets }, (_, n) => ({ job_name: `generate-report-${n}`, status: 'completed', store_type: 'memory' }))
  for (let n = 0; n < COUNTERS; n++) {
    const counter = app.jobMetricsRegistry.instrument({ name: `bench.jobs.n${n}.total`, kind: 'counter', unit: '{job}', description: 'A counter', labels })
    for (const cell of values.map((set) => counter.bind(set))) updates.push((source) => { cell.add(1, source) })
  }
  for (let n = 0; n < HISTOGRAMS; n++) {
    const histogram = app.jobMetricsRegistry.instrument({ name: `bench.jobs.n${n}.duration`, kind: 'histogram', unit: 's', description: 'A histogram', labels, buckets: JOB_BUCKETS })
    for (const cell of values.map((set) => histogram.bind(set))) updates.push((source) => { for (let k = 0; k < 3; k++) cell.observe(duration(), source) })
  }
  for (let n = 0; n < 20; n++) for (const update of updates) update(TRACE)
  return () => { for (const [index, update] of updates.entries()) update(index % 20 === 0 ? { ...TRACE } : undefined) }
}

async function ours (meter: Meter, labelSets: number, jobs: number): Promise<FastifyInstance> {
  const app = Fastify()
  await app.register(asyncEndpoints, { worker: false, observability: { metrics: { maxSeriesPerMetric: 10_000 } } })
  app.defineJob({ name: 'bench', handler: () => {} })
  meter.watch(app, fillOurs(app, labelSets))
  await app.ready()
  for (let sent = 0; sent < jobs; sent += 500) await Promise.all(Array.from({ length: 500 }, () => app.jobs.submit('bench')))
  return app
}

/** Its public parts, as it is not one of our dependencies. */
interface OtelExporter {
  PrometheusExporter: new (config: { preventServerStart: boolean }) => MetricReader
  PrometheusSerializer: new () => { serialize (metrics: ResourceMetrics): string }
}

async function otelExporter (): Promise<OtelExporter | undefined> {
  const name = '@opentelemetry/exporter-prometheus'
  return await import(name).then((found: OtelExporter) => found, () => undefined)
}

/** The same numbers in the SDK of OpenTelemetry, and its exporter behind a route. */
async function otel (meter: Meter, labelSets: number): Promise<FastifyInstance> {
  const found = await otelExporter()
  if (found === undefined) throw new Error('@opentelemetry/exporter-prometheus is not installed')
  const reader = new found.PrometheusExporter({ preventServerStart: true })
  const serializer = new found.PrometheusSerializer()
  const from = new MeterProvider({ readers: [reader] }).getMeter('bench')
  const values = Array.from({ length: labelSets }, (_, n) => ({ job_name: `generate-report-${n}`, status: 'completed', store_type: 'memory' }))
  const updates: Array<() => void> = []
  for (let n = 0; n < COUNTERS; n++) {
    const counter = from.createCounter(`bench.jobs.n${n}.total`, { unit: '{job}', description: 'A counter' })
    for (const set of values) updates.push(() => { counter.add(1, set) })
  }
  for (let n = 0; n < HISTOGRAMS; n++) {
    const histogram = from.createHistogram(`bench.jobs.n${n}.duration`, { unit: 's', description: 'A histogram', advice: { explicitBucketBoundaries: [...JOB_BUCKETS] } })
    for (const set of values) updates.push(() => { for (let k = 0; k < 3; k++) histogram.record(duration(), set) })
  }
  const touch = (): void => { for (const update of updates) update() }
  touch()
  const app = Fastify()
  meter.watch(app, touch)
  app.get('/metrics', async (_request, reply) => {
    const { resourceMetrics } = await reader.collect()
    return await reply.type('text/plain').send(serializer.serialize(resourceMetrics))
  })
  return app
}

async function serve (kind: Kind, labelSets: number, jobs: number): Promise<void> {
  const meter = new Meter()
  const app = kind === 'ours' ? await ours(meter, labelSets, jobs) : await otel(meter, labelSets)
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  process.on('message', (command: Command) => {
    if (command === 'end') process.send?.(meter.end())
    else if (command === 'inject') void app.inject('/metrics').then(() => process.send?.('injected'))
    else meter.begin(command.begin)
  })
  // The parent has gone.
  process.on('disconnect', () => { process.exit() })
  process.send?.(url)
}

/** Bytes of heap before and after a million jobs, and the series then. */
async function heapOverJobs (): Promise<void> {
  const app = Fastify()
  await app.register(asyncEndpoints, { store: memoryStore({ retention: { maxCount: 1_000 } }), worker: { concurrency: 20 } })
  let done = (): void => {}
  let left = 0
  for (const event of ['job.completed', 'job.failed'] as const) runtimeOf(app).bus.on(event, () => { if (--left === 0) done() })
  // A tenth fails, each with an error type of its own: far more than the cap.
  let run = 0
  app.defineJob({ name: 'bench', retry: { attempts: 1 }, handler: () => { if (++run % 10 === 0) throw Object.assign(new Error('as asked'), { code: `E_${run}` }) } })
  await app.ready()
  const work = async (jobs: number): Promise<void> => {
    left = jobs
    const all = new Promise<void>((resolve) => { done = resolve })
    for (let sent = 0; sent < jobs; sent += 100) await Promise.all(Array.from({ length: 100 }, () => app.jobs.submit('bench')))
    await all
    await app.inject('/metrics')
  }
  const used = (): number => {
    for (let n = 0; n < 3; n++) globalThis.gc?.()
    return process.memoryUsage().heapUsed
  }
  await work(JOBS / 5)
  const before = used()
  await work(JOBS)
  const after = used()
  const series = app.jobMetricsRegistry.families().reduce((sum, { points }) => sum + points.length, 0)
  process.send?.({ before, after, series })
  await app.close()
  process.disconnect()
}

// ---------------------------------------------------------------------------------------------------------------------
// The process that measures

interface Child { readonly process: ChildProcess, readonly url: string }

async function start (kind: Kind, labelSets = 0, jobs = 0): Promise<Child> {
  const child = fork(fileURLToPath(import.meta.url), ['--child', kind, String(labelSets), String(jobs), ...SMOKE ? ['--smoke'] : []], { execArgv: ['--expose-gc', '--max-old-space-size=4000'] })
  return { process: child, url: kind === 'heap' ? '' : String(await answer(child)) }
}

async function answer (child: ChildProcess): Promise<unknown> {
  const over = new AbortController()
  const gone = once(child, 'exit', { signal: over.signal }).then(() => { throw new Error('the measured process ended') })
  const message = once(child, 'message', { signal: over.signal }).then(([message]: unknown[]) => message)
  return await Promise.race([message, gone]).finally(() => {
    gone.catch(() => {})
    over.abort()
  })
}

async function stop (child: Child): Promise<void> {
  const ended = once(child.process, 'exit')
  child.process.disconnect()
  await ended
}

const agent = new Agent({ keepAlive: true })

/** As Prometheus reads: the whole page, over a connection that stays. */
async function scrape (url: string, accept: string): Promise<{ bytes: number, lines: number }> {
  return await new Promise((resolve, reject) => {
    get(`${url}/metrics`, { agent, headers: { accept } }, (response) => {
      let bytes = 0
      let lines = 0
      response.on('data', (chunk: Buffer) => {
        bytes += chunk.length
        for (let at = chunk.indexOf(10); at >= 0; at = chunk.indexOf(10, at + 1)) lines++
      })
      response.on('end', () => response.statusCode === 200 ? resolve({ bytes, lines }) : reject(new Error(`the scrape was answered with ${response.statusCode}`)))
    }).on('error', reject)
  })
}

async function measure ({ process: child, url }: Child, mode: Mode, accept: string, scrapes: number): Promise<Figures> {
  child.send({ begin: mode })
  for (let n = 0; n < scrapes; n++) await scrape(url, accept)
  child.send('end')
  const { cpuMs, blockMs } = await answer(child) as Figures
  return { cpuMs: cpuMs / scrapes, blockMs }
}

async function measureInject ({ process: child }: Child, scrapes: number): Promise<number> {
  child.send({ begin: 'cpu' })
  for (let n = 0; n < scrapes; n++) {
    child.send('inject')
    await answer(child)
  }
  child.send('end')
  return (await answer(child) as Figures).cpuMs / scrapes
}

function median (values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN
}

function print (...cells: ReadonlyArray<string | number>): void {
  process.stdout.write(`${cells.map((cell, index) => typeof cell === 'number' ? cell.toFixed(2).padStart(10) : index === 0 ? cell.padEnd(46) : cell.padStart(10)).join('  ')}\n`)
}

const TEXT = 'text/plain'
const OPENMETRICS = 'application/openmetrics-text; version=1.0.0'

async function compare (labelSets: number): Promise<void> {
  const [empty, full, theirs] = await Promise.all([start('ours', labelSets), start('ours', labelSets, JOBS), await otelExporter() === undefined ? undefined : start('otel', labelSets)])
  const rows: Array<{ readonly name: string, readonly child: Child, readonly accept: string }> = [
    { name: 'text 0.0.4, 0 jobs in memory', child: empty, accept: TEXT },
    { name: `text 0.0.4, ${JOBS} jobs`, child: full, accept: TEXT },
    { name: 'OpenMetrics with exemplars, 0 jobs', child: empty, accept: OPENMETRICS },
    { name: `OpenMetrics with exemplars, ${JOBS} jobs`, child: full, accept: OPENMETRICS },
    ...theirs === undefined ? [] : [{ name: 'the exporter of OpenTelemetry, text', child: theirs, accept: TEXT }]
  ]
  const { lines, bytes } = await scrape(empty.url, TEXT)
  process.stdout.write(`\n${labelSets * (COUNTERS + HISTOGRAMS)} series of 20 counters and 10 histograms (${lines} lines, ${(bytes / 1e6).toFixed(1)} MB), over HTTP\n`)
  for (const { child, accept } of rows) await measure(child, 'cpu', accept, SCRAPES)
  const cpu = rows.map((): number[] => [])
  const block = rows.map((): number[] => [])
  const injected: number[] = []
  for (let round = 0; round < ROUNDS; round++) {
    for (const [index, { child, accept }] of rows.entries()) {
      cpu[index]?.push((await measure(child, 'cpu', accept, SCRAPES)).cpuMs)
      for (let n = 0; n < 3; n++) block[index]?.push((await measure(child, 'loop', accept, 1)).blockMs)
    }
    injected.push(await measureInject(empty, SCRAPES))
  }
  print('', 'CPU ms', 'blocked ms', '(longest)', 'ratio')
  const base = median(cpu[0] ?? [])
  for (const [index, { name }] of rows.entries()) print(name, median(cpu[index] ?? []), median(block[index] ?? []), Math.max(...block[index] ?? []), median(cpu[index] ?? []) / base)
  print('text 0.0.4, 0 jobs, app.inject (copies the page)', median(injected))
  for (const child of [empty, full, theirs]) if (child !== undefined) await stop(child)
}

async function main (): Promise<void> {
  process.stdout.write(`Node ${process.version}, ${SMOKE ? 'smoke run, figures mean nothing' : `${SCRAPES} scrapes at a time, median of ${ROUNDS} alternating rounds`}\n`)
  for (const labelSets of SIZES) await compare(labelSets)
  const child = await start('heap')
  const ended = once(child.process, 'exit')
  const { before, after, series } = await answer(child.process) as { before: number, after: number, series: number }
  process.stdout.write(`\nheap after garbage collection, ${JOBS / 5} jobs processed: ${(before / 1e6).toFixed(2)} MB; after ${JOBS} more: ${(after / 1e6).toFixed(2)} MB (${((after - before) / JOBS).toFixed(3)} bytes a job, ${series} series)\n`)
  await ended
  agent.destroy()
}

const at = process.argv.indexOf('--child')
if (at < 0) await main()
else if (process.argv[at + 1] === 'heap') await heapOverJobs()
else await serve(process.argv[at + 1] === 'otel' ? 'otel' : 'ours', Number(process.argv[at + 2]), Number(process.argv[at + 3]))
