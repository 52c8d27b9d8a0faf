/**
 * What faults cost: `node dist/bench/faults.js [options]`, after `npm run build`. Two API processes and three workers on a
 * Redis with an append-only file take 200 submissions a second, of jobs that last 20 to 50 ms, while something goes wrong:
 * workers are killed, Redis is killed, Redis is frozen, everything is restarted. Afterwards every acknowledged job is
 * looked up in the store and in what the handlers wrote down. The exit code is 1 when a bar is missed.
 *
 *   --only a,b    of kill, restart, freeze, rolling
 *   --rate N      submissions a second (200)
 *   --fsync HOW   of the append-only file: always (the default) or everysec
 *   --smoke       a short form with a short lease, for CI
 */
import { parseArgs } from 'node:util'
import { Load } from './faults/load.ts'
import { SCENARIOS, type Scenario } from './faults/scenarios.ts'
import { Stage, type StageOptions } from './faults/stage.ts'
import { judge, type Bars, type Verdict } from './faults/verdict.ts'

const { values: given } = parseArgs({
  options: { only: { type: 'string' }, rate: { type: 'string', default: '200' }, fsync: { type: 'string', default: 'always' }, smoke: { type: 'boolean', default: false } }
})
const SMOKE = given.smoke
const RATE = Number(given.rate)
/** The defaults of the library in the long form. */
const LOCK_MS = SMOKE ? 2_000 : 10_000
const OPTIONS: StageOptions = {
  fsync: given.fsync === 'everysec' ? 'everysec' : 'always',
  leaseMs: LOCK_MS,
  stalledIntervalMs: SMOKE ? 250 : 1_000,
  shutdownDelayMs: SMOKE ? 500 : 1_000,
  drainTimeoutMs: 5_000,
  workers: SMOKE ? 2 : 3
}
/**
 * `submitTimeoutMs` (2 s) and half a second; 5 s for a Redis that is back; what a leave may take, with a hand-back. The
 * short form only looks whether all of it works: next to a short lease a backoff and a busy machine weigh too much.
 */
const BARS: Bars = { longestRequestMs: SMOKE ? 5_000 : 2_500, afterReturnMs: 5_000, afterKillMs: 1.5 * LOCK_MS + (SMOKE ? 10_000 : 0), leaveMs: OPTIONS.shutdownDelayMs + OPTIONS.drainTimeoutMs + 4_500 }
const SETTLE_MS = 3 * LOCK_MS + 10_000

function print (line = ''): void {
  process.stdout.write(`${line}\n`)
}

async function run (stage: Stage, scenario: Scenario): Promise<Verdict> {
  const since = Date.now()
  const load = new Load(stage.apis, RATE, scenario.followsReadiness)
  load.start()
  const story = await scenario.play(stage, SMOKE).finally(() => load.stop())
  const left = await stage.settle(SETTLE_MS)
  return await judge(stage, scenario, story, load, BARS, since, left)
}

function show ({ title }: Scenario, { rows, missed }: Verdict, seconds: number): void {
  print(`\n${title}${SMOKE ? ', in short' : ''} (${seconds.toFixed(0)} s)`)
  const width = Math.max(...rows.map(([what]) => what.length))
  for (const [what, figure] of rows) print(`  ${what.padEnd(width)}  ${figure}`)
  for (const sentence of missed) print(`  MISSED: ${sentence}`)
}

function chosen (): Array<readonly [string, Scenario]> {
  const names = given.only?.split(',') ?? Object.keys(SCENARIOS)
  return names.map((name) => {
    const scenario = SCENARIOS[name]
    if (scenario === undefined) throw new Error(`there is no ${name}; there are ${Object.keys(SCENARIOS).join(', ')}`)
    return [name, scenario]
  })
}

print(`Node ${process.version}, ${RATE} submissions/s, 2 API processes, ${OPTIONS.workers} workers, appendfsync ${OPTIONS.fsync}, leaseMs ${LOCK_MS}`)
let stage: Stage | undefined
let missed = 0
try {
  for (const [, scenario] of chosen()) {
    const startedAt = performance.now()
    stage ??= await Stage.open(OPTIONS)
    const verdict = await run(stage, scenario)
    show(scenario, verdict, (performance.now() - startedAt) / 1_000)
    missed += verdict.missed.length
    if (SMOKE) continue
    // New processes and an empty server for each, so that none has to bear what another left behind.
    await stage.close()
    stage = undefined
  }
} finally {
  await stage?.close()
}
print(missed === 0 ? '\nevery bar was reached' : `\n${missed} bars were missed`)
process.exitCode = missed === 0 ? 0 : 1
