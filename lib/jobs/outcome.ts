/**
 * Outcomes that a handler can return (or throw) instead of a result, made by the functions below. They are recognised
 * by a registered symbol, so that two copies of the package understand each other.
 */
const OUTCOME = Symbol.for('fastify-async-endpoints.outcome')

/** A century. A longer wait could leave the range of dates. */
export const MAX_DELAY_MS = 3_155_760_000_000

export interface Snooze { readonly [OUTCOME]: 'snooze', readonly delayMs: number }
export interface Cancel { readonly [OUTCOME]: 'cancel', readonly reason: string }
export interface Discard { readonly [OUTCOME]: 'discard', readonly reason: string }

export type Outcome = Snooze | Cancel | Discard

/** Run this job again after `delayMs`. This spends no attempt. */
export function snooze (delayMs: number): Snooze {
  if (!Number.isFinite(delayMs) || delayMs < 0) throw new TypeError('snooze(delayMs) needs a number of milliseconds, 0 or more')
  return Object.freeze({ [OUTCOME]: 'snooze' as const, delayMs: Math.min(Math.round(delayMs), MAX_DELAY_MS) })
}

/** End this job as cancelled, because it is no longer wanted. */
export function cancel (reason = 'cancelled by the handler'): Cancel {
  return Object.freeze({ [OUTCOME]: 'cancel' as const, reason })
}

/** End this job as failed now, whatever attempts are left, because trying again cannot help. */
export function discard (reason: string): Discard {
  return Object.freeze({ [OUTCOME]: 'discard' as const, reason })
}

/** The kind of outcome a value is, or `undefined` for anything else. Never throws, whatever the value. */
export function outcomeKind (value: unknown): 'snooze' | 'cancel' | 'discard' | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  // A revoked proxy or a getter throws: such a value is not an outcome.
  try { return (value as Partial<Outcome>)[OUTCOME] } catch { return undefined }
}

export function isOutcome (value: unknown): value is Outcome {
  return outcomeKind(value) !== undefined
}
