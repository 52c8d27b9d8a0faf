/**
 * What listening costs on Redis: `node dist/bench/listening.js [--smoke]`, after `npm run build`. One process serves
 * streams of server-sent events, another runs the jobs, this one holds the clients; all share the processors.
 *
 * - `delivery`: many clients, one job each, and so many ends a second: the time from the acknowledgement of an end to its
 *   client, the heap for each idle listener, the connections to the server, and the CPU of the serving process and of the
 *   Redis server for each end; in turns with the obvious way by hand, `QueueEvents` and `job.waitUntilFinished()` for
 *   each client.
 * - `others`: ten listeners, while other jobs complete as fast as they can: the CPU of the serving process meanwhile and
 *   while nothing happens, and that of the Redis server for each job, in turns with nobody listening.
 *
 *   --only a,b       one of the two
 *   --rounds N       turns of each (5)
 *   --listeners N    clients of `delivery` (5000)
 *   --rate N         ends a second (500)
 *   --unheard N      in `delivery`, how many other jobs end at the same time, for each one that a client listens to (0)
 *   --smoke          one short run, to see that the benchmark works; its figures mean nothing
 */
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { Queue } from 'bullmq'
import { Redis } from 'ioredis'
import { createContext } from '../lib/core/context.ts'
import type { NewJob } from '../lib/jobs/job.ts'
import { redisStore } from '../lib/stores/bullmq/index.ts'
import { startRedis, uniquePrefix } from '../test/support/redis.ts'
import { Clients } from './listening/clients.ts'
import { KINDS, QUEUE, type Answer, type Kind, type Order } from './listening/serve.ts'
import type { WorkAnswer, WorkOrder } from './listening/work.ts'
import { median, print, quantile, ratio, whole } from './measuring/figures.ts'
import { serverMicros } from './measuring/machine.ts'

const { values: given } = parseArgs({
  options: {
    only: { type: 'string' },
    rounds: { type: 'string' },
    listeners: { type: 'string' },
    rate: { type: 'string' },
    unheard: { type: 'string' },
    smoke: { type: 'boolean', default: false }
  }
})
const SMOKE = given.smoke
const ROUNDS = Number(given.rounds ?? (SMOKE ? 1 : 5))
const LISTENERS = Number(given.listeners ?? (SMOKE ? 100 : 5_000))
const RATE = Number(given.rate ?? 500)
const UNHEARD = Number(given.unheard ?? 0)
const OTHERS = SMOKE ? 500 : 30_000
const FEW = 10
/** Until connections that were made on the way are there. */
const SETTLE_MS = 500
const IDLE_MS = SMOKE ? 500 : 5_000
const ANSWER_MS = 120_000
const context = createContext()

function chosen (name: string): boolean { return given.only === undefined || given.only.split(',').includes(name) }

function submission (runAt: number): NewJob {
  return {
    id: context.ids.job(),
    name: 'bench',
    queue: QUEUE,
    input: { body: { year: 2026, rows: 1_000 }, params: {}, query: {}, headers: {} },
    owner: undefined,
    correlationId: context.ids.correlation(),
    trace: undefined,
    priority: 0,
    createdAt: Date.now(),
    runAt,
    maxAttempts: 3,
    idempotency: undefined
  }
}

class Process {
  readonly #child: ChildProcess
  readonly #exited: Promise<unknown>

  constructor (file: string, args: readonly string[]) {
    const module = fileURLToPath(new URL(`./listening/${file}.js`, import.meta.url))
    this.#child = fork(module, args, { execArgv: ['--expose-gc'] })
    this.#exited = once(this.#child, 'exit')
  }

