/** Runs the siblings of a group side by side. */
import type { StepScope } from '../jobs/seams.ts'
import { isDone } from './journal.ts'
import type { StepFacts } from '../jobs/saga-facts.ts'
import { SagaFailure, SHORT_WAIT_MS, Stopped, Suspended, within, type Run } from './run.ts'
import { prepareStep, runLeg, type InGroup, type LegEnd, type RunnableStep } from './step-runner.ts'
import { stepScope, type StepTry } from './step-try.ts'

export interface GroupOptions {
  readonly path: string
  readonly order: number
  readonly onError: 'abort' | 'await-all'
  readonly concurrency: number
}

/**
 * The siblings of one group in one attempt. Each is in one place: it waits to begin (`#queue`), runs (`#running`),
 * waits for its next try (`#waiting`), or has ended.
 */
export class GroupRunner implements InGroup {
  readonly scope: StepScope
  readonly #run: Run
  readonly #options: GroupOptions
  readonly #queue: RunnableStep[]
  readonly #running = new Set<string>()
  readonly #waiting = new Map<RunnableStep, number>()
  readonly #tries = new Map<string, StepTry>()
  readonly #failures: SagaFailure[] = []
  #broken: unknown
  readonly #total: number
  /** One of the siblings has begun. */
  #announced = false
  #aborted = false
  /** A sibling has ended since the last look. */
  #changed = false
  #wake: () => void = () => {}

  constructor (run: Run, options: GroupOptions, siblings: readonly RunnableStep[]) {
    const { path: step, order } = options
    this.#run = run
    this.#options = options
    this.scope = stepScope(run.scope.attempt, {
      kind: 'group', step, order, tryNumber: 1, maxTries: 1, parent: undefined
    })
    this.#total = siblings.length
    this.#queue = siblings.filter((sibling) => !isDone(run.journal.step(sibling.path)))
  }

  /**
   * Runs all siblings that are not done.
   *
   * @throws {SagaFailure} the first that failed; {Suspended} when all that are left wait for longer; {Stopped}
   */
  async run (): Promise<void> {
    const { runtime, events } = this.#run
    const { clock } = runtime.context
    const total = this.#total
    const startedAt = clock.monotonic()
    await within(runtime, this.scope, async () => {
      await this.#all()
      if (this.#announced) events.groupCompleted(this.scope, total, clock.monotonic() - startedAt)
    })
  }

  started (path: string, attempt: StepTry): void {
    this.#tries.set(path, attempt)
    if (this.#aborted) attempt.abort('sibling-failed')
  }

  ended (path: string): void { this.#tries.delete(path) }

  get aborted (): boolean { return this.#aborted }

  async #all (): Promise<void> {
    for (;;) {
      await this.#begin().catch((error: unknown) => { this.#break(error) })
      if (this.#running.size === 0) {
        if (this.#broken !== undefined) throw this.#broken
        if (this.#run.stop !== undefined) throw new Stopped(this.#run.stop)
        if (this.#aborted || this.#queue.length + this.#waiting.size === 0) break
        // What is left waits. No sibling runs whose slot could be lost.
        const next = Math.min(...this.#waiting.values())
        if (next - this.#run.now() > SHORT_WAIT_MS) throw new Suspended(this.#options.path, next, 'backoff')
      }
      await this.#change()
      this.#takeDue()
    }
    // The one that failed first, and not those that were stopped because of it.
    const [first] = this.#failures
    if (first !== undefined) throw this.#failures.find(({ mode }) => mode === 'compensate') ?? first
  }

  /** Begins as many siblings as may run: their beginnings are stored in one write. */
  async #begin (): Promise<void> {
    const { concurrency } = this.#options
    const ready: RunnableStep[] = []
    const before = new Map<string, StepFacts | undefined>()
    const mayBegin = (): boolean => !this.#aborted && this.#run.stop === undefined && this.#broken === undefined
    while (mayBegin() && this.#running.size + ready.length < concurrency) {
      const sibling = this.#queue.shift()
      if (sibling === undefined) break
      before.set(sibling.path, this.#run.journal.step(sibling.path))
      try {
        if (await prepareStep(this.#run, sibling)) ready.push(sibling)
      } catch (error) {
        if (!(error instanceof SagaFailure)) throw error
        this.#failed(error)
      }
    }
    if (ready.length === 0) return
    // The condition of one has failed: those before it do not begin.
    if (this.#aborted) return ready.forEach((sibling) => { this.#takeBack(sibling, before.get(sibling.path)) })
    await this.#run.journal.flush()
    if (!this.#announced) this.#run.events.groupStarted(this.scope, this.#total, concurrency)
    this.#announced = true
    this.#run.events.stepsReady(ready.map(({ path }) => path))
    for (const sibling of ready) this.#start(sibling)
  }

  #start (sibling: RunnableStep): void {
    this.#running.add(sibling.path)
    runLeg(this.#run, sibling, this).then((end) => { this.#legEnded(sibling, end) }, (error: unknown) => {
      this.#break(error)
      this.#over(sibling)
    })
  }

  #takeBack ({ path, attempts: m }: RunnableStep, before: StepFacts | undefined): void {
    this.#run.journal.startStep(path, before ?? { s: 'p', a: 0, m, t: 0 })
  }

  /** The lease is lost, or something is broken: the siblings that run have to end before the attempt does. */
  #break (error: unknown): void {
    this.#broken ??= error
    this.#abortOthers('lease-lost')
  }

  #legEnded (sibling: RunnableStep, end: LegEnd): void {
    if (end instanceof SagaFailure) this.#failed(end)
    else if (typeof end === 'object') this.#waiting.set(sibling, end.waitUntil)
    this.#over(sibling)
  }

  #over (sibling: RunnableStep): void {
    this.#running.delete(sibling.path)
    this.#changed = true
    this.#wake()
  }

  #failed (failure: SagaFailure): void {
    this.#failures.push(failure)
    if (this.#options.onError === 'abort') this.#abortOthers('sibling-failed')
  }

  #abortOthers (reason: 'sibling-failed' | 'lease-lost'): void {
    this.#aborted = true
    for (const attempt of this.#tries.values()) attempt.abort(reason)
  }

  /** Resolves when a sibling has ended, the next one that waits is due, or the attempt has to stop. */
  async #change (): Promise<void> {
    if (!this.#changed) {
      const nextMs = Math.min(...this.#waiting.values()) - this.#run.now()
      // While the attempt stops, only the ends of its siblings are waited for: no timer is needed.
      const wait = this.#running.size > 0 && (this.#aborted || this.#run.stop !== undefined)
        ? undefined
        : this.#run.wait(Math.max(0, nextMs))
      await new Promise<void>((resolve) => {
        this.#wake = resolve
        wait?.over.then(resolve, resolve)
      })
      this.#wake = () => {}
      wait?.end()
    }
    this.#changed = false
  }

  #takeDue (): void {
    const now = this.#run.now()
    for (const [sibling, until] of this.#waiting) {
      if (until > now && this.#run.stop === undefined) continue
      this.#waiting.delete(sibling)
      this.#queue.unshift(sibling)
    }
  }
}
