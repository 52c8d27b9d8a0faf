/**
 * The only file that reaches into BullMQ's objects: it makes workers whose steps pass through the store, so that they
 * follow the server's clock, keep their leases whatever the wall clock does, survive jobs that they cannot read, and
 * leave the end of a job to the store. What it relies on stands in `internals-check.ts`, and is checked at start.
 * `test/stores/bullmq-internals.test.ts` shows that it works with the installed release.
 */
import type { createRedisBackend, Job, Queue, RedisQueueBackend, Worker, WorkerOptions } from 'bullmq'
import type { Cluster, Redis } from 'ioredis'
import { claimedSteps, mendFields, readableFields, type ClaimedSteps } from './claimed-fields.ts'
import { checkPackage, checkScript, checkWorker, missingSentence, type BullScripts } from './internals-check.ts'
import { ADD_SCRIPTS, type AddKind } from './layout.ts'

export type Client = Redis | Cluster
export type BullJob = Job<unknown, unknown, string>
export type BullWorker = Worker<unknown, unknown, string>
export type Backend = RedisQueueBackend
export type { BullScripts } from './internals-check.ts'

/** The part of the package that the store uses by its public types. */
export interface Bull {
  readonly Queue: typeof Queue
  readonly Worker: typeof Worker
  readonly createRedisBackend: typeof createRedisBackend
  readonly RedisConnection: { readonly prototype: object }
}

// ---- scripts ----

export interface Script { readonly lua: string, readonly numberOfKeys: number }

/** BullMQ's script that ends a job. `lua/finish.lua` says what it reads from which key and argument of it. */
const FINISH = 'moveToFinished'

