/** The durable steps of jobs on Redis: fields of the job's own hash, so that whatever deletes the job deletes them. */
import type { JobRecord } from '../../jobs/job.ts'
import type { Checkpoint, CheckpointVerdict, Journal, SignalVerdict } from '../../jobs/steps.ts'
import type { Claim, StepStore } from '../../jobs/store.ts'
import { parseNotes } from './envelope.ts'
import type { FoundJob, LookFor } from './finder.ts'
import type { Client } from './internals.ts'
import { FIELD, STEP_FIELDS } from './layout.ts'
import { RECORD_FIELDS } from './record.ts'
import { Running } from './running.ts'
import { runScript } from './scripts.ts'
import { stepArgs, textsOf } from './step-args.ts'

/** What the store lends to its steps. */
export interface RedisStepsParts {
  readonly run: <T>(operation: (client: Client) => Promise<T>) => Promise<T>
  readonly find: (id: string, look: LookFor) => Promise<FoundJob | undefined>
  readonly now: () => number
  readonly leaseMs: number
}

export class RedisSteps implements StepStore {
  readonly #parts: RedisStepsParts

  constructor (parts: RedisStepsParts) {
    this.#parts = parts
  }

  async checkpoint (claim: Claim, checkpoint: Checkpoint): Promise<CheckpointVerdict> {
    if (!(claim instanceof Running)) return { stored: false }
    const { run, leaseMs } = this.#parts
    const { id, prefix, token } = claim
    const args = [id, token, Math.ceil(leaseMs), ...stepArgs(checkpoint)]
    const write = (): Promise<unknown> => run((client) => runScript(client, 'checkpoint', [prefix], ...args))
    let answer = await write()
    // A step that has blocked the event loop for longer than the lease comes before the renewal.
    if (answer === 0 && await claim.takeBack()) answer = await write()
    if (answer === 0) return { stored: false }
    claim.noteUndo(checkpoint)
    return { stored: true, cancelRequested: answer === 2 }
  }

  async journal (id: string): Promise<Journal | undefined> {
    const found = await this.#parts.find(id, (client, prefixes) => runScript(client, 'journal', prefixes, id))
    if (found === undefined) return undefined
    const { stored: { record }, answer: [fields, , texts] } = found
    const asked: unknown = Array.isArray(fields) ? fields[ASKED] : undefined
    return {
      facts: textsOf(texts, STEP_FIELDS.fact),
      values: textsOf(texts, STEP_FIELDS.value),
      signals: textsOf(texts, STEP_FIELDS.signal),
      cancelReason: typeof asked === 'string' ? parseNotes(asked).m : reasonOf(record),
      redrives: record.redrives ?? 0
    }
  }

  async signal (id: string, name: string, value: string): Promise<SignalVerdict | undefined> {
    const { find, now } = this.#parts
    const found = await find(id, (client, prefixes) => runScript(client, 'signal', prefixes, id, name, value, now()))
    if (found === undefined) return undefined
    const [, , kind] = found.answer
    return { kind: kind === 'stored' || kind === 'repeated' || kind === 'conflict' ? kind : 'finished' }
  }
}

/** The request to cancel is gone once the job has ended by it: then its error has the reason. */
function reasonOf ({ state, error }: JobRecord): string | undefined {
  return state === 'cancelled' ? error?.message : undefined
}

/** Where the request to cancel stands among the fields of a record. */
const ASKED = RECORD_FIELDS.indexOf(FIELD.deferredFailure)
