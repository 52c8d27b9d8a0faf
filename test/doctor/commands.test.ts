/** The list of commands that a user must be allowed, held against the scripts that call them. */
import { readdirSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import t from 'tap'
import { requiredCommands } from '../../lib/stores/bullmq/commands.ts'
import { luaScript } from '../../lib/stores/bullmq/lua.ts'
import { SCRIPT_TEXTS } from '../../lib/stores/bullmq/scripts.ts'
import { Redis } from 'ioredis'
import { sharedRedis } from '../support/redis.ts'

/** The scripts of BullMQ that run when the store submits, runs, settles, cancels, redrives, removes and cleans up jobs. */
const USED = [
  'addStandardJob', 'addDelayedJob', 'addPrioritizedJob', 'moveToActive', 'moveToFinished', 'moveToDelayed', 'retryJob', 'moveJobFromActiveToWait', 'extendLock', 'extendLocks',
  'releaseLock', 'moveStalledJobsToWait', 'removeJob'
]
/** Called for what the store does not use: metrics of BullMQ, deduplication without an end, cleaning of jobs that wait. */
const UNUSED = new Set(['LTRIM', 'PERSIST', 'LSET'])
/** Sent as they are, by BullMQ's worker or by us. */
const SENT = ['PING', 'EVAL', 'EVALSHA', 'BZPOPMIN', 'PUBLISH']
/** BullMQ puts jobs back at the head of the line with a command that stands in a variable, which the expression below does not see. */
const IN_VARIABLES = ['RPUSH']

const CALL = /\b(?:rcall|call|redis\.call)\(\s*['"]([A-Za-z]+)['"]/g

function commandsOf (lua: string): string[] {
  return [...lua.matchAll(CALL)].map(([, command = '']) => command.toUpperCase())
}

t.test('it has every command that the scripts call, and no other', async (t) => {
  const folder = join(dirname(createRequire(import.meta.url).resolve('bullmq')), 'scripts')
  const files = readdirSync(folder)
  const called = new Set([...SENT, ...IN_VARIABLES])
  for (const name of USED) {
    const file = files.find((candidate) => new RegExp(`^${name}-\\d+\\.js$`).test(candidate))
    if (file === undefined) t.fail(`BullMQ has no script ${name} any more`)
    else for (const command of commandsOf(readFileSync(join(folder, file), 'utf8'))) called.add(command)
  }
  const wrapped = (['add', 'probe', 'finish'] as const).map((name) => luaScript(name, { bullmq: '' }))
  for (const lua of [...SCRIPT_TEXTS, ...wrapped]) for (const command of commandsOf(lua)) called.add(command)
  t.ok(called.size > 40)
  t.same(requiredCommands('{p}', '{p}:c').map(([command]) => command).sort(), [...called].filter((command) => !UNUSED.has(command)).sort())
})

t.test('a server queues each of them as it is, and carries out none', async (t) => {
  const { url, prefix, stop } = await sharedRedis()
  const client = new Redis(url)
  t.teardown(async () => {
    client.disconnect()
    await stop()
  })
  await client.call('MULTI')
  for (const [command, ...args] of requiredCommands(prefix, `${prefix}:c`)) t.equal(await client.call(command, ...args), 'QUEUED', command)
  await client.call('DISCARD')
  t.same(await client.keys(`${prefix}*`), [])
})
