import type { Clock, TimerHandle } from '../core/context.ts'
import { AsyncEndpointsError } from '../core/errors.ts'
import type { AbortReason } from './abort.ts'

/** Where each state of a {@link RunningHandler} may lead. */
export const HANDLER_TRANSITIONS = {
  ready: ['running', 'skipped'],
  running: ['stopping', 'ended'],
  stopping: ['ended', 'abandoned'],
  abandoned: ['ended-late'],
  skipped: [],
  ended: [],
  'ended-late': []
} as const satisfies Record<string, readonly string[]>

export type HandlerState = keyof typeof HANDLER_TRANSITIONS

/** @throws {AsyncEndpointsError} `FAE_ILLEGAL_TRANSITION` */
export function assertHandlerTransition (from: HandlerState, to: HandlerState): void {
  const allowed: readonly HandlerState[] = HANDLER_TRANSITIONS[from]
  if (!allowed.includes(to)) throw new AsyncEndpointsError('FAE_ILLEGAL_TRANSITION', `A handler that is ${from} cannot become ${to}`)
}

/**
 * How a handler ended: it was never called, it returned, it threw, or it ignored its abort until its grace was over.
 */
export type HandlerEnd =
  | { readonly kind: 'skipped' }
  | { readonly kind: 'returned', readonly value: unknown }
  | { readonly kind: 'threw', readonly error: unknown }
  | { readonly kind: 'abandoned' }

const SKIPPED: HandlerEnd = Object.freeze({ kind: 'skipped' })
const ABANDONED: HandlerEnd = Object.freeze({ kind: 'abandoned' })

/** The attempt that a handler runs in. Each is called in the turn in which it happens, and must not throw. */
export interface HandlerOwner {
  handlerTimedOut (): void
  /** The handler returned, threw or was abandoned. Called before the promise of `run` is resolved. */
  handlerEnded (end: HandlerEnd, durationMs: number): void
  /** A handler that was abandoned has ended after all. */
  handlerEndedLate (lateMs: number): void
}

export interface HandlerLimits {
  /** 0: it may take as long as it likes. */
  readonly timeoutMs: number
  readonly graceMs: number
}

/**
 * The handler of one attempt, from before its call to its real end, with its timeout, its abort and its grace.
 *
 * ```
 *   ready ──run──▶ running ──(returned | threw)──────────────▶ ended
 *     │               │                                          ▲
 *     │               └──(abort | timeout)──▶ stopping ──────────┘
 *     │                                           │ (returned | threw)
 *     │                                           └──(grace is over)──▶ abandoned ──(returned | threw)──▶ ended-late
 *     └──run, after an abort──▶ skipped
 * ```
 *
 * - **ready**: the handler was not called yet. Holds nothing. An abort leaves its reason here and changes nothing
 *   else. Leaves with `run`: to `running`, or, if there was an abort, to `skipped`.
 * - **running**: the handler was called and has not ended. Holds the promise of `run` with its resolver and, if there
 *   is a limit, the timer of the timeout. Leaves with the handler's end to `ended`; with an abort, or with the
 *   timeout, which is one, to `stopping`.
 * - **stopping**: the handler was aborted and has its grace to end by itself. Holds the promise of `run` with its
 *   resolver and the timer of the grace; a shutdown may set that timer to an earlier moment. Leaves with the
 *   handler's end to `ended`; with the end of the grace to `abandoned`.
 * - **abandoned**: the attempt goes on without the handler, which still runs; of what it does only its end is
 *   noticed. Holds nothing. Leaves with the handler's end to `ended-late`. A handler that never ends stays here.
 * - **skipped**, **ended**, **ended-late**: final. They hold nothing: an attempt that V8 has moved to its old
 *   generation would keep all that it still points at until a full collection.
 *
 * A step of a saga runs in one, too, with more reasons to be aborted.
 *
 * In every state the signal can be read and an abort leaves its reason; only in `running` and `stopping` does an
 * abort change anything else.
 */
export class RunningHandler<Reason extends string = AbortReason> {
  readonly #clock: Clock
  readonly #owner: HandlerOwner
  readonly #errorOf: (reason: Reason | 'timeout') => Error
  #state: HandlerState = 'ready'
  /** Of the timeout in `running`, of the grace in `stopping`. */
  #timer: TimerHandle | undefined
  #ending: Promise<HandlerEnd> | undefined
  #resolve: ((end: HandlerEnd) => void) | undefined
  /** Monotonic milliseconds, as all moments here. */
  #startedAt = 0
  #abortedAt = 0
  #abandonedAt = 0
  #graceMs = 0
  #abortReason: Reason | 'timeout' | undefined
  #controller: AbortController | undefined
  #signalRead = false

