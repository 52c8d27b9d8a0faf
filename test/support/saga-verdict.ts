/** What must hold after a saga was disturbed, read from what its processes wrote down and from the stored job. */
import type { JobRecord } from '../../lib/jobs/job.ts'
import { readHead } from '../../lib/jobs/saga-facts.ts'
import { STEPS, UNDONE } from '../faults/fixtures/crash-saga.ts'
import type { Fault } from '../faults/fixtures/points.ts'
import type { Entry } from '../faults/fixtures/witness.ts'

/** How a run goes: `fails` in its last step, or is cancelled while it waits for the signal. */
export type Scenario = 'completes' | 'fails' | 'cancelled'

export interface Ended {
  readonly scenario: Scenario
  /** `undefined`: nothing was to happen to it. */
  readonly fault: Fault | undefined
  readonly entries: readonly Entry[]
  readonly record: JobRecord | undefined
  readonly result: string | undefined
  /** The updates that said that the job is over. */
  readonly ends: readonly string[]
}

const END_STATES = { completes: 'completed', fails: 'failed', cancelled: 'cancelled' } as const
/** The steps that run when nothing disturbs it. */
const RUN = { completes: STEPS, fails: STEPS, cancelled: STEPS.slice(0, 4) } as const

/** @returns everything that is wrong, in words */
export function judge (ended: Ended): string[] {
  const { scenario, fault, entries, record } = ended
  const problems: string[] = []
  const must = (holds: boolean, what: string): void => { if (!holds) problems.push(what) }
  const faultAt = entries.findIndex(({ kind }) => kind === 'fault')
  must((faultAt >= 0) === (fault !== undefined), `the point was ${faultAt >= 0 ? '' : 'not '}reached`)

  judgeEnd(ended, must)
  for (const what of ['run', 'undo'] as const) {
    for (const step of begunIn(entries, what)) judgeTries(what, step, ended, must)
  }
  const ran = begunIn(entries, 'run')
  must(sameSet(ran, RUN[scenario]), `these steps ran: ${ran.join(', ')}`)
  if (scenario === 'completes') must(begunIn(entries, 'undo').length === 0, 'something was undone')
  else judgeUndos(ended, must)
  if (fault === 'SIGTERM' || fault === 'ask' || fault === undefined) {
    must(record?.attempts === 1, `${String(record?.attempts)} attempts were spent`)
    must(!entries.some((entry) => entry.kind === 'event' && entry.event === 'job.recovered'), 'it was found stalled')
  }
  return problems
}

const ENDS: ReadonlySet<string> = new Set(['job.completed', 'job.failed', 'job.cancelled'])

type What = 'run' | 'undo'
type Must = (holds: boolean, what: string) => void

function judgeEnd ({ scenario, record, result, ends, entries, fault }: Ended, must: Must): void {
  const state = END_STATES[scenario]
  must(record?.state === state, `it is ${String(record?.state)}, with ${JSON.stringify(record?.error)}`)
  const events = entries.flatMap((entry) => entry.kind === 'event' && ENDS.has(entry.event) ? [entry.event] : [])
  // A process that dies right after the end is stored emits no event, and may not publish the change. What is published
  // while the connection comes back is not heard.
  const silent = fault === 'SIGKILL' && diesAfterEnd(entries)
  const unheard = (silent || fault === 'ask') && ends.length === 0
  must((ends.length === 1 && ends[0] === state) || unheard, `published ends: ${ends.join(', ')}`)
  must(events.length === (silent ? 0 : 1), `these ends were emitted: ${events.join(', ')}`)
  const phase = readHead(record?.facts)?.p
  must(phase === (scenario === 'completes' ? undefined : 'compensated'), `its phase is ${String(phase)}`)
  const published = JSON.stringify({ published: `${String(record?.id)}/publish/0` })
  must(result === (scenario === 'completes' ? published : undefined), `its result is ${String(result)}`)
}

/** The fault of this run comes when its end is stored already. */
export function diesAfterEnd (entries: readonly Entry[]): boolean {
  return entries.some((entry) => entry.kind === 'fault' && /^after it is settled as (?!suspend)/.test(entry.point))
}

