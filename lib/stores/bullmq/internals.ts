/**
 * Everything we know about the inside of BullMQ stands here and in `internals-worker.ts`, once: the names of its keys and hash fields, the text of
 * its scripts for adding jobs, and the methods of its worker that we listen in on. `test/stores/bullmq-internals.test.ts`
 * fails when a release of BullMQ changes any of it.
 */
import type { createRedisBackend, Job, JobJson, Queue, RedisQueueBackend, Worker, WorkerOptions } from 'bullmq'
import type { Cluster, Redis } from 'ioredis'
import { unsupported } from './errors.ts'
import { followClock, readGently, renewOften, type WorkerClock } from './internals-worker.ts'

export type Client = Redis | Cluster
export type BullJob = Job<unknown, unknown, string>
export type BullWorker = Worker<unknown, unknown, string>
export type Backend = RedisQueueBackend

/** The part of the package that we use. */
export interface Bull {
  readonly Queue: typeof Queue
  readonly Worker: typeof Worker
  readonly createRedisBackend: typeof createRedisBackend
  readonly WaitingError: new (message?: string) => Error
  readonly UnrecoverableError: new (message?: string) => Error
  readonly RedisConnection: { readonly prototype: object }
}

/** Fields of a job's hash. */
export const FIELD = {
  name: 'name',
  data: 'data',
  opts: 'opts',
  timestamp: 'timestamp',
  delay: 'delay',
  priority: 'priority',
  progress: 'progress',
  processedOn: 'processedOn',
  finishedOn: 'finishedOn',
  failedReason: 'failedReason',
  returnvalue: 'returnvalue',
  stacktrace: 'stacktrace',
  /** Attempts that ended. */
  attemptsMade: 'atm',
  /** Attempts that began. */
  attemptsStarted: 'ats',
  /** Leases that ran out. */
  stalls: 'stc',
  /** A job that carries this is failed with it, instead of being run, by whichever worker takes it. */
  deferredFailure: 'defa',
  /** Ours, not BullMQ's: how often the job was redriven. */
  redrives: 'rdr'
} as const

/** What follows a job's key: its lease (holding the token of the claim) and its log, which is deleted together with the job. */
export const LOCK = ':lock'
export const LOG = ':logs'
/** What follows a queue's prefix. `wait` and `active` are lists (new ones at the head), the others sorted sets. */
export const KEY = {
  wait: 'wait',
  active: 'active',
  prioritized: 'prioritized',
  delayed: 'delayed',
  completed: 'completed',
  failed: 'failed',
  stalled: 'stalled',
  /** Wakes a blocked worker. */
  marker: 'marker',
  meta: 'meta',
  /** Counts prioritized jobs, for the order among equals. */
  priorityCounter: 'pc'
} as const
/** Scores: the time in milliseconds times this for `delayed`, the priority times that for `prioritized`. */
export const DELAYED_SCORE = 0x1000
export const PRIORITY_SCORE = 0x100000000

export function queuePrefix (prefix: string, queue: string): string {
  return `${prefix}:${queue}:`
}

/** How a job is added: the script that does it, and the keys of the queue that the script takes. */
interface AddScript { readonly name: string, readonly keys: readonly string[] }
const ADD_SCRIPTS = {
  standard: { name: 'addStandardJob', keys: ['wait', 'paused', 'meta', 'id', 'completed', 'delayed', 'active', 'events', 'marker'] },
  delayed: { name: 'addDelayedJob', keys: ['marker', 'meta', 'id', 'delayed', 'completed', 'events'] },
  prioritized: { name: 'addPrioritizedJob', keys: ['marker', 'meta', 'id', 'prioritized', 'delayed', 'completed', 'active', 'events', 'pc'] }
} as const satisfies Record<string, AddScript>
export type AddKind = keyof typeof ADD_SCRIPTS
export const ADD_KINDS = Object.keys(ADD_SCRIPTS) as AddKind[]

