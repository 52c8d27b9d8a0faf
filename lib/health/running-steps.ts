import type { Clock } from '../core/context.ts'
import { plannedSteps, type SagaPlan, type StepPlan } from '../jobs/saga-plan.ts'
import type { StepMiddleware, StepScope } from '../jobs/seams.ts'

/** A try of a step, or of a compensation, that runs for longer than it may. */
export interface OverdueStep {
  /** The path of the step; that of its group for an item of an `each`. */
  readonly step: string
  /** Its `timeoutMs` and the grace of the saga together. */
  readonly limitMs: number
}

interface Running extends OverdueStep {
  readonly saga: string
  /** Monotonic. */
  readonly startedAt: number
}

/**
 * Knows which tries of steps and of compensations run in this process. One that ignores its abort signal stays here
 * until it really ends, although the saga goes on without it. Steps without a time limit, and steps of handlers, are
 * left out.
 */
export class RunningSteps {
  readonly #clock: Pick<Clock, 'monotonic'>
  readonly #running = new Set<Running>()
  readonly #steps = new WeakMap<SagaPlan, ReadonlyMap<string, StepPlan>>()

  constructor (clock: Pick<Clock, 'monotonic'>) {
    this.#clock = clock
  }

  /** To be put around every try. */
  readonly middleware: StepMiddleware = (scope, next) => {
    const { saga } = scope.attempt.definition
    const limits = saga === undefined ? undefined : this.#limitsOf(saga, scope)
    if (limits === undefined || saga === undefined) return next()
    const running: Running = { ...limits, saga: saga.name, startedAt: this.#clock.monotonic() }
    this.#running.add(running)
    const ended = (): void => { this.#running.delete(running) }
    const result = next()
    result.then(ended, ended)
    return result
  }

  /** The tries of one saga that run for longer than they may, the oldest first. */
  overdue (saga: string): OverdueStep[] {
    const now = this.#clock.monotonic()
    return [...this.#running].filter((running) => running.saga === saga && now - running.startedAt > running.limitMs)
  }

  #limitsOf (plan: SagaPlan, { kind, step: path }: StepScope): OverdueStep | undefined {
    if (kind !== 'step' && kind !== 'undo') return undefined
    const steps = this.#stepsOf(plan)
    // An item of an `each` has a number behind the path of its step.
    const step = steps.get(path) ?? steps.get(path.slice(0, path.lastIndexOf('/')))
    if (step === undefined) return undefined
    const { timeoutMs } = kind === 'undo' ? step.undo : step
    return timeoutMs > 0 ? { step: step.path, limitMs: timeoutMs + plan.graceMs } : undefined
  }

  #stepsOf (plan: SagaPlan): ReadonlyMap<string, StepPlan> {
    let steps = this.#steps.get(plan)
    if (steps === undefined) this.#steps.set(plan, steps = new Map(plannedSteps(plan).map((step) => [step.path, step])))
    return steps
  }
}
