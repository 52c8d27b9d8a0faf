/**
 * A whole job on Redis, from its POST to its end: `node dist/bench/end-to-end.js [--smoke]`, after `npm run build`. One
 * process takes submissions from 50 connections, runs them at concurrency 50 with a small JSON result, and answers
 * status; a second figure is the time of a job that is alone, from its POST until its status says completed. In turns:
 *
 * - `ours`: `app.asyncEndpoint()` with everything that is on by default;
 * - `by-hand`: Fastify, a `Queue` and a `Worker` of BullMQ, a status route and three instruments of prom-client;
 * - `by-hand-otel`: the same with `bullmq-otel`, one trace in a hundred.
 *
 * Counted are jobs per second, the CPU of the process and that of the Redis server for each job. The load comes from
 * this process, which shares a processor with the server; the measured process has the other.
 *
 *   --only a,b    some of the three
 *   --rounds N    turns of each (7)
 *   --jobs N      jobs of a turn (20000); half as many run before anything is counted
 *   --alone N     jobs that are alone, of a turn (500)
 *   --smoke       one short run, to see that the benchmark works; its figures mean nothing
 */
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { Redis } from 'ioredis'
import { startRedis, uniquePrefix } from '../test/support/redis.ts'
import { BODY, CONCURRENCY, KINDS, PATH, type Answer, type Kind, type Order } from './end-to-end/serve.ts'
import { median, print, ratio, whole } from './measuring/figures.ts'
import { pin, serverMicros } from './measuring/machine.ts'
import { Load } from './observability/load.ts'

const { values: given } = parseArgs({
  options: {
    only: { type: 'string' },
    rounds: { type: 'string' },
    jobs: { type: 'string' },
    alone: { type: 'string' },
    smoke: { type: 'boolean', default: false }
  }
})
const SMOKE = given.smoke
const CHOSEN = KINDS.filter((kind) => given.only === undefined || given.only.split(',').includes(kind))
const ROUNDS = Number(given.rounds ?? (SMOKE ? 1 : 7))
const JOBS = Number(given.jobs ?? (SMOKE ? 500 : 20_000))
const WARM_UP_JOBS = Math.ceil(JOBS / 2)
const ALONE = Number(given.alone ?? (SMOKE ? 20 : 500))
const CONNECTIONS = 50
const ANSWER_MS = 120_000

interface Figures { readonly perSecond: number, readonly cpuMicros: number, readonly serverMicros: number, readonly aloneMillis: number }

async function answer<A extends Answer> (child: ChildProcess): Promise<A> {
  const [message] = await once(child, 'message', { signal: AbortSignal.timeout(ANSWER_MS) }) as [A]
  return message
}

/** @returns milliseconds from the POST until the status says completed, asked again and again */
async function alone (port: number): Promise<number> {
  const origin = `http://127.0.0.1:${port}`
  const startedAt = performance.now()
  const submitted = await fetch(`${origin}${PATH}`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(BODY) })
  const location = submitted.headers.get('location')
  await submitted.arrayBuffer()
  if (submitted.status !== 202 || location === null) throw new Error(`refused: ${submitted.status}`)
  while (true) {
    const status = await (await fetch(`${origin}${location}`)).json() as { status: string }
    if (status.status === 'completed') return performance.now() - startedAt
  }
}

async function measure (kind: Kind, url: string, redis: Redis): Promise<Figures> {
  const child = fork(fileURLToPath(new URL('./end-to-end/serve.js', import.meta.url)), ['--serve', kind, url, uniquePrefix()])
  const exited = once(child, 'exit')
  try {
    await pin(child.pid, 1)
    const { port } = await answer<{ port: number }>(child)
    const load = new Load(port, PATH, BODY)
    await load.open(CONNECTIONS)
    const work = async (jobs: number): Promise<{ cpuMicros: number }> => {
      child.send({ expect: jobs } satisfies Order)
      const [used] = await Promise.all([answer<{ cpuMicros: number }>(child), load.run(jobs)])
      return used
    }
    await work(WARM_UP_JOBS)
    const [startedAt, startedWith] = [performance.now(), await serverMicros(redis)]
    const { cpuMicros } = await work(JOBS)
    const [seconds, served] = [(performance.now() - startedAt) / 1_000, await serverMicros(redis) - startedWith]
    load.close()
    const times: number[] = []
    for (let asked = 0; asked < ALONE; asked++) times.push(await alone(port))
    return { perSecond: JOBS / seconds, cpuMicros: cpuMicros / JOBS, serverMicros: served / JOBS, aloneMillis: median(times) }
  } finally {
    if (child.connected) child.send('close' satisfies Order)
    await exited
  }
}

const server = await startRedis()
const redis = new Redis(server.url)
const runs: Record<Kind, Figures[]> = { ours: [], 'by-hand': [], 'by-hand-otel': [] }
const pinned = await pin(server.pid, 0) && await pin(process.pid, 0)
try {
  for (let round = 0; round < ROUNDS; round++) {
    // In turns, so that a noisy neighbour disturbs all alike.
    for (const kind of CHOSEN) {
      runs[kind].push(await measure(kind, server.url, redis))
      await redis.flushall()
    }
  }
} finally {
  await redis.quit()
  await server.stop()
}
print(`Node ${process.version}, ${CONNECTIONS} connections, concurrency ${CONCURRENCY}, ${pinned ? 'a processor for the measured process, ' : ''}${SMOKE ? 'smoke run, figures mean nothing' : `median of ${ROUNDS}`}`)
const all = (kind: Kind, name: keyof Figures): number[] => runs[kind].map((run) => run[name])
for (const kind of CHOSEN) {
  const figure = (name: keyof Figures, digits: number): string => median(all(kind, name)).toFixed(digits)
  const rate = whole(median(all(kind, 'perSecond'))).padStart(7)
  print(`${kind.padEnd(12)} ${rate} jobs/s · CPU per job: process ${figure('cpuMicros', 1)} µs, server ${figure('serverMicros', 1)} µs · alone ${figure('aloneMillis', 2)} ms`)
}
for (const [other, wanted] of [['by-hand', 'at least 1.0, at most 1.0, at most 1.03, at most 1.0'], ['by-hand-otel', 'CPU of the process at most 0.7']] as const) {
  if (!CHOSEN.includes('ours') || !CHOSEN.includes(other)) continue
  const compared = (name: keyof Figures): string => ratio(all('ours', name), all(other, name)).toFixed(2)
  print(`ours / ${other}: jobs/s ${compared('perSecond')} · CPU of the process ${compared('cpuMicros')}, of the server ${compared('serverMicros')} · time alone ${compared('aloneMillis')} (wanted: ${wanted})`)
}
