/** An attempt whose job has a runner of its own, such as a saga. */
import type { JobRuntime } from '../events/runtime.ts'
import type { JobContext, JobDefinition } from '../jobs/definition.ts'
import type { AttemptScope, JobRunner, RunnerScope } from '../jobs/seams.ts'
import type { Claim, SettleVerdict, Settlement } from '../jobs/store.ts'
import { settleReturned } from './classify.ts'
import type { HandlerLimits, RunningHandler } from './running-handler.ts'

/** Beyond the grace of its steps, so that a runner can store how they ended. */
const SETTLE_MS = 1_000

export interface RunnerAttemptParts {
  readonly attempt: AttemptScope
  readonly handler: RunningHandler
  readonly runtime: JobRuntime
  readonly definition: JobDefinition
  readonly runner: JobRunner
}

/**
 * The part of an attempt that is there only for a job with a {@link JobRunner}: requests to cancel go to the runner
 * instead of the handler's signal, and the settlement is the one that the runner decides.
 */
export class RunnerAttempt implements RunnerScope {
  readonly #handler: RunningHandler
  readonly #runtime: JobRuntime
  readonly #runner: JobRunner
  readonly #definition: JobDefinition
  #job: JobContext | undefined
  #listeners: Array<() => void> = []
  readonly attempt: AttemptScope
  /** A saga has its deadline itself. */
  readonly limits: HandlerLimits
  cancelRequested: boolean
  /** What the runner has decided. `undefined`: it was abandoned, or never called. */
  settlement: Settlement | undefined

  constructor ({ attempt, handler, runtime, definition, runner }: RunnerAttemptParts) {
    this.attempt = attempt
    this.#handler = handler
    this.#runtime = runtime
    this.#runner = runner
    this.#definition = definition
    this.limits = { timeoutMs: 0, graceMs: definition.graceMs + SETTLE_MS }
    this.cancelRequested = attempt.claim.job.cancelRequested
  }

  get claim (): Claim { return this.attempt.claim }
  get signal (): AbortSignal { return this.#handler.readSignal() }

  get job (): JobContext {
    if (this.#job === undefined) throw new Error('the attempt has no job yet: its runner was not called')
    return this.#job
  }

  get abortReason (): RunnerScope['abortReason'] {
    const { abortReason } = this.#handler
    return abortReason === 'lease-lost' || abortReason === 'shutdown' ? abortReason : undefined
  }

  onSettled (listener: (verdict: SettleVerdict, settlement: Settlement) => void): void {
    this.attempt.onSettled(listener)
  }

  onCancel (listener: () => void): void { this.#listeners.push(listener) }

  settle (value: unknown): Settlement { return settleReturned(value, this.#definition, this.#runtime.redaction.text) }

  /** The attempt before this one stalled. @returns the settlement, unless the job is to be run now */
  afterStall (): Promise<Settlement | undefined> { return this.#runner.afterStall(this.attempt) }

  /** Somebody has asked to cancel the job. */
  cancel (): void {
    if (this.cancelRequested) return
    this.cancelRequested = true
    for (const listener of this.#listeners) listener()
  }

  /** @returns nothing that a middleware of the application could change */
  async run (job: JobContext): Promise<undefined> {
    this.#job = job
    this.settlement = await this.#runner.run(this)
  }
}
