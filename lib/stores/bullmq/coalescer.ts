import { MAX_PRIORITY, type NewJob } from '../../jobs/job.ts'
import type { Connections } from './connections.ts'
import { encodeEnvelope } from './envelope.ts'
import { toStoreError, unavailable } from './errors.ts'
import { ADD_KINDS, addKeys, addOptions, batchedAdd, bullScripts, type AddKind, type Bull, type Client } from './internals.ts'
import type { QueueHandle } from './queues.ts'
import { commandName, runCommand } from './scripts.ts'

/**
 * A batch of this size is sent without waiting for the end of the turn: the server works on it while the rest of the
 * turn's requests are still being read here. Larger ones make the two take turns, and both idle.
 */
const MAX_BATCH = 16
/** Characters of all bodies of a batch; a larger one travels alone. */
const MAX_BATCH_LENGTH = 1_000_000

interface Entry {
  readonly kind: AddKind
  readonly id: string
  readonly name: string
  readonly timestamp: string
  readonly data: string
  readonly options: string
  readonly resolve: (id: string) => void
  readonly reject: (error: Error) => void
}

/**
 * Sends the submissions of one turn of the event loop together, a batch being one command. Nobody waits longer for it,
 * and each is answered only after the server has confirmed its own job.
 */
export class Coalescer {
  readonly #connections: Connections
  readonly #commands: Readonly<Record<AddKind, string>>
  #waiting = new Map<QueueHandle, Entry[]>()
  #count = 0
  #immediate: NodeJS.Immediate | undefined

  /** @throws {AsyncEndpointsError} `FAE_STORE_UNSUPPORTED` when the installed release of BullMQ is not one we know */
  constructor (connections: Connections, bull: Bull) {
    this.#connections = connections
    this.#commands = defineAddCommands(connections.submitter, bull)
  }

  /**
   * @returns the id under which the job is stored: its own, or that of the job that holds its idempotency key
   * @throws {AsyncEndpointsError} `FAE_INVALID_SUBMISSION`, `FAE_STORE_UNAVAILABLE`, `FAE_STORE_FULL`
   */
  add (handle: QueueHandle, job: NewJob, idempotencyTtlMs: number): Promise<string> {
    return new Promise((resolve, reject) => {
      const delay = Math.max(0, Math.ceil(job.runAt - job.createdAt))
      const priority = Math.min(job.priority, MAX_PRIORITY)
      const { idempotency } = job
      const entry: Entry = {
        kind: delay > 0 ? 'delayed' : priority > 0 ? 'prioritized' : 'standard',
        id: job.id,
        name: job.name,
        timestamp: String(job.createdAt),
        data: encodeEnvelope(job),
        options: addOptions(delay, priority, idempotency === undefined ? undefined : { id: idempotency.key, ttl: Math.max(1, Math.ceil(idempotencyTtlMs)) }),
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
    for (const { id, name, timestamp, data, options } of batch) args.push(id, name, timestamp, data, options)
    this.#connections.submit((client) => runCommand(client, this.#commands[kind], args)).then((answers) => {
      if (!Array.isArray(answers)) throw unavailable('unexpected answer')
      const settleAll = (): void => { for (const [index, entry] of batch.entries()) this.#settle(entry, answers[index]) }
      const acknowledged = this.#connections.acknowledged()
      return acknowledged === undefined ? settleAll() : acknowledged.then(settleAll)
    }).catch((error: unknown) => {
      // Whoever is settled already does not hear of it.
      for (const { reject } of batch) reject(error instanceof Error ? error : unavailable('unknown'))
    })
  }

  #settle (entry: Entry, answer: unknown): void {
    if (answer === 1) return entry.resolve(entry.id)
    if (typeof answer !== 'string' || answer === '') return entry.reject(unavailable('unexpected answer'))
    if (!answer.startsWith('!')) return entry.resolve(answer)
    // The script has caught it, so that the others of the batch are not lost with it: the connections do not hear of it otherwise.
    const error = new Error(answer.slice(1))
    this.#connections.heard(error)
    entry.reject(toStoreError(error))
  }
}

function defineAddCommands (client: Client, bull: Bull): Record<AddKind, string> {
  const scripts = bullScripts(bull)
  const define = (kind: AddKind): string => {
    const definition = batchedAdd(scripts, kind)
    const command = commandName(`add-${kind}`, definition.lua)
    if (typeof Reflect.get(client, command) !== 'function') client.defineCommand(command, definition)
    return command
  }
  return { standard: define('standard'), delayed: define('delayed'), prioritized: define('prioritized') }
}
