/**
 * What a submission costs on Redis: `node dist/bench/submit.js [--smoke]`, after `npm run build`. Three servers, each in
 * a process of its own, are asked by 100 connections, one after the other and again in turns:
 *
 * - `bare`: a route that answers 202 and queues nothing, the floor;
 * - `naive`: a route written by hand that awaits `queue.add()` of BullMQ;
 * - `ours`: `app.asyncEndpoint()`, with metrics on and the trace context of the request kept with the job.
 *
 * `--smoke` is one short run, to see that the benchmark works; its figures mean nothing.
 */
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import autocannon from 'autocannon'
import { Queue } from 'bullmq'
import Fastify, { type FastifyInstance } from 'fastify'
import { Redis } from 'ioredis'
import asyncEndpoints, { redisStore } from '../plugins/async-endpoints.ts'
import { startRedis } from '../test/support/redis.ts'
import { median, print, ratio, whole } from './measuring/figures.ts'
import { serverMicros } from './measuring/machine.ts'

const KINDS = ['bare', 'naive', 'ours'] as const
type Kind = typeof KINDS[number]

const SMOKE = process.argv.includes('--smoke')
const ROUNDS = SMOKE ? 1 : 5
const WARM_UP_SECONDS = SMOKE ? 1 : 3
const SECONDS = SMOKE ? 1 : 8
const CONNECTIONS = 100

const BODY = { year: 2026, rows: 1_000, customer: 'c-1029384756', format: 'pdf', sections: ['summary', 'detail', 'totals'], note: 'x'.repeat(256) }
const SCHEMA = {
  type: 'object',
  required: ['year', 'rows'],
  properties: {
    year: { type: 'integer' },
    rows: { type: 'integer', minimum: 0 },
    customer: { type: 'string' },
    format: { type: 'string', enum: ['pdf', 'csv'] },
    sections: { type: 'array', items: { type: 'string' } },
    note: { type: 'string' }
  }
}

/** What the parent asks a server, and its answers. */
type Order = 'begin' | 'end' | 'close'
type Answer = { readonly port: number } | { readonly cpuMicros: number }

interface Figures { readonly perSecond: number, readonly cpuMicros: number, readonly serverMicros: number, readonly p50: number, readonly p99: number }

const SERVERS: Record<Kind, (app: FastifyInstance, url: string) => Promise<void>> = {
  async bare (app) {
    let id = 0
    app.post('/reports', { schema: { body: SCHEMA } }, async (_request, reply) => {
      reply.code(202)
      return { id: String(++id), status: 'queued' }
    })
  },

  async naive (app, url) {
    const { hostname: host, port } = new URL(url)
    const queue = new Queue('reports', { connection: { host, port: Number(port) } })
    app.addHook('onClose', async () => { await queue.close() })
    app.post('/reports', { schema: { body: SCHEMA } }, async (request, reply) => {
      const job = await queue.add('report', request.body, {
        attempts: 3,
        backoff: { type: 'exponential', delay: 1_000 },
        removeOnComplete: { age: 86_400, count: 10_000 },
        removeOnFail: { age: 604_800 }
      })
      reply.code(202).header('location', `/jobs/${String(job.id)}`)
      return { id: job.id, status: 'queued' }
    })
  },

  async ours (app, url) {
    await app.register(asyncEndpoints, { store: redisStore({ url }), worker: false })
    app.asyncEndpoint({ url: '/reports', name: 'report', schema: { body: SCHEMA }, handler: async () => {} })
  }
}

/** The child: serves, and tells what it used of the processor. */
async function serve (kind: Kind, url: string): Promise<void> {
  const app = Fastify()
  await SERVERS[kind](app, url)
  await app.listen({ port: 0, host: '127.0.0.1' })
  let since = process.cpuUsage()
  const tell = (answer: Answer): void => { process.send?.(answer) }
  process.on('message', (order: Order) => {
    if (order === 'begin') since = process.cpuUsage()
    else if (order === 'end') {
      const { user, system } = process.cpuUsage(since)
      tell({ cpuMicros: user + system })
    } else app.close().then(() => { process.disconnect() }, (error: unknown) => { throw error })
  })
  const address = app.server.address()
  tell({ port: typeof address === 'object' && address !== null ? address.port : 0 })
}

