/**
 * Jobs that code submits and the same process runs: `node dist/bench/code.js [options]`, after `npm run build`. 200 jobs are
 * under way at any time, 50 of them run at once, each returns a small JSON result. In turns, each in a process of its own:
 *
 * - `ours`: `app.jobs.submit()` with everything that is on by default;
 * - `bare`: a `Queue` and a `Worker` of BullMQ with the same retention, and nothing else.
 *
 * Counted are jobs per second, and for each job the CPU of the process and that of the Redis server.
 *
 *   --memory      in memory instead of on Redis, and against `@platformatic/job-queue`, if it is installed (it needs Node 22.19):
 *                 `npm install --no-save @platformatic/job-queue`
 *   --commands    how often the server runs each command for one job, those inside of scripts included
 *   --rounds N    turns of each (7)
 *   --jobs N      jobs of a turn (40000, in memory 400000); a quarter of them run before anything is counted
 *   --smoke       one short run, to see that the benchmark works; its figures mean nothing
 */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { Redis } from 'ioredis'
import { startRedis, uniquePrefix } from '../test/support/redis.ts'
import { CONCURRENCY, IN_FLIGHT, installed, type Answer, type Kind, type Order } from './code/serve.ts'
import { median, print, ratio, whole } from './measuring/figures.ts'
import { commandCalls, pin, serverMicros } from './measuring/machine.ts'

const { values: given } = parseArgs({
  options: {
    memory: { type: 'boolean', default: false },
    commands: { type: 'boolean', default: false },
    rounds: { type: 'string' },
    jobs: { type: 'string' },
    smoke: { type: 'boolean', default: false }
  }
})
const SMOKE = given.smoke
const ROUNDS = Number(given.rounds ?? (SMOKE ? 1 : 7))
const JOBS = Number(given.jobs ?? (SMOKE ? 1_000 : given.memory ? 400_000 : 40_000))
const WARM_UP_JOBS = Math.ceil(JOBS / 4)
const ANSWER_MS = 180_000

interface Figures {
  readonly perSecond: number
  readonly cpuMicros: number
  readonly serverMicros: number
  /** Calls per job, by command. */
  readonly commands: ReadonlyMap<string, number>
}

async function measure (kind: Kind, url: string, redis: Redis | undefined): Promise<Figures> {
  const child = fork(fileURLToPath(new URL('./code/serve.js', import.meta.url)), ['--serve', kind, url, uniquePrefix()])
  const exited = once(child, 'exit')
  const answer = async (): Promise<Answer> => {
    const [message] = await once(child, 'message', { signal: AbortSignal.timeout(ANSWER_MS) }) as [Answer]
    return message
  }
  try {
    await pin(child.pid, 1)
    await answer()
    const work = async (jobs: number): Promise<Answer> => {
      child.send({ jobs } satisfies Order)
      return await answer()
    }
    await work(WARM_UP_JOBS)
    const [servedBefore, callsBefore] = redis === undefined ? [NaN, new Map<string, number>()] : [await serverMicros(redis), await commandCalls(redis)]
    const { cpuMicros, seconds } = await work(JOBS)
    const [served, calls] = redis === undefined ? [NaN, new Map<string, number>()] : [await serverMicros(redis), await commandCalls(redis)]
    return {
      perSecond: JOBS / seconds,
      cpuMicros: cpuMicros / JOBS,
      serverMicros: (served - servedBefore) / JOBS,
      commands: new Map([...calls].map(([name, count]) => [name, (count - (callsBefore.get(name) ?? 0)) / JOBS]))
    }
  } finally {
    if (child.connected) child.send('close' satisfies Order)
    await exited
  }
}

function printCommands (kinds: readonly Kind[], runs: ReadonlyMap<Kind, readonly Figures[]>): void {
  const perJob = (kind: Kind, command: string): number => median((runs.get(kind) ?? []).map(({ commands }) => commands.get(command) ?? 0))
  const names = new Set(kinds.flatMap((kind) => (runs.get(kind) ?? []).flatMap(({ commands }) => [...commands.keys()])))
  print(`${'calls per job'.padEnd(20)} ${kinds.map((kind) => kind.padStart(8)).join(' ')}`)
  for (const name of [...names].sort()) {
    const calls = kinds.map((kind) => perJob(kind, name))
    if (calls.some((count) => count >= 0.005)) print(`${name.padEnd(20)} ${calls.map((count) => count.toFixed(2).padStart(8)).join(' ')}`)
  }
}

async function main (): Promise<void> {
  const wanted: readonly Kind[] = given.memory ? ['ours-memory', 'platformatic'] : ['ours', 'bare']
  const kinds = wanted.filter((kind) => kind !== 'platformatic' || installed())
  const server = given.memory ? undefined : await startRedis()
  const redis = server === undefined ? undefined : new Redis(server.url)
  const pinned = await pin(server?.pid ?? process.pid, 0)
  const runs = new Map<Kind, Figures[]>(kinds.map((kind) => [kind, []]))
  try {
    for (let round = 0; round < ROUNDS; round++) {
      // In turns, so that a noisy neighbour disturbs all alike.
      for (const kind of kinds) {
        runs.get(kind)?.push(await measure(kind, server?.url ?? '', redis))
        await redis?.flushall()
      }
    }
  } finally {
    await redis?.quit()
    await server?.stop()
  }
  print(`Node ${process.version}, ${IN_FLIGHT} in flight, concurrency ${CONCURRENCY}, ${pinned ? 'a processor for the measured process, ' : ''}${SMOKE ? 'smoke run, figures mean nothing' : `median of ${ROUNDS} × ${whole(JOBS)} jobs`}`)
  const all = (kind: Kind, name: 'perSecond' | 'cpuMicros' | 'serverMicros'): number[] => (runs.get(kind) ?? []).map((run) => run[name])
  for (const kind of kinds) {
    const ofServer = redis === undefined ? '' : `, server ${median(all(kind, 'serverMicros')).toFixed(1)} µs`
    print(`${kind.padEnd(12)} ${whole(median(all(kind, 'perSecond'))).padStart(8)} jobs/s · CPU per job: process ${median(all(kind, 'cpuMicros')).toFixed(1)} µs${ofServer}`)
  }
  const [ours, other] = kinds
  if (ours !== undefined && other !== undefined) {
    const compared = (name: 'perSecond' | 'cpuMicros' | 'serverMicros'): string => ratio(all(ours, name), all(other, name)).toFixed(2)
    const ofServer = redis === undefined ? '' : `, of the server ${compared('serverMicros')}`
    print(`${ours} / ${other}: jobs/s ${compared('perSecond')} · CPU of the process ${compared('cpuMicros')}${ofServer} (wanted: jobs/s at least ${given.memory ? '3' : '0.97, CPU of the server at most 1.03'})`)
  } else print('@platformatic/job-queue is not installed, or this Node.js is too old for it: nothing to compare with')
  if (given.commands && redis !== undefined) printCommands(kinds, runs)
}

await main()
