/** One try of a step, or of its compensation: with its own signal, timeout and grace. */
import { AsyncEndpointsError, type ErrorCode } from '../core/errors.ts'
import type { JobRuntime } from '../events/runtime.ts'
import { compose } from '../jobs/compose.ts'
import type { AttemptScope, SpanRunner, StepScope } from '../jobs/seams.ts'
import { RunningHandler, type HandlerEnd } from '../worker/running-handler.ts'

/** Why a try was asked to stop, besides its own timeout. */
export type TryAbort = 'cancelled' | 'deadline' | 'sibling-failed' | 'lease-lost' | 'shutdown' | 'timeout'

const MESSAGES: Readonly<Record<TryAbort, string>> = {
  cancelled: 'The job was cancelled',
  deadline: 'The saga took longer than its timeoutMs',
  'sibling-failed': 'Another step of the group failed',
  'lease-lost': 'The lease of this attempt was lost; another worker may run the step',
  shutdown: 'The worker is stopping; the job will be handed to another',
  timeout: 'The step took longer than its timeoutMs'
}

/** Any other reason has `FAE_ABORTED`. */
const CODES: Readonly<Partial<Record<TryAbort, ErrorCode>>> = {
  timeout: 'FAE_STEP_TIMEOUT', deadline: 'FAE_SAGA_TIMEOUT', 'lease-lost': 'FAE_LEASE_LOST'
}

/** The reason of a step's signal: an error with a code. */
export function tryError (reason: TryAbort): AsyncEndpointsError {
  return new AsyncEndpointsError(CODES[reason] ?? 'FAE_ABORTED', MESSAGES[reason])
}

/** How a try ended. */
export type TryEnd =
  | { readonly kind: 'returned', readonly value: unknown, readonly durationMs: number }
  /** `unknown`: it may have had an effect, because it was aborted, timed out or still runs. */
  | { readonly kind: 'failed', readonly error: unknown, readonly unknown: boolean, readonly durationMs: number }
  /**
   * It was asked to stop by something else than its own timeout. What it returned or threw after that does not count.
   */
  | { readonly kind: 'aborted', readonly reason: TryAbort, readonly durationMs: number }

export interface TryOptions {
  readonly runtime: JobRuntime
  readonly scope: StepScope
  readonly timeoutMs: number
  readonly graceMs: number
  readonly call: (signal: () => AbortSignal) => unknown
  readonly onTimeout: () => void
  /** It still runs although its grace is over, and nobody waits for it any more. */
  readonly onAbandoned: (reason: TryAbort, durationMs: number) => void
}

/** A scope for middleware; the tracing of a step sets the rest. */
export function stepScope (
  attempt: AttemptScope, about: Omit<StepScope, 'attempt' | 'traceIds' | 'spanRunner'>
): StepScope {
  return {
    attempt, ...about, traceIds: undefined as AttemptScope['traceIds'], spanRunner: undefined as SpanRunner | undefined
  }
}

/** One try under way. */
export class StepTry {
  readonly #options: TryOptions
  readonly #handler: RunningHandler<TryAbort>
  #durationMs = 0

  constructor (options: TryOptions) {
    this.#options = options
    this.#handler = new RunningHandler<TryAbort>(options.runtime.context.clock, {
      handlerTimedOut: () => { options.onTimeout() },
      handlerEnded: (_, durationMs) => { this.#durationMs = durationMs },
      handlerEndedLate: () => { /* its end was decided without it */ }
    }, tryError)
  }

  abort (reason: TryAbort): void { this.#handler.abort(reason) }

  /** Never rejects. */
  run (): Promise<TryEnd> {
    const { runtime: { stepMiddleware }, scope, timeoutMs, graceMs, call } = this.#options
    const work = (): unknown => call(() => this.#handler.readSignal())
    const ended = this.#handler.run({ timeoutMs, graceMs }, () => compose(stepMiddleware, scope, work))
    return ended.then((end) => this.#judge(end))
  }

  /** The same rules as for a handler: see `abortDecides` in `lib/worker/classify.ts`. */
  #judge (end: HandlerEnd): TryEnd {
    const durationMs = this.#durationMs
    const { abortReason: reason, signalRead } = this.#handler
    if (end.kind === 'abandoned') this.#options.onAbandoned(reason ?? 'shutdown', durationMs)
    if (reason === 'timeout') return { kind: 'failed', error: tryError('timeout'), unknown: true, durationMs }
    const decides = reason !== undefined && (signalRead || end.kind === 'abandoned' || end.kind === 'skipped')
    if (decides) return { kind: 'aborted', reason, durationMs }
    if (end.kind === 'returned') return { kind: 'returned', value: end.value, durationMs }
    return { kind: 'failed', error: end.kind === 'threw' ? end.error : undefined, unknown: false, durationMs }
  }
}
