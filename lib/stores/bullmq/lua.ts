/**
 * The scripts that run on the server, put together from the texts in `lua/`. One script is one step that no other
 * client can see half done. All keys of a queue have the same hash tag, so a script may name more keys than it is
 * given.
 */
import { LUA_TEXTS, type LuaName } from './lua/texts.ts'

export type { LuaName } from './lua/texts.ts'

/** What a script needs that is known only at run time. */
export interface LuaParts {
  /** Local variables in front of the script: settings of the store. The header of the script names them. */
  readonly constants?: Readonly<Record<string, number | boolean | string>>
  /** BullMQ's own script, where the text says `-- @insert bullmq`. */
  readonly bullmq?: string
}

const REFERENCE = /^-- @(include|insert) (\S+)$/gm

/**
 * The whole text of a script: each `-- @include <name>` is replaced by that text, the first time that it is named.
 *
 * @throws {Error} when a text names another one that does not exist, or needs a script of BullMQ's that was not given
 */
export function luaScript (name: LuaName, { constants = {}, bullmq }: LuaParts = {}): string {
  const included = new Set<string>()
  const resolve = (text: string): string => text.replace(REFERENCE, (_line, kind: string, wanted: string) => {
    if (kind === 'insert') {
      if (bullmq === undefined) throw new Error(`The Lua script ${name} needs a script of BullMQ's`)
      return bullmq
    }
    if (!isName(wanted)) throw new Error(`The Lua script ${name} includes ${wanted}, which does not exist`)
    if (included.has(wanted)) return ''
    included.add(wanted)
    return resolve(LUA_TEXTS[wanted])
  })
  const given = Object.entries(constants).map(([constant, value]) => `local ${constant} = ${typeof value === 'string' ? `'${value}'` : String(value)}\n`)
  return given.join('') + resolve(LUA_TEXTS[name])
}

function isName (name: string): name is LuaName { return Object.hasOwn(LUA_TEXTS, name) }
