import { createHash } from 'node:crypto'
import { toStoreError } from './errors.ts'
import { ADD_KINDS, addKeys, addOptions, batchedAdd, bullScripts, type AddKind, type Bull, type Client } from './internals.ts'
import { commandName, runCommand } from './scripts.ts'

/** What each kind of job looks like that is added on trial. */
const SAMPLES: Readonly<Record<AddKind, string>> = { standard: '', delayed: addOptions(1_000, 0, undefined), prioritized: addOptions(0, 1, undefined) }
const DATA = '{"v":1,"c":"","n":1}'

/**
 * A submission on trial: the scripts that add jobs, run on the keys of a queue that has no name, and all of it deleted again in
 * the same step, so that nobody sees it. What a submission would be refused for, this is refused for.
 */
export class Probe {
  readonly #prefix: string
  readonly #id: string
  readonly #commands: ReadonlyMap<AddKind, string>

  /** @param prefix no queue has an empty name, so no key of one begins with two colons */
  constructor (client: Client, bull: Bull, prefix: string) {
    this.#prefix = `${prefix}::probe:`
    this.#id = createHash('sha1').update(prefix).digest('hex')
    const scripts = bullScripts(bull)
    this.#commands = new Map(ADD_KINDS.map((kind) => {
      const { lua, numberOfKeys } = batchedAdd(scripts, kind)
      const trial = `local answers = (function ()
${lua}
end)()
for _, key in ipairs(KEYS) do redis.call('DEL', key) end
redis.call('DEL', ARGV[1] .. ARGV[2])
return answers`
      const command = commandName(`probe-${kind}`, trial)
      if (typeof Reflect.get(client, command) !== 'function') client.defineCommand(command, { lua: trial, numberOfKeys })
      return [kind, command]
    }))
  }

  /** @throws {AsyncEndpointsError} what a submission would be refused with */
  async run (client: Client, now: number): Promise<void> {
    const answers = await Promise.all([...this.#commands].map(([kind, command]) =>
      runCommand(client, command, [...addKeys(kind, this.#prefix), this.#prefix, this.#id, 'probe', String(now), DATA, SAMPLES[kind]])))
    for (const answer of answers.flat()) {
      if (typeof answer === 'string' && answer.startsWith('!')) throw toStoreError(new Error(answer.slice(1)))
    }
  }
}
