/** Reads the answer of `lua/counts.lua`. */
import type { QueueCounts } from '../../jobs/store.ts'
import { claimableSince } from './record.ts'

const NUMBERS = 9

/** @param now by the clock of the server */
export function countsIn (queue: string, answer: unknown, now: number): QueueCounts {
  const parts: readonly unknown[] = Array.isArray(answer) ? answer : []
  const [wait = 0, prioritized = 0, delayed = 0, active = 0, completed = 0, failed = 0, cancelled = 0, cancelling = 0, stuck = 0] = parts.slice(0, NUMBERS).map(Number)
  const [firstWaiting, firstPrioritized, nextDue, stuckIds, ...aboutSagas] = parts.slice(NUMBERS)
  const [compensating, compensatingSince, awaiting, notUndone, notUndoneIds] = aboutSagas
  const since = [firstWaiting, firstPrioritized].map((fields) => Array.isArray(fields) ? claimableSince(fields[0], fields[1], fields[2]) : undefined)
  const due = nextDue === null || nextDue === undefined ? undefined : Number(nextDue)
  const waiting = [...since, due].filter((time) => time !== undefined && time <= now) as number[]
  return {
    queue,
    states: {
      // Cancelled jobs that still stand in the list of waiting jobs are counted as what they are.
      queued: Math.max(0, wait + prioritized - cancelling),
      scheduled: delayed,
      'in-progress': active,
      completed,
      failed: Math.max(0, failed - cancelled),
      cancelled: cancelled + cancelling
    },
    oldestQueuedAt: waiting.length === 0 ? undefined : Math.min(...waiting),
    stuck,
    stuckIds: Array.isArray(stuckIds) ? stuckIds.map(String) : undefined,
    sagas: {
      compensating: Number(compensating ?? 0),
      compensatingSince: compensatingSince === null || compensatingSince === undefined ? undefined : Number(compensatingSince),
      awaitingSignal: Number(awaiting ?? 0),
      notUndone: Number(notUndone ?? 0),
      notUndoneIds: Array.isArray(notUndoneIds) ? notUndoneIds.map(String) : []
    }
  }
}
