/** The events of one attempt of a saga. */
import type { EventMap } from '../events/catalogue.ts'
import type { JobRuntime } from '../events/runtime.ts'
import type { StoredError } from '../jobs/job.ts'
import type { SagaPhase, UndoReason } from '../jobs/saga-facts.ts'
import type { RunnerScope, StepScope } from '../jobs/seams.ts'
import { storeNow } from '../jobs/store-clock.ts'
import { eventIds } from '../jobs/trace-ids.ts'

type SagaEventName = Extract<keyof EventMap, `saga.${string}` | `step.${string}`>

/** Emits what happens to a saga and to its steps. The members that all these events share are added here. */
export class SagaEvents {
  readonly #runtime: JobRuntime
  readonly #scope: Pick<RunnerScope, 'attempt'>

  constructor (runtime: JobRuntime, scope: Pick<RunnerScope, 'attempt'>) {
    this.#runtime = runtime
    this.#scope = scope
  }

  #wants (name: SagaEventName): boolean { return this.#runtime.bus.wants(name) }

  /** Of a try that begins. */
  tryStarted (name: 'step.started' | 'step.compensating', scope: StepScope): void {
    if (this.#wants(name)) this.#runtime.bus.emit(name, { ...this.#about(scope), ...tryOf(scope) })
  }

  completed (scope: StepScope, durationMs: number, resultBytes: number | undefined): void {
    if (this.#wants('step.completed')) {
      this.#runtime.bus.emit('step.completed', { ...this.#about(scope), ...tryOf(scope), durationMs, resultBytes })
    }
  }

  compensated (scope: StepScope, durationMs: number): void {
    if (this.#wants('step.compensated')) {
      this.#runtime.bus.emit('step.compensated', { ...this.#about(scope), ...tryOf(scope), durationMs })
    }
  }

  tryFailed (
    name: 'step.failed' | 'step.compensation_failed', scope: StepScope, durationMs: number, error: StoredError,
    final: boolean
  ): void {
    this.#runtime.bus.emit(name, {
      ...this.#about(scope), ...tryOf(scope), durationMs, errorCode: error.code, errorMessage: error.message, final
    })
  }

  retryScheduled (scope: StepScope, delayMs: number, errorCode: string): void {
    this.#runtime.bus.emit('step.retry_scheduled', { ...this.#about(scope), ...tryOf(scope), delayMs, errorCode })
  }

  timedOut (scope: StepScope, timeoutMs: number): void {
    this.#runtime.bus.emit('step.timed_out', { ...this.#about(scope), ...tryOf(scope), timeoutMs })
  }

  abandoned (scope: StepScope, reason: string, durationMs: number, graceMs: number): void {
    this.#runtime.bus.emit('step.abandoned', { ...this.#about(scope), ...tryOf(scope), reason, durationMs, graceMs })
  }

  skipped (step: string, order: number): void {
    if (this.#wants('step.skipped')) this.#runtime.bus.emit('step.skipped', { ...this.#about(), step, order })
  }

  refused (step: string, order: number): void {
    this.#runtime.bus.emit('step.refused', { ...this.#about(), step, order, errorCode: 'FAE_LEASE_LOST' })
  }

  started (total: number): void { this.#runtime.bus.emit('saga.started', { ...this.#about(), total }) }

  resumed (done: number, total: number, phase: SagaPhase): void {
    this.#runtime.bus.emit('saga.resumed', { ...this.#about(), done, total, phase })
  }

  stepsReady (paths: readonly string[]): void {
    if (this.#wants('saga.steps_ready')) {
      this.#runtime.bus.emit('saga.steps_ready', { ...this.#about(), total: paths.length, steps: paths.join(', ') })
    }
  }

  groupStarted (scope: StepScope, total: number, concurrency: number): void {
    this.#runtime.bus.emit('saga.group_started', { ...this.#about(scope), step: scope.step, total, concurrency })
  }

  groupCompleted (scope: StepScope, total: number, durationMs: number): void {
    this.#runtime.bus.emit('saga.group_completed', { ...this.#about(scope), step: scope.step, total, durationMs })
  }

  suspended (step: string, reason: string, delayMs: number): void {
    this.#runtime.bus.emit('saga.suspended', { ...this.#about(), step, reason, delayMs })
  }

  definitionChanged (reason: string): void {
    this.#runtime.bus.emit('saga.definition_changed', { ...this.#about(), reason })
  }

  compensating (step: string, total: number, reason: UndoReason, error: StoredError): void {
    this.#runtime.bus.emit('saga.compensating', {
      ...this.#about(), step, total, reason, errorCode: error.code, errorMessage: error.message
    })
  }

  allCompensated (total: number, durationMs: number): void {
    this.#runtime.bus.emit('saga.compensated', { ...this.#about(), total, durationMs })
  }

  compensationFailed (paths: readonly string[], total: number, error: StoredError): void {
    this.#runtime.bus.emit('saga.compensation_failed', {
      ...this.#about(), total, steps: paths.join(', '), errorCode: error.code, errorMessage: error.message
    })
  }

  sagaCompleted (total: number): void {
    this.#runtime.bus.emit('saga.completed', { ...this.#about(), total, totalMs: this.#totalMs() })
  }

  sagaFailed (total: number, error: StoredError, phase: SagaPhase): void {
    this.#runtime.bus.emit('saga.failed', {
      ...this.#about(), total, totalMs: this.#totalMs(), errorCode: error.code, errorMessage: error.message, phase
    })
  }

  sagaCancelled (total: number): void {
    this.#runtime.bus.emit('saga.cancelled', { ...this.#about(), total, totalMs: this.#totalMs() })
  }

  /** Of a step that has a span, its ids; else those of the attempt. */
  #about (scope?: StepScope) {
    const { attempt } = this.#scope
    const { id: jobId, name: jobName, queue, correlationId, trace } = attempt.claim.job
    const { traceId, spanId } = eventIds(scope?.traceIds ?? attempt.traceIds, trace)
    return { jobId, jobName, queue, workerId: attempt.workerId, correlationId, traceId, spanId }
  }

  /** From the submission to now. */
  #totalMs (): number {
    const { store, context } = this.#runtime
    return Math.max(0, storeNow(store, context.clock) - this.#scope.attempt.claim.job.createdAt)
  }
}

function tryOf ({ step, order, tryNumber, maxTries }: StepScope) {
  return { step, order, attempt: tryNumber, maxAttempts: maxTries }
}
