/** The durable steps of a job in memory, and what a queue knows of its sagas. */
import type { StepsFacts } from '../../jobs/job.ts'
import { HEAD } from '../../jobs/saga-facts.ts'
import {
  MAX_NOT_UNDONE, type SagaCounts, type Checkpoint, type Journal, type StepText
} from '../../jobs/steps.ts'

/** What the steps of one job have stored. Made by its first checkpoint or signal. */
export class JobSteps {
  readonly #facts = new Map<string, string>()
  readonly #values = new Map<string, StepText>()
  readonly #signals = new Map<string, string>()
  /** Counted by the lengths of the texts, as the budget counts all of the store. */
  bytes = 0
  /** It has done something that a cancel must undo. */
  undo = false
  /** It was suspended, until this signal comes. */
  awaits: string | undefined
  compensatingSince: number | undefined
  /** Steps of it could not be undone. */
  notUndoneSince: number | undefined
  #shown: StepsFacts | undefined

  get facts (): StepsFacts {
    this.#shown ??= Object.freeze(Object.fromEntries(this.#facts))
    return this.#shown
  }

  /** The facts of a job in a list: only the one about the job as a whole. */
  get head (): StepsFacts | undefined {
    const head = this.#facts.get(HEAD)
    return head === undefined ? undefined : { [HEAD]: head }
  }

  /** @returns how many characters more there are now */
  write ({ facts, values, dropValues, undo, compensatingSince, notUndoneSince }: Checkpoint): number {
    const before = this.bytes
    if (dropValues === true) this.dropValues()
    for (const [key, text] of Object.entries(facts)) this.#put(this.#facts, key, text)
    for (const [key, text] of Object.entries(values ?? {})) this.#put(this.#values, key, text)
    if (undo !== undefined) this.undo = undo
    if (compensatingSince !== undefined) this.compensatingSince = compensatingSince ?? undefined
    if (notUndoneSince !== undefined) this.notUndoneSince = notUndoneSince ?? undefined
    this.#shown = undefined
    return this.bytes - before
  }

  /** How many characters more a checkpoint can bring. */
  sizeOf ({ facts, values = {} }: Checkpoint): number {
    let size = 0
    for (const [key, text] of [...Object.entries(facts), ...Object.entries(values)]) size += key.length + text.length
    return size
  }

  hasSignal (name: string | undefined): boolean { return name !== undefined && this.#signals.has(name) }

  signal (name: string): string | undefined { return this.#signals.get(name) }

  /** @returns how many characters more there are now */
  putSignal (name: string, value: string): number {
    this.#put(this.#signals, name, value)
    return name.length + value.length
  }

  /** Results and signals of a job that nobody runs again. @returns how many characters there were */
  dropValues (): number {
    const before = this.bytes
    for (const kept of [this.#values, this.#signals]) {
      for (const [key, text] of kept) this.bytes -= key.length + text.length
      kept.clear()
    }
    return before - this.bytes
  }

  journal (cancelReason: string | undefined, redrives: number): Journal {
    return {
      facts: this.facts,
      values: Object.fromEntries([...this.#values].map(([key, text]) => [key, text.toString()])),
      signals: Object.fromEntries(this.#signals),
      cancelReason, redrives
    }
  }

  #put<T extends StepText> (kept: Map<string, T>, key: string, text: T): void {
    const before = kept.get(key)
    this.bytes += before === undefined ? key.length + text.length : text.length - before.length
    kept.set(key, text)
  }
}

/** The sagas of one queue that are not over, or that somebody has to look at. */
export class QueueSagas {
  /** In the order in which they began to compensate, apart from those that begin again after a redrive. */
  readonly #compensating = new Map<JobSteps, number>()
  readonly #awaiting = new Set<JobSteps>()
  /** The ids of the jobs with steps that could not be undone, in the order in which they ended. */
  readonly #notUndone = new Map<JobSteps, string>()

  /** To be called after every change of a job's steps. `over`: the job has ended. */
  note (id: string, steps: JobSteps, over: boolean): void {
    const { compensatingSince: since, awaits } = steps
    if (over || since === undefined) this.#compensating.delete(steps)
    else if (this.#compensating.get(steps) !== since) {
      this.#compensating.delete(steps)
      this.#compensating.set(steps, since)
    }
    if (over || awaits === undefined || awaits.startsWith(':')) this.#awaiting.delete(steps)
    else this.#awaiting.add(steps)
    if (steps.notUndoneSince === undefined) this.#notUndone.delete(steps)
    else this.#notUndone.set(steps, id)
  }

  /** The job is gone. */
  forget (steps: JobSteps): void {
    for (const kept of [this.#compensating, this.#awaiting, this.#notUndone]) kept.delete(steps)
  }

  counts (): SagaCounts {
    const [oldest] = this.#compensating.values()
    return {
      compensating: this.#compensating.size,
      compensatingSince: oldest,
      awaitingSignal: this.#awaiting.size,
      notUndone: this.#notUndone.size,
      notUndoneIds: [...this.#notUndone.values()].slice(-MAX_NOT_UNDONE).reverse()
    }
  }
}

export const NO_SAGAS: SagaCounts = Object.freeze({
  compensating: 0, compensatingSince: undefined, awaitingSignal: 0, notUndone: 0, notUndoneIds: []
})
