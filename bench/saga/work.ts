/** What a process of the benchmark of sagas does: works off what it has submitted, and measures that. */
import { Queue, Worker } from 'bullmq'
import { Redis } from 'ioredis'
import { createContext } from '../../lib/core/context.ts'
import { runtimeOf } from '../../lib/events/runtime.ts'
import type { NewJob } from '../../lib/jobs/job.ts'
import type { Checkpoint } from '../../lib/jobs/steps.ts'
import type { Claim, JobStore, Settlement } from '../../lib/jobs/store.ts'
import { redisStore } from '../../lib/stores/bullmq/index.ts'
import { serverMicros } from '../measuring/machine.ts'
import { NAME, QUEUE, RETENTION, sagaApp, type Figures, type Kind, type Task } from './tasks.ts'

const context = createContext()

function submission (): NewJob {
  const now = Date.now()
  return {
    id: context.ids.job(),
    name: NAME,
    queue: QUEUE,
    input: { body: { year: 2026 }, params: {}, query: {}, headers: {} },
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

async function openStore (url: string, prefix: string): Promise<JobStore> {
  const store = redisStore({ url, prefix, retention: RETENTION, operationTimeoutMs: 30_000 })
  await store.open({ context, report () {} })
  return store
}

async function fill ({ kind, url, prefix, sagas }: Task): Promise<void> {
  if (kind === 'bare') {
    const connection = new Redis(url)
    const queue = new Queue(QUEUE, { connection, prefix })
    const job = { name: NAME, data: { year: 2026, step: 0, results: {} } }
    for (let sent = 0; sent < sagas; sent += 500) {
      await queue.addBulk(Array<typeof job>(Math.min(500, sagas - sent)).fill(job))
    }
    await queue.close()
    await connection.quit()
    return
  }
  const store = await openStore(url, prefix)
  for (let sent = 0; sent < sagas; sent += 500) {
    await Promise.all(Array.from({ length: Math.min(500, sagas - sent) }, () => store.create(submission())))
  }
  await store.close(1_000)
}

/** Another text every time, so that nothing can be remembered. */
function makeResult (bytes: number): { readonly data: string } {
  return { data: String(Math.random()).padEnd(bytes, 'x') }
}

/** Begins to work, and says how to stop. */
type Work = (task: Task, completed: () => void) => Promise<() => Promise<unknown>>

interface ByHand { readonly step: number, readonly results: Readonly<Record<string, unknown>> }

const WORKERS: Record<Kind, Work> = {
  async bare ({ url, prefix, concurrency, steps, bytes }, completed) {
    const connection = new Redis(url, { maxRetriesPerRequest: null })
    const worker = new Worker<ByHand>(QUEUE, async (job) => {
      while (job.data.step < steps) {
        const { step, results } = job.data
        const result = makeResult(bytes)
        await job.updateData({ ...job.data, step: step + 1, results: { ...results, [`s${step + 1}`]: result } })
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
      attempt: (claim) => (
        { run: () => writeCheckpoints(store, claim, steps, bytes), abort () {}, settled: completed }
      ),
      onStalled () {},
      onError (error) { throw error }
    })
    return async () => {
      await consumer.drain(1_000)
      await store.close(1_000)
    }
  },

  async ours ({ url, prefix, concurrency, steps, bytes }, completed) {
    const app = await sagaApp({ url, prefix, concurrency, steps, run: () => makeResult(bytes) })
    runtimeOf(app).bus.on('job.completed', completed)
    await app.ready()
    return () => app.close()
  }
}

/** What a saga writes: a checkpoint before its first step and after each one, the last of them with the settlement. */
async function writeCheckpoints (store: JobStore, claim: Claim, steps: number, bytes: number): Promise<Settlement> {
  for (let step = 0; step < steps; step++) {
    const value = step === 0 ? undefined : JSON.stringify(makeResult(bytes))
    await store.steps?.checkpoint(claim, checkpointOf(step, steps, value))
  }
  const checkpoint = checkpointOf(steps, steps, undefined)
  return { kind: 'completed', result: undefined, resultBytes: undefined, checkpoint }
}

function checkpointOf (step: number, steps: number, value: string | undefined): Checkpoint {
  const now = Date.now()
  const facts: Record<string, string> = { '': JSON.stringify({ k: step, t: steps, b: 0, i: step + 1 }) }
  if (step > 0) facts[`s${step}`] = JSON.stringify({ s: 'c', a: 1, m: 3, t: now, d: 0.1, i: step, y: 1 })
  if (step < steps) facts[`s${step + 1}`] = JSON.stringify({ s: 'r', a: 0, m: 3, t: now, i: step + 1 })
  const values = value === undefined ? undefined : { [`s${step}`]: value }
  return { facts, values, progress: { done: step, total: steps } }
}

/** @returns what a step has cost, after the first third of the sagas: by then what runs often is compiled */
export async function workOff (task: Task): Promise<Figures> {
  const { kind, url, sagas, steps } = task
  await fill(task)
  const server = new Redis(url)
  const warmUp = Math.floor(sagas / 3)
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
