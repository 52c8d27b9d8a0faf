/** The worker of `bench/listening.ts`: runs jobs that do nothing, and says when the end of each was acknowledged. */
import { once } from 'node:events'
import { Worker } from 'bullmq'
import Fastify from 'fastify'
import { Redis } from 'ioredis'
import { redisStore } from '../../plugins/async-endpoints.ts'
import jobStore from '../../plugins/job-store.ts'
import worker from '../../plugins/worker.ts'
import { QUEUE } from './serve.ts'

/** `ends`: the moments of all ends since the last time, by job. */
export type WorkOrder = 'ends' | 'close'
export type WorkAnswer = 'ready' | { readonly ends: ReadonlyArray<readonly [id: string, at: number]> }

const ends: Array<[string, number]> = []
/** One clock for all processes of this machine, finer than milliseconds. */
function note (id: string): void { ends.push([id, performance.timeOrigin + performance.now()]) }

async function ours (url: string, prefix: string, concurrency: number): Promise<() => Promise<unknown>> {
  const app = Fastify()
  await app.register(jobStore, { store: redisStore({ url, prefix }) })
  await app.register(worker, { concurrency })
  app.defineJob({ name: 'bench', queue: QUEUE, handler: () => undefined })
  app.jobEvents.on('job.completed', ({ jobId }) => { note(jobId) })
  await app.ready()
  return () => app.close()
}

async function byHand (url: string, prefix: string, concurrency: number): Promise<() => Promise<unknown>> {
  const connection = new Redis(url, { maxRetriesPerRequest: null })
  const made = new Worker(QUEUE, async () => undefined, { connection, prefix, concurrency })
  made.on('completed', ({ id = '' }) => { note(id) })
  await made.waitUntilReady()
  return async () => {
    await made.close()
    connection.disconnect()
  }
}

const [flag, kind = '', url = '', prefix = '', concurrency = '10'] = process.argv.slice(2)
if (flag === '--work') {
  const close = await (kind === 'ours' ? ours : byHand)(url, prefix, Number(concurrency))
  const answer = (message: WorkAnswer): void => { process.send?.(message) }
  process.on('message', (order: WorkOrder) => {
    if (order === 'ends') return answer({ ends: ends.splice(0) })
    close().finally(() => { process.disconnect() }).catch((error: unknown) => { throw error })
  })
  answer('ready')
  await once(process, 'disconnect')
}
