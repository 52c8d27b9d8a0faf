/** What happens when the stored steps of a saga were written by another version of its definition. */
import { AsyncEndpointsError } from '../core/errors.ts'
import { SHOWN_STEP_STATES, STEP_STATES, type SagaNames } from '../jobs/saga-facts.ts'
import { plannedNode, plannedPaths, type SagaHistory, type SagaPlan } from '../jobs/saga-plan.ts'
import { toStoredError } from '../jobs/stored-error.ts'
import { isDone, parseValue } from './journal.ts'
import { SagaFailure, Suspended, type Run } from './run.ts'
import { encodeResult, type EncodedResult } from './step-result.ts'

/** How soon a worker with another definition may look at the saga, while this one hands it back. */
const HAND_BACK_MS = 5_000

export function namesOf (plan: SagaPlan, groups?: SagaNames['g']): SagaNames {
  const names = { v: plan.version, n: plannedPaths(plan) }
  return groups === undefined ? names : { ...names, g: groups }
}

/**
 * Compares the stored steps with the definition of this process. If what was begun is the beginning of the new list,
 * the saga goes on with the new one. Otherwise its own `upgrade` may say how; or workers of the older definition have
 * `versionWaitMs` to go on with it; and then the saga fails, and is undone by name.
 *
 * @throws {Suspended} to hand the saga back; {SagaFailure} with `FAE_SAGA_CHANGED`
 */
export function followDefinition (run: Run): void {
  const { journal, plan, events } = run
  const { names } = journal
  if (names === undefined) return
  const paths = plannedPaths(plan)
  if (names.v === plan.version && sameTexts(names.n, paths)) {
    // Another worker had handed it back to this one.
    if (journal.head.v !== undefined) journal.setHead({ v: undefined })
    return
  }
  const became = `version ${names.v} became ${plan.version}`
  if (begunIn(run, names).some((begun) => isBeginning(begun, paths))) {
    adopt(run, `${became}: it goes on with the new steps`)
    return
  }
  if (upgraded(run, names)) {
    adopt(run, `${became}: upgrade() has converted its steps`)
    return
  }
  const since = journal.head.v ?? run.now()
  if (run.now() - since < plan.versionWaitMs) {
    if (journal.head.v === undefined) {
      journal.setHead({ v: since })
      events.definitionChanged(`${became}, and the steps do not fit: it waits for a worker with the older definition`)
    }
    throw new Suspended('', Math.min(run.now() + HAND_BACK_MS, since + plan.versionWaitMs), 'version')
  }
  const message = `The steps of version ${names.v} that were begun are not the beginning of those of version ` +
    `${plan.version} (${firstMisfit(begunIn(run, names), paths)}), and no worker with the older definition has taken the saga within ${plan.versionWaitMs} ms`
  events.definitionChanged(`${became}, and the steps do not fit: it fails, and its steps are undone by name`)
  throw new SagaFailure('', { code: 'FAE_SAGA_CHANGED', message })
}

function adopt (run: Run, reason: string): void {
  const { journal, plan, events } = run
  const names = namesOf(plan, journal.names?.g)
  journal.setNames(names)
  journal.setHead({
    v: undefined, t: names.n.length + Object.values(names.g ?? {}).reduce((sum, count) => sum + count, 0)
  })
  events.definitionChanged(reason)
}

/**
 * Paths that were begun, in the stored order; items of an `each` count as their group. Of a group, a sibling may be
 * pending that stands before one that was begun: with these, and without.
 */
function begunIn ({ journal }: Run, { n }: SagaNames): string[][] {
  const begun = n.filter((path) => {
    const facts = journal.step(path)
    return facts !== undefined && (facts.s !== 'p' || facts.i !== undefined)
  })
  return [begun, n.slice(0, n.indexOf(begun.at(-1) ?? '') + 1)]
}

function isBeginning (begun: readonly string[], paths: readonly string[]): boolean {
  return begun.every((path, index) => paths[index] === path)
}

/** For a person who compares two deploys: the first step that stands elsewhere. */
function firstMisfit ([begun = []]: readonly string[][], paths: readonly string[]): string {
  const at = begun.findIndex((path, index) => paths[index] !== path)
  const here = paths[at] === undefined ? 'does not exist' : `is "${paths[at]}"`
  return `step ${at + 1} was "${begun[at] ?? ''}" and ${here} here`
}

function sameTexts (some: readonly string[], others: readonly string[]): boolean {
  return some.length === others.length && some.every((text, index) => text === others[index])
}

