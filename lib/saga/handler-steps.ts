/** `job.step()`: durable steps in ordinary handlers. */
import { setMaxListeners } from 'node:events'
import { sleep } from '../core/deadline.ts'
import { AsyncEndpointsError } from '../core/errors.ts'
import { readOptions, type OptionsSchema } from '../core/options.ts'
import type { JobRuntime } from '../events/runtime.ts'
import { compileBackoff, type Backoff } from '../jobs/backoff.ts'
import { retrySchema } from '../jobs/compile-definition.ts'
import type { JobContext, StepContext, StepOptions } from '../jobs/definition.ts'
import type { Travelled } from '../jobs/json-value.ts'
import { outcomeKind } from '../jobs/outcome.ts'
import type { AttemptScope, HandlerSteps, OpenSteps, StepScope } from '../jobs/seams.ts'
import { storeNow } from '../jobs/store-clock.ts'
import { toStoredError } from '../jobs/stored-error.ts'
import { isDone, LeaseLost, parseValue, StepJournal } from './journal.ts'
import { SagaEvents } from './saga-events.ts'
import { STEP_NAME, STEP_NAME_RULE } from './step-name.ts'
import { encodeResult, MAX_RESULTS_BYTES, MAX_STEP_RESULT_BYTES } from './step-result.ts'
import { stepScope, StepTry, tryError, type TryEnd } from './step-try.ts'

/** The grace of a step whose time is over, within that of its handler. */
const GRACE_MS = 1_000
const DEFAULT_BACKOFF = { type: 'exponential', delayMs: 200, maxDelayMs: 10_000, jitter: 0.2 } as const

const stepOptionsSchema: OptionsSchema = {
  type: 'object',
  additionalProperties: false,
  properties: {
    ...(retrySchema['properties'] as Record<string, OptionsSchema>), timeoutMs: { type: 'number', minimum: 0 }
  }
}

interface ResolvedStepOptions {
  readonly attempts: number
  readonly timeoutMs: number
  readonly backoff: Backoff
}

/** Makes the durable steps of the handlers of one application. */
export function stepOpener (runtime: JobRuntime): OpenSteps {
  return (scope, job) => new AttemptSteps(runtime, scope, job)
}

/** The steps of one attempt of a handler. */
class AttemptSteps implements HandlerSteps {
  readonly #runtime: JobRuntime
  readonly #scope: AttemptScope
  readonly #job: JobContext
  readonly #events: SagaEvents
  readonly #used = new Set<string>()
  #journal: Promise<StepJournal> | undefined
  /** The attempt is over, and a step that nobody has awaited goes on. */
  #settled = false

  constructor (runtime: JobRuntime, scope: AttemptScope, job: JobContext) {
    scope.onSettled(() => { this.#settled = true })
    this.#runtime = runtime
    this.#scope = scope
    this.#job = job
    this.#events = new SagaEvents(runtime, { attempt: scope })
  }

  async run<R> (
    name: string, work: (step: StepContext) => R | Promise<R>, options?: StepOptions
  ): Promise<Travelled<R>> {
    const settings = readStepOptions(name, work, options)
    if (this.#used.has(name)) {
      throw new AsyncEndpointsError(
        'FAE_DUPLICATE_STEP', `This attempt has a step "${name}" already; give the second one another name`
      )
    }
    this.#used.add(name)
    const journal = await this.#open()
    const facts = journal.step(name)
    if (!isDone(facts)) await this.#tries(journal, name, work, settings)
    const text = journal.value(name)
    return (text === undefined ? undefined : parseValue(name, text)) as Travelled<R>
  }

  #open (): Promise<StepJournal> {
    if (this.#journal !== undefined) return this.#journal
    const { signal } = this.#job
    // Each step that runs listens to it, and there may be many side by side.
    setMaxListeners(0, signal)
    this.#journal = StepJournal.open({
      runtime: this.#runtime,
      claim: this.#scope.claim,
      signal,
      // The handler's signal aborts.
      onCancel: () => {},
      // The handler reports its own.
      reportsProgress: false
    })
    return this.#journal
  }

