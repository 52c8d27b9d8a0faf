/** The checks of sagas: steps that run for too long here, their queues, and what was not undone. */
import type { Clock } from '../core/context.ts'
import type { HealthVerdict } from '../core/health-check.ts'
import type { JobDefinition } from '../jobs/definition.ts'
import { readNotUndone } from '../jobs/not-undone.ts'
import { plannedSteps, type SagaPlan } from '../jobs/saga-plan.ts'
import type { StoreCounts } from '../jobs/store-counts.ts'
import type { JobStore } from '../jobs/store.ts'
import { toStoredError } from '../jobs/stored-error.ts'
import type { Health } from './registry.ts'
import type { RunningSteps } from './running-steps.ts'

type Verdict = Exclude<HealthVerdict, string | boolean | void>

/** How many names a description lists. */
const MAX_NAMED = 5

/**
 * Adds `<saga>-stuck-tasks`. Never worse than Degraded: a restart of this process would run the steps again, and some
 * of them have already had their effect.
 */
export function addStuckStepsCheck (health: Health, definition: JobDefinition, steps: RunningSteps): void {
  const { name, saga, requires } = definition
  if (saga === undefined || Object.hasOwn(requires, 'stuck-tasks')) return
  const watched = limitedSteps(saga)
  const options = { tags: ['job', 'saga', 'stuck'], critical: false }
  health.addCheck(`${name}-stuck-tasks`, () => stuckSteps(steps, name, watched), options)
}

function limitedSteps (plan: SagaPlan): number {
  return plannedSteps(plan).filter(({ timeoutMs, compensate, undo }) => {
    return timeoutMs > 0 || (compensate !== undefined && undo.timeoutMs > 0)
  }).length
}

function stuckSteps (running: RunningSteps, saga: string, watched: number): Verdict {
  const overdue = running.overdue(saga)
  if (overdue.length === 0) {
    return { status: 'Healthy', description: 'No stuck tasks', data: { stuck_count: 0, steps_watched: watched } }
  }
  // Every one of them has run for longer than the smallest of their limits.
  const seconds = Math.min(...overdue.map(({ limitMs }) => limitMs)) / 1_000
  return {
    status: 'Degraded',
    description: `${overdue.length} task(s) stuck in Running state for > ${seconds}s`,
    data: {
      stuck_count: overdue.length,
      threshold_seconds: seconds,
      steps: listed([...new Set(overdue.map(({ step }) => step))]),
      steps_watched: watched
    }
  }
}

/** Adds `<saga>-queue`: whether the store answers for the queue of the saga. Sagas of one queue share one reading. */
export function addQueueCheck (
  health: Health, { name, queue, requires }: JobDefinition, counts: Pick<StoreCounts, 'read'>
): void {
  if (Object.hasOwn(requires, 'queue')) return
  const check = async (): Promise<Verdict> => {
    try {
      const { counts: { states: { queued, scheduled } } } = await counts.read(queue)
      return { status: 'Healthy', description: `Queue '${queue}' is reachable`, data: { queue, queued, scheduled } }
    } catch (error) {
      const { code } = toStoredError(error)
      return { status: 'Unhealthy', description: `Queue '${queue}' is unreachable`, data: { queue, error: code } }
    }
  }
  health.addCheck(`${name}-queue`, check, { tags: ['job', 'saga', 'queue'], timeoutMs: 5_000 })
}

export interface CompensationParts {
  readonly clock: Pick<Clock, 'now'>
  readonly store: Pick<JobStore, 'get'>
  readonly counts: Pick<StoreCounts, 'read'>
  /** The queues in which sagas of this application wait. */
  readonly queues: () => readonly string[]
  /** A saga that undoes its steps for longer than this is reported, in milliseconds. */
  readonly maxCompensationMs: number
}

/**
 * One check for all sagas, in whichever process they ran: those that have been undoing their steps for too long, and
 * those that could not undo all of them. Both are read from the store, so a restart forgets neither. The latter are
 * shown until they were redriven, removed or have expired, because then somebody has dealt with them.
 */
export class Compensations {
  readonly #parts: CompensationParts

  constructor (parts: CompensationParts) {
    this.#parts = parts
  }

  addTo (health: Health): void {
    const options = { tags: ['job', 'saga', 'compensation'], critical: false, timeoutMs: 5_000 }
    health.addCheck('asyncendpoints.compensations', async () => await this.look(), options)
  }

  /** Never worse than Degraded: a restart of this process would not help. */
  async look (): Promise<Verdict> {
    const { clock, counts: reader, maxCompensationMs, queues, store } = this.#parts
    const all = await Promise.all(queues().map((queue) => reader.read(queue)))
    const sagas = all.flatMap(({ counts }) => counts.sagas ?? [])
    const since = sagas.flatMap(({ compensatingSince }) => compensatingSince ?? [])
    const oldestMs = since.length === 0 ? 0 : Math.max(0, clock.now() - Math.min(...since))
    const thresholdSeconds = maxCompensationMs / 1_000
    const long = oldestMs > maxCompensationMs
    const failed = sum(sagas.map(({ notUndone }) => notUndone))
    const named = await readNotUndone(store, sagas.flatMap(({ notUndoneIds }) => notUndoneIds).slice(0, MAX_NAMED))
    const names = named.map(({ jobName, steps }) => `${jobName} (${steps})`)
    const problems = [
      ...(long ? [`a saga has been undoing its steps for more than ${thresholdSeconds} s`] : []),
      ...(failed > 0 ? [`steps that could not be undone: ${listed(names, failed)}`] : [])
    ]
    return {
      status: problems.length === 0 ? 'Healthy' : 'Degraded',
      description: problems.length === 0 ? 'no compensation takes too long, and none has failed' : problems.join('; '),
      data: {
        compensating: sum(sagas.map(({ compensating }) => compensating)),
        oldest_seconds: Math.round(oldestMs / 1_000),
        threshold_seconds: thresholdSeconds,
        compensation_failed: failed
      }
    }
  }
}

function sum (numbers: readonly number[]): number { return numbers.reduce((total, number) => total + number, 0) }

/** @param count how many there are, if `names` has only some of them */
function listed (names: readonly string[], count = names.length): string {
  const shown = names.slice(0, MAX_NAMED)
  const rest = Math.max(0, count - shown.length)
  if (rest === 0) return shown.join(', ')
  return shown.length === 0 ? `those of ${rest} saga(s)` : `${shown.join(', ')} and ${rest} more`
}
