/** What readers see of a job's steps. Made of the stored facts alone: a process need not know the definition. */
import type { StoredError } from './job.ts'
import { HEAD, NAMES, readHead, readNames, readStep, STEP_STATES, type SagaPhase, type StepFacts, type StepState } from './saga-facts.ts'
import type { SagaPlan } from './saga-plan.ts'
import type { StepsFacts } from './job.ts'

/** One step, as readers see it. Its result is never part of it. */
export interface StepView {
  readonly name: string
  /** The group that it is in. */
  readonly group: string | undefined
  readonly state: StepState
  /** Tries that have ended, and how many are allowed. */
  readonly attempt: number
  readonly attempts: number
  /** Milliseconds since the epoch. */
  readonly startedAt: number | undefined
  /** Of its newest try. */
  readonly durationMs: number | undefined
  readonly error: StoredError | undefined
  /** Until when it waits: asleep, for a signal, or for its next try. */
  readonly waitsUntil: number | undefined
}

export interface SagaView {
  readonly phase: SagaPhase
  readonly steps: readonly StepView[]
}

/**
 * The phase and the steps of a job, pending ones included.
 *
 * @param plan the definition, for a saga that no worker has begun yet
 * @param ended whether the job is over
 * @returns `undefined` for a job without steps
 */
export function sagaView (facts: StepsFacts | undefined, plan: SagaPlan | undefined, ended: boolean): SagaView | undefined {
  if (facts === undefined && plan === undefined) return undefined
  const names = readNames(facts)
  const paths = names === undefined ? plannedPaths(facts, plan) : names.n.flatMap((path) => [path, ...itemsOf(path, names.g?.[path])])
  return { phase: phaseOf(facts), steps: paths.map((path) => stepView(path, readStep(facts, path), ended)) }
}

/** Also of a job in a list, of which only the head is read. */
export function phaseOf (facts: StepsFacts | undefined): SagaPhase { return readHead(facts)?.p ?? 'forward' }

/** Steps of a handler have no list: they are known when they are done. */
function plannedPaths (facts: StepsFacts | undefined, plan: SagaPlan | undefined): string[] {
  if (plan === undefined) return Object.keys(facts ?? {}).filter((key) => key !== HEAD && key !== NAMES)
  return plan.nodes.flatMap((node) => node.kind === 'parallel' ? node.steps.map(({ path }) => path) : [node.path])
}

function itemsOf (path: string, count = 0): string[] {
  return Array.from({ length: count }, (_, index) => `${path}/${index}`)
}

function stepView (path: string, facts: StepFacts | undefined, ended: boolean): StepView {
  const slash = path.indexOf('/')
  const stopped = ended && facts !== undefined && 'rbw'.includes(facts.s)
  const begun = facts !== undefined && facts.s !== 'p'
  return {
    name: slash < 0 ? path : path.slice(slash + 1),
    group: slash < 0 ? undefined : path.slice(0, slash),
    state: stopped ? 'stopped' : STEP_STATES[facts?.s ?? 'p'],
    attempt: facts?.a ?? 0,
    attempts: facts?.m ?? 0,
    startedAt: begun ? facts.t : undefined,
    durationMs: facts?.d,
    error: facts?.e,
    waitsUntil: stopped ? undefined : facts?.u
  }
}
