/** The way of a submission to the server: all submissions of one turn of the event loop share a command. */
import { AsyncEndpointsError } from '../../core/errors.ts'
import { MAX_PRIORITY, type NewJob } from '../../jobs/job.ts'
import type { Connections } from './connections.ts'
import { encodeInput, encodeOptions } from './envelope.ts'
import { toStoreError, unavailable } from './errors.ts'
import type { BullScripts, Client } from './internals.ts'
import { LARGE_BYTES } from './keeping.ts'
import { ADD_KINDS, addKeys, type AddKind } from './layout.ts'
import type { ResolvedRedisStoreOptions } from './options.ts'
import type { QueueHandle } from './queues.ts'
import { rawJob, type RawJob } from './record.ts'
import { defineCommand, runCommand } from './scripts.ts'
import { addScript } from './wrapped-scripts.ts'

/**
 * A batch of this size is sent without waiting for the end of the turn: the server works on it while the rest of the
 * turn's requests are still being read here. Larger ones make the two take turns, and both idle.
 */
const MAX_BATCH = 16
/** Characters of all bodies of a batch; a larger one travels alone. */
const MAX_BATCH_LENGTH = 1_000_000

/** Who has an idempotency key that was asked for. */
export interface Held {
  readonly id: string
  readonly fingerprint: string
  /** `undefined`: the job is forgotten, only the key is left. */
  readonly job: RawJob | undefined
}

interface Entry {
  readonly kind: AddKind
  readonly id: string
  readonly name: string
  readonly timestamp: string
  readonly data: string
  readonly options: string
  /** What is asked beside the job itself, as JSON; '' for nothing. `lua/add.lua` documents its keys. */
  readonly asked: string
  readonly resolve: (held: Held | undefined) => void
  readonly reject: (error: Error) => void
}

/**
 * Sends the submissions of one turn of the event loop together, a batch being one command. Nobody waits longer for it,
 * and each is answered only after the server has confirmed its own job.
 */
export class Coalescer {
  readonly #connections: Connections
  readonly #scripts: BullScripts
  readonly #settings: ResolvedRedisStoreOptions
  #commands: Readonly<Record<AddKind, string>> = { standard: '', delayed: '', prioritized: '' }
  #waiting = new Map<QueueHandle, Entry[]>()
  #count = 0
  #immediate: NodeJS.Immediate | undefined

  constructor (connections: Connections, scripts: BullScripts, settings: ResolvedRedisStoreOptions) {
    this.#connections = connections
    this.#scripts = scripts
    this.#settings = settings
  }

