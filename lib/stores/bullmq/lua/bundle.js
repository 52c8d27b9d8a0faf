/**
 * Puts the Lua of this folder into a TypeScript module, `texts.ts`, so that it is compiled, packed and bundled like all
 * other code. Every build runs it first (`npm run build`, `npm run typecheck`); git ignores what it writes.
 *
 *     node lib/stores/bullmq/lua/bundle.js
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const folder = import.meta.dirname

/** The Lua as the server gets it: without the comments, which nobody reads there, except those that name another text. */
export function withoutComments (lua) {
  const code = lua.replace(/^--\[\[[^]*?^\]\]\n/m, '')
  return code.split('\n').filter((line) => line.trim() !== '' && !/^\s*--(?! @(include|insert) )/.test(line)).join('\n')
}

/** Every text by its name: the path without `.lua`. */
export function readTexts () {
  const files = readdirSync(folder, { recursive: true }).filter((file) => file.endsWith('.lua')).sort()
  return new Map(files.map((file) => [file.replaceAll('\\', '/').replace(/\.lua$/, ''), withoutComments(readFileSync(join(folder, file), 'utf8'))]))
}

function quoted (text) {
  return `'${text.replace(/[\\']/g, '\\$&').replaceAll('\n', '\\n')}'`
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const texts = readTexts()
  const names = [...texts.keys()].map(quoted)
  const entries = [...texts].map(([name, text]) => `  ${quoted(name)}: ${quoted(text)}`)
  writeFileSync(join(folder, 'texts.ts'), [
    '/** Written by bundle.js from the Lua in this folder. Change that, and build. */',
    `export type LuaName = ${names.join(' | ')}`,
    'export const LUA_TEXTS: Readonly<Record<LuaName, string>> = {',
    entries.join(',\n'),
    '}',
    ''
  ].join('\n'))
}