async function answer (child: ChildProcess): Promise<Answer> {
  const [message] = await once(child, 'message', { signal: AbortSignal.timeout(30_000) }) as [Answer]
  return message
}

async function load (port: number, seconds: number): Promise<autocannon.Result> {
  return await autocannon({
    url: `http://127.0.0.1:${port}/reports`,
    method: 'POST',
    connections: CONNECTIONS,
    duration: seconds,
    headers: { 'content-type': 'application/json', traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00' },
    body: JSON.stringify(BODY)
  })
}

async function measure (kind: Kind, url: string, redis: Redis): Promise<Figures> {
  const child = fork(fileURLToPath(import.meta.url), ['--serve', kind, url])
  const exited = once(child, 'exit')
  try {
    const listening = await answer(child)
    if (!('port' in listening)) throw new Error(`${kind} did not say its port`)
    await load(listening.port, WARM_UP_SECONDS)
    child.send('begin' satisfies Order)
    const servedBefore = await serverMicros(redis)
    const result = await load(listening.port, SECONDS)
    child.send('end' satisfies Order)
    const served = await serverMicros(redis) - servedBefore
    const used = await answer(child)
    if (!('cpuMicros' in used)) throw new Error(`${kind} did not say what it used`)
    const accepted = result['2xx']
    // A server that refuses is fast.
    if (result.non2xx > 0 || result.errors > 0 || accepted === 0) throw new Error(`${kind}: ${result.non2xx} refusals, ${result.errors} errors, ${accepted} accepted`)
    return { perSecond: accepted / result.duration, cpuMicros: used.cpuMicros / accepted, serverMicros: served / accepted, p50: result.latency.p50, p99: result.latency.p99 }
  } finally {
    if (child.connected) child.send('close' satisfies Order)
    await exited
  }
}

async function main (): Promise<void> {
  const redis = await startRedis()
  const client = new Redis(redis.url)
  const runs: Record<Kind, Figures[]> = { bare: [], naive: [], ours: [] }
  try {
    for (let round = 0; round < ROUNDS; round++) {
      // In turns, so that a noisy neighbour disturbs all alike.
      for (const kind of KINDS) {
        runs[kind].push(await measure(kind, redis.url, client))
        await client.flushall()
      }
    }
  } finally {
    await client.quit()
    await redis.stop()
  }
  print(`Node ${process.version}, ${CONNECTIONS} connections, ${SMOKE ? 'smoke run, figures mean nothing' : `${SECONDS} s, median of ${ROUNDS}`}`)
  const all = (kind: Kind, name: keyof Figures): number[] => runs[kind].map((run) => run[name])
  for (const kind of KINDS) {
    const figure = (name: keyof Figures, digits: number): string => median(all(kind, name)).toFixed(digits)
    print(`${kind.padEnd(6)} ${whole(median(all(kind, 'perSecond'))).padStart(8)} requests/s · CPU per request: process ${figure('cpuMicros', 1)} µs, Redis ${figure('serverMicros', 1)} µs · p50 ${figure('p50', 0)} ms, p99 ${figure('p99', 0)} ms`)
  }
  const compared = (name: keyof Figures): string => ratio(all('ours', name), all('naive', name)).toFixed(2)
  print(`ours / naive: ${compared('perSecond')} of the requests per second (wanted: at least 1.10), ${compared('cpuMicros')} of the CPU (wanted: at most 0.90), ${compared('serverMicros')} of the CPU of Redis (wanted: at most 1.03)`)
}

const [flag, kind, url] = process.argv.slice(2)
if (flag === '--serve' && url !== undefined) await serve(kind as Kind, url)
else await main()
