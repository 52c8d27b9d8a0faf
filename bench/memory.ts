/**
 * What the memory store costs: `node dist/bench/memory.js [--smoke]`, after `npm run build`. `--smoke` runs small sizes
 * for a few seconds, to see that the benchmark works; its figures mean nothing.
 */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import Fastify from 'fastify'
import { runtimeOf } from '../lib/events/runtime.ts'
import { createContext } from '../lib/core/context.ts'
import type { NewJob } from '../lib/jobs/job.ts'
import type { Consumer, JobStore, Settlement } from '../lib/jobs/store.ts'
import { memoryStore } from '../lib/stores/memory/index.ts'
import jobStore from '../plugins/job-store.ts'
import worker from '../plugins/worker.ts'
import { median, whole } from './measuring/figures.ts'

const SMOKE = process.argv.includes('--smoke')
const SIZES = SMOKE
  ? { jobs: 2_000, stored: 5_000, shallow: 100, deep: 5_000, turnover: 2_000, runs: 3 }
  : { jobs: 200_000, stored: 200_000, shallow: 1_000, deep: 1_000_000, turnover: 300_000, runs: 5 }
const IN_FLIGHT = 100
const CONCURRENCY = 20

const context = createContext()
const COMPLETED: Settlement = { kind: 'completed', result: undefined, resultBytes: undefined }
const BODY = { customer: 'c-1029384756', year: 2026, format: 'pdf', sections: ['summary', 'detail', 'totals'], options: { locale: 'en-GB', currency: 'EUR', compact: true } }

function submission (body: unknown): NewJob {
  const now = Date.now()
  return {
    id: context.ids.job(),
    name: 'bench',
    queue: 'bench',
    input: { body, params: {}, query: {}, headers: {} },
    owner: undefined,
    correlationId: context.ids.correlation(),
    trace: undefined,
    priority: 0,
    createdAt: now,
    runAt: now,
    maxAttempts: 3,
    idempotency: undefined
  }
}

async function openStore (): Promise<JobStore> {
  const store = memoryStore({ maxBytes: 2 ** 30 })
  await store.open({ context, report () {} })
  return store
}

/** A consumer whose jobs do nothing. */
function noop (store: JobStore, settled: () => void): Consumer {
  const run = async (): Promise<Settlement> => COMPLETED
  const attempt = { run, abort () {}, settled }
  return store.consume({ queue: 'bench', concurrency: CONCURRENCY, workerId: 'bench', attempt: () => attempt, onStalled () {}, onError (error) { throw error } })
}

/** Jobs per second of wall clock, and CPU per job (of all threads, garbage collection included): steadier on a busy machine. */
interface Figures { readonly perSecond: number, readonly cpuMicros: number }

async function measure (count: number, work: () => Promise<unknown>): Promise<Figures> {
  const startedAt = performance.now()
  const cpuBefore = process.cpuUsage()
  await work()
  const seconds = (performance.now() - startedAt) / 1_000
  const { user, system } = process.cpuUsage(cpuBefore)
  return { perSecond: count / seconds, cpuMicros: (user + system) / count }
}

/** Submits `count` jobs, a few at a time, and resolves when all are completed. */
async function pump (count: number, submit: () => Promise<unknown>, completed: Promise<void>): Promise<Figures> {
  return await measure(count, async () => {
    for (let sent = 0; sent < count; sent += IN_FLIGHT) {
      await Promise.all(Array.from({ length: Math.min(IN_FLIGHT, count - sent) }, submit))
    }
    await completed
  })
}

function countdown (count: number): { readonly done: Promise<void>, tick (): void } {
  let left = count
  let finish = (): void => {}
  const done = new Promise<void>((resolve) => { finish = resolve })
  return { done, tick () { if (--left === 0) finish() } }
}

/** (a) the store alone */
async function storeThroughput (body: unknown): Promise<Figures> {
  const store = await openStore()
  const { done, tick } = countdown(SIZES.jobs)
  const consumer = noop(store, tick)
  const figures = await pump(SIZES.jobs, () => store.create(submission(body)), done)
  await consumer.drain(1_000)
  await store.close(1_000)
  return figures
}

/** (a) end to end through `app.jobs`, as an application has it: client, worker and event bus included */
async function appThroughput (body: unknown): Promise<Figures> {
  const app = Fastify()
  await app.register(jobStore)
  await app.register(worker, { concurrency: CONCURRENCY })
  const { done, tick } = countdown(SIZES.jobs)
  app.defineJob({ name: 'bench', handler: () => {} })
  runtimeOf(app).bus.on('job.completed', tick)
  await app.ready()
  const figures = await pump(SIZES.jobs, () => app.jobs.submit('bench', body), done)
  await app.close()
  return figures
}

