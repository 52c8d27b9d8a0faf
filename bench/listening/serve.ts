/** The measured process of `bench/listening.ts`: streams of server-sent events about jobs that another process runs. */
import { once } from 'node:events'
import { Queue, QueueEvents } from 'bullmq'
import Fastify, { type FastifyInstance } from 'fastify'
import { Redis } from 'ioredis'
import asyncEndpoints, { redisStore } from '../../plugins/async-endpoints.ts'

export const KINDS = ['ours', 'by-hand'] as const
export type Kind = typeof KINDS[number]
export const QUEUE = 'bench'

/** What the parent asks. `cpu`: what the process has used until now. `heap`: what is left of its heap after a collection. */
export type Order = 'cpu' | 'heap' | 'close'
export type Answer = { readonly port: number } | { readonly cpuMicros: number } | { readonly heapBytes: number }

type Serve = (app: FastifyInstance, url: string, prefix: string) => Promise<void>

const ours: Serve = async (app, url, prefix) => {
  await app.register(asyncEndpoints, {
    store: redisStore({ url, prefix }),
    worker: false,
    // No signs of life and no new streams meanwhile: the way by hand has neither.
    listening: { maxPerClient: 100_000, maxConnections: 100_000, pingMs: 3_600_000, maxAgeMs: 3_600_000 }
  })
  app.defineJob({ name: 'bench', queue: QUEUE, handler: () => undefined })
}

/** What a team writes first: one `QueueEvents`, and a `waitUntilFinished` for each client. */
const byHand: Serve = async (app, url, prefix) => {
  const connection = new Redis(url, { maxRetriesPerRequest: null })
  const blocking = connection.duplicate()
  const queue = new Queue(QUEUE, { connection, prefix })
  queue.setMaxListeners(0)
  const events = new QueueEvents(QUEUE, { connection: blocking, prefix })
  events.setMaxListeners(0)
  await events.waitUntilReady()
  app.get<{ Params: { id: string } }>('/jobs/:id', async (request, reply) => {
    const job = await queue.getJob(request.params.id)
    if (job === undefined) return await reply.code(404).send({ error: 'not found' })
    reply.hijack()
    reply.raw.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store', connection: 'close' })
    const say = (event: string, data: object): string => `event: ${event}\ndata: ${JSON.stringify(data)}\n\n`
    reply.raw.write(say('status', { id: job.id, name: job.name, status: await job.getState(), createdAt: job.timestamp }))
    job.waitUntilFinished(events).then(async () => {
      const { id, name, timestamp, attemptsMade } = await queue.getJob(String(job.id)) ?? job
      reply.raw.end(say('end', { id, name, status: 'completed', createdAt: timestamp, attempts: attemptsMade }))
    }, (error: Error) => { reply.raw.end(say('end', { id: job.id, status: 'failed', error: error.message })) })
  })
  app.addHook('onClose', async () => {
    await events.close()
    await queue.close()
    for (const client of [connection, blocking]) client.disconnect()
  })
}

async function serve (kind: string, url: string, prefix: string): Promise<void> {
  const app = Fastify()
  await (kind === 'ours' ? ours : byHand)(app, url, prefix)
  await app.listen({ host: '127.0.0.1', port: 0 })
  const address = app.server.address()
  const answer = (message: Answer): void => { process.send?.(message) }
  process.on('message', (order: Order) => {
    if (order === 'close') {
      app.close().finally(() => { process.disconnect() }).catch((error: unknown) => { throw error })
      return
    }
    if (order === 'heap') {
      for (let n = 0; n < 3; n++) globalThis.gc?.()
      return answer({ heapBytes: process.memoryUsage().heapUsed })
    }
    const { user, system } = process.cpuUsage()
    answer({ cpuMicros: user + system })
  })
  answer({ port: typeof address === 'object' ? address?.port ?? 0 : 0 })
  await once(process, 'disconnect')
}

const [flag, kind = '', url = '', prefix = ''] = process.argv.slice(2)
if (flag === '--serve') await serve(kind, url, prefix)
