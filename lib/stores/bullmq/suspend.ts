/** Stores that a job waits for a time or a signal. */
import type { JobState } from '../../jobs/states.ts'
import type { Suspension } from '../../jobs/store.ts'
import { keptError, type Notes } from './envelope.ts'
import type { Client } from './internals.ts'
import type { Running } from './running.ts'
import { runScript } from './scripts.ts'
import { stepArgs } from './step-args.ts'

/** One suspension of one attempt. It can be sent again, when the answer to it was lost. */
export class Suspending {
  readonly #running: Running
  readonly #settlement: Suspension
  readonly #now: number
  readonly #delay: number
  readonly #waits: string
  readonly #atOnce: string

  /** @param now by the clock of the server */
  constructor (running: Running, settlement: Suspension, now: number) {
    this.#running = running
    this.#settlement = settlement
    this.#now = Math.floor(now)
    this.#delay = Math.max(0, Math.ceil(settlement.delayMs))
    const said: Notes = { ...keptError(running.notes), a: running.unspent }
    this.#waits = running.write({ ...said, r: this.#now + this.#delay })
    this.#atOnce = running.write({ ...said, r: this.#now })
  }

  /** @returns what the job is now; `undefined`: the lease is not this attempt's any more */
  async send (client: Client, prefix: string): Promise<JobState | undefined> {
    const { id, token } = this.#running
    const { signal, cancelKnown, checkpoint } = this.#settlement
    const how = [this.#now, this.#delay, this.#waits, this.#atOnce, signal ?? '', cancelKnown === true ? '1' : '']
    const stored = checkpoint === undefined ? [''] : ['1', ...stepArgs(checkpoint)]
    const code = Number(await runScript(client, 'suspend', [prefix], id, token, ...how, ...stored))
    if (code > 0) this.#running.noteUndo(checkpoint)
    return code === 1 ? 'scheduled' : code === 2 ? 'queued' : undefined
  }

  /** What the job became, by the notes that it bears. */
  stateBy (notes: unknown): JobState | undefined {
    // Both are equal when there is no time to wait.
    return notes === this.#atOnce ? 'queued' : notes === this.#waits ? 'scheduled' : undefined
  }
}
