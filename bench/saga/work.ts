/** What a process of the benchmark of sagas does: works off what it has submitted, and measures that. */
import { Queue, Worker } from 'bullmq'
import Fastify, { type FastifyInstance } from 'fastify'
import { Redis } from 'ioredis'
import { createContext } from '../../lib/core/context.ts'
import { runtimeOf } from '../../lib/events/runtime.ts'
import type { NewJob } from '../../lib/jobs/job.ts'
import type { Checkpoint } from '../../lib/jobs/steps.ts'
import type { Claim, JobStore, Settlement } from '../../lib/jobs/store.ts'
import { redisStore } from '../../lib/stores/bullmq/index.ts'
import asyncEndpoints from '../../plugins/async-endpoints.ts'
import { median } from '../measuring/figures.ts'
import { serverMicros } from '../measuring/machine.ts'

export type Kind = 'bare' | 'store' | 'ours'
export interface Task {
  readonly kind: Kind
  readonly url: string
  readonly prefix: string
  readonly concurrency: number
  readonly sagas: number
  readonly steps: number
  readonly bytes: number
}
/** Of one step, but `perSecond`. */
export interface Figures { readonly perSecond: number, readonly cpuMicros: number, readonly serverMicros: number }
export interface LongFigures { readonly earlyMicros: number, readonly lateMicros: number }

const QUEUE = 'bench'
const NAME = 'bench'
const RETENTION = { completedMs: 86_400_000, failedMs: 604_800_000, maxCount: 1_000 }
/** Steps at each end of a long saga that are looked at. The first is left out: it comes with the claim. */
const AT_EACH_END = 20
const context = createContext()

function submission (): NewJob {
  const now = Date.now()
  return {
    id: context.ids.job(), name: NAME, queue: QUEUE, input: { body: { year: 2026 }, params: {}, query: {}, headers: {} }, owner: undefined,
    correlationId: context.ids.correlation(), trace: undefined, priority: 0, createdAt: now, runAt: now, maxAttempts: 3, idempotency: undefined
  }
}

async function openStore (url: string, prefix: string): Promise<JobStore> {
  const store = redisStore({ url, prefix, retention: RETENTION, operationTimeoutMs: 30_000 })
  await store.open({ context, report () {} })
  return store
}

async function fill ({ kind, url, prefix, sagas }: Task): Promise<void> {
  if (kind === 'bare') {
    const queue = new Queue(QUEUE, { connection: new Redis(url), prefix })
    for (let sent = 0; sent < sagas; sent += 500) {
      await queue.addBulk(Array.from({ length: Math.min(500, sagas - sent) }, () => ({ name: NAME, data: { year: 2026, step: 0, results: {} } })))
    }
    await queue.close()
    return
  }
  const store = await openStore(url, prefix)
  for (let sent = 0; sent < sagas; sent += 500) {
    await Promise.all(Array.from({ length: Math.min(500, sagas - sent) }, () => store.create(submission())))
  }
  await store.close(1_000)
}

/** Another text every time, so that nothing can be remembered. */
function makeResult (bytes: number): { readonly data: string } { return { data: String(Math.random()).padEnd(bytes, 'x') } }

/** Begins to work, and says how to stop. */
type Work = (task: Task, completed: () => void) => Promise<() => Promise<unknown>>

interface ByHand { readonly step: number, readonly results: Readonly<Record<string, unknown>> }

const WORKERS: Record<Kind, Work> = {
  async bare ({ url, prefix, concurrency, steps, bytes }, completed) {
    const connection = new Redis(url, { maxRetriesPerRequest: null })
    const worker = new Worker<ByHand>(QUEUE, async (job) => {
      while (job.data.step < steps) {
        const { step, results } = job.data
        await job.updateData({ ...job.data, step: step + 1, results: { ...results, [`s${step + 1}`]: makeResult(bytes) } })
      }
    }, {
      connection,
      prefix,
      concurrency,
      removeOnComplete: { age: RETENTION.completedMs / 1_000, count: RETENTION.maxCount },
      removeOnFail: { age: RETENTION.failedMs / 1_000, count: RETENTION.maxCount }
    })
    worker.on('completed', completed)
    return async () => {
      await worker.close()
      await connection.quit()
    }
  },

  async store ({ url, prefix, concurrency, steps, bytes }, completed) {
    const store = await openStore(url, prefix)
    const consumer = store.consume({
      queue: QUEUE,
      concurrency,
      workerId: 'bench',
      attempt: (claim) => ({ run: () => writeCheckpoints(store, claim, steps, bytes), abort () {}, settled: completed }),
      onStalled () {},
      onError (error) { throw error }
    })
    return async () => {
      await consumer.drain(1_000)
      await store.close(1_000)
    }
  },

  async ours ({ url, prefix, concurrency, steps, bytes }, completed) {
    const app = await sagaApp(url, prefix, concurrency, steps, () => makeResult(bytes))
    runtimeOf(app).bus.on('job.completed', completed)
    await app.ready()
    return () => app.close()
  }
}

