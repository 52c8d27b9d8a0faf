/** Runs sagas in processes that something happens to, and finishes them in this one. */
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { FastifyInstance } from 'fastify'
import type { Test } from 'tap'
import type { JobStore } from '../../lib/jobs/store.ts'
import { readStep } from '../../lib/jobs/saga-facts.ts'
import { isTerminal } from '../../lib/jobs/states.ts'
import type { RedisStoreOptions } from '../../lib/stores/bullmq/index.ts'
import { BATCH, LOADER, ORDER, SIGNAL, type BatchBody, type OrderBody } from '../faults/fixtures/crash-saga.ts'
import { noPoints, type Fault } from '../faults/fixtures/points.ts'
import { sagaApp } from '../faults/fixtures/saga-app.ts'
import type { SagaWorkerArguments } from '../faults/fixtures/saga-worker.ts'
import { readWitness, Witness, type Entry } from '../faults/fixtures/witness.ts'
import { temporaryFolder } from './folder.ts'
import { Hearing, newJob, openStore, until, withBody } from './redis-jobs.ts'
import { uniquePrefix } from './redis.ts'
import { diesAfterEnd, judge, type Ended, type Scenario } from './saga-verdict.ts'

const FILE = fileURLToPath(new URL('../faults/fixtures/saga-worker.js', import.meta.url))
const WITHIN_MS = 90_000
const LOOK_MS = 30

/** Where sagas are played: one server, one prefix, a queue for each run. */
export class Stage {
  readonly options: RedisStoreOptions
  readonly store: JobStore
  readonly folder: string
  readonly #hearing: Hearing
  #runs = 0

  private constructor (options: RedisStoreOptions, store: JobStore, folder: string) {
    this.options = options
    this.store = store
    this.folder = folder
    this.#hearing = new Hearing(store)
  }

  static async open (url: string, folder: string, settings: Partial<RedisStoreOptions> = {}): Promise<Stage> {
    const options = { url, prefix: uniquePrefix(), leaseMs: 1_500, stalledIntervalMs: 100, ...settings }
    return new Stage(options, await openStore(options), folder)
  }

  /** The updates of a job that said that it is over. */
  endsOf (id: string): string[] {
    const updates = this.#hearing.updates.filter((update) => update.id === id)
    return updates.flatMap(({ state }) => state !== undefined && isTerminal(state) ? [state] : [])
  }

  async play (scenario: Scenario, fault: Fault, chosen?: string): Promise<SagaRun> {
    return await this.#begin(ORDER, scenario === 'fails' ? { fails: 'notify' } : {}, scenario, fault, chosen)
  }

  /** A saga whose step `publish` fails for good. */
  async playFailing (chosen: string): Promise<SagaRun> {
    return await this.#begin(ORDER, { fails: 'publish' }, 'fails', 'SIGKILL', chosen)
  }

  async playBatch (items: number, chosen?: string): Promise<SagaRun> {
    return await this.#begin(BATCH, { items }, 'completes', 'SIGKILL', chosen)
  }

  /** An ordinary handler with durable steps. */
  async playLoader (chosen?: string): Promise<SagaRun> {
    return await this.#begin(LOADER, {}, 'completes', 'SIGKILL', chosen)
  }

  async #begin (
    name: string, body: OrderBody | BatchBody, scenario: Scenario, fault: Fault, chosen: string | undefined
  ): Promise<SagaRun> {
    const queue = `q-${++this.#runs}`
    const job = newJob({ name, queue, input: withBody(body) })
    await this.#hearing.follow(job.id, queue)
    await this.store.create(job)
    const witness = `${this.folder}/${this.options.prefix}-${queue}`
    return new SagaRun(this, scenario, job.id, { store: this.options, queue, witness, chosen, fault })
  }

  close (): Promise<void> { return this.store.close(1_000) }
}

/** One saga, and the process that something happens to. */
export class SagaRun {
  readonly id: string
  readonly #stage: Stage
  readonly #scenario: Scenario
  readonly #fault: Fault | undefined
  readonly #arguments: SagaWorkerArguments
  #victim: ChildProcess
  #exited: Promise<unknown>
  readonly #driving = new AbortController()
  readonly #driven: Promise<void>
  #asks = 0
  #survivor: FastifyInstance | undefined