  /** @param errorOf makes the reason of the signal */
  constructor (clock: Clock, owner: HandlerOwner, errorOf: (reason: Reason | 'timeout') => Error) {
    this.#clock = clock
    this.#owner = owner
    this.#errorOf = errorOf
  }

  get state (): HandlerState { return this.#state }

  /** Why the handler was asked to stop; the first reason stands. */
  get abortReason (): Reason | 'timeout' | undefined { return this.#abortReason }

  /** The handler can have known of an abort: see {@link readSignal}. */
  get signalRead (): boolean { return this.#signalRead }

  /** What the handler has, or had, for its end after an abort; a shutdown cuts it down. */
  get graceMs (): number { return Math.round(this.#graceMs) }

  /**
   * Calls the handler.
   *
   * @param call must not throw: what the handler throws at once is a rejection
   * @returns how the handler ended. Callbacks instead of `async`: this is the hottest path there is, and each async
   * frame costs half a kilobyte.
   */
  run ({ timeoutMs, graceMs }: HandlerLimits, call: () => Promise<unknown>): Promise<HandlerEnd> {
    if (this.#abortReason !== undefined) {
      this.#change('skipped')
      return Promise.resolve(SKIPPED)
    }
    this.#change('running')
    this.#startedAt = this.#clock.monotonic()
    this.#graceMs = graceMs
    if (timeoutMs > 0) this.#timer = this.#clock.setTimeout(() => { this.#timedOut() }, timeoutMs)
    const ending = this.#ending = new Promise<HandlerEnd>((resolve) => { this.#resolve = resolve })
    call().then((value) => { this.#end({ kind: 'returned', value }) }, (error: unknown) => { this.#end({ kind: 'threw', error }) })
    return ending
  }

  /**
   * Asks the handler to stop. Its signal is aborted, and when its grace is over the attempt goes on without it.
   *
   * @param maxGraceMs cuts the grace down, also one that has begun already: a shutdown has an end
   */
  abort (reason: Reason | 'timeout', maxGraceMs = Infinity): void {
    const first = this.#abortReason === undefined
    if (first) this.#abortReason = reason
    if (this.#state === 'running') {
      this.#change('stopping')
      this.#abortedAt = this.#clock.monotonic()
      this.#giveGrace(maxGraceMs)
    } else if (this.#state === 'stopping' && maxGraceMs !== Infinity) {
      this.#giveGrace(maxGraceMs)
    }
    if (first) this.#controller?.abort(this.#errorOf(reason))
  }

  /**
   * The signal, for the handler. Reading it decides what a return or a throw after an abort means. A handler that
   * never read it cannot have known of the abort: it ended by itself, and what it returned counts. One that has read
   * it may have stopped half-way, so the abort decides how the attempt ended (see `classify`).
   *
   * The AbortController is made here: most handlers never ask for their signal, and one per job costs a busy worker
   * several percent.
   */
  readSignal (): AbortSignal {
    this.#signalRead = true
    if (this.#controller === undefined) {
      this.#controller = new AbortController()
      if (this.#abortReason !== undefined) this.#controller.abort(this.#errorOf(this.#abortReason))
    }
    return this.#controller.signal
  }

  /** Resolves when the handler has ended or was abandoned; at once when it is not running. */
  async over (): Promise<void> { await this.#ending }

  #timedOut (): void {
    this.#owner.handlerTimedOut()
    this.abort('timeout')
  }

  /** (Re-)arms the timer of the grace. It is never prolonged. */
  #giveGrace (maxGraceMs: number): void {
    const now = this.#clock.monotonic()
    const until = Math.min(this.#abortedAt + this.#graceMs, now + maxGraceMs)
    this.#graceMs = until - this.#abortedAt
    if (this.#timer !== undefined) this.#clock.clearTimeout(this.#timer)
    this.#timer = this.#clock.setTimeout(() => { this.#abandon() }, Math.max(0, until - now))
  }

  #end (how: HandlerEnd): void {
    if (this.#state === 'abandoned') {
      this.#change('ended-late')
      return this.#owner.handlerEndedLate(this.#clock.monotonic() - this.#abandonedAt)
    }
    this.#change('ended')
    this.#answer(how, this.#clock.monotonic())
  }

  #abandon (): void {
    this.#change('abandoned')
    this.#abandonedAt = this.#clock.monotonic()
    this.#answer(ABANDONED, this.#abandonedAt)
  }

  #answer (how: HandlerEnd, now: number): void {
    const resolve = this.#resolve
    this.#resolve = this.#ending = undefined
    this.#owner.handlerEnded(how, now - this.#startedAt)
    resolve?.(how)
  }

  /** The only method that changes the state. No timer outlives the state that it belongs to. */
  #change (to: HandlerState): void {
    assertHandlerTransition(this.#state, to)
    if (this.#timer !== undefined) this.#clock.clearTimeout(this.#timer)
    this.#timer = undefined
    this.#state = to
  }
}
