import type { Logger } from '../core/context.ts'
import { AsyncEndpointsError } from '../core/errors.ts'
import { assertKnown } from '../core/known-options.ts'
import type { JobRuntime } from '../events/runtime.ts'
import type { JobContext, JobDefinition, JobSpanOptions, StepContext, StepOptions } from '../jobs/definition.ts'
import type { ClaimedJob, JobInput, JobProgress, TraceCarrier } from '../jobs/job.ts'
import type { Travelled } from '../jobs/json-value.ts'
import type { ChildrenOfName, AttemptScope, HandlerSteps } from '../jobs/seams.ts'
import type { ChildSubmitted, SubmitMeta } from '../jobs/submit.ts'
import type { RunningHandler } from './running-handler.ts'

const SPAN_KEYS: Readonly<Record<keyof JobSpanOptions, true>> = { kind: true, attributes: true }

/** The attempt, as its handler's context needs it. */
export interface HandlerScope extends AttemptScope {
  reportProgress (progress: JobProgress | number): void
}

/** The `job` that a handler is given. A class with getters: parts that a handler never touches are never made. */
export class AttemptContext implements JobContext {
  readonly #job: ClaimedJob
  readonly #scope: HandlerScope
  readonly #handler: RunningHandler
  readonly #runtime: Pick<JobRuntime, 'context' | 'redaction' | 'submitChild' | 'openSteps'>
  #log: Logger | undefined
  #children: Map<string, ChildrenOfName> | undefined
  #steps: HandlerSteps | undefined

  constructor (scope: HandlerScope, handler: RunningHandler, runtime: Pick<JobRuntime, 'context' | 'redaction' | 'submitChild' | 'openSteps'>) {
    this.#job = scope.claim.job
    this.#scope = scope
    this.#handler = handler
    this.#runtime = runtime
  }

  get id (): string { return this.#job.id }
  get name (): string { return this.#job.name }
  get queue (): string { return this.#job.queue }
  get body (): unknown { return this.#job.input.body }
  get params (): JobInput['params'] { return this.#job.input.params }
  get query (): JobInput['query'] { return this.#job.input.query }
  get headers (): JobInput['headers'] { return this.#job.input.headers }
  get attempt (): number { return this.#job.attempts }
  get maxAttempts (): number { return this.#job.maxAttempts }
  get owner (): string | undefined { return this.#job.owner }
  get correlationId (): string { return this.#job.correlationId }
  get trace (): TraceCarrier | undefined { return this.#scope.trace ?? this.#job.trace }
  /** Reading it decides what a return or a throw after an abort means: see {@link RunningHandler.readSignal}. */
  get signal (): AbortSignal { return this.#handler.readSignal() }

  get log (): Logger {
    this.#log ??= this.#scope.makeLogger?.() ?? this.#runtime.redaction.logger(this.#runtime.context.logger).child({
      job_id: this.#job.id, job_name: this.#job.name, attempt: this.#job.attempts, correlation_id: this.#job.correlationId
    })
    return this.#log
  }

  progress (progress: JobProgress | number): void { this.#scope.reportProgress(progress) }

  async span<R> (name: string, work: () => R | Promise<R>, options?: JobSpanOptions): Promise<R> {
    if (options !== undefined) assertKnown(() => `job.span("${name}")`, SPAN_KEYS, options)
    const runner = this.#scope.spanRunner
    return runner === undefined ? await work() : await runner(name, work, options)
  }

  step<R> (name: string, work: (step: StepContext) => R | Promise<R>, options?: StepOptions): Promise<Travelled<R>> {
    const running = this.#step(name, work, options)
    // A handler that forgets to wait for a step must not end the process, and with it the jobs of others.
    running.catch((error: unknown) => {
      const where = `job.step("${String(name).slice(0, 80)}")`
      if (this.#handler.state === 'ended') this.log.warn({ err: error }, `${where} failed after its handler had ended: the handler must await it`)
      else this.log.debug({ err: error }, `${where} failed`)
    })
    return running
  }

  async #step<R> (name: string, work: (step: StepContext) => R | Promise<R>, options?: StepOptions): Promise<Travelled<R>> {
    const { openSteps } = this.#runtime
    if (openSteps === undefined) throw new AsyncEndpointsError('FAE_CLOSED', 'There are no durable steps here: the jobStore plugin is not registered')
    const { state } = this.#handler
    if (state === 'ended' || state === 'ended-late') {
      throw new AsyncEndpointsError('FAE_LEASE_LOST', 'The handler has ended: the result of this step could not be stored any more. Await every step before the handler returns')
    }
    this.#steps ??= openSteps(this.#scope, this)
    return await this.#steps.run(name, work, options)
  }

  async submit (child: string | JobDefinition, body?: unknown, meta?: SubmitMeta): Promise<ChildSubmitted> {
    const { submitChild } = this.#runtime
    if (submitChild === undefined) throw new AsyncEndpointsError('FAE_CLOSED', 'Nothing can be submitted from here: the jobStore plugin is not registered')
    const { id, owner, correlationId } = this.#job
    this.#children ??= new Map()
    return await submitChild({ id, owner, correlationId, trace: this.trace, children: this.#children }, child, body, meta)
  }

  throwIfAborted (): void { this.#handler.readSignal().throwIfAborted() }
}
