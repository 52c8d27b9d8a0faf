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
const RUN: Readonly<Record<Scenario, readonly string[]>> = { completes: STEPS, fails: STEPS, cancelled: STEPS.slice(0, 4) }

/** @returns everything that is wrong, in words */
export function judge (ended: Ended): string[] {
  const { scenario, fault, entries, record } = ended
  const problems: string[] = []
  const must = (holds: boolean, what: string): void => { if (!holds) problems.push(what) }
  const faultAt = entries.findIndex(({ kind }) => kind === 'fault')
  must(fault === undefined ? faultAt === -1 : faultAt >= 0, fault === undefined ? 'there was a fault' : 'the point was not reached')

  judgeEnd(ended, must)
  for (const what of ['run', 'undo'] as const) {
    for (const step of new Set(entries.flatMap((entry) => entry.kind === 'begins' && entry.what === what ? [entry.step] : []))) {
      judgeTries(what, step, faultAt, ended, must)
    }
  }
  const ran = stepsOf(entries, 'begins', 'run')
  must(sameSet(ran, RUN[scenario]), `these steps ran: ${ran.join(', ')}`)
  if (scenario === 'completes') must(!entries.some((entry) => entry.kind === 'begins' && entry.what === 'undo'), 'something was undone')
  else judgeUndos(faultAt, ended, must)
  if (fault === 'SIGTERM' || fault === 'ask' || fault === undefined) {
    must(record?.attempts === 1, `${String(record?.attempts)} attempts were spent`)
    must(!entries.some((entry) => entry.kind === 'event' && entry.event === 'job.recovered'), 'it was found stalled')
  }
  return problems
}

type Must = (holds: boolean, what: string) => void

function judgeEnd ({ scenario, record, result, ends, entries, fault }: Ended, must: Must): void {
  const state = END_STATES[scenario]
  must(record?.state === state, `it is ${String(record?.state)}, with ${JSON.stringify(record?.error)}`)
  must(ends.length === 1 && ends[0] === state, `these ends were published: ${ends.join(', ')}`)
  const events = entries.flatMap((entry) => entry.kind === 'event' && /^job\.(completed|failed|cancelled)$/.test(entry.event) ? [entry.event] : [])
  // A process that dies between the store's answer and the event emits none.
  const diedAfter = fault === 'SIGKILL' && entries.some((entry) => entry.kind === 'fault' && entry.point === `after it is settled as ${state}`)
  must(events.length === (diedAfter ? 0 : 1), `these ends were emitted: ${events.join(', ')}`)
  const phase = readHead(record?.facts)?.p
  must(phase === (scenario === 'completes' ? undefined : 'compensated'), `its phase is ${String(phase)}`)
  if (scenario === 'completes') must(result === JSON.stringify({ published: `${String(record?.id)}/publish/0` }), `its result is ${String(result)}`)
}

/** A step that is stored as completed or undone is not begun again; one that was interrupted once is begun twice. */
function judgeTries (what: 'run' | 'undo', step: string, faultAt: number, { entries, record, fault }: Ended, must: Must): void {
  const done = what === 'run' ? 'c' : 'z'
  const begins = entries.flatMap((entry, at) => entry.kind === 'begins' && entry.what === what && entry.step === step ? [{ at, key: entry.key }] : [])
  const storedAt = entries.findIndex((entry) => entry.kind === 'stored' && entry.steps[step] === done)
  must(storedAt === -1 || begins.every(({ at }) => at < storedAt), `the ${what} of ${step} began again after it was stored`)
  const repeats = fault !== undefined && fault !== 'ask' && interrupted(what, step, faultAt, entries) ? 2 : 1
  must(begins.length <= repeats, `the ${what} of ${step} began ${begins.length} times, not ${repeats}`)
  const key = `${String(record?.id)}/${step}/0${what === 'undo' ? '/undo' : ''}`
  must(begins.every((one) => one.key === key), `the ${what} of ${step} had the keys ${begins.map((one) => one.key).join(', ')}`)
}

/** It had begun before the fault, and how it ended was not stored by then. */
function interrupted (what: 'run' | 'undo', step: string, faultAt: number, entries: readonly Entry[]): boolean {
  const before = entries.slice(0, Math.max(0, faultAt))
  const over = what === 'run' ? /[cf]/ : /[zx]/
  return before.some((entry) => entry.kind === 'begins' && entry.what === what && entry.step === step) &&
    !before.some((entry) => entry.kind === 'stored' && over.test(entry.steps[step] ?? ''))
}

function judgeUndos (faultAt: number, { entries }: Ended, must: Must): void {
  const began = stepsOf(entries, 'begins', 'undo')
  const failed = interrupted('run', 'notify', faultAt, entries)
  const expected = [...(failed ? ['notify'] : []), ...UNDONE.filter((step) => effectsOf(entries, 'run', step).length > 0)]
  // In reverse order of their start, and one after the other.
  must(began.join() === expected.join(), `these were undone: ${began.join(', ')}, and not: ${expected.join(', ')}`)
  for (const step of UNDONE) {
    const effects = effectsOf(entries, 'run', step)
    const undos = effectsOf(entries, 'undo', step)
    must(effects.length === 0 || Math.max(...undos) > Math.max(...effects), `${step} had an effect that was not undone`)
    const outcomes = entries.flatMap((entry) => entry.kind === 'outcome' && entry.step === step ? [entry.outcome] : [])
    must(outcomes.every((outcome) => outcome === 'completed'), `the undo of ${step} was given ${outcomes.join(', ')}`)
  }
}

/** Steps in the order of their first try. */
function stepsOf (entries: readonly Entry[], kind: 'begins' | 'effect', what: 'run' | 'undo'): string[] {
  return [...new Set(entries.flatMap((entry) => entry.kind === kind && entry.what === what ? [entry.step] : []))]
}

function effectsOf (entries: readonly Entry[], what: 'run' | 'undo', step: string): number[] {
  return entries.flatMap((entry, at) => entry.kind === 'effect' && entry.what === what && entry.step === step ? [at] : [])
}

function sameSet (some: readonly string[], others: readonly string[]): boolean {
  return [...some].sort().join() === [...others].sort().join()
}

/** @returns what a process has done, that was frozen past its lease, after another one had finished its saga */
export function deedsOfZombie (entries: readonly Entry[], finishedAt: number): string[] {
  const frozen = entries.find(({ kind }) => kind === 'fault')
  const within = /in the (?:run|undo) of (\S+?),/.exec(frozen?.kind === 'fault' ? frozen.point : '')?.[1]
  return entries.slice(finishedAt).filter((entry) => {
    if (entry.by !== 'victim' || entry.kind === 'point') return false
    if (entry.kind === 'event') return entry.event !== 'job.lease_lost'
    // What the step does in which it was frozen, nobody can prevent.
    return !(entry.kind === 'effect' && entry.step === within)
  }).map((entry) => JSON.stringify(entry))
}