  /** Teaches the client the scripts that add jobs. */
  start (): void { this.#commands = defineAddCommands(this.#connections.submitter, this.#scripts, this.#settings) }

  /**
   * @returns `undefined` once the job is stored; or who has its idempotency key, and then it is not
   * @throws {AsyncEndpointsError} `FAE_INVALID_SUBMISSION`, `FAE_STORE_UNAVAILABLE`, `FAE_STORE_FULL`,
   * `FAE_JOB_TOO_LARGE`
   */
  add (handle: QueueHandle, job: NewJob): Promise<Held | undefined> {
    return new Promise((resolve, reject) => {
      const delay = Math.max(0, Math.ceil(job.runAt - job.createdAt))
      const priority = Math.min(job.priority, MAX_PRIORITY)
      const data = encodeInput(job.input)
      const bytes = largeBytes(data)
      const { maxWaitingBytes } = this.#settings
      if (bytes !== undefined && bytes > maxWaitingBytes) return reject(tooLarge(bytes, maxWaitingBytes))
      const entry: Entry = {
        kind: delay > 0 ? 'delayed' : priority > 0 ? 'prioritized' : 'standard',
        id: job.id,
        name: job.name,
        timestamp: String(job.createdAt),
        data,
        options: encodeOptions(job, delay, priority, bytes),
        asked: askedFor(job, bytes),
        resolve,
        reject
      }
      const waiting = this.#waiting.get(handle)
      if (waiting === undefined) this.#waiting.set(handle, [entry])
      else waiting.push(entry)
      if (++this.#count >= MAX_BATCH) this.#flush()
      else this.#immediate ??= setImmediate(() => this.#flush())
    })
  }

  #flush (): void {
    if (this.#immediate !== undefined) clearImmediate(this.#immediate)
    this.#immediate = undefined
    this.#count = 0
    const waiting = this.#waiting
    this.#waiting = new Map()
    for (const [handle, entries] of waiting) {
      for (const kind of ADD_KINDS) {
        // Nearly always all are of one kind.
        const same = entries.every((entry) => entry.kind === kind) ? entries : entries.filter((entry) => entry.kind === kind)
        let first = 0
        let length = 0
        for (const [index, { data }] of same.entries()) {
          if (index > first && (index - first === MAX_BATCH || length + data.length > MAX_BATCH_LENGTH)) {
            this.#send(handle, kind, same.slice(first, index))
            first = index
            length = 0
          }
          length += data.length
        }
        if (first < same.length) this.#send(handle, kind, first === 0 ? same : same.slice(first))
      }
    }
  }

  #send (handle: QueueHandle, kind: AddKind, batch: readonly Entry[]): void {
    const args = [...addKeys(kind, handle.prefix), handle.prefix]
    for (const { id, name, timestamp, data, options, asked } of batch) args.push(id, name, timestamp, data, options, asked)
    this.#connections.submit((client) => runCommand(client, this.#commands[kind], args)).then((answers) => {
      if (!Array.isArray(answers)) throw unavailable('unexpected answer', this.#connections.server)
      const settleAll = (): void => { for (const [index, entry] of batch.entries()) this.#settle(entry, answers[index]) }
      const acknowledged = this.#connections.acknowledged()
      return acknowledged === undefined ? settleAll() : acknowledged.then(settleAll)
    }).catch((error: unknown) => {
      // Promises that are settled already ignore it.
      for (const { reject } of batch) reject(error instanceof Error ? error : unavailable('unknown', this.#connections.server))
    })
  }

  #settle (entry: Entry, answer: unknown): void {
    if (answer === 1) return entry.resolve(undefined)
    if (Array.isArray(answer)) {
      const [id, fingerprint, fields, leased] = answer as readonly unknown[]
      return entry.resolve({ id: String(id), fingerprint: String(fingerprint), job: rawJob(fields, leased) })
    }
    if (answer === 0) return entry.reject(tooManyBytes())
    if (typeof answer !== 'string' || !answer.startsWith('!')) return entry.reject(unavailable('unexpected answer', this.#connections.server))
    // The script has caught it, so that the others of the batch are not lost with it: the connections do not hear of
    // it otherwise.
    const error = new Error(answer.slice(1))
    this.#connections.heard(error)
    entry.reject(toStoreError(error, this.#connections.server))
  }
}

function tooManyBytes (): AsyncEndpointsError {
  const message = 'The inputs of jobs that wait or run in this queue, and what their steps have stored, take ' +
    'maxWaitingBytes: raise it or run more workers'
  return new AsyncEndpointsError('FAE_STORE_FULL', message, { retryAfterSeconds: 5 })
}

function tooLarge (bytes: number, most: number): AsyncEndpointsError {
  return new AsyncEndpointsError('FAE_JOB_TOO_LARGE', `The input of the job takes ${bytes} bytes, more than maxWaitingBytes (${most}): submit a smaller one, or raise maxWaitingBytes`)
}

function askedFor ({ idempotency, owner }: NewJob, b: number | undefined): string {
  if (idempotency === undefined) return b === undefined ? '' : JSON.stringify({ b })
  const { key, fingerprint, ttlMs } = idempotency
  return JSON.stringify({ k: key, f: fingerprint, t: Math.max(1, Math.ceil(ttlMs)), o: owner, b })
}

/** Its size, if that matters: no character takes more than three bytes. */
function largeBytes (data: string): number | undefined {
  if (data.length * 3 < LARGE_BYTES) return undefined
  const bytes = Buffer.byteLength(data)
  return bytes < LARGE_BYTES ? undefined : bytes
}

function defineAddCommands (client: Client, scripts: BullScripts, settings: ResolvedRedisStoreOptions): Record<AddKind, string> {
  const define = (kind: AddKind): string => defineCommand(client, `add-${kind}`, addScript(scripts, kind, settings))
  return { standard: define('standard'), delayed: define('delayed'), prioritized: define('prioritized') }
}
