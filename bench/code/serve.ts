/** The measured process of `bench/code.ts`: submits jobs and runs them. */
import { AsyncResource } from 'node:async_hooks'
import { createRequire } from 'node:module'
import { Queue, Worker } from 'bullmq'
import Fastify from 'fastify'
import { Redis } from 'ioredis'
import asyncEndpoints, { memoryStore, redisStore, type JobStore } from '../../plugins/async-endpoints.ts'

export const KINDS = ['ours', 'bare', 'ours-memory', 'platformatic'] as const
export type Kind = typeof KINDS[number]

/** What the parent asks, and what is answered: at first that it is ready, with no figures. */
export type Order = { readonly jobs: number } | 'close'
export interface Answer { readonly cpuMicros: number, readonly seconds: number }

export const IN_FLIGHT = 200
export const CONCURRENCY = 50
const BODY = { year: 2026, rows: 1_000, customer: 'c-1029384756', format: 'pdf', note: 'x'.repeat(256) }
const MAX_COUNT = 10_000
const RETENTION = { completedMs: 86_400_000, failedMs: 604_800_000, maxCount: MAX_COUNT }
/** On a machine that others use as well a server may stand still, and a submission would be refused. */
const PATIENCE_MS = 60_000
/** Not among the dependencies: it needs a newer Node.js than this package does. */
const PLATFORMATIC = '@platformatic/job-queue'

async function report (body: { readonly year: number, readonly rows: number }): Promise<{ readonly rows: number, readonly url: string }> {
  return { rows: body.rows, url: `https://files.example/${body.year}/report.pdf` }
}

interface Subject {
  submit (): Promise<unknown>
  close (): Promise<unknown>
}

type Build = (url: string, prefix: string, completed: () => void) => Promise<Subject>

async function ours (store: JobStore, completed: () => void): Promise<Subject> {
  const app = Fastify()
  await app.register(asyncEndpoints, { store, submitTimeoutMs: PATIENCE_MS, worker: { concurrency: CONCURRENCY } })
  app.defineJob<{ body: typeof BODY }>({ name: 'report', handler: (job) => report(job.body) })
  app.jobEvents.on('job.completed', completed)
  await app.ready()
  return { submit: () => app.jobs.submit('report', BODY), close: () => app.close() }
}

/** Whether there is what `platformatic` needs. */
export function installed (): boolean {
  try {
    createRequire(import.meta.url).resolve(PLATFORMATIC)
    return Number(process.versions.node.split('.', 1)[0]) >= 22
  } catch {
    return false
  }
}

interface PlatformaticQueue {
  execute (handler: (job: { readonly payload: typeof BODY }) => Promise<unknown>): void
  on (event: 'completed', listener: () => void): unknown
  start (): Promise<void>
  stop (): Promise<void>
  enqueue (id: string, payload: typeof BODY): Promise<unknown>
}
interface Platformatic {
  readonly MemoryStorage: new () => object
  readonly Queue: new (options: { storage: object, concurrency: number }) => PlatformaticQueue
}

export const BUILD: Record<Kind, Build> = {
  ours: (url, prefix, completed) => ours(redisStore({ url, prefix, retention: RETENTION, operationTimeoutMs: PATIENCE_MS }), completed),

  'ours-memory': (_url, _prefix, completed) => ours(memoryStore({ retention: { maxCount: MAX_COUNT } }), completed),

  async bare (url, prefix, completed) {
    const producing = new Redis(url, { maxRetriesPerRequest: null })
    const consuming = producing.duplicate()
    const queue = new Queue<typeof BODY>('reports', { connection: producing, prefix })
    const worker = new Worker<typeof BODY>('reports', (job) => report(job.data), {
      connection: consuming,
      prefix,
      concurrency: CONCURRENCY,
      removeOnComplete: { age: RETENTION.completedMs / 1_000, count: MAX_COUNT },
      removeOnFail: { age: RETENTION.failedMs / 1_000, count: MAX_COUNT }
    })
    worker.on('completed', completed)
    return {
      submit: () => queue.add('report', BODY),
      async close () {
        await worker.close()
        await queue.close()
        await Promise.all([producing.quit(), consuming.quit()])
      }
    }
  },

  async platformatic (_url, _prefix, completed) {
    const { MemoryStorage, Queue: Theirs } = await import(PLATFORMATIC) as Platformatic
    const queue = new Theirs({ storage: new MemoryStorage(), concurrency: CONCURRENCY })
    queue.execute((job) => report(job.payload))
    queue.on('completed', completed)
    await queue.start()
    let last = 0
    return { submit: () => queue.enqueue(`report-${++last}`, BODY), close: () => queue.stop() }
  }
}

/** Keeps so many jobs under way, and says what each load cost. */
async function serve (kind: Kind, url: string, prefix: string): Promise<void> {
  let [asked, sent, ended] = [0, 0, 0]
  let [since, startedAt] = [process.cpuUsage(), 0]
  let scheduled = false
  const fail = (error: unknown): void => { throw error }
  // One turn for all that ended in the turn before, and never in the context of a handler: jobs would be children of one another.
  const turn = AsyncResource.bind((): void => {
    scheduled = false
    for (; sent < asked && sent - ended < IN_FLIGHT; sent++) subject.submit().catch(fail)
  })
  const schedule = (): void => {
    if (scheduled) return
    scheduled = true
    setImmediate(turn)
  }
  const subject = await BUILD[kind](url, prefix, () => {
    ended++
    if (ended < asked) return schedule()
    const { user, system } = process.cpuUsage(since)
    process.send?.({ cpuMicros: user + system, seconds: (performance.now() - startedAt) / 1_000 } satisfies Answer)
  })
  process.on('message', (order: Order) => {
    if (order === 'close') subject.close().then(() => { process.exit() }, fail)
    else {
      [asked, sent, ended] = [order.jobs, 0, 0]
      since = process.cpuUsage()
      startedAt = performance.now()
      schedule()
    }
  })
  process.send?.({ cpuMicros: 0, seconds: 0 } satisfies Answer)
}

const [flag, kind, url, prefix] = process.argv.slice(2)
if (flag === '--serve' && url !== undefined && prefix !== undefined) await serve(kind as Kind, url, prefix)
