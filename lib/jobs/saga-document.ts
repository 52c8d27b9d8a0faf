/** What readers see of a job's steps. Made of the stored facts; of the definition only what no fact says yet. */
import type { StepsFacts, StoredError } from './job.ts'
import {
  HEAD, NAMES, readHead, readNames, readStep, STEP_STATES, type SagaNames, type SagaPhase, type StepFacts,
  type StepState
} from './saga-facts.ts'
import { MAX_EACH_ITEMS, plannedPaths, plannedSteps, type SagaPlan } from './saga-plan.ts'

/** One step, as readers see it. Its result is never part of it. */
export interface StepView {
  readonly name: string
  /** The group that it is in. */
  readonly group: string | undefined
  readonly state: StepState
  /** Tries that have ended. */
  readonly attempt: number
  /** Tries that are allowed. `undefined`: it has not begun, and this process does not know the definition. */
  readonly attempts: number | undefined
  /** Milliseconds since the epoch. */
  readonly startedAt: number | undefined
  /** Of its newest try; once it is being undone, of the newest try of its undo. Milliseconds. */
  readonly durationMs: number | undefined
  readonly error: StoredError | undefined
  /** Until when it waits: asleep, for a signal, or for its next try. */
  readonly waitsUntil: number | undefined
}

export interface SagaView {
  /** `undefined`: the steps are those of an ordinary handler, which are never undone. */
  readonly phase: SagaPhase | undefined
  readonly steps: readonly StepView[]
}

/**
 * The phase and the steps of a job, pending ones included.
 *
 * @param facts all facts, and not only the head that a list has
 * @param plan the definition, for a saga that no worker has begun yet
 * @param ended whether the job is over
 * @returns `undefined` for a job without steps
 */
export function sagaView (
  facts: StepsFacts | undefined, plan: SagaPlan | undefined, ended: boolean
): SagaView | undefined {
  if (facts === undefined && plan === undefined) return undefined
  const names = readNames(facts)
  const listed = names === undefined ? plan && plannedPaths(plan) : storedPaths(names)
  if (listed === undefined) {
    const steps = handlerSteps(facts ?? {}, ended)
    // A handler without steps has none, rather than an empty list, also when a redrive has left empty facts behind.
    return steps.length === 0 ? undefined : { phase: undefined, steps }
  }
  const attempts = plannedAttempts(plan)
  return { phase: phaseOf(facts), steps: listed.map((path) => stepView(path, readStep(facts, path), ended, attempts)) }
}

/** Also of a job in a list, of which only the head is read. */
export function phaseOf (facts: StepsFacts | undefined): SagaPhase { return readHead(facts)?.p ?? 'forward' }

/** The signals that a saga waits for, or will wait for, by name. */
export function openSignals (facts: StepsFacts | undefined, plan: SagaPlan): string[] {
  if (phaseOf(facts) !== 'forward') return []
  const signals = plan.nodes.filter(({ kind, path }) => {
    const state = readStep(facts, path)?.s ?? 'p'
    return kind === 'signal' && (state === 'p' || state === 'w')
  })
  return signals.map(({ path }) => path)
}

/** Steps of a handler have no list: they are known when they are done. In the order in which they began. */
function handlerSteps (facts: StepsFacts, ended: boolean): StepView[] {
  const paths = Object.keys(facts).filter((key) => key !== HEAD && key !== NAMES)
  const steps = paths.map((path) => stepView(path, readStep(facts, path), ended))
  const beganAt = ({ startedAt = Infinity }: StepView): number => startedAt
  return steps.sort((one, other) => beganAt(one) - beganAt(other) || (one.name < other.name ? -1 : 1))
}

function storedPaths ({ n: paths, g: groups }: SagaNames): string[] {
  return paths.flatMap((path) => {
    const count: unknown = groups?.[path]
    // A larger number is garbage.
    const items = typeof count === 'number' && count > 0 ? Math.min(count, MAX_EACH_ITEMS) : 0
    return [path, ...Array.from({ length: items }, (_, index) => `${path}/${index}`)]
  })
}

type AttemptsOf = (path: string) => number | undefined

/** How many tries a step may have; a sleep and a signal have one. */
function plannedAttempts (plan: SagaPlan | undefined): AttemptsOf | undefined {
  if (plan === undefined) return undefined
  const attempts = new Map(plan.nodes.map(({ path }) => [path, 1]))
  for (const { path, attempts: allowed, group } of plannedSteps(plan)) {
    // The node of an `each` only reads the list; its items have the tries.
    attempts.set(group === path ? `${path}/` : path, allowed)
  }
  return (path) => attempts.get(path) ?? attempts.get(path.slice(0, path.lastIndexOf('/') + 1))
}

function stepView (path: string, facts: StepFacts | undefined, ended: boolean, attemptsOf?: AttemptsOf): StepView {
  const slash = path.indexOf('/')
  const stopped = ended && facts !== undefined && 'rbw'.includes(facts.s)
  const begun = facts !== undefined && facts.s !== 'p'
  return {
    name: slash < 0 ? path : path.slice(slash + 1),
    group: slash < 0 ? undefined : path.slice(0, slash),
    state: stopped ? 'stopped' : STEP_STATES[facts?.s ?? 'p'],
    attempt: facts?.a ?? 0,
    attempts: facts?.m ?? attemptsOf?.(path),
    startedAt: begun ? facts.t : undefined,
    durationMs: facts?.d,
    error: facts?.e,
    waitsUntil: stopped ? undefined : facts?.u
  }
}
