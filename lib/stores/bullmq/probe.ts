import { createHash } from 'node:crypto'
import { toStoreError } from './errors.ts'
import { ADD_KINDS, addKeys, batchedAdd, bullScripts, type AddKind, type Bull, type Client } from './internals.ts'
import { aroundAdd, OWN } from './keeping.ts'
import type { ResolvedRedisStoreOptions } from './options.ts'
import { RECORD_FIELDS } from './record.ts'
import { defineCommand, runCommand } from './scripts.ts'

/** What each kind of job looks like that is added on trial. */
const SAMPLES: Readonly<Record<AddKind, string>> = { standard: '{}', delayed: '{"delay":1000}', prioritized: '{"priority":1}' }
/**
 * The trial has an idempotency key, so that the commands for keys are tried as well. It has no owner: keys of owners need no
 * command that the rest does not need.
 */
const KEY = 'probe'
const ASKED = JSON.stringify({ k: KEY, f: '', t: 1_000 })

/**
 * A submission on trial: the scripts that add jobs, run on the keys of a queue that has no name, and all of it deleted again in
 * the same step, so that nobody sees it. What a submission would be refused for, this is refused for.
 */
export class Probe {
  readonly #prefix: string
  readonly #id: string
  readonly #commands: ReadonlyMap<AddKind, string>

  /** No queue has an empty name, so no key of one begins with the prefix and two colons. */
  constructor (client: Client, bull: Bull, settings: ResolvedRedisStoreOptions) {
    const { prefix } = settings
    this.#prefix = `${prefix}::probe:`
    this.#id = createHash('sha1').update(prefix).digest('hex')
    const scripts = bullScripts(bull)
    const around = aroundAdd(settings, RECORD_FIELDS)
    this.#commands = new Map(ADD_KINDS.map((kind) => {
      const { lua, numberOfKeys } = batchedAdd(scripts, kind, around)
      const trial = `local answers = (function ()
${lua}
end)()
for _, key in ipairs(KEYS) do redis.call('DEL', key) end
redis.call('DEL', ARGV[1] .. ARGV[2], ARGV[1] .. '${OWN.key}${KEY}')
return answers`
      return [kind, defineCommand(client, `probe-${kind}`, { lua: trial, numberOfKeys })]
    }))
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