  async answer<A extends Answer | WorkAnswer> (order?: Order | WorkOrder): Promise<A> {
    const answered = once(this.#child, 'message', { signal: AbortSignal.timeout(ANSWER_MS) }) as Promise<[A]>
    if (order !== undefined) this.#child.send(order)
    const [answer] = await answered
    return answer
  }

  async cpuMicros (): Promise<number> { return (await this.answer<{ cpuMicros: number }>('cpu')).cpuMicros }

  async heapBytes (): Promise<number> { return (await this.answer<{ heapBytes: number }>('heap')).heapBytes }

  async close (): Promise<void> {
    if (this.#child.connected) this.#child.send('close')
    await this.#exited
  }
}

/** Adds jobs that end at a steady rate, beginning at a moment. @returns their ids */
async function addJobs (kind: Kind, prefix: string, count: number, from: number, rate: number): Promise<string[]> {
  const due = (n: number): number => Math.round(from + n * 1_000 / rate)
  if (kind === 'ours') {
    const store = redisStore({ url: server.url, prefix })
    await store.open({ context, report () {} })
    const jobs = Array.from({ length: count }, (_, n) => submission(due(n)))
    for (let first = 0; first < count; first += 500) {
      await Promise.all(jobs.slice(first, first + 500).map((job) => store.create(job)))
    }
    await store.close(5_000)
    return jobs.map(({ id }) => id)
  }
  const queue = new Queue(QUEUE, { connection: redis, prefix })
  const jobs = await queue.addBulk(Array.from({ length: count }, (_, n) => ({
    name: 'bench', data: { year: 2026, rows: 1_000 }, opts: { jobId: context.ids.job(), delay: Math.max(0, due(n) - Date.now()) }
  })))
  await queue.close()
  return jobs.map(({ id = '' }) => id)
}

interface Delivery {
  readonly p50: number
  readonly p99: number
  readonly heapBytes: number
  readonly cpuMicros: number
  readonly serverMicros: number
  readonly connections: number
}

async function connectedClients (): Promise<number> {
  return Number(/^connected_clients:(\d+)/m.exec(await redis.info('clients'))?.[1])
}

async function deliver (kind: Kind): Promise<Delivery> {
  const prefix = uniquePrefix()
  const serving = new Process('serve', ['--serve', kind, server.url, prefix])
  const { port } = await serving.answer<{ port: number }>()
  const working = new Process('work', ['--work', kind, server.url, prefix, '50'])
  await working.answer()
  const clients = new Clients(port)
  try {
    const from = Date.now() + (SMOKE ? 2_000 : 5_000 + LISTENERS * (3 + UNHEARD))
    const [ids] = await Promise.all([
      addJobs(kind, prefix, LISTENERS, from, RATE),
      addJobs(kind, prefix, LISTENERS * UNHEARD, from, RATE * UNHEARD)
    ])
    // One stream before the count, so that what is made once does not weigh on the listeners.
    await clients.listen(ids.slice(0, 1))
    await sleep(SETTLE_MS)
    const [before, idle] = [await connectedClients(), await serving.heapBytes()]
    await clients.listen(ids.slice(1))
    await sleep(SETTLE_MS)
    const heapBytes = (await serving.heapBytes() - idle) / (LISTENERS - 1)
    const connections = await connectedClients() - before
    if (Date.now() > from) throw new Error('the first jobs ran before all clients listened: the machine is too busy')
    await sleep(from - Date.now() - 100)
    const [used, served] = [await serving.cpuMicros(), await serverMicros(redis)]
    await clients.heard(LISTENERS)
    const [usedAfter, servedAfter] = [await serving.cpuMicros(), await serverMicros(redis)]
    const { ends } = await working.answer<{ ends: ReadonlyArray<readonly [string, number]> }>('ends')
    const twice = [...clients.ends.values()].filter(({ length }) => length > 1).length
    if (twice > 0 || clients.lost > 0) throw new Error(`${twice} ends were heard twice, ${clients.lost} streams ended without one`)
    const times = ends.flatMap(([id, at]) => {
      const heard = clients.ends.get(id)?.[0]
      return heard === undefined ? [] : [heard - at]
    })
    return {
      p50: quantile(times, 0.5),
      p99: quantile(times, 0.99),
      heapBytes,
      cpuMicros: (usedAfter - used) / LISTENERS,
      serverMicros: (servedAfter - served) / LISTENERS,
      connections
    }
  } finally {
    clients.close()
    await working.close()
    await serving.close()
  }
}

interface Others {
  /** Of a processor, while the others complete, and while nothing happens. */
  readonly busyShare: number
  readonly idleShare: number
  /** For each of the others. */
  readonly serverMicros: number
  readonly perSecond: number
}

/** @param listeners how many clients listen to jobs that do not end, while others do */
async function others (listeners: number): Promise<Others> {
  const prefix = uniquePrefix()
  const serving = new Process('serve', ['--serve', 'ours', server.url, prefix])
  const { port } = await serving.answer<{ port: number }>()
  const clients = new Clients(port)
  const shareDuring = async (during: () => Promise<unknown>): Promise<{ share: number, seconds: number }> => {
    const [used, startedAt] = [await serving.cpuMicros(), performance.now()]
    await during()
    const seconds = (performance.now() - startedAt) / 1_000
    return { share: (await serving.cpuMicros() - used) / seconds / 1e6, seconds }
  }
  try {
    const ids = await addJobs('ours', prefix, Math.max(1, listeners), Date.now() + 3_600_000, 1)
    if (listeners > 0) await clients.listen(ids)
    await addJobs('ours', prefix, OTHERS, Date.now() - 1_000, 1e9)
    const { share: idleShare } = await shareDuring(() => sleep(IDLE_MS))
    const served = await serverMicros(redis)
    let working: Process | undefined
    const { share: busyShare, seconds } = await shareDuring(async () => {
      working = new Process('work', ['--work', 'ours', server.url, prefix, '50'])
      await working.answer()
      await untilNoneWaits(`${prefix}:${QUEUE}`)
    })
    const serverMicrosEach = (await serverMicros(redis) - served) / OTHERS
    await working?.close()
    return { busyShare, idleShare, serverMicros: serverMicrosEach, perSecond: OTHERS / seconds }
  } finally {
    clients.close()
    await serving.close()
  }
}

async function untilNoneWaits (queuePrefix: string): Promise<void> {
  while (await redis.llen(`${queuePrefix}:wait`) + await redis.llen(`${queuePrefix}:active`) > 0) await sleep(20)
}

async function compareDelivery (): Promise<void> {
  const runs: Record<Kind, Delivery[]> = { ours: [], 'by-hand': [] }
  for (let round = 0; round < ROUNDS; round++) {
    for (const kind of KINDS) {
      runs[kind].push(await deliver(kind))
      await redis.flushall()
    }
  }
  const all = (kind: Kind, name: keyof Delivery): number[] => runs[kind].map((run) => run[name])
  const besides = UNHEARD === 0 ? '' : `, and ${RATE * UNHEARD} of jobs that nobody listens to`
  print(`${whole(LISTENERS)} listeners, ${RATE} ends a second${besides}:`)
  for (const kind of KINDS) {
    const figure = (name: keyof Delivery, digits: number): string => median(all(kind, name)).toFixed(digits)
    print([
      `${kind.padEnd(8)} acknowledged to client: p50 ${figure('p50', 1)} ms, p99 ${figure('p99', 1)} ms`,
      `heap per idle listener ${(median(all(kind, 'heapBytes')) / 1_024).toFixed(1)} KiB`,
      `CPU per end ${figure('cpuMicros', 0)} µs, Redis server ${figure('serverMicros', 0)} µs`,
      `connections more than with one listener ${figure('connections', 0)}`
    ].join(' · '))
  }
  const compared = ratio(all('by-hand', 'cpuMicros'), all('ours', 'cpuMicros')).toFixed(2)
  print(`by-hand / ours: ${compared} of the CPU per end (wanted: at least 5; p99 at most 100 ms; heap at most 20 KiB)`)
}

async function compareOthers (): Promise<void> {
  const few: Others[] = []
  const none: Others[] = []
  for (let round = 0; round < ROUNDS; round++) {
    few.push(await others(FEW))
    none.push(await others(0))
    await redis.flushall()
  }
  const cpu = (runs: readonly Others[], name: 'busyShare' | 'idleShare'): string => (median(runs.map((run) => run[name])) * 100).toFixed(2)
  print(`${whole(median(few.map((run) => run.perSecond)))} other jobs a second, CPU of the serving process:`)
  for (const [name, runs] of [[`${FEW} listeners`, few], ['no listeners', none]] as const) {
    print(`${name}: ${cpu(runs, 'busyShare')} % of a processor; ${cpu(runs, 'idleShare')} % while nothing happens`)
  }
  const compared = ratio(few.map((run) => run.serverMicros), none.map((run) => run.serverMicros)).toFixed(3)
  print(`the Redis server per job, ${FEW} listeners / none: ${compared} (wanted: at most 1.0)`)
}

const server = await startRedis()
const redis = new Redis(server.url, { maxRetriesPerRequest: null })
print(`Node ${process.version}, ${SMOKE ? 'smoke run, figures mean nothing' : `median of ${ROUNDS}`}`)
try {
  if (chosen('delivery')) await compareDelivery()
  if (chosen('others')) await compareOthers()
} finally {
  await redis.quit()
  await server.stop()
}
