/** Every change to the durable steps of the jobs of one memory store. */
import { isTerminal, type TerminalState } from '../../jobs/states.ts'
import type { Suspension } from '../../jobs/store.ts'
import type { Checkpoint, Journal, SagaCounts, SignalVerdict } from '../../jobs/steps.ts'
import type { Budget } from './budget.ts'
import type { MemoryQueue } from './queue.ts'
import type { StoredJob } from './record.ts'
import { JobSteps, NO_SAGAS, QueueSagas } from './steps.ts'

export interface StepKeeperParts {
  readonly budget: Budget
  readonly queue: (name: string) => MemoryQueue
  /** Makes a scheduled job claimable at once. */
  readonly wake: (job: StoredJob) => void
  /** Publishes that a job has changed. */
  readonly changed: (job: StoredJob) => void
}

export class StepKeeper {
  readonly #parts: StepKeeperParts

  constructor (parts: StepKeeperParts) {
    this.#parts = parts
  }

  /**
   * Small facts are never refused: a saga that must undo its steps, because there is no room for a result, has to store
   * that it does.
   *
   * @throws {AsyncEndpointsError} `FAE_STORE_FULL`, `FAE_JOB_TOO_LARGE`: a result does not fit, and nothing is stored
   */
  write (job: StoredJob, checkpoint: Checkpoint): void {
    const steps = job.steps ?? new JobSteps()
    const { budget } = this.#parts
    if (checkpoint.values !== undefined) budget.makeRoom(steps.sizeOf(checkpoint), budget.stepReserve)
    this.#store(job, steps, checkpoint)
  }

  /** The job ends in this step: its results and signals go, unless it may be redriven. */
  end (job: StoredJob, state: TerminalState, checkpoint?: Checkpoint): void {
    const steps = job.steps ?? (checkpoint === undefined ? undefined : new JobSteps())
    if (steps === undefined) return
    // What it adds are small facts: an end is never refused for want of room.
    if (checkpoint !== undefined) this.#store(job, steps, checkpoint)
    if (state !== 'failed') this.#parts.budget.stepsGrew(-steps.dropValues())
    steps.awaits = undefined
    this.#parts.queue(job.queue).sagas?.note(job.id, steps, true)
  }

  /** It waits again, and what could not be undone is undone now. */
  redriven (job: StoredJob): void {
    const { steps } = job
    if (steps?.notUndoneSince === undefined) return
    steps.notUndoneSince = undefined
    this.#note(job, steps)
  }

  /** @returns how long the job has to wait: not at all when what it waits for is there already */
  suspend (job: StoredJob, { delayMs, signal, cancelKnown, checkpoint }: Suspension): number {
    const steps = job.steps ?? new JobSteps()
    this.#store(job, steps, checkpoint ?? { facts: {} })
    if (steps.hasSignal(signal) || (job.cancelRequested && cancelKnown !== true)) return 0
    steps.awaits = signal
    this.#note(job, steps)
    return delayMs
  }

  /** A claim: the job waits for nothing any more. */
  claimed (job: StoredJob): void {
    const { steps } = job
    if (steps?.awaits === undefined) return
    steps.awaits = undefined
    this.#note(job, steps)
  }

  signal (job: StoredJob, name: string, value: string): SignalVerdict {
    if (isTerminal(job.state)) return { kind: 'finished' }
    const steps = job.steps ?? new JobSteps()
    const before = steps.signal(name)
    if (before !== undefined) return { kind: before === value ? 'repeated' : 'conflict' }
    const { budget } = this.#parts
    budget.makeRoom(name.length + value.length, budget.stepReserve)
    job.steps = steps
    budget.stepsGrew(steps.putSignal(name, value))
    if (steps.awaits === name && job.state === 'scheduled') {
      this.claimed(job)
      this.#parts.wake(job)
    } else this.#parts.changed(job)
    return { kind: 'stored' }
  }

  /** Somebody has asked to cancel a job that waits and has something to undo. */
  cancelled (job: StoredJob, reason: string): void {
    if (job.cancelRequested) return
    job.cancelRequested = true
    job.cancelReason = reason
    // One that was never claimed waits for the time that its submission asked for.
    if (job.state === 'scheduled' && job.startedAt !== undefined) {
      this.claimed(job)
      this.#parts.wake(job)
    } else this.#parts.changed(job)
  }

  journal (job: StoredJob): Journal {
    return (job.steps ?? new JobSteps()).journal(job.cancelReason, job.redrives)
  }

  counts ({ sagas }: MemoryQueue): SagaCounts { return sagas?.counts() ?? NO_SAGAS }

  /** The job is gone. */
  forgotten (job: StoredJob): void {
    if (job.steps !== undefined) this.#parts.queue(job.queue).sagas?.forget(job.steps)
  }

  #store (job: StoredJob, steps: JobSteps, checkpoint: Checkpoint): void {
    job.steps = steps
    this.#parts.budget.stepsGrew(steps.write(checkpoint))
    if (checkpoint.progress !== undefined) job.setProgress(checkpoint.progress)
    this.#note(job, steps)
  }

  #note (job: StoredJob, steps: JobSteps): void {
    const queue = this.#parts.queue(job.queue)
    const { compensatingSince, notUndoneSince, awaits } = steps
    const nothing = compensatingSince === undefined && notUndoneSince === undefined && awaits === undefined
    if (queue.sagas === undefined && nothing) return
    queue.sagas ??= new QueueSagas()
    queue.sagas.note(job.id, steps, false)
  }
}
