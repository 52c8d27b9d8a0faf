/** The checks of sagas: steps that run for too long here, their queues, and what was not undone. */
import type { Clock } from '../core/context.ts'
import type { HealthVerdict } from '../core/health-check.ts'
import type { EventBus } from '../events/bus.ts'
import type { JobDefinition } from '../jobs/definition.ts'
import { phaseOf } from '../jobs/saga-document.ts'
import { plannedSteps, type SagaPlan } from '../jobs/saga-plan.ts'
import type { StoreCounts } from '../jobs/store-counts.ts'
import type { JobStore } from '../jobs/store.ts'
import { toStoredError } from '../jobs/stored-error.ts'
import type { Health } from './registry.ts'
import type { RunningSteps } from './running-steps.ts'

type Verdict = Exclude<HealthVerdict, string | boolean | void>

/** How many names a description lists. */
const MAX_NAMED = 5
/** How many sagas that were not undone are remembered: the newest. */
const MAX_REMEMBERED = 20

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
  readonly bus: EventBus
  readonly clock: Pick<Clock, 'now'>
  readonly store: Pick<JobStore, 'get'>
  readonly counts: Pick<StoreCounts, 'read'>
  /** The queues in which sagas of this application wait. */
  readonly queues: () => readonly string[]
  /** A saga that undoes its steps for longer than this is reported, in milliseconds. */
  readonly maxCompensationMs: number
}

/**
 * One check for all sagas: those that have been undoing their steps for too long, in whichever process; and those that
 * could not undo all of them, as far as this process has run them. The latter are forgotten when they were redriven,
 * removed or have expired, because then somebody has dealt with them.
 */
export class Compensations {
  readonly #parts: CompensationParts
  /** By the id of the job: the saga and the steps that were not undone. */
  readonly #failed = new Map<string, { readonly saga: string, readonly steps: string }>()

  constructor (parts: CompensationParts) {
    this.#parts = parts
  }

  /** Begins to listen, and adds the check. */
  addTo (health: Health): void {
    this.#parts.bus.on('saga.compensation_failed', ({ jobId, jobName, steps }) => {
      this.#failed.delete(jobId)
      this.#failed.set(jobId, { saga: jobName, steps })
      const [oldest] = this.#failed.keys()
      if (oldest !== undefined && this.#failed.size > MAX_REMEMBERED) this.#failed.delete(oldest)
    })
    const options = { tags: ['job', 'saga', 'compensation'], critical: false, timeoutMs: 5_000 }
    health.addCheck('asyncendpoints.compensations', async () => await this.look(), options)
  }

  /** Never worse than Degraded: a restart of this process would not help. */
  async look (): Promise<Verdict> {
    const { clock, counts: reader, maxCompensationMs, queues } = this.#parts
    const [all] = await Promise.all([Promise.all(queues().map((queue) => reader.read(queue))), this.#forget()])
    const sagas = all.flatMap(({ counts }) => counts.sagas ?? [])
    const since = sagas.flatMap(({ compensatingSince }) => compensatingSince ?? [])
    const oldestMs = since.length === 0 ? 0 : Math.max(0, clock.now() - Math.min(...since))
    const thresholdSeconds = maxCompensationMs / 1_000
    const long = oldestMs > maxCompensationMs
    const failed = [...this.#failed.values()].map(({ saga, steps }) => `${saga} (${steps})`)
    const problems = [
      ...(long ? [`a saga has been undoing its steps for more than ${thresholdSeconds} s`] : []),
      ...(failed.length > 0 ? [`steps that could not be undone: ${listed(failed)}`] : [])
    ]
    return {
      status: problems.length === 0 ? 'Healthy' : 'Degraded',
      description: problems.length === 0 ? 'no compensation takes too long, and none has failed in this process' : problems.join('; '),
      data: {
        compensating: sagas.reduce((sum, { compensating }) => sum + compensating, 0),
        oldest_seconds: Math.round(oldestMs / 1_000),
        threshold_seconds: thresholdSeconds,
        compensation_failed: failed.length
      }
    }
  }

  /** Forgets the sagas that somebody has dealt with. */
  async #forget (): Promise<void> {
    await Promise.all([...this.#failed].map(async ([id, remembered]) => {
      const job = await this.#parts.store.get(id)
      const remains = job?.state === 'failed' && phaseOf(job.facts) === 'compensation-failed'
      // It may have failed again while it was read.
      if (!remains && this.#failed.get(id) === remembered) this.#failed.delete(id)
    }))
  }
}

function listed (names: readonly string[]): string {
  const rest = names.length - MAX_NAMED
  return rest > 0 ? `${names.slice(0, MAX_NAMED).join(', ')} and ${rest} more` : names.join(', ')
}
