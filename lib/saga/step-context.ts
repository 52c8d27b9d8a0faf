/** What a step, its condition and its compensation are given. */
import type { Logger } from '../core/context.ts'
import { AsyncEndpointsError } from '../core/errors.ts'
import type { JobRuntime } from '../events/runtime.ts'
import type { JobDefinition, JobSpanOptions } from '../jobs/definition.ts'
import type { UndoReason } from '../jobs/saga-facts.ts'
import type { ChildrenOfName, RunnerScope, StepScope } from '../jobs/seams.ts'
import type { ChildSubmitted, SubmitMeta } from '../jobs/submit.ts'

type Results = Readonly<Record<string, unknown>>
/** Makes the view on the results when it is first looked at. */
type ResultsMaker = () => Results

/** What is known of the try that a context is for. */
export interface TryFacts {
  readonly runtime: JobRuntime
  readonly scope: RunnerScope
  readonly step: StepScope
  readonly results: ResultsMaker
  readonly idempotencyKey: string
  /** Makes the signal on first use. */
  readonly signal: () => AbortSignal
}

/** For functions that only decide: `when`, the length of a sleep, the list of an `each`, `returns`. */
export class DecisionContext {
  readonly #scope: RunnerScope
  readonly #makeResults: ResultsMaker
  #results: Results | undefined

  constructor (scope: RunnerScope, results: ResultsMaker) {
    this.#scope = scope
    this.#makeResults = results
  }

  get results (): Results {
    this.#results ??= this.#makeResults()
    return this.#results
  }

  get id (): string { return this.#scope.job.id }
  get body (): unknown { return this.#scope.job.body }
  get params (): unknown { return this.#scope.job.params }
  get query (): unknown { return this.#scope.job.query }
  get headers (): unknown { return this.#scope.job.headers }
  get owner (): string | undefined { return this.#scope.job.owner }
  get correlationId (): string { return this.#scope.job.correlationId }
}

/** For one try of a step. A class with getters: parts that a step never touches are never made. */
export class TryContext extends DecisionContext {
  readonly #facts: TryFacts
  #log: Logger | undefined
  #children: Map<string, ChildrenOfName> | undefined

  constructor (facts: TryFacts) {
    super(facts.scope, facts.results)
    this.#facts = facts
  }

  /** Which try of the step this is, from 1. */
  get attempt (): number { return this.#facts.step.tryNumber }
  get maxAttempts (): number { return this.#facts.step.maxTries }
  get idempotencyKey (): string { return this.#facts.idempotencyKey }
  get signal (): AbortSignal { return this.#facts.signal() }

  get log (): Logger {
    const { step, scope } = this.#facts
    // The ids of the step's own span replace those of the attempt.
    this.#log ??= scope.job.log.child({
      step: step.step,
      step_attempt: step.tryNumber,
      ...(step.traceIds === undefined ? undefined : { span_id: step.traceIds.spanId })
    })
    return this.#log
  }

  // Getters of functions instead of methods: a step takes what it needs out of its object, `({ submit }) => …`.
  get span (): <R>(name: string, work: () => R | Promise<R>, options?: JobSpanOptions) => Promise<R> {
    const { step, scope } = this.#facts
    return async (name, work, options) => step.spanRunner === undefined
      ? await scope.job.span(name, work, options)
      : await step.spanRunner(name, work, options)
  }

  get submit (): (child: string | JobDefinition, body?: unknown, meta?: SubmitMeta) => Promise<ChildSubmitted> {
    return async (child, body, meta) => await this.#submit(child, body, meta)
  }

  get throwIfAborted (): () => void { return () => { this.signal.throwIfAborted() } }

  /** The idempotency key of a child is made of the step's, so that a step that runs again gets the same child. */
  async #submit (child: string | JobDefinition, body?: unknown, meta?: SubmitMeta): Promise<ChildSubmitted> {
    const { runtime: { submitChild }, scope: { job }, idempotencyKey } = this.#facts
    if (submitChild === undefined) {
      throw new AsyncEndpointsError(
        'FAE_CLOSED', 'Nothing can be submitted from here: the jobStore plugin is not registered'
      )
    }
    this.#children ??= new Map()
    const { owner, correlationId, trace } = job
    return await submitChild(
      { id: idempotencyKey, owner, correlationId, trace, children: this.#children }, child, body, meta
    )
  }
}

/** For a step of an `each`: with what it is for. */
export class ItemContext extends TryContext {
  readonly item: unknown
  readonly index: number

  constructor (facts: TryFacts, item: unknown, index: number) {
    super(facts)
    this.item = item
    this.index = index
  }
}

/**
 * How a step ended that is to be undone. `unknown`: it was aborted, timed out or crashed, and may have had an effect.
 */
export type StepOutcome = { readonly kind: 'completed', readonly result: unknown } | { readonly kind: 'unknown' }

export interface UndoFacts {
  /** The idempotency key of the step itself. */
  readonly stepKey: string
  readonly outcome: StepOutcome
  readonly reason: UndoReason
  /** Why the saga undoes its steps. */
  readonly error: { readonly code: string, readonly message: string } | undefined
}

/** For one try of a compensation. */
export class UndoContext extends TryContext {
  readonly stepKey: string
  readonly outcome: StepOutcome
  readonly reason: UndoFacts['reason']
  readonly error: UndoFacts['error']
  /** Of a step of an `each`. */
  readonly item: unknown
  readonly index: number | undefined

  constructor (facts: TryFacts, { stepKey, outcome, reason, error }: UndoFacts, item?: unknown, index?: number) {
    super(facts)
    this.stepKey = stepKey
    this.outcome = outcome
    this.reason = reason
    this.error = error
    this.item = item
    this.index = index
  }
}
