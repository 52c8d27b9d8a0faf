/**
 * What processing costs on Redis: `node dist/bench/process.js [--smoke]`, after `npm run build`. The same jobs, which do
 * nothing, are worked off by processes of their own, in turns, at several concurrencies:
 *
 * - `bare`: a `Worker` of BullMQ with an empty processor and the same retention;
 * - `store`: a consumer of our store with an empty attempt;
 * - `ours`: an application with `app.defineJob()` and the worker plugin.
 *
 * Where it can be done, the server and the working process get a processor each: they wake each other so often that the
 * system puts them on the same one half of the time, and then everything takes twice as long.
 *
 * `--smoke` is one short run, to see that the benchmark works; its figures mean nothing.
 */
import { execFile, fork } from 'node:child_process'
import { once } from 'node:events'
import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { Worker } from 'bullmq'
import Fastify from 'fastify'
import { Redis } from 'ioredis'
import { runtimeOf } from '../lib/events/runtime.ts'
import { createContext } from '../lib/core/context.ts'
import type { NewJob } from '../lib/jobs/job.ts'
import type { JobStore, Settlement } from '../lib/jobs/store.ts'
import { redisStore } from '../lib/stores/bullmq/index.ts'
import jobStore from '../plugins/job-store.ts'
import worker from '../plugins/worker.ts'
import { startRedis, uniquePrefix } from '../test/support/redis.ts'

const KINDS = ['bare', 'store', 'ours'] as const
type Kind = typeof KINDS[number]
interface Figures { readonly perSecond: number, readonly cpuMicros: number }

const SMOKE = process.argv.includes('--smoke')
const ROUNDS = SMOKE ? 1 : 5
/** Jobs worked off per run, by concurrency. */
const SIZES = new Map(SMOKE ? [[10, 500]] : [[1, 20_000], [10, 50_000], [50, 50_000]])
const QUEUE = 'bench'
const RETENTION = { completedMs: 86_400_000, failedMs: 604_800_000, maxCount: 10_000 }
const BODY = { year: 2026, rows: 1_000, customer: 'c-1029384756', format: 'pdf', note: 'x'.repeat(256) }
const COMPLETED: Settlement = { kind: 'completed', result: undefined, resultBytes: undefined }
const context = createContext()

