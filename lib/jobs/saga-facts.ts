/**
 * How the facts of a saga's steps are written: see {@link StepsFacts}. The keys are short, because every checkpoint
 * sends them and every status reads them.
 */
import type { StepsFacts, StoredError } from './job.ts'

/** What became of a saga's steps: they go forward, are being undone, were all undone, or could not all be undone. */
export type SagaPhase = 'forward' | 'compensating' | 'compensated' | 'compensation-failed'

/** Why a saga undoes its steps. */
export type UndoReason = 'failed' | 'cancelled' | 'timeout'

/** The key of {@link SagaHead}. */
export const HEAD = ''
/** The key of {@link SagaNames}. A step cannot be named so. */
export const NAMES = '='

/** About the saga as a whole; rewritten by every checkpoint, and so small whatever the number of steps. */
export interface SagaHead {
  /** phase; absent: forward */
  readonly p?: Exclude<SagaPhase, 'forward'> | undefined
  /** round: how often it went forward again after all was undone; absent: 0 */
  readonly r?: number | undefined
  /** steps that are completed or skipped, and steps that are known */
  readonly k: number
  readonly t: number
  /** attempts that were spent when this was written: crashes since then happened on this checkpoint */
  readonly b: number
  /** its deadline, in milliseconds since the epoch; absent: none */
  readonly d?: number | undefined
  /** why it undoes its steps, since when, and at which step that began */
  readonly o?: UndoReason | undefined
  readonly c?: number | undefined
  readonly w?: string | undefined
  /** the error that it ends with: code, message, whether the message is for clients */
  readonly e?: StoredError | undefined
  /** an attempt has ended the saga: 1 and how often it had been redriven by then, so that a redrive is recognised */
  readonly x?: number | undefined
  /** the highest start number that was given to a step */
  readonly i?: number | undefined
  /** since when workers hand it back, because its definition does not fit */
  readonly v?: number | undefined
}

/**
 * The version of the definition that wrote the steps, and their paths in order. Written at the start, and again when
 * the list of an `each` is read and when another definition takes over.
 */
export interface SagaNames {
  readonly v: number
  readonly n: readonly string[]
  /** how many items each `each` has whose list was read, by its path */
  readonly g?: Readonly<Record<string, number>> | undefined
}

/**
 * A step's state as one letter: `p`ending (again, after a redrive), `r`unning, `b`ackoff before its next try, `w`aiting
 * (asleep, or for a signal), `c`ompleted, `s`kipped, `f`ailed, `u`ndoing, `z` undone, `x` its undo failed.
 */
export const STEP_STATES = {
  p: 'pending', r: 'running', b: 'backoff', w: 'waiting', c: 'completed', s: 'skipped', f: 'failed', u: 'compensating',
  z: 'compensated', x: 'compensation-failed'
} as const
export type StepLetter = keyof typeof STEP_STATES
/**
 * As readers see a step; one without facts is `pending`, too. `stopped` is not stored: the step was under way or waited
 * when its saga ended, because that was cancelled or out of time.
 */
export type StepState = typeof STEP_STATES[StepLetter] | 'stopped'
export const SHOWN_STEP_STATES: readonly StepState[] = [...Object.values(STEP_STATES), 'stopped']

/** About one step. */
export interface StepFacts {
  readonly s: StepLetter
  /** tries that ended in an error or completed, and how many are allowed */
  readonly a: number
  readonly m: number
  /** when its first try began, and how long the last one took, in milliseconds */
  readonly t: number
  readonly d?: number | undefined
  /** the error of its last try */
  readonly e?: StoredError | undefined
  /** the moment until which it waits */
  readonly u?: number | undefined
  /** start number: the order in which steps began, which compensation reverses */
  readonly i?: number | undefined
  /** 1: it may have had an effect although it is not completed (it timed out, was aborted, or crashed) */
  readonly q?: 1 | undefined
  /** it was completed, and 1: its result is stored; 2: it returned nothing. It stays while the step is undone */
  readonly y?: 1 | 2 | undefined
  /** tries of its undo */
  readonly n?: number | undefined
  /** 1: it failed, and the saga went on without it */
  readonly g?: 1 | undefined
}

export function readHead (facts: StepsFacts | undefined): SagaHead | undefined { return read(facts?.[HEAD], isHead) }

export function readNames (facts: StepsFacts | undefined): SagaNames | undefined {
  return read(facts?.[NAMES], isNames)
}

export function readStep (facts: StepsFacts | undefined, path: string): StepFacts | undefined {
  return read(facts?.[path], isStep)
}

/** `undefined` for what is not there and for what cannot be read. */
function read<T> (text: string | undefined, fits: (value: unknown) => value is T): T | undefined {
  if (text === undefined) return undefined
  try {
    const value: unknown = JSON.parse(text)
    return fits(value) ? value : undefined
  } catch {
    return undefined
  }
}

export function isHead (value: unknown): value is SagaHead {
  if (typeof value !== 'object' || value === null) return false
  const { k, t, b, r, d, c, i, v, x, e } = value as Record<keyof SagaHead, unknown>
  return [k, t, b].every(Number.isFinite) &&
    [r, d, c, i, v, x].every((number) => number === undefined || Number.isFinite(number)) && isErrorOrNone(e)
}

export function isNames (value: unknown): value is SagaNames {
  if (typeof value !== 'object' || value === null) return false
  const { v, n } = value as Record<keyof SagaNames, unknown>
  return Number.isFinite(v) && Array.isArray(n) && n.every((name) => typeof name === 'string')
}

export function isStep (value: unknown): value is StepFacts {
  if (typeof value !== 'object' || value === null) return false
  const { s, a, m, t, d, u, i, n, e } = value as Record<keyof StepFacts, unknown>
  return typeof s === 'string' && Object.hasOwn(STEP_STATES, s) && [a, m, t].every(Number.isFinite) &&
    [d, u, i, n].every((number) => number === undefined || Number.isFinite(number)) && isErrorOrNone(e)
}

function isErrorOrNone (value: unknown): boolean {
  if (value === undefined) return true
  if (typeof value !== 'object' || value === null) return false
  const { code, message } = value as Record<keyof StoredError, unknown>
  return typeof code === 'string' && typeof message === 'string'
}