/** The Lua text of every script that BullMQ registers on a client, by name. */
function scriptsOf (bull: Bull): BullScripts {
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
 * BullMQ's scripts, after a check of everything that the store relies on.
 *
 * @throws {AsyncEndpointsError} `FAE_STORE_UNSUPPORTED`, with what is missing
 */
export function checkedScripts (bull: Bull): BullScripts {
  const scripts = scriptsOf(bull)
  checkPackage(bull, scripts)
  return scripts
}

/** BullMQ's own script for adding a job. @throws {AsyncEndpointsError} `FAE_STORE_UNSUPPORTED` */
export function bullAddScript (scripts: BullScripts, kind: AddKind): Script { return scriptNamed(scripts, ADD_SCRIPTS[kind].name) }

/** BullMQ's own script that ends a job. @throws {AsyncEndpointsError} `FAE_STORE_UNSUPPORTED` */
export function bullFinishScript (scripts: BullScripts): Script { return scriptNamed(scripts, FINISH) }

function scriptNamed (scripts: BullScripts, name: string): Script {
  checkScript(scripts, name)
  const { lua = '', keys = 0 } = scripts.get(name) ?? {}
  return { lua, numberOfKeys: keys }
}

// ---- a worker ----

/** The time as the store sees it. */
export interface WorkerClock {
  /** The server's time, wherever BullMQ stores or compares moments on the server. */
  now (): number
  /** A moment of the server as the wall clock of this host shows it: BullMQ compares it with `Date.now()`. */
  toLocal (moment: number): number
}

/**
 * The next job, as the step that ended the one before it hands it out: see {@link claimedId}. `undefined`: the worker
 * looks for one.
 */
export type NextJob = readonly unknown[] | undefined

/** A job that the worker has claimed. */
export interface Claimed {
  readonly job: BullJob
  /** Whether the step that ends the job may hand out the next one. */
  mayFetch (): boolean
  /** The worker renews the lease until then, or until the job is dealt with. */
  stopRenewing (): void
}

/** What the store does in the place of, or around, the steps of BullMQ's worker. */
export interface WorkerHooks extends WorkerClock {
  /** Looks for a job; the answer begins with its data and its id, if there is one. */
  claim (look: () => Promise<unknown[]>): Promise<unknown[]>
  /** Runs a claimed job and stores how it ended. */
  run (claimed: Claimed): Promise<NextJob>
  /** Runs `lua/finish.lua`, in which the script of {@link bullFinishScript} stands. */
  finish (args: readonly unknown[]): Promise<unknown>
  /** Renews leases; answers with those that could not be renewed. */
  renew (jobIds: readonly string[], step: () => Promise<string[]>): Promise<string[]>
  /** Looks for jobs whose leases have run out, and puts them back into the queue. */
  lookForStalled (look: () => Promise<string[]>): Promise<string[]>
  /** Hears what this release of BullMQ lacks and the worker can do without. */
  warn (message: string): void
}

/**
 * Makes a worker that is not started yet: {@link startWorker} does that.
 *
 * @throws {AsyncEndpointsError} `FAE_STORE_UNSUPPORTED`, with what is missing
 */
export function makeWorker (bull: Bull, queue: string, options: WorkerOptions, hooks: WorkerHooks): BullWorker {
  const seen: Seen = { faults: new Map(), steps: new Map() }
  // The processor is never called: `runJobs` replaces the method that would call it.
  const worker = new bull.Worker<unknown, unknown, string>(queue, async () => {}, { ...options, autorun: false }, (name, given, extra) => {
    const backend = bull.createRedisBackend(name, given, extra)
    hookBackend(backend, hooks, seen)
    return backend
  })
  try {
    checkWorker(worker, hooks.warn)
  } catch (error) {
    worker.close(true).catch(() => { /* there is nothing to close */ })
    throw error
  }
  renewOften(worker)
  readGently(worker, seen)
  runJobs(worker, hooks)
  return worker
}

/** The worker claims jobs from now on. */
export function startWorker (worker: BullWorker): void {
  worker.run().catch((error: unknown) => { worker.emit('error', asError(error)) })
}

/**
 * Replaces the method in which BullMQ's worker calls a processor, stores how that ended, and takes the next job. The
 * store does the first two itself: as BullMQ does it, a processor says by the class of the error that it throws what
 * is to be stored.
 */
function runJobs (worker: BullWorker, hooks: WorkerHooks): void {
  const next = methodOf(worker, 'nextJobFromJobData')
  const updateDelays = methodOf(worker, 'updateDelays')
  const manager: unknown = Reflect.get(worker, 'lockManager')
  const track = methodOf(manager, 'trackJob')
  const untrack = methodOf(manager, 'untrackJob')
  Reflect.set(worker, 'processJob', async (job: BullJob, token: string, mayFetch: () => boolean): Promise<unknown> => {
    track(job.id, token, job.processedOn)
    try {
      const found = await hooks.run({ job, mayFetch, stopRenewing: () => { untrack(job.id) } })
      if (found === undefined) return undefined
      const [data, id, limitedMs, due] = found
      updateDelays(limitedMs, due)
      return await next(data, id, token)
    } catch (error) {
      // A rejection would end the loop of the worker.
      worker.emit('error', asError(error))
      return undefined
    } finally {
      untrack(job.id)
    }
  })
}

/** Where a job ends, and what BullMQ's script that ends it is given. */
export interface Ending {
  readonly set: 'completed' | 'failed'
  /** Of a completed job the return value as JSON, of a failed job the reason. */
  readonly value: string | undefined
  readonly finishedOn: string
  readonly fetchNext: boolean
  /** What follows BullMQ's own arguments: see `lua/finish.lua`. */
  readonly extras: ReadonlyArray<string | number>
}

/** Ends a job by {@link WorkerHooks.finish}. Rejects with BullMQ's error when the script refuses. */
export async function finishJob (backend: Backend, job: BullJob, { set, value, finishedOn, fetchNext, extras }: Ending): Promise<NextJob> {
  const { removeOnComplete, removeOnFail } = job.opts
  const [field, remove] = set === 'completed' ? ['returnvalue', removeOnComplete] : ['failedReason', removeOnFail]
  const args = methodOf(backend, 'moveToFinishedArgs')(job, value, field, remove, set, job.token, finishedOn, fetchNext)
  return await backend.moveToFinished(String(job.id), [...(Array.isArray(args) ? args : []), ...extras])
}

/** What the answer to a claim shows and BullMQ does not pass on, by job, until the job is made. */
interface Seen { readonly faults: Map<string, string>, readonly steps: Map<string, ClaimedSteps> }

function hookBackend (backend: Backend, hooks: WorkerHooks, seen: Seen): void {
  const moveToActive = backend.moveToActive.bind(backend)
  backend.moveToActive = (token, name) => hooks.claim(() => moveToActive(token, name))
  const extendLocks = backend.extendLocks.bind(backend)
  backend.extendLocks = (ids, tokens, duration) => hooks.renew(ids, () => extendLocks(ids, tokens, duration))
  const moveStalledJobsToWait = backend.moveStalledJobsToWait.bind(backend)
  backend.moveStalledJobsToWait = () => hooks.lookForStalled(() => moveStalledJobsToWait())
  hookScripts(backend, hooks, seen)
  blockExactly(backend)
}

/**
 * Scripts that get the time as an argument, by its place among keys and arguments. The time of an end is in
 * {@link Ending}.
 */
const TIME_ARGUMENT: Readonly<Record<string, number>> = { moveToActive: 12, moveToDelayed: 12, retryJob: 12, moveStalledJobsToWait: 11 }
/** Scripts that may hand out the next job, or else say when the next delayed one is due, and where they say it. */
const HAND_OUT: ReadonlySet<string> = new Set(['moveToActive', FINISH, 'moveToDelayed'])
const DUE = 3

/**
 * Replaces the script that ends a job, and the time that BullMQ gives its scripts. BullMQ takes the time of the host
 * that it runs on: to hand out delayed jobs, to write down when a job began, was put back and ended, and to forget
 * old ones. On hosts whose clocks differ, a delay of ten seconds would last none, or a hundred.
 */
function hookScripts (backend: Backend, { now, toLocal, finish }: WorkerHooks, { faults, steps }: Seen): void {
  const execCommand = methodOf(backend, 'execCommand')
  Reflect.set(backend, 'execCommand', (client: unknown, name: string, args: unknown[]): unknown => {
    const place = TIME_ARGUMENT[name]
    if (place !== undefined) args[place] = now()
    const answer: unknown = name === FINISH ? finish(args) : execCommand(client, name, args)
    if (!HAND_OUT.has(name) || !(answer instanceof Promise)) return answer
    return answer.then((found: unknown) => {
      if (!Array.isArray(found)) return found
      if (Number(found[DUE]) > 0) found[DUE] = toLocal(Number(found[DUE]))
      if (!Array.isArray(found[0])) return found
      const fault = mendFields(found[0])
      if (fault !== undefined) faults.set(String(found[1]), fault)
      const borne = claimedSteps(found[0])
      if (borne !== undefined) steps.set(String(found[1]), borne)
      return found
    })
  })
  const waitForJob = backend.waitForJob.bind(backend)
  backend.waitForJob = async (timeout) => {
    const marker = await waitForJob(timeout)
    return marker !== null && marker !== undefined && marker.score > 0 ? { ...marker, score: toLocal(marker.score) } : marker
  }
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
 * The worker renews a lease when the wall clock says that it is time. Set back by a minute it would let every lease
 * run out; and it takes the start of the attempt, which is a moment of the server's clock, for the last renewal. An
 * entry that was renewed ages ago is renewed every time the worker looks, four times in the life of a lease.
 */
function renewOften (worker: object): void {
  const tracked: unknown = Reflect.get(Object(Reflect.get(worker, 'lockManager')), 'trackedJobs')
  if (!(tracked instanceof Map)) return
  const set = tracked.set.bind(tracked)
  Reflect.set(tracked, 'set', (id: unknown, entry: object) => set(id, { ...entry, ts: 1 }))
}

/**
 * A job whose data is not JSON would make the worker throw after it was claimed: it would stall, and be claimed
 * again, for ever. The worker gets a job without data instead, which says what is wrong.
 */
function readGently (worker: object, { faults, steps }: Seen): void {
  const createJob = methodOf(worker, 'createJob')
  Reflect.set(worker, 'createJob', (data: object, id: unknown): unknown => {
    const job = create(data, id)
    const borne = steps.get(String(id))
    if (borne !== undefined) {
      steps.delete(String(id))
      if (typeof job === 'object' && job !== null) STEPS.set(job, borne)
    }
    return job
  })

  function create (data: object, id: unknown): unknown {
    let fault = faults.get(String(id))
    if (fault === undefined) {
      try {
        return createJob(data, id)
      } catch {
        fault = 'its field data is not JSON'
      }
    }
    faults.delete(String(id))
    const job = createJob(readableFields(data), id)
    if (typeof job === 'object' && job !== null) UNREADABLE.set(job, fault)
    return job
  }
}

const STEPS = new WeakMap<object, ClaimedSteps>()

/** What a claimed job bears of its steps; `undefined`: it has none. */
export function stepsOf (job: object): ClaimedSteps | undefined { return STEPS.get(job) }

const UNREADABLE = new WeakMap<object, string>()

/** What is wrong with a claimed job that BullMQ could not have read as it is. It has no data. */
export function unreadable (job: object): string | undefined { return UNREADABLE.get(job) }

/** The id of the job that an answer of {@link WorkerHooks.claim} or {@link NextJob} carries. */
export function claimedId (answer: readonly unknown[]): string | undefined {
  return answer[0] === null || answer[0] === undefined ? undefined : String(answer[1])
}

/** An answer to "is there a job?" that says no. */
export const NO_JOB: readonly unknown[] = Object.freeze([])

/**
 * The worker tracks leases by job id. When it claims a job again whose lease it lost before, the end of the older
 * attempt would stop the renewal for the newer one.
 */
export function keepRenewing (worker: BullWorker, jobId: string, token: string): void {
  methodOf(Reflect.get(worker, 'lockManager'), 'trackJob')(jobId, token, Date.now())
}

/**
 * The worker's loop notices a change of its concurrency only when it turns, which it may not do until one of its jobs
 * ends.
 */
export function resizeWorker (worker: BullWorker, concurrency: number, warn: (message: string) => void): void {
  worker.concurrency = concurrency
  const loop: unknown = Reflect.get(worker, 'mainLoopQueue')
  // The worker is not running.
  if (loop === null) return
  const add: unknown = Reflect.get(Object(loop), 'add')
  if (typeof add === 'function') Reflect.apply(add, loop, [Promise.resolve()])
  else warn(missingSentence('Worker.mainLoopQueue.add', 'a worker uses new slots only after one of its jobs has ended'))
}

/** Makes the worker stop waiting for a job. BullMQ goes on waiting while it is paused, and would take the next job. */
export async function interruptWaiting (worker: BullWorker): Promise<boolean> {
  const backend = worker.getBackend()
  // Disconnecting a connection that is just reconnecting would keep it from ever coming back.
  if ((await backend.blockingClient)?.status !== 'ready') return false
  await backend.disconnectBlocking(true)
  return true
}

/** A method that the check has found: the types of BullMQ do not show it. */
function methodOf (target: unknown, name: string): (...args: readonly unknown[]) => unknown {
  const method: unknown = Reflect.get(Object(target), name)
  if (typeof method !== 'function') throw new TypeError(missingSentence(name, 'nothing works'))
  return (...args) => Reflect.apply(method, target, args)
}

function asError (error: unknown): Error { return error instanceof Error ? error : new Error('a step of the worker threw something that is not an error') }
