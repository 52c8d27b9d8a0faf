/**
 * A saga as it was defined, read and checked: the list that `lib/saga` walks. `lib/saga/compile.ts` makes plans.
 */
import type { Backoff } from './backoff.ts'

/** A list for an `each` can have no more items. */
export const MAX_EACH_ITEMS = 1_000

/** What happens when a step has failed for good. `continue`: its result is `undefined`, and the next step follows. */
export type OnExhausted = 'compensate' | 'fail' | 'continue'

/** How often something is tried, with which pauses, and how long one try may take. */
export interface TryPlan {
  readonly attempts: number
  readonly backoff: Backoff
  /** 0: no limit. */
  readonly timeoutMs: number
}

/** Functions of the application, their types forgotten: the chain in `lib/saga/types.ts` has checked them. */
export type AnyStepFunction = (context: never) => unknown

interface NodePlan {
  /** Unique in the saga: the name, or `group/name` inside a group. It is the key of the step's facts and value. */
  readonly path: string
  /** Place in the list of all steps, from 1. Siblings of a group have places of their own. */
  readonly order: number
}

export interface StepPlan extends NodePlan, TryPlan {
  readonly kind: 'step'
  readonly name: string
  /** The path of its group. */
  readonly group: string | undefined
  readonly run: AnyStepFunction
  readonly when: AnyStepFunction | undefined
  readonly compensate: AnyStepFunction | undefined
  readonly onExhausted: OnExhausted
  /** For its compensation. */
  readonly undo: TryPlan
}

export interface GroupPlan extends NodePlan {
  readonly kind: 'parallel'
  readonly steps: readonly StepPlan[]
  readonly onError: 'abort' | 'await-all'
  /** How many siblings run at the same time. */
  readonly concurrency: number
}

/** A group whose siblings are known at run time: `path/0`, `path/1` … */
export interface EachPlan extends NodePlan {
  readonly kind: 'each'
  readonly list: AnyStepFunction
  /** What every sibling does; its path and order are those of this node. */
  readonly step: StepPlan
  readonly maxItems: number
  readonly onError: 'abort' | 'await-all'
  readonly concurrency: number
}

export interface SleepPlan extends NodePlan {
  readonly kind: 'sleep'
  /** Milliseconds, or a function of what is known so far. */
  readonly ms: number | AnyStepFunction
}

export interface SignalPlan extends NodePlan {
  readonly kind: 'signal'
  /** 0: it waits as long as the saga may last. */
  readonly timeoutMs: number
  readonly onExhausted: OnExhausted
  /**
   * Checks and converts what was sent; what it resolves with is stored. Rejects with `FAE_INVALID_SUBMISSION` for a
   * value that does not fit.
   */
  readonly validate: (value: unknown) => Promise<unknown>
}

export type SagaNode = StepPlan | GroupPlan | EachPlan | SleepPlan | SignalPlan

export interface SagaPlan {
  readonly name: string
  readonly version: number
  readonly nodes: readonly SagaNode[]
  /** Makes the result of the saga; `undefined`: it has none. */
  readonly returns: AnyStepFunction | undefined
  /** For the whole saga, from its first start; 0: no limit. */
  readonly timeoutMs: number
  /** How long a step may go on after its signal has aborted. */
  readonly graceMs: number
  /** Crashes of a worker on one checkpoint before the saga undoes its steps. */
  readonly maxCrashes: number
  /** The pause after a crash. */
  readonly crashBackoff: Backoff
  /** How long a worker hands a saga back whose stored steps do not fit its own definition. */
  readonly versionWaitMs: number
  /** Turns the stored steps of another version into those of this one. */
  readonly upgrade: ((stored: SagaHistory) => SagaHistory | undefined) | undefined
  readonly maxStepResultBytes: number
  readonly maxResultsBytes: number
}

/** What `upgrade` is given, and returns changed: the names in order, and the results of those that completed. */
export interface SagaHistory {
  readonly version: number
  readonly steps: ReadonlyArray<{ readonly name: string, readonly state: string }>
  readonly results: Readonly<Record<string, unknown>>
}

/** Every step of a plan that the application wrote, siblings of groups too; for labels, health and documents. */
export function plannedSteps ({ nodes }: SagaPlan): StepPlan[] {
  return nodes.flatMap((node) => {
    switch (node.kind) {
      case 'step': return [node]
      case 'parallel': return node.steps
      case 'each': return [node.step]
      default: return []
    }
  })
}

/** The paths of a plan's nodes in order; of a `parallel`, those of its steps. */
export function plannedPaths ({ nodes }: SagaPlan): string[] {
  return nodes.flatMap((node) => node.kind === 'parallel' ? node.steps.map(({ path }) => path) : [node.path])
}

/** What the plan has under a path; for an item of an `each`, the step of the `each`. */
export function plannedNode ({ nodes }: SagaPlan, path: string): SagaNode | undefined {
  for (const node of nodes) {
    if (node.path === path) return node
    if (!path.startsWith(`${node.path}/`)) continue
    if (node.kind === 'parallel') return node.steps.find((step) => step.path === path)
    if (node.kind === 'each') return node.step
  }
  return undefined
}

/** A signal of the plan by its name. */
export function plannedSignal (plan: SagaPlan, name: string): SignalPlan | undefined {
  return plan.nodes.find((node): node is SignalPlan => node.kind === 'signal' && node.path === name)
}
