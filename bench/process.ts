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
 * `--concurrency 10,50` only these, `--rounds N` turns of each (5), `--jobs N` in each.
 * `--against /other/dist` adds `other`: the same as `ours`, of another build of this library.
 * `--smoke` is one short run, to see that the benchmark works; its figures mean nothing.
 */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
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
import { median, print, ratio, whole } from './measuring/figures.ts'
import { pin, serverMicros } from './measuring/machine.ts'

type Kind = 'bare' | 'store' | 'ours'
/** A build of this library at another commit, to compare with. */
const AGAINST = flag('against')
const SUBJECTS = AGAINST === undefined ? ['bare', 'store', 'ours'] as const : ['bare', 'store', 'ours', 'other'] as const
type Subject = Kind | 'other'
interface Figures { readonly perSecond: number, readonly cpuMicros: number, readonly serverMicros: number }

const SMOKE = process.argv.includes('--smoke')
const ROUNDS = Number(flag('rounds') ?? (SMOKE ? 1 : 5))
/** Jobs worked off per run, by concurrency. */
const SIZES = new Map(SMOKE ? [[10, 500]] : [[1, 20_000], [10, 50_000], [50, 50_000]])
const QUEUE = 'bench'
const RETENTION = { completedMs: 86_400_000, failedMs: 604_800_000, maxCount: 10_000 }
const BODY = { year: 2026, rows: 1_000, customer: 'c-1029384756', format: 'pdf', note: 'x'.repeat(256) }
const COMPLETED: Settlement = { kind: 'completed', result: undefined, resultBytes: undefined }
const context = createContext()

function flag (name: string): string | undefined {
  const at = process.argv.indexOf(`--${name}`)
  return at < 0 ? undefined : process.argv[at + 1]
}

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

/** The child: works off what is there, and says how fast it was after the first fifth, and what that cost. */
async function workOff (kind: Kind, url: string, prefix: string, concurrency: number, jobs: number): Promise<void> {
  await fill(url, prefix, jobs)
  const server = new Redis(url)
  const warmUp = Math.floor(jobs / 5)
  const counted = jobs - warmUp
  let count = 0
  let startedAt = 0
  let startedWith = process.cpuUsage()
  let servedBefore = Promise.resolve(NaN)
  let finish = (_figures: Omit<Figures, 'serverMicros'>): void => {}
  const finished = new Promise<Omit<Figures, 'serverMicros'>>((resolve) => { finish = resolve })
  const stop = await WORKERS[kind](url, prefix, concurrency, () => {
    count++
    if (count === warmUp) {
      startedAt = performance.now()
      startedWith = process.cpuUsage()
      servedBefore = serverMicros(server)
    } else if (count === jobs) {
      const { user, system } = process.cpuUsage(startedWith)
      finish({ perSecond: counted / (performance.now() - startedAt) * 1_000, cpuMicros: (user + system) / counted })
    }
  })
  const figures = await finished
  const served = await serverMicros(server) - await servedBefore
  process.send?.({ ...figures, serverMicros: served / counted } satisfies Figures)
  await stop()
  await server.quit()
  process.disconnect()
}

async function measure (subject: Subject, url: string, concurrency: number, jobs: number): Promise<Figures> {
  const other = subject === 'other'
  const module = other ? join(resolve(AGAINST ?? '.'), 'bench/process.js') : fileURLToPath(import.meta.url)
  const child = fork(module, ['--work', other ? 'ours' : subject, url, uniquePrefix(), String(concurrency), String(jobs)])
  const exited = once(child, 'exit')
  await pin(child.pid, 1)
  const [figures] = await once(child, 'message', { signal: AbortSignal.timeout(120_000) }) as [Figures]
  await exited
  return figures
}

async function main (): Promise<void> {
  const redis = await startRedis()
  const client = new Redis(redis.url)
  const pinned = await pin(redis.pid, 0)
  print(`Node ${process.version}, jobs that do nothing, ${pinned ? 'a processor for the server and one for the worker, ' : ''}${SMOKE ? 'smoke run, figures mean nothing' : `median of ${ROUNDS}`}`)
  try {
    const wanted = flag('concurrency')?.split(',').map(Number)
    for (const [concurrency, usual] of SIZES) {
      if (wanted?.includes(concurrency) === false) continue
      const jobs = Number(flag('jobs') ?? usual)
      const runs: Record<Subject, Figures[]> = { bare: [], store: [], ours: [], other: [] }
      for (let round = 0; round < ROUNDS; round++) {
        // In turns, so that a noisy neighbour disturbs all alike.
        for (const kind of SUBJECTS) {
          runs[kind].push(await measure(kind, redis.url, concurrency, jobs))
          await client.flushall()
        }
      }
      const all = (kind: Subject, name: keyof Figures): number[] => runs[kind].map((run) => run[name])
      const texts = SUBJECTS.map((kind) => {
        const [rate, cpu, server] = [median(all(kind, 'perSecond')), median(all(kind, 'cpuMicros')), median(all(kind, 'serverMicros'))]
        return `${kind} ${whole(rate)}/s ${cpu.toFixed(1)} µs, server ${server.toFixed(1)} µs`
      })
      const compared = (name: keyof Figures): string => (['store', 'ours'] as const).map((kind) => `${kind} ${ratio(all(kind, name), all('bare', name)).toFixed(2)}`).join(', ')
      print(`concurrency ${String(concurrency).padStart(2)}: ${texts.join(' · ')}`)
      print(`  of the bare one's jobs/s: ${compared('perSecond')} (wanted: at least 0.98) · of its server's CPU: ${compared('serverMicros')} (wanted: at most 1.03)`)
      if (AGAINST !== undefined) {
        const against = (name: keyof Figures): string => ratio(all('ours', name), all('other', name)).toFixed(2)
        print(`  ours to other: jobs/s ${against('perSecond')}, CPU ${against('cpuMicros')}, the server's CPU ${against('serverMicros')}`)
      }
    }
  } finally {
    await client.quit()
    await redis.stop()
  }
}

const [order, kind, url, prefix, concurrency, jobs] = process.argv.slice(2)
if (order === '--work' && url !== undefined && prefix !== undefined) await workOff(kind as Kind, url, prefix, Number(concurrency), Number(jobs))
else await main()
