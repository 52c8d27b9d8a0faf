/**
 * What the store relies on inside of BullMQ, and the check that it is there: once for the package when the store
 * opens, and once for each worker when it is made. Without the check a changed release would fail later, in the
 * middle of a job.
 */
import { unsupported } from './errors.ts'
import { ADD_SCRIPTS, FIELD, KEY } from './layout.ts'

/**
 * The releases of BullMQ that all tests were run with. `.ci/check-bullmq.js` tries the oldest and the newest of the
 * peer range.
 */
export const TRIED_VERSIONS = '6.7.0'

interface Need {
  /** From the package or the worker: names with dots between them. */
  readonly path: string
  readonly is: 'function' | 'object' | 'map'
  /** What goes wrong without it. Absent: nothing works, and the store refuses to open. */
  readonly without?: string
}

function functions (owner: string, ...names: readonly string[]): Need[] {
  return names.map((name) => ({ path: `${owner}.${name}`, is: 'function' }))
}

/** Of the package. */
const PACKAGE: readonly Need[] = [
  ...functions('Queue.prototype', 'getBackend', 'close'),
  ...functions(
    'Worker.prototype', 'run', 'pause', 'resume', 'close', 'getBackend', 'processJob', 'createJob', 'nextJobFromJobData',
    'updateDelays'
  ),
  ...functions('LockManager.prototype', 'trackJob', 'untrackJob'),
  ...functions('RedisConnection.prototype', 'loadCommands'),
  ...functions(
    'RedisQueueBackend.prototype', 'moveToActive', 'moveToFinishedArgs', 'moveToFinished', 'moveToDelayed', 'retryJob',
    'moveJobFromActiveToWait', 'moveStalledJobsToWait', 'extendLocks', 'promote', 'remove', 'setQueueMeta', 'waitForJob',
    'disconnectBlocking', 'execCommand'
  )
]

/** Of a worker. */
const WORKER: readonly Need[] = [
  { path: 'lockManager.trackedJobs', is: 'map' },
  {
    path: 'backend.blockingConnection.capabilities',
    is: 'object',
    without: 'workers start a delayed job up to a second late, and do not start at all where the server denies INFO'
  }
]

/**
 * The scripts that are replaced, wrapped or given another time, by the number of their keys: the arguments follow the
 * keys, so a key more moves them. The texts are what `lua/add.lua` puts other functions in the place of.
 */
interface ScriptNeed { readonly keys: number, readonly texts?: readonly string[] }
const ADD_TEXTS = ['args = cmsgpack.unpack(ARGV[1])', 'opts = cmsgpack.unpack(ARGV[3])', 'local jsonOpts = cjson.encode(opts)'] as const
const SCRIPTS: Readonly<Record<string, ScriptNeed>> = {
  ...Object.fromEntries(Object.values(ADD_SCRIPTS).map(({ name, keys }) => [name, { keys: keys.length, texts: ADD_TEXTS }])),
  moveToFinished: { keys: 14 },
  moveToActive: { keys: 11 },
  moveToDelayed: { keys: 11 },
  retryJob: { keys: 11 },
  moveStalledJobsToWait: { keys: 9 }
}

/** Fields that BullMQ's scripts write under these names, and keys that they are given. */
const WRITTEN = [
  FIELD.attemptsMade, FIELD.attemptsStarted, FIELD.stalls, FIELD.deferredFailure, FIELD.processedOn, FIELD.finishedOn
] as const

/** BullMQ's scripts by name. */
export type BullScripts = ReadonlyMap<string, { readonly lua: string, readonly keys: number }>

/**
 * @param scripts of the package, as it registers them on a client
 * @throws {AsyncEndpointsError} `FAE_STORE_UNSUPPORTED`, with everything that is missing
 */
export function checkPackage (bull: object, scripts: BullScripts): void {
  const missing = PACKAGE.filter((need) => !has(bull, need)).map(({ path }) => path)
  if (missing.length > 0) throw misses(missing)
  for (const name of Object.keys(SCRIPTS)) checkScript(scripts, name)
  const all = [...scripts.values()].map(({ lua }) => lua).join('\n')
  missing.push(...WRITTEN.filter((field) => !new RegExp(`["']${field}["']`).test(all)).map((field) => `the field ${field} of a job`))
  const names = queueKeys(bull)
  missing.push(...Object.values(KEY).filter((key) => !names.has(key)).map((key) => `the key ${key} of a queue`))
  if (missing.length > 0) throw misses(missing)
}

/** @throws {AsyncEndpointsError} `FAE_STORE_UNSUPPORTED` when the script is not the expected one */
export function checkScript (scripts: BullScripts, name: string): void {
  const need = SCRIPTS[name]
  const script = scripts.get(name)
  if (need === undefined || script === undefined) throw misses([`the script ${name}`])
  if (script.keys !== need.keys) throw misses([`the script ${name} with ${need.keys} keys (it has ${script.keys})`])
  const text = need.texts?.find((each) => !script.lua.includes(each))
  if (text !== undefined) throw misses([`"${text}" in the script ${name}`])
}

/**
 * @param warn gets a sentence for what is missing and can be done without
 * @throws {AsyncEndpointsError} `FAE_STORE_UNSUPPORTED`, with everything that is missing
 */
export function checkWorker (worker: object, warn: (message: string) => void): void {
  const missing = WORKER.filter((need) => !has(worker, need))
  const needed = missing.filter(({ without }) => without === undefined)
  if (needed.length > 0) throw misses(needed.map(({ path }) => `Worker.${path}`))
  for (const { path, without } of missing) warn(`${sentence([`Worker.${path}`])}. Without it ${String(without)}`)
}

/** For what can be seen only while a worker runs. */
export function missingSentence (path: string, without: string): string { return `${sentence([path])}. Without it ${without}` }

function misses (missing: readonly string[]): Error {
  return unsupported(`${sentence(missing)}. Install a release that was tried: npm install bullmq@${TRIED_VERSIONS.split(', ').at(-1) ?? ''}`)
}

function sentence (missing: readonly string[]): string {
  const tried = `it was tried with bullmq ${TRIED_VERSIONS}`
  return `The installed version of the package bullmq lacks ${missing.join(', ')}, which the job store relies on (${tried})`
}

function has (from: object, { path, is }: Need): boolean {
  let found: unknown = from
  for (const name of path.split('.')) {
    if ((typeof found !== 'object' && typeof found !== 'function') || found === null || !Reflect.has(found, name)) return false
    found = Reflect.get(found, name)
  }
  if (is === 'map') return found instanceof Map
  return is === 'function' ? typeof found === 'function' : typeof found === 'object' && found !== null
}

/** The names of a queue's keys, as BullMQ makes them. */
function queueKeys (bull: object): ReadonlySet<string> {
  const QueueKeys: unknown = Reflect.get(bull, 'QueueKeys')
  if (typeof QueueKeys !== 'function') return new Set()
  const made: unknown = Reflect.construct(QueueKeys, ['p'])
  const getKeys: unknown = Reflect.get(Object(made), 'getKeys')
  return new Set(typeof getKeys === 'function' ? Object.keys(Object(Reflect.apply(getKeys, made, ['q']))) : [])
}
