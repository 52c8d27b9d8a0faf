/** What the steps of one job have done: as it is stored, with what this attempt has yet to store. */
import type { Clock } from '../core/context.ts'
import { sleep } from '../core/deadline.ts'
import { AsyncEndpointsError, isAsyncEndpointsError } from '../core/errors.ts'
import type { JobRuntime } from '../events/runtime.ts'
import {
  HEAD, isHead, isNames, isStep, NAMES, type SagaHead, type SagaNames, type StepFacts
} from '../jobs/saga-facts.ts'
import type { Claim, StepStore } from '../jobs/store.ts'
import type { Checkpoint, Journal, StepText } from '../jobs/steps.ts'

/** A store that cannot be reached is asked again after this. */
const RETRY_MS = 200

/**
 * The store has confirmed the lease at most this long ago when a step begins. A process that was frozen, or whose event
 * loop was blocked, for longer than its lease would begin a step that another worker runs.
 */
const CONFIRMED_MS = 500

/** The lease is lost, or the attempt has to stop: nothing more of it is stored, and no other step may begin. */
export class LeaseLost extends AsyncEndpointsError {
  constructor () {
    super(
      'FAE_LEASE_LOST',
      'The lease of this attempt was lost: what the step has done is not stored, and another worker runs it again'
    )
  }
}

export interface JournalParts {
  readonly runtime: JobRuntime
  readonly claim: Claim
  /** Aborts when nothing needs to be stored any more. */
  readonly signal: AbortSignal
  /** Called when the store says that somebody has asked to cancel the job. */
  readonly onCancel: () => void
  /** Whether every checkpoint reports the progress of the job, made of the number of steps. */
  readonly reportsProgress: boolean
}

/**
 * The journal of one job during one attempt. Changes are noted here first, and stored together by `flush`: one write
 * for all changes of one turn, one write at a time, so that none overtakes another.
 */
export class StepJournal {
  readonly #parts: JournalParts
  readonly #steps: StepStore
  readonly #facts = new Map<string, StepFacts>()
  readonly #values = new Map<string, StepText>()
  readonly #signals = new Map<string, string>()
  #head: SagaHead
  #names: SagaNames | undefined
  #cancelReason: string | undefined
  #redrives = 0
  #valueBytes = 0
  // What has changed since the last write began.
  #dirty = new Set<string>()
  #dirtyValues = new Set<string>()
  #undo: boolean | undefined
  #compensatingSince: number | null | undefined
  #notUndoneSince: number | null | undefined
  #dropValues = false
  #afterwards: Array<() => void> = []
  #writing: Promise<void> = Promise.resolve()
  #next: Promise<void> | undefined
  #progressed = ''
  /** When the lease was certainly this attempt's: the store was asked then, and said so. Monotonic milliseconds. */
  #confirmedAt: number

  private constructor (parts: JournalParts, steps: StepStore, head: SagaHead) {
    this.#confirmedAt = parts.runtime.context.clock.monotonic()
    this.#parts = parts
    this.#steps = steps
    this.#head = head
  }

  /**
   * The journal at the beginning of an attempt. It is read from the store unless this is the job's first claim.
   *
   * @throws {AsyncEndpointsError} `FAE_CHECKPOINT_UNREADABLE`; `FAE_LEASE_LOST` when the attempt has to stop before the
   * store answers
   */
  static async open (parts: JournalParts): Promise<StepJournal> {
    const { claim, runtime } = parts
    const steps = stepsOf(runtime)
    const spent = claim.job.attempts - 1
    const journal = new StepJournal(parts, steps, { k: 0, t: 0, b: 0 })
    if (claim.again !== true && spent === 0 && !claim.stalled) return journal
    const stored = await patiently(runtime.context.clock, parts.signal, () => steps.journal(claim.job.id))
    if (stored === undefined) throw new LeaseLost()
    journal.#read(stored)
    return journal
  }