  async #tries (
    journal: StepJournal, name: string, work: (step: StepContext) => unknown, settings: ResolvedStepOptions
  ): Promise<void> {
    const { context: { clock } } = this.#runtime
    const { signal } = this.#job
    for (let attempt = 1; ; attempt++) {
      signal.throwIfAborted()
      // Nothing of it could be stored any more.
      if (this.#settled) throw new LeaseLost()
      const scope = stepScope(this.#scope, {
        kind: 'step', step: name, order: 0, tryNumber: attempt, maxTries: settings.attempts, parent: undefined
      })
      const end = await this.#try(scope, work, settings)
      if (end.kind === 'returned') return await this.#store(journal, name, scope, end)
      if (end.kind === 'aborted') throw signal.aborted ? signal.reason : tryError(end.reason)
      // A snooze, a cancel or a discard is the handler's answer, and ends its attempt.
      if (outcomeKind(end.error) !== undefined) throw end.error
      const error = toStoredError(end.error, this.#runtime.redaction.text)
      const delayMs = attempt >= settings.attempts
        ? -1
        : settings.backoff({ attempt, maxAttempts: settings.attempts, error: end.error })
      this.#events.tryFailed('step.failed', scope, end.durationMs, error, delayMs < 0)
      if (delayMs < 0) throw end.error
      this.#events.retryScheduled(scope, delayMs, error.code)
      await sleep(clock, delayMs, signal)
    }
  }

  async #try (
    scope: StepScope, work: (step: StepContext) => unknown, { timeoutMs }: ResolvedStepOptions
  ): Promise<TryEnd> {
    const { signal } = this.#job
    const idempotencyKey = `${this.#job.id}/${scope.step}/0`
    const call = (own: () => AbortSignal): unknown => {
      this.#events.tryStarted('step.started', scope)
      const context: StepContext = { get signal () { return own() }, attempt: scope.tryNumber, idempotencyKey }
      return work(context)
    }
    const attempt = new StepTry({
      runtime: this.#runtime,
      scope,
      timeoutMs,
      graceMs: GRACE_MS,
      call,
      onTimeout: () => { this.#events.timedOut(scope, timeoutMs) },
      onAbandoned: (reason, durationMs) => { this.#events.abandoned(scope, reason, durationMs, GRACE_MS) }
    })
    const abort = (): void => { attempt.abort('cancelled') }
    signal.addEventListener('abort', abort, { once: true })
    try {
      return await attempt.run()
    } finally {
      signal.removeEventListener('abort', abort)
    }
  }

  /** @throws {AsyncEndpointsError} `FAE_LEASE_LOST`, `FAE_STEP_RESULT_NOT_SERIALIZABLE`, `FAE_STEP_RESULT_TOO_LARGE` */
  async #store (
    journal: StepJournal, name: string, scope: StepScope, end: TryEnd & { kind: 'returned' }
  ): Promise<void> {
    // A snooze, a cancel or a discard that was returned is no result: it ends the attempt, as if it were thrown.
    if (outcomeKind(end.value) !== undefined) throw end.value
    const limits = {
      maxBytes: MAX_STEP_RESULT_BYTES, maxTotalBytes: MAX_RESULTS_BYTES, storedBytes: journal.valueBytes
    }
    const encoded = encodeResult(name, end.value, limits, this.#runtime.redaction.text)
    if (encoded !== undefined) journal.setValue(name, encoded.text, encoded.bytes)
    const t = this.#now() - end.durationMs
    const known = journal.step(name) === undefined ? 1 : 0
    journal.setStep(name, {
      s: 'c', a: scope.tryNumber, m: scope.maxTries, t: Math.round(t), d: Math.round(end.durationMs),
      y: encoded === undefined ? 2 : 1
    })
    journal.setHead({ t: journal.head.t + known })
    journal.afterwards(() => { this.#events.completed(scope, end.durationMs, encoded?.bytes) })
    try {
      await journal.flush()
    } catch (error) {
      if (error instanceof LeaseLost) this.#events.refused(name, 0)
      throw error
    }
  }

  #now (): number { return storeNow(this.#runtime.store, this.#runtime.context.clock) }
}

/** @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS` */
function readStepOptions (name: string, work: unknown, options: StepOptions = {}): ResolvedStepOptions {
  const where = `job.step("${String(name).slice(0, 80)}")`
  if (typeof name !== 'string' || !STEP_NAME.test(name)) {
    throw new AsyncEndpointsError('FAE_INVALID_OPTIONS', `${where}: the name must be ${STEP_NAME_RULE}`)
  }
  if (typeof work !== 'function') {
    throw new AsyncEndpointsError('FAE_INVALID_OPTIONS', `${where}: the second argument must be a function`)
  }
  const { attempts, timeoutMs, backoff } = readOptions<StepOptions, {
    attempts: number, timeoutMs: number, backoff?: StepOptions['backoff']
  }>(where, stepOptionsSchema, { attempts: 3, timeoutMs: 0 }, options)
  return {
    attempts, timeoutMs,
    backoff: compileBackoff(typeof backoff === 'function' ? backoff : { ...DEFAULT_BACKOFF, ...backoff })
  }
}