function heapUsed (): number {
  setFlagsFromString('--expose-gc')
  const collect: unknown = runInNewContext('gc')
  if (typeof collect === 'function') for (let n = 0; n < 3; n++) collect()
  return process.memoryUsage().heapUsed
}

/** (b) */
async function bytesPerJob (body: unknown): Promise<number> {
  const store = await openStore()
  const before = heapUsed()
  for (let n = 0; n < SIZES.stored; n++) await store.create(submission(body))
  const bytes = (heapUsed() - before) / SIZES.stored
  await store.close(1_000)
  return bytes
}

/** (c) through `app.jobs`: claim, complete and submit another, with `depth` jobs waiting all the time */
async function appRateAtDepth (depth: number): Promise<Figures> {
  const app = Fastify()
  await app.register(jobStore)
  await app.register(worker, { concurrency: CONCURRENCY })
  app.defineJob({ name: 'bench', handler: () => {} })
  await app.ready()
  app.jobWorker.pause()
  for (let n = 0; n < depth; n++) await app.jobs.submit('bench')
  const { done, tick } = countdown(SIZES.turnover)
  let completions = 0
  runtimeOf(app).bus.on('job.completed', () => {
    if (++completions > SIZES.turnover) return
    tick()
    app.jobs.submit('bench').catch(() => {})
  })
  const figures = await measure(SIZES.turnover, async () => {
    app.jobWorker.resume()
    await done
    app.jobWorker.pause()
  })
  await app.close()
  return figures
}

/** (c) the same with the store alone */
async function storeRateAtDepth (depth: number): Promise<Figures> {
  const store = await openStore()
  for (let n = 0; n < depth; n++) await store.create(submission(undefined))
  let completions = 0
  const { done, tick } = countdown(SIZES.turnover)
  let consumer: Consumer | undefined
  const figures = await measure(SIZES.turnover, async () => {
    consumer = noop(store, () => {
      if (++completions > SIZES.turnover) return
      tick()
      store.create(submission(undefined)).catch(() => {})
    })
    await done
  })
  await consumer?.drain(1_000)
  await consumer?.close(1_000)
  await store.close(1_000)
  return figures
}

function typical (all: readonly Figures[]): Figures {
  return { perSecond: median(all.map(({ perSecond }) => perSecond)), cpuMicros: median(all.map(({ cpuMicros }) => cpuMicros)) }
}

async function repeat (run: () => Promise<Figures>): Promise<Figures> {
  const all: Figures[] = []
  for (let n = 0; n < SIZES.runs; n++) all.push(await run())
  return typical(all)
}

function row (what: string, value: string): void {
  process.stdout.write(`${what.padEnd(56)} ${value.padStart(30)}\n`)
}

function show ({ perSecond, cpuMicros }: Figures): string {
  return `${whole(perSecond)}/s, ${cpuMicros.toFixed(1)} µs CPU each`
}

async function compareDepths (what: string, rateAt: (depth: number) => Promise<Figures>): Promise<void> {
  const shallow: Figures[] = []
  const deep: Figures[] = []
  // Alternating, so that a noisy neighbour disturbs both alike.
  for (let run = 0; run < SIZES.runs; run++) {
    shallow.push(await rateAt(SIZES.shallow))
    deep.push(await rateAt(SIZES.deep))
  }
  row(`${what}completed and replaced, ${whole(SIZES.shallow)} queued`, show(typical(shallow)))
  row(`${what}completed and replaced, ${whole(SIZES.deep)} queued`, show(typical(deep)))
  row('    rate with many queued as a share of that with few', `${Math.round(typical(deep).perSecond / typical(shallow).perSecond * 100)} %`)
}

async function main (): Promise<void> {
  row(`Node ${process.version}, ${SMOKE ? 'smoke run, figures mean nothing' : `median of ${SIZES.runs}`}`, '')
  row('store alone, no-op jobs submitted and completed', show(await repeat(() => storeThroughput(undefined))))
  row('store alone, the same with a 200-byte body', show(await repeat(() => storeThroughput(BODY))))
  row('app.jobs, no-op jobs submitted and completed', show(await repeat(() => appThroughput(undefined))))
  row('app.jobs, the same with a 200-byte body', show(await repeat(() => appThroughput(BODY))))
  row('heap per queued job without a body', `${whole(await bytesPerJob(undefined))} bytes`)
  row('heap per queued job with a 200-byte body', `${whole(await bytesPerJob(BODY))} bytes`)
  await compareDepths('app.jobs, ', appRateAtDepth)
  await compareDepths('store alone, ', storeRateAtDepth)
}

await main()
