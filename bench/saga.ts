/**
 * What durable steps cost on Redis: `node dist/bench/saga.js [--smoke]`, after `npm run build`. Sagas of ten steps
 * that do nothing but return a result are worked off by processes of their own, in turns, with results of 1 KiB and of
 * 50 KiB:
 *
 * - `bare`: a job of BullMQ whose processor, written by hand, stores the results so far with `job.updateData()` after
 *   each step;
 * - `store`: a consumer of our store that writes the same checkpoints as a saga does, with nothing around them;
 * - `ours`: an application with `app.saga()`.
 *
 * Then a saga of 1,000 steps: what its last steps cost, compared with its first.
 *
 * `--smoke` is one short run, to see that the benchmark works; its figures mean nothing.
 */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { Redis } from 'ioredis'
import { startRedis, uniquePrefix } from '../test/support/redis.ts'
import { median, print, ratio, whole } from './measuring/figures.ts'
import { pin } from './measuring/machine.ts'
import { measureLong } from './saga/long.ts'
import { workOff } from './saga/work.ts'
import type { Figures, Kind, LongFigures, LongTask, Task } from './saga/tasks.ts'

const KINDS = ['bare', 'store', 'ours'] as const satisfies readonly Kind[]
const SMOKE = process.argv.includes('--smoke')
const ROUNDS = SMOKE ? 1 : 5
const STEPS = 10
/** Sagas worked off per run, by bytes of a result. Wanted: ours to the bare one's steps/s. */
const SIZES = SMOKE
  ? [{ bytes: 1_024, sagas: 60, wanted: 0.9 }]
  : [{ bytes: 1_024, sagas: 3_000, wanted: 0.9 }, { bytes: 51_200, sagas: 400, wanted: 1.5 }]
const CONCURRENCIES = SMOKE ? [10] : [1, 10]
const LONG = SMOKE ? { steps: 60, sagas: 1 } : { steps: 1_000, sagas: 6 }
const WANTED_CPU = 50

async function measure<F> (task: Task | LongTask): Promise<F> {
  const child = fork(fileURLToPath(import.meta.url), ['--work', JSON.stringify(task)])
  const exited = once(child, 'exit')
  await pin(child.pid, 1)
  const [figures] = await once(child, 'message', { signal: AbortSignal.timeout(120_000) }) as [F]
  await exited
  return figures
}

type Size = typeof SIZES[number]

async function compare (url: string, client: Redis, concurrency: number, size: Size): Promise<void> {
  const { bytes, sagas, wanted } = size
  const runs: Record<Kind, Figures[]> = { bare: [], store: [], ours: [] }
  for (let round = 0; round < ROUNDS; round++) {
    // In turns, so that a noisy neighbour disturbs all alike.
    for (const kind of KINDS) {
      const task = { kind, url, prefix: uniquePrefix(), concurrency, sagas, steps: STEPS, bytes }
      runs[kind].push(await measure<Figures>(task))
      await client.flushall()
    }
  }
  const all = (kind: Kind, name: keyof Figures): number[] => runs[kind].map((run) => run[name])
  const middle = (kind: Kind, name: keyof Figures): number => median(all(kind, name))
  const toBare = (name: keyof Figures): string => ratio(all('ours', name), all('bare', name)).toFixed(2)
  print(`${STEPS} steps of ${whole(bytes)} bytes, concurrency ${concurrency}:`)
  for (const kind of KINDS) {
    print(`  ${kind.padEnd(5)} ${whole(middle(kind, 'perSecond'))} steps/s, ` +
      `${middle(kind, 'cpuMicros').toFixed(1)} µs of CPU a step, ` +
      `server ${middle(kind, 'serverMicros').toFixed(1)} µs`)
  }
  const own = median(runs.ours.map(({ cpuMicros }, round) => cpuMicros - (runs.store[round]?.cpuMicros ?? NaN)))
  print(`  ours / bare: ${toBare('perSecond')} of its steps/s (wanted: at least ${wanted}) · ` +
    `${toBare('serverMicros')} of its server's CPU · ` +
    `ours - store: ${own.toFixed(1)} µs of CPU a step (wanted: at most ${WANTED_CPU})`)
}

async function measureLate (url: string, client: Redis): Promise<void> {
  const runs: LongFigures[] = []
  for (let round = 0; round < ROUNDS; round++) {
    runs.push(await measure<LongFigures>({ kind: 'long', url, prefix: uniquePrefix(), ...LONG }))
    await client.flushall()
  }
  const [early, late] = [runs.map((run) => run.earlyMicros), runs.map((run) => run.lateMicros)]
  print(`A saga of ${whole(LONG.steps)} steps, alone: its first steps took ${median(early).toFixed(0)} µs each, ` +
    `its last ${median(late).toFixed(0)} µs; ${ratio(late, early).toFixed(2)} of it (wanted: at most 1.10)`)
}

async function main (): Promise<void> {
  const redis = await startRedis()
  const client = new Redis(redis.url)
  const pinned = await pin(redis.pid, 0)
  print(`Node ${process.version}, ${pinned ? 'a processor for the server and one for the worker, ' : ''}` +
    `${SMOKE ? 'smoke run, figures mean nothing' : `median of ${ROUNDS}`}`)
  try {
    for (const size of SIZES) {
      for (const concurrency of CONCURRENCIES) await compare(redis.url, client, concurrency, size)
    }
    await measureLate(redis.url, client)
  } finally {
    await client.quit()
    await redis.stop()
  }
}

const [flag, text] = process.argv.slice(2)
if (flag === '--work' && text !== undefined) {
  const task = JSON.parse(text) as Task | LongTask
  process.send?.(task.kind === 'long' ? await measureLong(task) : await workOff(task))
  process.disconnect()
} else await main()