export function addKeys (kind: AddKind, queuePrefix: string): string[] {
  return ADD_SCRIPTS[kind].keys.map((key) => queuePrefix + key)
}

/** The Lua text of every script that BullMQ registers on a client, by name. */
export function bullScripts (bull: Bull): Map<string, { lua: string, keys: number }> {
  const scripts = new Map<string, { lua: string, keys: number }>()
  const recorder = {
    defineCommand (name: string, definition: { lua: string, numberOfKeys: number }): void {
      scripts.set(name.split(':')[0] ?? name, { lua: definition.lua, keys: definition.numberOfKeys })
    }
  }
  const load: unknown = Reflect.get(bull.RedisConnection.prototype, 'loadCommands')
  if (typeof load === 'function') Reflect.apply(load, { _client: recorder }, ['0'])
  return scripts
}

/**
 * How each of BullMQ's scripts for adding reads its arguments and writes the options of a job. `lua/add.lua` puts other
 * functions in the place of these two, which saves a twentieth of the time. A script that reads or writes in another way
 * would store jobs without their owner, so it is refused.
 */
const READS_AND_WRITES = [
  'args = cmsgpack.unpack(ARGV[1])', 'opts = cmsgpack.unpack(ARGV[3])', 'local jsonOpts = cjson.encode(opts)'
] as const
/** BullMQ's script that ends a job. `lua/finish.lua` says what it reads from which key and argument of it. */
const FINISH = { name: 'moveToFinished', keys: 14 } as const

export interface Script { readonly lua: string, readonly numberOfKeys: number }

/** BullMQ's scripts by name. */
export type BullScripts = ReadonlyMap<string, { lua: string, keys: number }>

function unsupportedBullMq (why: string): Error {
  return unsupported(`This version of the package bullmq is not supported: ${why}; install bullmq 6.7`)
}

function scriptNamed (scripts: BullScripts, name: string, numberOfKeys: number, ...texts: readonly string[]): Script {
  const script = scripts.get(name)
  if (script === undefined || script.keys !== numberOfKeys || !texts.every((text) => script.lua.includes(text))) {
    throw unsupportedBullMq(`its script ${name} is not the expected one`)
  }
  return { lua: script.lua, numberOfKeys }
}

/**
 * BullMQ's own script for adding a job.
 *
 * @throws {AsyncEndpointsError} `FAE_STORE_UNSUPPORTED` when this release of BullMQ has no such script
 */
export function bullAddScript (scripts: BullScripts, kind: AddKind): Script {
  const { name, keys } = ADD_SCRIPTS[kind]
  return scriptNamed(scripts, name, keys.length, ...READS_AND_WRITES)
}

/**
 * BullMQ's own script that ends a job.
 *
 * @throws {AsyncEndpointsError} `FAE_STORE_UNSUPPORTED` when this release of BullMQ has no such script
 */
export function bullFinishScript (scripts: BullScripts): Script { return scriptNamed(scripts, FINISH.name, FINISH.keys) }

type Finish = { result: void | unknown[], finishedOn: number }

/** What the store does around the steps of BullMQ's worker. Each gets the original step and may call it, or not. */
export interface BackendHooks extends WorkerClock {
  /** Looks for a job; the answer begins with its data and its id, if there is one. */
  claim (look: () => Promise<unknown[]>): Promise<unknown[]>
  /**
   * `reason` may come from the job's deferred failure, without the processor having been called, or from a completion
   * that was not stored. One that was is told by the event `completed`: listening to it costs less than standing in its way.
   */
  fail (jobId: string, token: string, reason: string, store: () => Promise<Finish>): Promise<Finish>
  delay (jobId: string, token: string, store: () => Promise<void | unknown[]>): Promise<void | unknown[]>
  requeue (jobId: string, token: string, store: () => Promise<void>): Promise<void>
  /** Renews leases; answers with those that could not be renewed. */
  renew (jobIds: readonly string[], step: () => Promise<string[]>): Promise<string[]>
  /** Looks for jobs whose leases have run out, and puts them back into the queue. */
  lookForStalled (look: () => Promise<string[]>): Promise<string[]>
  /** What follows BullMQ's own arguments when a job ends, completed or failed. */
  extras (jobId: string, token: string): ReadonlyArray<string | number>
  /** Runs the script `lua/finish.lua`, in which that of {@link bullFinishScript} stands. */
  finish (args: readonly unknown[]): Promise<unknown>
}

