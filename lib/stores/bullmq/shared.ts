/** Locks and short texts that all processes on one server share. */
import { invalidOptions } from '../../core/options.ts'
import type { SharedState } from '../../core/shared.ts'
import type { Client } from './internals.ts'
import { runScript } from './scripts.ts'

const NAME = /^[A-Za-z0-9_.:-]{1,200}$/

/** Runs on the store's own connection, under its deadline and with its errors. */
type Run = (operation: (client: Client) => Promise<unknown>) => Promise<unknown>

/** Locks and short-lived texts beside the jobs, on the same server. Nothing here is on the way of a job. */
export class RedisSharedState implements SharedState {
  readonly #prefix: string
  readonly #run: Run

  constructor (prefix: string, run: Run) {
    // No queue has an empty name, so no key of BullMQ's begins with two colons.
    this.#prefix = `${prefix}::`
    this.#run = run
  }

  async tryLock (name: string, holder: string, ttlMs: number): Promise<boolean> {
    const key = this.#key('lock', name)
    return await this.#run((client) => runScript(client, 'shared-lock', [key], holder, wholeMs(ttlMs))) === 1
  }

  async unlock (name: string, holder: string): Promise<void> {
    const key = this.#key('lock', name)
    await this.#run((client) => runScript(client, 'shared-unlock', [key], holder))
  }

  async put (group: string, key: string, value: string, ttlMs: number): Promise<void> {
    const keys = this.#keys(group)
    await this.#run((client) => runScript(client, 'shared-put', keys, key, value, wholeMs(ttlMs)))
  }

  async entries (group: string): Promise<ReadonlyMap<string, string>> {
    const keys = this.#keys(group)
    const answer = await this.#run((client) => runScript(client, 'shared-entries', keys))
    const flat: readonly unknown[] = Array.isArray(answer) ? answer : []
    const entries = new Map<string, string>()
    for (let index = 0; index + 1 < flat.length; index += 2) entries.set(String(flat[index]), String(flat[index + 1]))
    return entries
  }

  #keys (group: string): [texts: string, ends: string] {
    return [this.#key('shared', group), this.#key('shared-until', group)]
  }

  #key (kind: string, name: string): string {
    if (!NAME.test(name)) throw invalidOptions('shared state', ['a name is 1 to 200 letters, digits, "_", "-", "." or ":"'])
    return `${this.#prefix}${kind}:${name}`
  }
}

/** The server takes whole numbers only, and refuses 0. */
function wholeMs (ttlMs: number): number {
  return Number.isFinite(ttlMs) ? Math.max(1, Math.ceil(ttlMs)) : 1
}
