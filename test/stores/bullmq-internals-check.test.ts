/** What is said when a release of BullMQ lacks something that the store relies on: at start, and by its name. */
import * as bull from 'bullmq'
import t from 'tap'
import { checkPackage, checkScript, checkWorker, missingSentence, TRIED_VERSIONS } from '../../lib/stores/bullmq/internals-check.ts'
import { checkedScripts } from '../../lib/stores/bullmq/internals.ts'
import { createRequire } from 'node:module'

const scripts = checkedScripts(bull)

/** The package with one part of it replaced. */
function changed (path: readonly [owner: keyof typeof bull, member: string], value: unknown = undefined): object {
  const [owner, member] = path
  const prototype: object = Object.create(Reflect.get(Object(bull[owner]), 'prototype'), { [member]: { value } })
  return { ...bull, [owner]: Object.assign(() => {}, { prototype }) }
}

t.test('the installed release has everything, and is one that was tried', async (t) => {
  t.doesNotThrow(() => checkPackage(bull, scripts))
  const { version } = createRequire(import.meta.url)('bullmq/package.json') as { version: string }
  t.ok(TRIED_VERSIONS.split(', ').includes(version), `TRIED_VERSIONS in internals-check.ts names bullmq ${version}`)
})

t.test('a method that is missing is named, with the versions that were tried', async (t) => {
  for (const path of [['Worker', 'processJob'], ['Worker', 'nextJobFromJobData'], ['LockManager', 'trackJob'], ['RedisQueueBackend', 'moveToFinishedArgs']] as const) {
    t.throws(() => checkPackage(changed(path), scripts), {
      code: 'FAE_STORE_UNSUPPORTED',
      message: `The installed version of the package bullmq lacks ${path[0]}.prototype.${path[1]}, which the job store relies on (it was tried with bullmq ${TRIED_VERSIONS}). Install a release that was tried: npm install bullmq@${TRIED_VERSIONS}`
    })
  }
  t.throws(() => checkPackage({}, scripts), { message: /Queue\.prototype\.getBackend, .*RedisConnection\.prototype\.loadCommands/ }, 'all of them at once')
})

t.test('a script, a field or a key with another name is named', async (t) => {
  const without = (name: string): Map<string, { lua: string, keys: number }> => new Map([...scripts].filter(([each]) => each !== name))
  t.throws(() => checkPackage(bull, without('moveToFinished')), { code: 'FAE_STORE_UNSUPPORTED', message: /the script moveToFinished, / })
  t.throws(() => checkPackage(bull, without('moveToFinished').set('moveToFinished', { lua: '', keys: 15 })), { message: /the script moveToFinished with 14 keys \(it has 15\)/ })
  t.throws(() => checkScript(new Map([['addStandardJob', { lua: 'args = cmsgpack.unpack(ARGV[1])', keys: 9 }]]), 'addStandardJob'), { message: /"opts = cmsgpack\.unpack\(ARGV\[3\]\)" in the script addStandardJob/ })
  const renamed = new Map([...scripts].map(([name, { lua, keys }]) => [name, { lua: lua.replaceAll('"atm"', '"attempts"'), keys }]))
  t.throws(() => checkPackage(bull, renamed), { message: /the field atm of a job/ })
  class QueueKeys { getKeys (): object { return { wait: '', active: '' } } }
  t.throws(() => checkPackage({ ...bull, QueueKeys }, scripts), { message: /the key prioritized of a queue, the key delayed of a queue/ })
})

t.test('of a worker: what is needed is refused, what can be done without is a warning', async (t) => {
  const whole = { lockManager: { trackedJobs: new Map() }, backend: { blockingConnection: { capabilities: {} } } }
  const warnings: string[] = []
  const warn = (message: string): void => { warnings.push(message) }
  checkWorker(whole, warn)
  t.same(warnings, [])
  t.throws(() => checkWorker({ ...whole, lockManager: { trackedJobs: {} } }, warn), { code: 'FAE_STORE_UNSUPPORTED', message: /lacks Worker\.lockManager\.trackedJobs, / })
  t.same(warnings, [])
  checkWorker({ ...whole, backend: { blockingConnection: {} } }, warn)
  t.match(warnings, [/lacks Worker\.backend\.blockingConnection\.capabilities, .*tried with bullmq .*Without it workers start a delayed job up to a second late/])
  t.match(missingSentence('Worker.mainLoopQueue.add', 'x'), /lacks Worker\.mainLoopQueue\.add, .*Without it x$/)
})