/** Makes a worker on BullMQ's own Redis backend whose steps pass through the hooks. */
export function makeWorker (bull: Bull, queue: string, processor: (job: BullJob, token?: string) => Promise<unknown>, options: WorkerOptions, hooks: BackendHooks): BullWorker {
  const faults = new Map<string, string>()
  const worker = new bull.Worker<unknown, unknown, string>(queue, processor, options, (name, given, extra) => {
    const backend = bull.createRedisBackend(name, given, extra)
    hookBackend(backend, hooks, faults)
    return backend
  })
  renewOften(worker)
  readGently(worker, faults)
  return worker
}

function hookBackend (backend: Backend, hooks: BackendHooks, faults: Map<string, string>): void {
  const moveToActive = backend.moveToActive.bind(backend)
  backend.moveToActive = (token, name) => hooks.claim(() => moveToActive(token, name))
  const moveToFailed = backend.moveToFailed.bind(backend)
  backend.moveToFailed = (job, reason, remove, token, fetchNext, fields) =>
    hooks.fail(String(job.id), token, reason, () => moveToFailed(job, reason, remove, token, fetchNext, fields))
  const moveToDelayed = backend.moveToDelayed.bind(backend)
  backend.moveToDelayed = (id, timestamp, delay, token, given) =>
    hooks.delay(id, token ?? '', () => moveToDelayed(id, timestamp, delay, token, given))
  const retryJob = backend.retryJob.bind(backend)
  backend.retryJob = (id, lifo, token, given) => hooks.requeue(id, token ?? '', () => retryJob(id, lifo, token, given))
  spreadFinishTimes(backend, hooks)
  finishOurWay(backend, hooks)
  followClock(backend, hooks, faults)
  const extendLocks = backend.extendLocks.bind(backend)
  backend.extendLocks = (ids, tokens, duration) => hooks.renew(ids, () => extendLocks(ids, tokens, duration))
  const moveStalledJobsToWait = backend.moveStalledJobsToWait.bind(backend)
  backend.moveStalledJobsToWait = () => hooks.lookForStalled(() => moveStalledJobsToWait())
  blockExactly(backend)
}

/**
 * Replaces BullMQ's script that ends a job by `lua/finish.lua`. What BullMQ does with the answer stays the same.
 */
function finishOurWay (backend: Backend, hooks: BackendHooks): void {
  const argsOf = finishedArgsOf(backend)
  const run: unknown = Reflect.get(backend, 'execCommand')
  if (argsOf === undefined || typeof run !== 'function') throw unsupportedBullMq('jobs end in another way')
  const withExtras: FinishedArgs = (job, value, field, remove, target, token, timestamp, fetchNext, fields) => {
    const args = argsOf.call(backend, job, value, field, remove, target, token, timestamp, fetchNext, fields)
    const extras = hooks.extras(String(Reflect.get(Object(job), 'id')), token)
    return [...(Array.isArray(args) ? args : []), ...extras]
  }
  Reflect.set(backend, 'moveToFinishedArgs', withExtras)
  Reflect.set(backend, 'execCommand', (client: unknown, name: string, args: readonly unknown[]): unknown =>
    name === FINISH.name ? hooks.finish(args) : Reflect.apply(run, backend, [client, name, args]))
}

/**
 * BullMQ asks the server for its version to know whether it may block for fractions of a second. Where INFO is not
 * allowed its worker would never start, and it prints what it thinks of the server's settings. Every server that the
 * store works with can do it; without this delayed jobs would be up to a second late.
 */
