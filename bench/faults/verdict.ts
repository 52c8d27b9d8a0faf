/** What came of it: the figures, and which of them are not good enough. */
import { countBy, interruptedBy, readLedgers, type Entry } from './ledger.ts'
import type { Load } from './load.ts'
import type { Place } from './processes.ts'
import type { Scenario, Story } from './scenarios.ts'
import type { Stage } from './stage.ts'

export interface Bars {
  readonly longestRequestMs: number
  readonly afterReturnMs: number
  readonly afterKillMs: number
  readonly leaveMs: number
}

export interface Verdict {
  readonly rows: ReadonlyArray<readonly [what: string, figure: string]>
  /** One sentence for each bar that was missed. */
  readonly missed: readonly string[]
}

export async function judge (stage: Stage, scenario: Scenario, story: Story, load: Load, bars: Bars, since: number, left: number): Promise<Verdict> {
  const ids = load.acknowledged.map(({ id }) => id)
  const records = await stage.read(ids)
  const entries = (await readLedgers(stage.places)).filter(({ at }) => at >= since)
  const started = countBy(entries, 'started')
  const ended = countBy(entries, 'ended')
  const states = new Map<string, number>()
  for (const record of records) states.set(record?.state ?? 'unknown', (states.get(record?.state ?? 'unknown') ?? 0) + 1)
  const completed = states.get('completed') ?? 0
  const neverRun = records.filter((record, index) => record?.state === 'completed' && !started.has(ids[index] ?? '')).length
  const spent = records.filter((record) => (record?.attempts ?? 0) > 1).length
  const known = new Set(ids)
  const unasked = [...started.keys()].filter((id) => !known.has(id)).length
  const afterKill = recoveriesAfterKill(entries, story)
  const afterReturn = story.returns.map((at) => recoveryAfterReturn(entries, at))

  const missed: string[] = []
  const bar = (good: boolean, text: string): void => { if (!good) missed.push(text) }
  bar(ids.length > 0, 'nothing was acknowledged')
  bar(completed === ids.length, `${ids.length - completed} of ${ids.length} acknowledged jobs are not completed: ${text(states)}`)
  bar(neverRun === 0, `${neverRun} jobs count as completed and were never run`)
  bar(left === 0, `${left} jobs were left behind`)
  bar(load.longestMs <= bars.longestRequestMs, `the longest request took ${Math.round(load.longestMs)} ms, not at most ${bars.longestRequestMs}`)
  bar(worst(afterKill) <= bars.afterKillMs, `an interrupted job was completed ${Math.round(worst(afterKill))} ms after the kill, not within ${bars.afterKillMs}`)
  bar(worst(afterReturn) <= bars.afterReturnMs, `the first job was completed ${Math.round(worst(afterReturn))} ms after Redis was back, not within ${bars.afterReturnMs}`)
  for (const { name, code, ms } of story.leaves) bar(code === 0 && ms <= bars.leaveMs, `${name} left after ${Math.round(ms)} ms with code ${code}, not within ${bars.leaveMs} with 0`)
  if (scenario.followsReadiness) {
    bar(load.refused.size + load.errors.size === 0, `requests were not answered 202: ${text(load.refused)} ${text(load.errors)}`)
    bar(spent === 0, `${spent} jobs spent an attempt on the restarts`)
    bar(more(started) === 0, `${more(started)} jobs were begun more than once`)
  }

  const rows: Array<[string, string]> = [
    ['submissions sent', format(load.sent)],
    ['acknowledged (202)', format(ids.length)],
    ['completed', format(completed)],
    ['lost', format(ids.length - completed)],
    ['begun more than once', format(more(started))],
    ['run to the end more than once', format(more(ended))],
    ['jobs that spent more than one attempt', format(spent)],
    ['refused with 503', text(load.refused)],
    ['other errors', text(load.errors)],
    ['run although not acknowledged', format(unasked)],
    ['longest request', `${Math.round(load.longestMs)} ms`]
  ]
  if (story.kills.length > 0) rows.push(['kills, jobs interrupted', `${story.kills.length}, ${afterKill.length}`], ['from the kill to their completion', spread(afterKill)])
  if (story.returns.length > 0) {
    rows.push(
      ['from the return of Redis to the first 202', spread(story.returns.map((at) => (load.acknowledged.filter((entry) => entry.at > at).reduce((first, entry) => Math.min(first, entry.at), Infinity)) - at))],
      ['from the return of Redis to the first completed job', spread(afterReturn)])
  }
  if (story.leaves.length > 0) rows.push(['from SIGTERM to the exit', spread(story.leaves.map(({ ms }) => ms))])
  for (const [role, places] of [['api', stage.apis], ['worker', stage.workers]] as const) rows.push([`readiness of each ${role}`, places.map((place) => transitions(place, since)).join(' · ')])
  return { rows, missed }
}

/** For every job that a kill interrupted, how long until it was completed; of one that was hit twice, since the second. */
function recoveriesAfterKill (entries: readonly Entry[], { kills }: Story): number[] {
  const last = new Map<string, number>()
  for (const { name, at } of kills) for (const id of interruptedBy(entries, name, at)) last.set(id, at)
  const times: number[] = []
  for (const [id, at] of last) {
    const again = entries.find((entry) => entry.id === id && entry.kind === 'completed' && entry.at > at)
    // Killed after the store had it as completed, before that was written down.
    if (again !== undefined) times.push(again.at - at)
  }
  return times
}

/** Of a job that was begun after it: one that was finished before has only been waiting to be stored. */
function recoveryAfterReturn (entries: readonly Entry[], at: number): number {
  const fresh = new Set<string>()
  for (const entry of entries) {
    if (entry.at <= at) continue
    if (entry.kind === 'started') fresh.add(entry.id)
    else if (entry.kind === 'completed' && fresh.has(entry.id)) return entry.at - at
  }
  return Infinity
}

function transitions ({ transitions, readiness }: Place, since: number): string {
  const during = transitions.filter(({ at }) => at >= since)
  return during.length === 0 ? `stays ${readiness}` : `${during.length} (${during.slice(0, 4).map(({ at, to }) => `${to} at ${((at - since) / 1_000).toFixed(1)} s`).join(', ')}${during.length > 4 ? ', …' : ''})`
}

function more (counts: ReadonlyMap<string, number>): number { return [...counts.values()].filter((count) => count > 1).length }

function worst (values: readonly number[]): number { return values.length === 0 ? 0 : Math.max(...values) }

function spread (values: readonly number[]): string {
  if (values.length === 0) return 'none'
  const sorted = [...values].sort((a, b) => a - b)
  return `median ${Math.round(sorted[Math.floor(sorted.length / 2)] ?? NaN)} ms, worst ${Math.round(worst(values))} ms`
}

function format (value: number): string { return value.toLocaleString('en-US') }

function text (counts: ReadonlyMap<string, number>): string {
  return counts.size === 0 ? '0' : [...counts].map(([key, count]) => `${format(count)} ${key}`).join(', ')
}
