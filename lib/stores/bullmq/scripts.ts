/**
 * Teaches clients the scripts of the store, and runs them. They are sent once per connection and called by their hash
 * after that.
 */
import { createHash } from 'node:crypto'
import type { Client } from './internals.ts'
import { luaScript, type LuaName } from './lua.ts'

/**
 * The scripts that need nothing but the text. Those in which a script of BullMQ's stands are in `wrapped-scripts.ts`.
 */
const NAMES = [
  'lookup', 'lookup-many', 'announce', 'greet', 'input', 'result', 'cancel', 'end-cancelled', 'redrive', 'progress', 'note', 'take-back', 'outcome', 'asked', 'counts', 'page', 'sweep',
  'forget', 'find-faults', 'end-unreadable', 'checkpoint', 'suspend', 'signal', 'journal', 'claimed', 'note-queues', 'waiting', 'time', 'shared-lock', 'shared-unlock', 'shared-put', 'shared-entries'
] as const satisfies readonly LuaName[]

export type ScriptName = typeof NAMES[number]

/** The scripts for one kind of client: on a cluster messages are sharded, see `lua/parts/publish.lua`. */
interface Variant {
  readonly scripts: ReadonlyArray<{ readonly lua: string, readonly command: string }>
  readonly commands: ReadonlyMap<string, string>
}

const PLAIN = variant(false)
const SHARDED = variant(true)

function variant (sharded: boolean): Variant {
  const scripts = NAMES.map((name) => {
    const text = luaScript(name)
    const lua = text.includes('sharded') ? luaScript(name, { constants: { sharded } }) : text
    return { name, lua, command: commandName(name, lua) }
  })
  return { scripts, commands: new Map(scripts.map(({ name, command }) => [name, command])) }
}

/** The texts of all these scripts, for a test that looks for the commands in them. */
export const SCRIPT_TEXTS: readonly string[] = PLAIN.scripts.map(({ lua }) => lua)

/** A client that the application shares with another version of this package must not mix the two. */
export function commandName (name: string, lua: string): string {
  return `fae:${name}:${createHash('sha1').update(lua).digest('hex').slice(0, 8)}`
}

/** Teaches a client one more script. @returns the name of the command */
export function defineCommand (client: Client, name: string, definition: { lua: string, numberOfKeys: number }): string {
  const command = commandName(name, definition.lua)
  if (typeof Reflect.get(client, command) !== 'function') client.defineCommand(command, definition)
  return command
}

/** Teaches a client all scripts that need no script of BullMQ's. */
export function defineScripts (client: Client): void {
  for (const { command, lua } of (client.isCluster ? SHARDED : PLAIN).scripts) {
    if (typeof Reflect.get(client, command) !== 'function') client.defineCommand(command, { lua })
  }
}

/** Runs a script. `args` follow the keys. */
export function runScript (
  client: Client, name: ScriptName, keys: readonly string[], ...args: ReadonlyArray<string | number | Buffer>
): Promise<unknown> {
  const { commands } = client.isCluster ? SHARDED : PLAIN
  return runCommand(client, commands.get(name) ?? '', [keys.length, ...keys, ...args])
}

/** Calls a command that the client was taught. */
export function runCommand (client: Client, command: string, args: readonly unknown[]): Promise<unknown> {
  const run: unknown = Reflect.get(client, command)
  if (typeof run !== 'function') return Promise.reject(new Error(`the client has no command ${command}`))
  return Reflect.apply(run, client, [args]) as Promise<unknown>
}