function blockExactly (backend: Backend): void {
  const connection: unknown = Reflect.get(backend, 'blockingConnection')
  if (typeof connection !== 'object' || connection === null || !Reflect.has(connection, 'capabilities')) return
  const capabilities = Object.freeze({ canDoubleTimeout: true, canBlockFor1Ms: false })
  Reflect.defineProperty(connection, 'capabilities', { get: () => capabilities, set: () => { /* what it makes of no version */ } })
}

/**
 * BullMQ orders finished jobs by the millisecond in which they ended; within one, by chance. A fraction keeps the
 * order, so that the oldest really go first when only so many are kept.
 */
function spreadFinishTimes (backend: Backend, { now }: BackendHooks): void {
  const original = finishedArgsOf(backend)
  if (original === undefined) return
  let last = 0
  let turn = 0
  const spread: FinishedArgs = (job, value, field, remove, target, token, _timestamp, fetchNext, fields) => {
    const time = now()
    if (time > last) {
      last = time
      turn = 0
    } else if (turn < 999) turn++
    // As text: to print a number with so many digits costs more than all the rest of this.
    const at = turn === 0 ? last : `${last}.${turn < 10 ? '00' : turn < 100 ? '0' : ''}${turn}`
    return original.call(backend, job, value, field, remove, target, token, at, fetchNext, fields)
  }
  Reflect.set(backend, 'moveToFinishedArgs', spread)
}

type FinishedArgs = (job: unknown, value: unknown, field: string, remove: unknown, target: string, token: string, timestamp: number | string, fetchNext?: boolean, fields?: unknown) => unknown

function finishedArgsOf (backend: object): FinishedArgs | undefined {
  const found: unknown = Reflect.get(backend, 'moveToFinishedArgs')
  return typeof found === 'function' ? found as FinishedArgs : undefined
}

/** The raw job that an answer of {@link BackendHooks.claim} carries. */
export function claimedId (answer: readonly unknown[]): string | undefined {
  return answer[0] === null || answer[0] === undefined ? undefined : String(answer[1])
}

/** An answer to "is there a job?" that says no. */
export const NO_JOB: readonly unknown[] = Object.freeze([])

/** Takes the deferred failure out of a job before the worker acts on it. */
export function takeDeferredFailure (job: BullJob): string | undefined {
  const { deferredFailure } = job
  if (deferredFailure === undefined || deferredFailure === '') return undefined
  job.deferredFailure = ''
  return deferredFailure
}

/** Lets the worker's own retry run, with the delay that `backoffStrategy` says; kept in memory only. */
export function allowRetry (job: BullJob): void {
  job.opts.attempts = Number.MAX_SAFE_INTEGER
  job.opts.backoff = { type: 'fae' }
  job.opts.stackTraceLimit = 0
}

/**
 * The worker tracks leases by job id. When it claims a job again whose lease it lost before, the end of the older
 * attempt would stop the renewal for the newer one.
 */
export function keepRenewing (worker: BullWorker, jobId: string, token: string): void {
  const manager: unknown = Reflect.get(worker, 'lockManager')
  if (typeof manager !== 'object' || manager === null) return
  const track: unknown = Reflect.get(manager, 'trackJob')
  if (typeof track === 'function') Reflect.apply(track, manager, [jobId, token, Date.now()])
}

/** The worker's loop notices a change of its concurrency only when it turns, which it may not do until one of its jobs ends. */
export function resizeWorker (worker: BullWorker, concurrency: number): void {
  worker.concurrency = concurrency
  const loop: unknown = Reflect.get(worker, 'mainLoopQueue')
  if (typeof loop !== 'object' || loop === null) return
  const add: unknown = Reflect.get(loop, 'add')
  if (typeof add === 'function') Reflect.apply(add, loop, [Promise.resolve()])
}

export type { JobJson }