/** A step that is stored as completed or undone is not begun again; one that was interrupted once is begun twice. */
function judgeTries (what: What, step: string, { entries, record, fault }: Ended, must: Must): void {
  const done = what === 'run' ? 'c' : 'z'
  const begins = placesOf(entries, 'begins', what, step)
  const storedAt = entries.findIndex((entry) => entry.kind === 'stored' && entry.steps[step] === done)
  must(storedAt === -1 || Math.max(...begins) < storedAt, `the ${what} of ${step} began again after it was stored`)
  const repeats = fault !== undefined && fault !== 'ask' && interrupted(what, step, entries) ? 2 : 1
  must(begins.length <= repeats, `the ${what} of ${step} began ${begins.length} times, not ${repeats}`)
  const key = `${String(record?.id)}/${step}/0${what === 'undo' ? '/undo' : ''}`
  const keys = begins.map((at) => entries[at]).map((entry) => entry?.kind === 'begins' ? entry.key : '')
  must(keys.every((one) => one === key), `the ${what} of ${step} had the keys ${keys.join(', ')}`)
}

/** The disturbed process had begun it, and has not stored how it ended. */
export function interrupted (what: What, step: string, entries: readonly Entry[]): boolean {
  const deeds = entries.filter(({ by }) => by === 'victim')
  return placesOf(deeds, 'begins', what, step).length > 0 && !over(what, step, deeds)
}

function over (what: What, step: string, entries: readonly Entry[]): boolean {
  const letters = what === 'run' ? 'cf' : 'zx'
  return entries.some((entry) => entry.kind === 'stored' && letters.includes(entry.steps[step] ?? '-'))
}

/** The disturbed process has stored that it runs, and not how it ended: it may have had an effect. */
function mayHaveBegun (step: string, entries: readonly Entry[]): boolean {
  const deeds = entries.filter(({ by }) => by === 'victim')
  return deeds.some((entry) => entry.kind === 'stored' && entry.steps[step] === 'r') && !over('run', step, deeds)
}

function judgeUndos ({ entries: all, fault }: Ended, must: Must): void {
  const frozenAt = fault === 'SIGSTOP' ? all.findIndex(({ kind }) => kind === 'fault') : all.length
  // What a step of a zombie does that was under way, nobody can undo.
  const entries = all.filter((entry, at) => at < frozenAt || entry.by !== 'victim')
  const began = begunIn(entries, 'undo')
  const unknown = mayHaveBegun('notify', entries) ? ['notify'] : []
  const expected = [...unknown, ...UNDONE.filter((step) => placesOf(entries, 'effect', 'run', step).length > 0)]
  // In reverse order of their start, and one after the other.
  must(began.join() === expected.join(), `these were undone: ${began.join(', ')}, and not: ${expected.join(', ')}`)
  for (const step of UNDONE) {
    const effects = placesOf(entries, 'effect', 'run', step)
    const undos = placesOf(entries, 'effect', 'undo', step)
    must(effects.length === 0 || Math.max(...undos) > Math.max(...effects), `${step} had an effect that was not undone`)
    const outcomes = entries.flatMap((entry) => entry.kind === 'outcome' && entry.step === step ? [entry.outcome] : [])
    must(outcomes.every((outcome) => outcome === 'completed'), `the undo of ${step} was given ${outcomes.join(', ')}`)
  }
}

/** Steps in the order of their first try. */
function begunIn (entries: readonly Entry[], what: What): string[] {
  return [...new Set(entries.flatMap((entry) => entry.kind === 'begins' && entry.what === what ? [entry.step] : []))]
}

export function placesOf (entries: readonly Entry[], kind: 'begins' | 'effect', what: What, step: string): number[] {
  const is = (entry: Entry): boolean => entry.kind === kind && entry.what === what && entry.step === step
  return entries.flatMap((entry, at) => is(entry) ? [at] : [])
}

function sameSet (some: readonly string[], others: readonly string[]): boolean {
  return [...some].sort().join() === [...others].sort().join()
}

/** @returns what a process has done, that was frozen past its lease, after another one had finished its saga */
export function deedsOfZombie (entries: readonly Entry[], finishedAt: number): string[] {
  const frozenAt = entries.findIndex(({ kind }) => kind === 'fault')
  const begun = entries.slice(0, frozenAt)
  const underWay = (step: string): boolean => begun.some((entry) => entry.kind === 'begins' && entry.step === step)
  return entries.slice(finishedAt).filter((entry) => {
    if (entry.by !== 'victim' || entry.kind === 'point') return false
    if (entry.kind === 'event') return entry.event !== 'job.lease_lost'
    // What a step does that was under way, nobody can prevent.
    return !(entry.kind === 'effect' && underWay(entry.step))
  }).map((entry) => JSON.stringify(entry))
}
