/** Ends jobs that no worker can read because another program wrote over them. */
import { AsyncEndpointsError } from '../../core/errors.ts'
import type { Clock } from '../../core/context.ts'
import type { Connections } from './connections.ts'
import { encodeNotes } from './envelope.ts'
import { serverCode } from './errors.ts'
import { limitsOf } from './keeping.ts'
import type { ResolvedRedisStoreOptions } from './options.ts'
import type { QueueHandle } from './queues.ts'
import { runScript } from './scripts.ts'

/** The number of jobs that are looked at, at each end of each list of a queue. */
const LOOKED_AT = 100
/** One look at a queue in this time, however many claims stumble. */
const LOOK_EVERY_MS = 1_000

/** What a script says when it found a key of another type, or a text where a number should be. */
const SCRIPT_FAULT = /WRONGTYPE|not an integer|not a valid float|attempt to (?:compare|perform|concatenate|index)/

/** A script of the server's stumbled over what it read, not over the state of the server. */
export function isScriptFault (error: unknown): boolean {
  return error instanceof Error && SCRIPT_FAULT.test(error.message)
}

export function unreadableJob (id: string, queue: string, fault: string): AsyncEndpointsError {
  return new AsyncEndpointsError('FAE_JOB_UNREADABLE', `The job ${id} of the queue "${queue}" cannot be read: ${fault}`)
}

/** For a look at one job by its id: what stands there is not what the store keeps there. */
export async function readable<T> (id: string, answer: Promise<T>): Promise<T> {
  try {
    return await answer
  } catch (error) {
    if (!isScriptFault(error) && serverCode(error) !== 'WRONGTYPE') throw error
    throw new AsyncEndpointsError('FAE_JOB_UNREADABLE', `The job ${id} cannot be read: what the store keeps of it was changed by somebody else`)
  }
}

export interface RepairsParts {
  readonly connections: Connections
  readonly clock: Clock
  readonly settings: Pick<ResolvedRedisStoreOptions, 'leaseMs' | 'retention'>
  readonly report: (code: string, message: string) => void
}

/**
 * Ends jobs that no worker can claim, because somebody else wrote over their keys: as long as they stand in a list of
 * their queue, the scripts of BullMQ stumble over them, and no stalled job of the queue is found any more. A lease
 * without an end would keep its job from ever being run again; it gets one.
 */
export class Repairs {
  readonly #parts: RepairsParts
  readonly #lookedAt = new Map<string, number>()

  constructor (parts: RepairsParts) {
    this.#parts = parts
  }

  /** To be called after a script failed on a job of this queue. */
  soon (handle: QueueHandle): void {
    const now = this.#parts.clock.monotonic()
    if (now - (this.#lookedAt.get(handle.name) ?? -Infinity) < LOOK_EVERY_MS) return
    this.#lookedAt.set(handle.name, now)
    this.repair(handle).catch(() => { /* the next sweep looks again */ })
  }

  /** To be called after a look at one job found something else under its key. */
  found (id: string, queues: readonly string[], prefixOf: (queue: string) => string): void {
    for (const queue of queues) {
      this.#end(prefixOf(queue), id, unreadableJob(id, queue, 'its key holds no hash'), 'gone').catch(() => { /* who asks next tries again */ })
    }
  }

  async #end (prefix: string, id: string, error: AsyncEndpointsError, when: 'gone' | 'always' = 'always'): Promise<void> {
    const { connections, clock, report } = this.#parts
    const ended = await connections.run((client) => runScript(client, 'end-unreadable', [prefix], id, encodeNotes({ c: error.code, m: error.message }), clock.now(), when, ...limitsOf(this.#parts.settings)))
    if (ended !== 1) return
    report('job-unreadable', `${error.message}. It has failed`)
  }

  async repair ({ name, prefix }: Pick<QueueHandle, 'name' | 'prefix'>): Promise<void> {
    const { connections, settings: { leaseMs }, report } = this.#parts
    const answer = await connections.run((client) => runScript(client, 'find-faults', [prefix], LOOKED_AT, Math.ceil(leaseMs)))
    const [faults = [], endless = [], keys = []] = (Array.isArray(answer) ? answer : []).map((part) => Array.isArray(part) ? part.map(String) : [])
    for (let index = 0; index + 1 < faults.length; index += 2) {
      const id = faults[index] ?? ''
      const error = unreadableJob(id, name, faults[index + 1] ?? '')
      await this.#end(prefix, id, error)
    }
    for (const id of endless) report('lease-without-end', `The lease of the job ${id} of the queue "${name}" had lost its time to live, so that the job would never have run again. It ends in ${leaseMs} ms, unless its worker renews it`)
    for (const key of keys) report('key-without-end', `The key ${key} had lost its time to live, and would have kept workers from looking for lost leases. It has a time to live again`)
  }
}
