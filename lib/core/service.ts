/**
 * A service that is started and stopped. `start` is idempotent. `stop` may be called before `start` and twice, and
 * never takes longer than its deadline.
 */
export interface Service {
  start (): Promise<void>
  /** @param deadlineMs after this many milliseconds the service stops waiting and releases what it holds */
  stop (deadlineMs: number): Promise<void>
}

type Phase = 'new' | 'starting' | 'running' | 'stopping' | 'stopped'

/**
 * Keeps the promises of {@link Service} for a subclass, which only says what starting and stopping mean.
 *
 * ```
 * new ──start──▶ starting ──▶ running ──stop──▶ stopping ──▶ stopped
 *  └───────────────stop────────────────────────────────────────▲
 * ```
 */
export abstract class BaseService implements Service {
  #phase: Phase = 'new'
  #started: Promise<void> | undefined
  #stopped: Promise<void> | undefined

  protected get phase (): Phase { return this.#phase }

  get running (): boolean { return this.#phase === 'running' }

  start (): Promise<void> {
    if (this.#phase === 'stopping' || this.#phase === 'stopped') return Promise.resolve()
    this.#started ??= this.#run()
    return this.#started
  }

  stop (deadlineMs: number): Promise<void> {
    this.#stopped ??= this.#halt(deadlineMs)
    return this.#stopped
  }

  async #run (): Promise<void> {
    this.#phase = 'starting'
    await this.onStart()
    if (this.#phase === 'starting') this.#phase = 'running'
  }

  async #halt (deadlineMs: number): Promise<void> {
    const neverStarted = this.#phase === 'new'
    this.#phase = 'stopping'
    if (!neverStarted) await this.onStop(deadlineMs)
    this.#phase = 'stopped'
  }

  protected abstract onStart (): Promise<void>
  protected abstract onStop (deadlineMs: number): Promise<void>
}