  get head (): SagaHead { return this.#head }
  get names (): SagaNames | undefined { return this.#names }
  get cancelReason (): string | undefined { return this.#cancelReason }
  /** What {@link SagaHead} has as its `x` when this attempt ends the saga. */
  get endMark (): number { return this.#redrives + 1 }
  /** The bytes of all results. */
  get valueBytes (): number { return this.#valueBytes }

  step (path: string): StepFacts | undefined { return this.#facts.get(path) }
  steps (): IterableIterator<[string, StepFacts]> { return this.#facts.entries() }
  value (path: string): StepText | undefined { return this.#values.get(path) }
  values (): IterableIterator<[string, StepText]> { return this.#values.entries() }
  signal (name: string): string | undefined { return this.#signals.get(name) }

  /** Somebody has redriven the job after it had ended, and no attempt has stored anything since. */
  get redriven (): boolean { return this.#head.x !== undefined && this.#head.x <= this.#redrives }

  /** An attempt had ended the saga, and died before the end of the job was stored. */
  get ended (): boolean { return this.#head.x !== undefined && !this.redriven }

  /** Attempts that crashed since the saga last made progress. */
  get crashes (): number { return Math.max(0, this.#spent - (this.redriven ? 0 : this.#head.b)) }

  get #spent (): number { return this.#parts.claim.job.attempts - 1 }

  /** Each member replaces the one of that name; `undefined` removes it. */
  setHead (change: Partial<SagaHead>): void {
    this.#head = { ...this.#head, ...change }
    this.#dirty.add(HEAD)
  }

  setNames (names: SagaNames): void {
    this.#names = names
    this.#dirty.add(NAMES)
  }

  /** Notes that a step has made progress: crashes are counted from here. */
  setStep (path: string, facts: StepFacts): void {
    const done = isDone(this.#facts.get(path))
    this.#facts.set(path, facts)
    this.#dirty.add(path)
    this.setHead({ b: this.#spent, k: this.#head.k + Number(isDone(facts)) - Number(done) })
  }

  /** Notes that the saga has made progress: crashes are counted from here. */
  gotOn (): void { this.setHead({ b: this.#spent }) }

  /** Notes that a step is about to run. That is no progress: a crash in it counts together with those before. */
  startStep (path: string, facts: StepFacts): void {
    this.#facts.set(path, facts)
    this.#dirty.add(path)
    this.#dirty.add(HEAD)
  }

  /** Corrects what this attempt has read, without storing it: the next attempt would come to the same. */
  correctStep (path: string, facts: StepFacts): void { this.#facts.set(path, facts) }

  setValue (path: string, text: StepText, bytes = Buffer.byteLength(text)): void {
    const replaced = this.#values.get(path)
    this.#valueBytes += bytes - (replaced === undefined ? 0 : Buffer.byteLength(replaced))
    this.#values.set(path, text)
    this.#dirtyValues.add(path)
  }

  setUndo (undo: boolean): void { this.#undo = undo }

  setCompensatingSince (since: number | null): void { this.#compensatingSince = since }

  setNotUndoneSince (since: number | null): void { this.#notUndoneSince = since }

  /** All results and signals go with the next write. */
  dropValues (): void {
    this.#values.clear()
    this.#signals.clear()
    this.#dirtyValues.clear()
    this.#valueBytes = 0
    this.#dropValues = true
  }

  /** The steps whose newest facts are not stored. */
  unstored (): string[] { return [...this.#dirty].filter((key) => key !== HEAD && key !== NAMES) }

  /** Calls the listener once everything that was noted before is stored. */
  afterwards (listener: () => void): void { this.#afterwards.push(listener) }

  /**
   * Stores everything that was noted. Resolves when it is stored.
   *
   * @throws {AsyncEndpointsError} `FAE_LEASE_LOST`; what the store rejects with when it is not merely away
   */
  flush (): Promise<void> {
    if (this.#next === undefined && !this.#changed) return this.#writing
    this.#next ??= this.#writeNext()
    return this.#next
  }

  async #writeNext (): Promise<void> {
    try {
      await this.#writing
    } catch (error) {
      // A store that refused one write may take the next. A lost lease stays lost.
      if (error instanceof LeaseLost) throw error
    }
    this.#next = undefined
    this.#writing = this.#write()
    await this.#writing
  }

  /** The lease was this attempt's a moment ago: a step may begin in this very turn. */
  get leaseConfirmed (): boolean {
    return this.#parts.runtime.context.clock.monotonic() - this.#confirmedAt <= CONFIRMED_MS
  }

  /**
   * Asks the store, by a write, whether the lease still is this attempt's.
   *
   * @throws {AsyncEndpointsError} as {@link flush}
   */
  async confirmLease (): Promise<void> {
    this.#dirty.add(HEAD)
    await this.flush()
  }

  /**
   * What was noted and not stored yet, for a settlement that stores it. The listeners of {@link afterwards} are the
   * caller's from now on.
   */
  async take (): Promise<{ readonly checkpoint: Checkpoint | undefined, readonly stored: () => void }> {
    await this.#next
    await this.#writing
    const listeners = this.#afterwards
    this.#afterwards = []
    return {
      checkpoint: this.#changed ? this.#checkpoint() : undefined,
      stored: () => { for (const listener of listeners) listener() }
    }
  }

  get #changed (): boolean {
    return this.#dirty.size > 0 || this.#dirtyValues.size > 0 || this.#dropValues || this.#undo !== undefined
  }

  async #write (): Promise<void> {
    const { runtime, claim, signal, onCancel } = this.#parts
    const listeners = this.#afterwards
    this.#afterwards = []
    if (this.#changed) {
      const checkpoint = this.#checkpoint()
      const { clock } = runtime.context
      let askedAt = 0
      const write = patiently(clock, signal, () => {
        askedAt = clock.monotonic()
        return this.#steps.checkpoint(claim, checkpoint)
      }, checkpoint.values === undefined)
      const verdict = await write.catch((error: unknown): never => {
        this.#notStored(checkpoint)
        throw error
      })
      if (!verdict.stored) {
        this.#notStored(checkpoint)
        throw new LeaseLost()
      }
      this.#confirmedAt = askedAt
      if (verdict.cancelRequested) onCancel()
    }
    for (const listener of listeners) listener()
  }

  #checkpoint (): Checkpoint {
    const facts: Record<string, string> = {}
    for (const key of this.#dirty) {
      facts[key] = JSON.stringify(key === HEAD ? this.#head : key === NAMES ? this.#names : this.#facts.get(key))
    }
    const values: Record<string, StepText> = {}
    for (const path of this.#dirtyValues) values[path] = this.#values.get(path) ?? 'null'
    const { k: done, t: total } = this.#head
    const progressed = `${done}/${total}`
    const reports = this.#parts.reportsProgress && progressed !== this.#progressed
    const checkpoint: Checkpoint = {
      facts,
      values: this.#dirtyValues.size === 0 ? undefined : values,
      dropValues: this.#dropValues || undefined,
      undo: this.#undo,
      compensatingSince: this.#compensatingSince,
      notUndoneSince: this.#notUndoneSince,
      progress: reports ? { done, total } : undefined
    }
    this.#progressed = progressed
    this.#dirty = new Set()
    this.#dirtyValues = new Set()
    this.#dropValues = false
    this.#undo = undefined
    this.#compensatingSince = undefined
    this.#notUndoneSince = undefined
    return checkpoint
  }

  /** The next write has everything of it but the results, which may be why the store refused it. */
  #notStored ({ facts, dropValues, undo, compensatingSince, notUndoneSince }: Checkpoint): void {
    for (const key of Object.keys(facts)) this.#dirty.add(key)
    if (dropValues === true) this.#dropValues = true
    this.#undo ??= undo
    if (this.#compensatingSince === undefined) this.#compensatingSince = compensatingSince
    if (this.#notUndoneSince === undefined) this.#notUndoneSince = notUndoneSince
  }

  /** @throws {AsyncEndpointsError} `FAE_CHECKPOINT_UNREADABLE` */
  #read ({ facts, values, signals, cancelReason, redrives }: Journal): void {
    this.#redrives = redrives
    for (const [key, text] of Object.entries(facts)) {
      if (key === HEAD) this.#head = parsed(key, text, isHead)
      else if (key === NAMES) this.#names = parsed(key, text, isNames)
      else this.#facts.set(key, parsed(key, text, isStep))
    }
    if (this.#facts.size > 0 && facts[HEAD] === undefined) {
      throw unreadable('there are steps, but no entry about the job as a whole')
    }
    for (const [path, text] of Object.entries(values)) {
      this.#values.set(path, text)
      this.#valueBytes += Buffer.byteLength(text)
    }
    for (const [name, text] of Object.entries(signals)) this.#signals.set(name, text)
    this.#cancelReason = cancelReason
    // A redrive has deleted the progress of the job.
    if (!this.redriven) this.#progressed = `${this.#head.k}/${this.#head.t}`
  }
}

/** @throws {AsyncEndpointsError} `FAE_STORE_UNSUPPORTED` */
export function stepsOf ({ store }: JobRuntime): StepStore {
  if (store.steps === undefined) {
    throw new AsyncEndpointsError(
      'FAE_STORE_UNSUPPORTED', `The store "${store.type}" keeps no steps, so that it has no sagas and no job.step()`
    )
  }
  return store.steps
}

/** A step that the saga has behind it: it is not run again. */
export function isDone (facts: StepFacts | undefined): boolean {
  return facts?.s === 'c' || facts?.s === 's' || (facts?.s === 'f' && facts.g === 1)
}

/** @throws {AsyncEndpointsError} `FAE_CHECKPOINT_UNREADABLE` for a stored text that is not JSON */
export function parseValue (path: string, text: StepText): unknown {
  try {
    return JSON.parse(text.toString())
  } catch {
    throw unreadable(`the result of "${path}" is not JSON`)
  }
}

/**
 * Repeats an operation of the store while the server is away and the attempt may still go on.
 *
 * @param small what it writes needs next to no room: it waits for that, too, because without it a saga cannot
 * undo its steps
 * @throws {LeaseLost} when the attempt has to stop before there was an answer
 */
async function patiently<T> (
  clock: Clock, signal: AbortSignal, operation: () => Promise<T>, small = false
): Promise<T> {
  for (;;) {
    try {
      return await operation()
    } catch (error) {
      const waits = isAsyncEndpointsError(error, 'FAE_STORE_UNAVAILABLE') ||
        (small && isAsyncEndpointsError(error, 'FAE_STORE_FULL'))
      if (!waits) throw error
    }
    if (signal.aborted) throw new LeaseLost()
    await sleep(clock, RETRY_MS, signal)
  }
}

function parsed<T> (key: string, text: string, fits: (value: unknown) => value is T): T {
  try {
    const value: unknown = JSON.parse(text)
    if (fits(value)) return value
  } catch { /* the error is thrown below */ }
  throw unreadable(
    key === HEAD || key === NAMES ? 'the entry about the job as a whole' : `the entry about step "${key}"`
  )
}

function unreadable (what: string): AsyncEndpointsError {
  return new AsyncEndpointsError(
    'FAE_CHECKPOINT_UNREADABLE',
    `The stored steps of the job cannot be read: ${what}. Another program may have written over them`
  )
}