function submission (): NewJob {
  const now = Date.now()
  return {
    id: context.ids.job(),
    name: 'bench',
    queue: QUEUE,
    input: { body: BODY, params: {}, query: {}, headers: {} },
    owner: undefined,
    correlationId: context.ids.correlation(),
    trace: { traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00' },
    priority: 0,
    createdAt: now,
    runAt: now,
    maxAttempts: 3,
    idempotency: undefined
  }
}

async function openStore (url: string, prefix: string): Promise<JobStore> {
  const store = redisStore({ url, prefix, retention: RETENTION, operationTimeoutMs: 30_000 })
  await store.open({ context, report () {} })
  return store
}

async function fill (url: string, prefix: string, jobs: number): Promise<void> {
  const store = await openStore(url, prefix)
  for (let sent = 0; sent < jobs; sent += 500) {
    await Promise.all(Array.from({ length: Math.min(500, jobs - sent) }, () => store.create(submission())))
  }
  await store.close(1_000)
}

type Work = (url: string, prefix: string, concurrency: number, completed: () => void) => Promise<() => Promise<unknown>>

/** Each begins to work and says how to stop. */
const WORKERS: Record<Kind, Work> = {
  async bare (url, prefix, concurrency, completed) {
    const connection = new Redis(url, { maxRetriesPerRequest: null })
    const bare = new Worker(QUEUE, async () => {}, {
      connection,
      prefix,
      concurrency,
      removeOnComplete: { age: RETENTION.completedMs / 1_000, count: RETENTION.maxCount },
      removeOnFail: { age: RETENTION.failedMs / 1_000, count: RETENTION.maxCount }
    })
    bare.on('completed', completed)
    return async () => {
      await bare.close()
      await connection.quit()
    }
  },

  async store (url, prefix, concurrency, completed) {
    const store = await openStore(url, prefix)
    const run = async (): Promise<Settlement> => COMPLETED
    const attempt = { run, abort () {}, settled: completed }
    const consumer = store.consume({ queue: QUEUE, concurrency, workerId: 'bench', attempt: () => attempt, onStalled () {}, onError (error) { throw error } })
    return async () => {
      await consumer.drain(1_000)
      await store.close(1_000)
    }
  },

  async ours (url, prefix, concurrency, completed) {
    const app = Fastify()
    await app.register(jobStore, { store: redisStore({ url, prefix, retention: RETENTION }) })
    await app.register(worker, { concurrency })
    app.defineJob({ name: 'bench', queue: QUEUE, handler: () => {} })
    runtimeOf(app).bus.on('job.completed', completed)
    await app.ready()
    return () => app.close()
  }
}

/** The child: works off what is there, and tells how fast it was after the first fifth. */
async function workOff (kind: Kind, url: string, prefix: string, concurrency: number, jobs: number): Promise<void> {
  await fill(url, prefix, jobs)
  const warmUp = Math.floor(jobs / 5)
  let count = 0
  let startedAt = 0
  let startedWith = process.cpuUsage()
  let finish = (_figures: Figures): void => {}
  const finished = new Promise<Figures>((resolve) => { finish = resolve })
  const stop = await WORKERS[kind](url, prefix, concurrency, () => {
    count++
    if (count === warmUp) {
      startedAt = performance.now()
      startedWith = process.cpuUsage()
    } else if (count === jobs) {
      const { user, system } = process.cpuUsage(startedWith)
      finish({ perSecond: (jobs - warmUp) / (performance.now() - startedAt) * 1_000, cpuMicros: (user + system) / (jobs - warmUp) })
    }
  })
  process.send?.(await finished)
  await stop()
  process.disconnect()
}

/** Best effort: not every system has the command, or more than one processor. */
async function pin (pid: number | undefined, processor: number): Promise<boolean> {
  if (pid === undefined || availableParallelism() < 2) return false
  return await promisify(execFile)('taskset', ['-a', '-c', '-p', String(processor), String(pid)]).then(() => true, () => false)
}

async function measure (kind: Kind, url: string, concurrency: number, jobs: number): Promise<Figures> {
  const child = fork(fileURLToPath(import.meta.url), ['--work', kind, url, uniquePrefix(), String(concurrency), String(jobs)])
  const exited = once(child, 'exit')
  await pin(child.pid, 1)
  const [figures] = await once(child, 'message', { signal: AbortSignal.timeout(120_000) }) as [Figures]
  await exited
  return figures
}

function median (values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN
}

function print (line: string): void {
  process.stdout.write(`${line}\n`)
}

async function main (): Promise<void> {
  const redis = await startRedis()
  const client = new Redis(redis.url)
  const pinned = await pin(redis.pid, 0)
  print(`Node ${process.version}, jobs that do nothing, ${pinned ? 'a processor for the server and one for the worker, ' : ''}${SMOKE ? 'smoke run, figures mean nothing' : `median of ${ROUNDS}`}`)
  try {
    for (const [concurrency, jobs] of SIZES) {
      const runs: Record<Kind, Figures[]> = { bare: [], store: [], ours: [] }
      for (let round = 0; round < ROUNDS; round++) {
        // In turns, so that a noisy neighbour disturbs all alike.
        for (const kind of KINDS) {
          runs[kind].push(await measure(kind, redis.url, concurrency, jobs))
          await client.flushall()
        }
      }
      const figure = (kind: Kind, name: keyof Figures): number => median(runs[kind].map((run) => run[name]))
      const texts = KINDS.map((kind) => `${kind} ${Math.round(figure(kind, 'perSecond')).toLocaleString('en-US')}/s ${figure(kind, 'cpuMicros').toFixed(1)} µs`)
      const ratios = (['store', 'ours'] as const).map((kind) => `${kind} ${(figure(kind, 'perSecond') / figure('bare', 'perSecond')).toFixed(2)}`)
      print(`concurrency ${String(concurrency).padStart(2)}: ${texts.join(' · ')} · of the bare one's jobs/s: ${ratios.join(', ')} (wanted: at least 0.95)`)
    }
  } finally {
    await client.quit()
    await redis.stop()
  }
}

const [flag, kind, url, prefix, concurrency, jobs] = process.argv.slice(2)
if (flag === '--work' && url !== undefined && prefix !== undefined) await workOff(kind as Kind, url, prefix, Number(concurrency), Number(jobs))
else await main()