  constructor (stage: Stage, scenario: Scenario, id: string, args: SagaWorkerArguments) {
    this.#stage = stage
    this.#scenario = scenario
    this.#fault = args.chosen === undefined ? undefined : args.fault
    this.id = id
    this.#arguments = args
    this.#victim = this.#fork()
    this.#exited = once(this.#victim, 'exit')
    this.#driven = this.#drive()
  }

  #fork (): ChildProcess {
    // Without the loaders of the test runner, which take longer to start than the worker does.
    const victim = fork(FILE, [JSON.stringify(this.#arguments)], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'], execArgv: ['--enable-source-maps'] })
    const killAtExit = (): void => { victim.kill('SIGKILL') }
    process.once('exit', killAtExit)
    victim.once('exit', () => process.removeListener('exit', killAtExit))
    victim.on('message', (message) => { if (message === 'asks') this.#asks++ })
    return victim
  }

  /** Another process takes the saga, and the same happens to it at the same point. Resolves when it is over. */
  async again (): Promise<void> {
    this.#victim = this.#fork()
    this.#exited = once(this.#victim, 'exit')
    await this.exited()
  }

  get entries (): Entry[] { return readWitness(this.#arguments.witness) }

  async over (): Promise<boolean> {
    // While the server is away, nobody knows.
    const record = await this.#stage.store.get(this.id).catch(() => undefined)
    return record !== undefined && isTerminal(record.state)
  }

  /** The victim has come to its end by itself, or by its own signal. @returns its exit code */
  async exited (): Promise<number | null> {
    await bounded(this.#exited, 'the process has ended')
    return this.#victim.exitCode
  }

  /** The victim has stopped at its point. */
  async frozen (): Promise<void> {
    const stopped = (): boolean => /^\d+ \(.*\) T/.test(readFileSync(`/proc/${this.#victim.pid}/stat`, 'utf8'))
    await waitFor('the process is frozen', () => this.#passedPoint && stopped())
  }

  thaw (): void { this.#victim.kill('SIGCONT') }

  /** The victim waits at its point until it is answered. */
  async asks (): Promise<void> { await waitFor('the process asks', () => this.#asks > 0) }

  answer (): void { this.#victim.send('go on') }

  /** This process takes what the victim has left, as another worker would. */
  async finishElsewhere (): Promise<void> {
    const { store, queue, witness: file } = this.#arguments
    const witness = new Witness(file, 'survivor')
    this.#survivor = await sagaApp({ store, queue }, noPoints, witness)
    await this.#survivor.ready()
    await this.untilOver()
  }

  async untilOver (): Promise<void> {
    await waitFor('the saga is over', () => this.over())
    if (this.#fault === 'ask' || (this.#fault === 'SIGKILL' && diesAfterEnd(this.entries))) return
    await waitFor('its end is published', () => this.#stage.endsOf(this.id).length > 0)
  }

  /** Lets the victim go. @returns its exit code */
  async release (): Promise<number | null> {
    if (this.#victim.connected) this.#victim.disconnect()
    return await this.exited()
  }

  /** Ends everything, however far it is. @returns what there is to judge */
  async end (): Promise<Ended> {
    this.#driving.abort()
    if (this.#victim.exitCode === null && this.#victim.signalCode === null) {
      this.thaw()
      if (this.#passedPoint || this.#fault === undefined) await this.release()
      else this.#victim.kill('SIGKILL')
    }
    await this.#exited
    await this.#driven
    await this.#survivor?.close()
    const { store } = this.#stage
    return {
      scenario: this.#scenario,
      fault: this.#fault,
      entries: this.entries,
      record: await store.get(this.id),
      result: await store.result(this.id),
      ends: this.#stage.endsOf(this.id)
    }
  }

  get #passedPoint (): boolean { return this.entries.some(({ kind }) => kind === 'fault') }

  /** Sends the signal, or cancels the saga, once it waits for the signal. */
  async #drive (): Promise<void> {
    const { store } = this.#stage
    const { signal } = this.#driving
    const waits = async (): Promise<boolean> => {
      const record = await store.get(this.id).catch(() => undefined)
      return record?.state === 'scheduled' && readStep(record.facts, SIGNAL)?.s === 'w'
    }
    await waitFor('the saga waits for its signal', async () => signal.aborted || await waits())
    if (signal.aborted) return
    const send = async (): Promise<unknown> => this.#scenario === 'cancelled'
      ? await store.cancel(this.id, 'not wanted any more')
      : await store.steps?.signal(this.id, SIGNAL, JSON.stringify({ by: 'a person' }))
    await waitFor('it was signalled', () => send().then(() => true, () => signal.aborted))
  }
}

interface Recording { readonly points: string[], readonly ended: Ended }

/** All points of a scenario, in the order in which an undisturbed process passes them, and what there is to judge. */
export async function recordPoints (stage: Stage, scenario: Scenario): Promise<Recording> {
  const run = await stage.play(scenario, 'SIGKILL')
  await run.untilOver()
  const ended = await run.end()
  return { points: pointsOf(ended.entries), ended }
}

/**
 * Kills a worker at every point of a scenario, one process for each, and finishes each saga elsewhere.
 *
 * @returns how many points there were
 */
export async function killAtEveryPoint (t: Test, url: string, scenario: Scenario): Promise<number> {
  const stage = await Stage.open(url, temporaryFolder(t, 'sagas'))
  t.teardown(() => stage.close())
  const { points, ended } = await recordPoints(stage, scenario)
  t.same(judge(ended), [], 'undisturbed')
  t.equal(new Set(points).size, points.length)
  await inLanes(points, 5, async (point) => {
    const run = await stage.play(scenario, 'SIGKILL', point)
    try {
      await run.exited()
      await run.finishElsewhere()
    } finally {
      t.same(judge(await run.end()), [], point)
    }
  })
  return points.length
}

/** Tells a worker to leave at every point of a scenario, one process for each, and finishes each saga elsewhere. */
export async function leaveAtEveryPoint (t: Test, url: string, scenario: Scenario): Promise<void> {
  const stage = await Stage.open(url, temporaryFolder(t, 'sagas'), { leaseMs: 10_000 })
  t.teardown(() => stage.close())
  const { points } = await recordPoints(stage, scenario)
  await inLanes(someOf(points), 5, async (point) => {
    const run = await stage.play(scenario, 'SIGTERM', point)
    try {
      t.equal(await run.exited(), 0, 'it leaves by itself')
      await run.finishElsewhere()
    } finally {
      t.same(judge(await run.end()), [], point)
    }
  })
}

export function pointsOf (entries: readonly Entry[]): string[] {
  return entries.flatMap((entry) => entry.kind === 'point' ? [entry.point] : [])
}

/**
 * Every third point, from the first: a process for each takes minutes. All of them with ALL_POINTS=1. Where a worker is
 * killed, all are taken in any case.
 */
export function someOf (points: readonly string[]): readonly string[] {
  return process.env['ALL_POINTS'] === '1' ? points : points.filter((_, index) => index % 3 === 0)
}

type WorkOn<T> = (item: T, lane: number) => Promise<void>

/** Does the same with every item, a few at a time. */
export async function inLanes<T> (items: readonly T[], lanes: number, work: WorkOn<T>): Promise<void> {
  const rest = [...items]
  await Promise.all(Array.from({ length: lanes }, async (_, lane) => {
    for (let item = rest.shift(); item !== undefined; item = rest.shift()) await work(item, lane)
  }))
}

async function bounded (promise: Promise<unknown>, what: string): Promise<void> {
  let over = false
  promise.then(() => { over = true }, () => { over = true })
  await waitFor(what, () => over)
}

/** Many wait at the same time here, so they look less often than `until`. */
async function waitFor (what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  let lookAt = 0
  await until(what, async () => {
    if (performance.now() < lookAt) return false
    lookAt = performance.now() + LOOK_MS
    return await condition()
  }, WITHIN_MS)
}