/**
 * Has the application convert the stored steps. What it returns says which steps of the new definition are done, and
 * with which results.
 *
 * @returns whether it did
 * @throws {SagaFailure} when it throws, or returns something that does not fit the definition
 */
function upgraded (run: Run, names: SagaNames): boolean {
  const { journal, plan, runtime: { redaction } } = run
  if (plan.upgrade === undefined) return false
  const results: Record<string, unknown> = {}
  for (const [path, text] of journal.values()) results[path] = parseValue(path, text)
  const steps = names.n.map((name) => ({ name, state: STEP_STATES[journal.step(name)?.s ?? 'p'] }))
  try {
    const history = plan.upgrade({ version: names.v, steps, results })
    if (history === undefined) return false
    apply(run, newlyDone(run, checked(history, plannedPaths(plan))))
    return true
  } catch (thrown) {
    const { message } = toStoredError(thrown, redaction.text)
    throw new SagaFailure('', {
      code: 'FAE_SAGA_CHANGED', message: `upgrade() of the saga failed: ${message}`.slice(0, 1_000)
    })
  }
}

function checked (history: SagaHistory, paths: readonly string[]): SagaHistory {
  const unknown = history.steps.filter(({ name }) => !paths.includes(name)).map(({ name }) => name)
  if (unknown.length > 0) {
    throw new AsyncEndpointsError(
      'FAE_SAGA_CHANGED', `it returned steps that the definition does not have: ${unknown.join(', ')}`
    )
  }
  const odd = history.steps.find(({ state }) => !(SHOWN_STEP_STATES as readonly string[]).includes(state))
  if (odd !== undefined) {
    throw new AsyncEndpointsError(
      'FAE_SAGA_CHANGED', `it returned step "${odd.name}" in a state that does not exist: ${String(odd.state)}`
    )
  }
  return history
}

/** A step that is done by what `upgrade` says. */
interface NewlyDone {
  readonly path: string
  readonly state: 'completed' | 'skipped'
  readonly result: EncodedResult | undefined
}

/**
 * The steps that were not done before, with their results. Everything that may throw is here: what is noted must not be
 * half of a conversion, because what it drops would never be undone.
 */
function newlyDone ({ journal, plan, runtime: { redaction } }: Run, { steps, results }: SagaHistory): NewlyDone[] {
  const found = new Map<string, NewlyDone>()
  let storedBytes = journal.valueBytes
  for (const { name: path, state } of steps) {
    if ((state !== 'completed' && state !== 'skipped') || isDone(journal.step(path)) || found.has(path)) continue
    const limits = { maxBytes: plan.maxStepResultBytes, maxTotalBytes: plan.maxResultsBytes, storedBytes }
    const result = state === 'completed' ? encodeResult(path, results[path], limits, redaction.text) : undefined
    storedBytes += result?.bytes ?? 0
    found.set(path, { path, state, result })
  }
  return [...found.values()]
}

function apply (run: Run, done: readonly NewlyDone[]): void {
  const { journal, plan } = run
  // What the new definition does not have was converted, or is not wanted any more.
  for (const [path, { s, m }] of [...journal.steps()]) {
    if (s !== 'p' && plannedNode(plan, path) === undefined) journal.setStep(path, { s: 'p', a: 0, m, t: 0 })
  }
  for (const { path, state, result } of done) {
    if (result !== undefined) journal.setValue(path, result.text, result.bytes)
    const about = state === 'completed' ? { i: 0, y: result === undefined ? 2 as const : 1 as const } : undefined
    journal.setStep(path, { s: state === 'completed' ? 'c' : 's', a: 1, m: 1, t: run.now(), ...about })
  }
  renumber(run, plannedPaths(plan))
}

/**
 * Start numbers in the order of the new list, which their undo reverses: a step with a new name began when the old
 * one did.
 */
function renumber ({ journal }: Run, paths: readonly string[]): void {
  const placeOf = (path: string): number => paths.findIndex((own) => path === own || path.startsWith(`${own}/`))
  const begun = [...journal.steps()].flatMap(
    ([path, facts]) => facts.i === undefined ? [] : [{ path, facts, i: facts.i }]
  )
  begun.sort((one, other) => placeOf(one.path) - placeOf(other.path) || one.i - other.i)
  for (const [index, { path, facts }] of begun.entries()) journal.setStep(path, { ...facts, i: index + 1 })
  journal.setHead({ i: begun.length })
}
