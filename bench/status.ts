/**
 * What a status costs on Redis: `node dist/bench/status.js [--smoke]`, after `npm run build`. Reads jobs of a queue in
 * which nothing else waits, and of one in which 100,000 jobs do, and counts what each costs this process and the server.
 *
 * `--smoke` runs small sizes, to see that the benchmark works; its figures mean nothing.
 */
import { Redis } from 'ioredis'
import { createContext } from '../lib/core/context.ts'
import type { NewJob } from '../lib/jobs/job.ts'
import { redisStore } from '../lib/stores/bullmq/index.ts'
import { startRedis } from '../test/support/redis.ts'
import { median, print, quantile } from './measuring/figures.ts'
import { serverMicros } from './measuring/machine.ts'

const SMOKE = process.argv.includes('--smoke')
const DEPTHS = SMOKE ? [1, 1_000] : [1, 100_000]
const READS = SMOKE ? 500 : 20_000
const ROUNDS = SMOKE ? 1 : 5
const context = createContext()

interface Figures { readonly p50: number, readonly p99: number, readonly cpuMicros: number, readonly redisMicros: number }

function submission (): NewJob {
  const now = Date.now()
  return {
    id: context.ids.job(),
    name: 'bench',
    queue: 'bench',
    input: { body: { year: 2026, rows: 1_000, note: 'x'.repeat(256) }, params: {}, query: {}, headers: {} },
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

async function main (): Promise<void> {
  const server = await startRedis()
  const redis = new Redis(server.url)
  const store = redisStore({ url: server.url, operationTimeoutMs: 30_000 })
  await store.open({ context, report () {} })

  const measure = async (ids: readonly string[]): Promise<Figures> => {
    const times: number[] = []
    const [cpu, served] = [process.cpuUsage(), await serverMicros(redis)]
    for (let n = 0; n < READS; n++) {
      const startedAt = performance.now()
      const job = await store.get(ids[n % ids.length] ?? '')
      if (job?.state !== 'queued') throw new Error('the job must be there')
      times.push(performance.now() - startedAt)
    }
    const { user, system } = process.cpuUsage(cpu)
    return { p50: quantile(times, 0.5), p99: quantile(times, 0.99), cpuMicros: (user + system) / READS, redisMicros: (await serverMicros(redis) - served) / READS }
  }

  print(`Node ${process.version}, one read at a time, ${SMOKE ? 'smoke run, figures mean nothing' : `${READS} reads, median of ${ROUNDS}`}`)
  try {
    const p50: number[] = []
    for (const depth of DEPTHS) {
      await redis.flushall()
      const ids: string[] = []
      for (let sent = 0; sent < depth; sent += 500) {
        const jobs = Array.from({ length: Math.min(500, depth - sent) }, submission)
        await Promise.all(jobs.map((job) => store.create(job)))
        // Some from everywhere in the line.
        ids.push(...jobs.slice(0, 5).map(({ id }) => id))
      }
      await measure(ids)
      const runs: Figures[] = []
      for (let round = 0; round < ROUNDS; round++) runs.push(await measure(ids))
      const figure = (name: keyof Figures): number => median(runs.map((run) => run[name]))
      p50.push(figure('p50'))
      print(`${depth.toLocaleString('en-US').padStart(8)} waiting: p50 ${figure('p50').toFixed(3)} ms  p99 ${figure('p99').toFixed(3)} ms  ${figure('cpuMicros').toFixed(1)} µs here, ${figure('redisMicros').toFixed(1)} µs of the server per read`)
    }
    print(`with many waiting / with none: ${((p50[1] ?? NaN) / (p50[0] ?? NaN)).toFixed(2)} of the time`)
  } finally {
    await store.close(1_000)
    redis.disconnect()
    await server.stop()
  }
}

await main()
