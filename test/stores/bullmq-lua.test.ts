/** The Lua of the store: bundled as it stands in its files, documented, and agreeing with what the TypeScript calls by the same names. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import t from 'tap'
import { CANCELLED_MARK, OURS } from '../../lib/stores/bullmq/envelope.ts'
import { FORGOTTEN_AT_ONCE, LARGE_BYTES, OWN } from '../../lib/stores/bullmq/keeping.ts'
import { DELAYED_SCORE, FIELD, KEY, LOCK, LOG, PRIORITY_SCORE, STEP_FIELDS } from '../../lib/stores/bullmq/layout.ts'
import { luaScript } from '../../lib/stores/bullmq/lua.ts'
import { LUA_TEXTS, type LuaName } from '../../lib/stores/bullmq/lua/texts.ts'
import { RECORD_FIELDS } from '../../lib/stores/bullmq/record.ts'
import { sharedRedis } from '../support/redis.ts'
import { Redis } from 'ioredis'

const STORE = fileURLToPath(new URL('../../../lib/stores/bullmq/', import.meta.url))
const NAMES = Object.keys(LUA_TEXTS) as LuaName[]
const SCRIPTS = NAMES.filter((name) => !name.startsWith('parts/'))
const sourceOf = (name: string): string => readFileSync(join(STORE, 'lua', `${name}.lua`), 'utf8')
const headerOf = (name: string): string => /^--\[\[\n([^]*?)\n\]\]\n/.exec(sourceOf(name))?.[1] ?? ''

t.test('what is compiled is what stands in the files', async (t) => {
  const bundle: unknown = await import(pathToFileURL(join(STORE, 'lua', 'bundle.js')).href)
  const readTexts: unknown = Reflect.get(Object(bundle), 'readTexts')
  t.ok(typeof readTexts === 'function')
  const texts = typeof readTexts === 'function' ? readTexts() as ReadonlyMap<string, string> : new Map<string, string>()
  t.ok(texts.size > 30)
  t.same({ ...LUA_TEXTS }, Object.fromEntries(texts), 'the files have changed since the last build')
})

t.test('every script says what it takes, what it answers and who calls it', async (t) => {
  const modules = readdirSync(STORE).filter((file) => file.endsWith('.ts')).map((file) => [file, readFileSync(join(STORE, file), 'utf8')] as const)
  for (const name of SCRIPTS) {
    const header = headerOf(name)
    const source = sourceOf(name)
    t.match(header, /^Returns {4}/m, name)
    if (/\bKEYS\b/.test(source.slice(header.length)) || name === 'time') t.match(header, /^KEYS {7}/m, `${name}: KEYS`)
    if (/\bARGV\b/.test(source.slice(header.length))) t.match(header, /^ARGV {7}/m, `${name}: ARGV`)
    const places = [...source.slice(header.length).matchAll(/\bARGV\[(\d+)\]/g)].map(([, place]) => Number(place))
    const documented = /^ARGV {7}([^]*?)(?=^\w|(?![^]))/m.exec(header)?.[1] ?? ''
    // "3" or "1 to 9" stand for those places, "2…" for all from there on; a list without numbers for any.
    const open = Math.min(...[...documented.matchAll(/(?:^|\n *)(\d+)…/g)].map(([, first]) => Number(first)))
    const last = Math.max(...[...documented.matchAll(/(?:^|\n *)(?:\d+ to )?(\d+) /g)].map(([, place]) => Number(place)))
    const numbered = Number.isFinite(open) || Number.isFinite(last)
    for (const place of new Set(places)) t.ok(!numbered || place <= last || place >= open, `${name}: argument ${place}`)
    t.match(header, /^Called by {2}/m, name)
    const callers = modules.filter(([, code]) => new RegExp(`(?:runScript\\([^)]*?|luaScript\\(|aroundAdd\\()'${name}'`).test(code)).map(([file]) => file)
    t.ok(callers.length > 0, `${name} is called`)
    for (const caller of callers) if (caller !== 'wrapped-scripts.ts') t.ok(header.includes(caller), `${name}: ${caller} calls it`)
  }
  for (const name of NAMES.filter((each) => each.startsWith('parts/'))) t.match(headerOf(name), /^Needs {4}[^]*^Defines {2}/m, name)
})

t.test('a text is included by its name, once; one that does not exist is named', async (t) => {
  const text = luaScript('cancel')
  t.equal(text.split('local function readRecord').length, 2)
  t.equal(text.split('local function dropInput').length, 2, 'also where two of the included ones need it')
  t.notMatch(text, /@include/)
  t.throws(() => luaScript('finish'), /needs a script of BullMQ's/)
  t.match(luaScript('finish', { constants: { maxCount: 7 }, bullmq: 'return 1' }), /^local maxCount = 7\n[^]*\nreturn 1\nend\n/)
})

t.test('the server takes every script as it is', async (t) => {
  const { url, stop } = await sharedRedis()
  const redis = new Redis(url)
  t.teardown(async () => {
    redis.disconnect()
    await stop()
  })
  for (const name of SCRIPTS) t.match(await redis.script('LOAD', luaScript(name, { bullmq: 'return 1' })), /^[0-9a-f]{40}$/, name)
})

t.test('keys and fields have the names that the TypeScript gives them', async (t) => {
  const known = new Set<string>([...Object.values(FIELD), ...Object.values(KEY), ...Object.values(OWN), LOCK, LOG])
  const onlyInLua = ['paused', 'stalled-check', ':dependencies', ':processed', ':failed', ':unsuccessful', '.', 'unreadable', 'changed:', `${OWN.place}${OWN.cancelled}`, `${OWN.key}probe`]
  const used = new Set<string>()
  for (const name of NAMES) {
    const code = sourceOf(name).slice(headerOf(name).length)
    // Behind a prefix or the key of a job; among the arguments of a command for hashes; in a list of keys.
    for (const [, key = ''] of code.matchAll(/\.\. '([^' ]+)'/g)) used.add(key)
    for (const [, args = ''] of code.matchAll(/'H(?:GET|MGET|SET|DEL|EXISTS|INCRBY)', (?:queue \.\. id|job|KEYS\[1\] \.\. \w+(?:\[i\])?), ?([^)]*)/g)) {
      for (const [, field = ''] of args.matchAll(/'([A-Za-z]+)'/g)) used.add(field)
    }
    for (const [, keys = ''] of code.matchAll(/ipairs\(\{ ('[^}]*) \}\)/g)) for (const [, key = ''] of keys.matchAll(/'([^']+)'/g)) used.add(key)
  }
  t.ok(used.size > 30)
  t.same([...used].filter((name) => !known.has(name) && !onlyInLua.includes(name)), [])
})

t.test('numbers and orders are the same in both', async (t) => {
  const number = (name: LuaName, constant: string): number => Number(new RegExp(`local ${constant} = (\\d+)`).exec(LUA_TEXTS[name])?.[1])
  t.equal(number('parts/forget', 'LARGE_BYTES'), LARGE_BYTES)
  t.equal(number('parts/forget', 'STEPS'), FORGOTTEN_AT_ONCE)
  t.equal(number('counts', 'DELAYED_SCORE'), DELAYED_SCORE)
  t.equal(number('suspend', 'DELAYED_SCORE'), DELAYED_SCORE)
  t.equal(number('parts/requeue', 'PRIORITY_SCORE'), PRIORITY_SCORE)
  t.ok(LUA_TEXTS['parts/record'].includes(`string.sub(notes, 1, ${CANCELLED_MARK.length}) == '${CANCELLED_MARK}'`))
  t.ok(LUA_TEXTS['parts/cancelled'].includes(`reason = '${CANCELLED_MARK},'`))
  t.ok(LUA_TEXTS['parts/forget'].includes(`given.${OURS}\n`))
  const fields = [...(/HMGET', job, ([^)]*)\)/.exec(LUA_TEXTS['parts/record'])?.[1] ?? '').matchAll(/'([\w:]+)'/g)].map(([, field]) => field)
  t.same(fields, RECORD_FIELDS)
  const places = [...LUA_TEXTS['parts/record'].matchAll(/^local (AT_\w+(?:, AT_\w+)*) = ([\d, ]+)$/gm)]
    .flatMap(([, names = '', numbers = '']) => names.split(', ').map((name, index) => [name, Number(numbers.split(', ')[index])]))
  const AT = { AT_OPTS: FIELD.opts, AT_PRIORITY: FIELD.priority, AT_FINISHED_ON: FIELD.finishedOn, AT_FAILED_REASON: FIELD.failedReason, AT_DEFERRED: FIELD.deferredFailure, AT_STARTED: FIELD.attemptsStarted, AT_REDRIVES: FIELD.redrives, AT_UNDO: FIELD.undo }
  t.same(places, Object.entries(AT).map(([name, field]) => [name, RECORD_FIELDS.indexOf(field) + 1]))
  for (const prefix of Object.values(STEP_FIELDS)) t.ok(LUA_TEXTS['journal'].includes(`['${prefix}'] = true`), prefix)
})
