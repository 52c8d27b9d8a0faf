/** A submission on trial: shows whether the server would take one. */
import { createHash } from 'node:crypto'
import { toStoreError } from './errors.ts'
import type { BullScripts, Client } from './internals.ts'
import { ADD_KINDS, addKeys, type AddKind } from './layout.ts'
import type { ResolvedRedisStoreOptions } from './options.ts'
import { defineCommand, runCommand } from './scripts.ts'
import { probeScript } from './wrapped-scripts.ts'

/** What each kind of job looks like that is added on trial. */
const SAMPLES: Readonly<Record<AddKind, string>> = { standard: '{}', delayed: '{"delay":1000}', prioritized: '{"priority":1}' }
/**
 * The trial has an idempotency key, so that the commands for keys are tried as well. It has no owner: keys of owners
 * need no command that the rest does not need. `lua/probe.lua` deletes the key by its name.
 */
const ASKED = JSON.stringify({ k: 'probe', f: '', t: 1_000 })

/**
 * A submission on trial: the scripts that add jobs, run on the keys of a queue that has no name, and all of it
 * deleted again in the same step, so that nobody sees it. What a submission would be refused for, this is refused
 * for.
 */
export class Probe {
  readonly #prefix: string
  readonly #id: string
  readonly #scripts: BullScripts
  readonly #settings: ResolvedRedisStoreOptions
  #commands: ReadonlyMap<AddKind, string> = new Map()

  /** No queue has an empty name, so no key of one begins with the prefix and two colons. */
  constructor (scripts: BullScripts, settings: ResolvedRedisStoreOptions) {
    const { prefix } = settings
    this.#prefix = `${prefix}::probe:`
    this.#id = createHash('sha1').update(prefix).digest('hex')
    this.#scripts = scripts
    this.#settings = settings
  }

  /** Teaches the client of submissions the scripts. */
  start (client: Client): void {
    this.#commands = new Map(ADD_KINDS.map((kind) => [kind, defineCommand(client, `probe-${kind}`, probeScript(this.#scripts, kind, this.#settings))]))
  }

  /** @throws {AsyncEndpointsError} what a submission would be refused with */
  async run (client: Client, now: number): Promise<void> {
    const answers = await Promise.all([...this.#commands].map(([kind, command]) =>
      runCommand(client, command, [...addKeys(kind, this.#prefix), this.#prefix, this.#id, 'probe', String(now), '{}', SAMPLES[kind], ASKED])))
    for (const answer of answers.flat()) {
      if (typeof answer === 'string' && answer.startsWith('!')) throw toStoreError(new Error(answer.slice(1)))
    }
  }
}