async function sagaApp (url: string, prefix: string, concurrency: number, steps: number, run: () => unknown): Promise<FastifyInstance> {
  const app = Fastify()
  await app.register(asyncEndpoints, {
    store: redisStore({ url, prefix, retention: RETENTION }), worker: { concurrency }, http: false, observability: false, health: false
  })
  app.saga({
    name: NAME,
    queue: QUEUE,
    steps: (s) => {
      // The names are made here, so the types of the chain know nothing of them.
      let chain = s as unknown as LooseChain
      for (let n = 1; n <= steps; n++) chain = chain.step(`s${n}`, run)
      return chain.returns(() => {}) as ReturnType<typeof s.returns>
    }
  })
  return app
}

interface LooseChain {
  step (name: string, run: () => unknown): LooseChain
  returns (result: () => unknown): unknown
}

/** What a saga writes that does nothing: one checkpoint after each step but the last, which goes with the settlement. */
async function writeCheckpoints (store: JobStore, claim: Claim, steps: number, bytes: number): Promise<Settlement> {
  for (let step = 1; step < steps; step++) await store.steps?.checkpoint(claim, checkpointOf(step, steps, JSON.stringify(makeResult(bytes))))
  return { kind: 'completed', result: undefined, resultBytes: undefined, checkpoint: checkpointOf(steps, steps, undefined) }
}

function checkpointOf (step: number, steps: number, value: string | undefined): Checkpoint {
  const now = Date.now()
  const facts: Record<string, string> = {
    '': JSON.stringify({ k: step, t: steps, b: 0, i: step + 1 }),
    [`s${step}`]: JSON.stringify({ s: 'c', a: 1, m: 3, t: now, d: 0.1, i: step, y: 1 })
  }
  if (step < steps) facts[`s${step + 1}`] = JSON.stringify({ s: 'r', a: 0, m: 3, t: now, i: step + 1 })
  return { facts, values: value === undefined ? undefined : { [`s${step}`]: value }, progress: { done: step, total: steps } }
}

/** @returns what a step has cost, after the first fifth of the sagas */
export async function workOff (task: Task): Promise<Figures> {
  const { kind, url, sagas, steps } = task
  await fill(task)
  const server = new Redis(url)
  const warmUp = Math.floor(sagas / 5)
  const counted = (sagas - warmUp) * steps
  let count = 0
  let startedAt = 0
  let startedWith = process.cpuUsage()
  let servedBefore = Promise.resolve(NaN)
  let finish = (_figures: Omit<Figures, 'serverMicros'>): void => {}
  const finished = new Promise<Omit<Figures, 'serverMicros'>>((resolve) => { finish = resolve })
  const stop = await WORKERS[kind](task, () => {
    count++
    if (count === warmUp) {
      startedAt = performance.now()
      startedWith = process.cpuUsage()
      servedBefore = serverMicros(server)
    } else if (count === sagas) {
      const { user, system } = process.cpuUsage(startedWith)
      finish({ perSecond: counted / (performance.now() - startedAt) * 1_000, cpuMicros: (user + system) / counted })
    }
  })
  const figures = await finished
  const served = await serverMicros(server) - await servedBefore
  await stop()
  await server.quit()
  return { ...figures, serverMicros: served / counted }
}

/** Sagas of many steps, one after the other: what the steps take at either end. The first saga warms up. */
export async function measureLong ({ url, prefix, steps, sagas }: Pick<Task, 'url' | 'prefix' | 'steps' | 'sagas'>): Promise<LongFigures> {
  const begun: number[] = []
  const app = await sagaApp(url, prefix, 1, steps, () => { begun.push(performance.now()) })
  await app.ready()
  const early: number[] = []
  const late: number[] = []
  for (let saga = 0; saga <= sagas; saga++) {
    begun.length = 0
    const submitted = await app.jobs.submit(NAME, {})
    await app.jobs.waitFor(submitted.id, { timeoutMs: 60_000 })
    const took = begun.slice(1).map((at, n) => at - (begun[n] ?? NaN)).slice(1)
    if (saga === 0) continue
    early.push(...took.slice(0, AT_EACH_END))
    late.push(...took.slice(-AT_EACH_END))
  }
  await app.close()
  return { earlyMicros: median(early) * 1_000, lateMicros: median(late) * 1_000 }
}
