import { strict as assert } from 'node:assert'
import { setTimeout as realSleep } from 'node:timers/promises'
import type { JobRecord, NewJob } from '../../jobs/job.ts'
import { storeNow } from '../../jobs/store-clock.ts'
import type { Claim, Consumer, JobStore, SettleVerdict, Settlement, StoreHost } from '../../jobs/store.ts'

/** Options that a case of the suite asks of the store it gets. */
export interface NewStoreOptions {
  /** Only asked for when the capability `retention` is there. */
  readonly retention?: {
    readonly completedMs: number
    readonly failedMs: number
    readonly maxCount: number
    readonly maxPerOwner?: number
    readonly maxBytes?: number
  }
}

/** A fresh, empty store for one case, and the hands on it that the case needs. */
export interface StoreUnderTest {
  /** Not opened yet: the suite opens it, and closes it before `cleanup`. */
  readonly store: JobStore
  /** What the store is opened with. Its clock is also the suite's clock. */
  readonly host: StoreHost
  /** Moves the fake clock of `host` and lets everything due happen. Leave it out for a store in real time. */
  advance? (ms: number): Promise<void>
  /** Another process's view on the same data, not opened yet. Leave it out when there can be none. */
  secondStore? (): JobStore | Promise<JobStore>
  /** Makes the running attempt of a job lose its lease behind the back of the consumer that holds it. */
  loseLease? (jobId: string): Promise<void>
  /** Called after the stores were closed. */
  cleanup? (): Promise<void> | void
}

/** How fast the store under test is. All in milliseconds. */
export interface ConformanceTiming {
  /** The lease as the store is set up by `newStore`. @defaultValue 30000 */
  readonly leaseMs: number
  /** From the loss of a worker to the next claim of its job, at most. @defaultValue 3 times `leaseMs` */
  readonly stallMs: number
  /** Delays, backoffs and short times to live in the suite. @defaultValue 200 */
  readonly shortMs: number
  /** Every other wait gives up after this. @defaultValue 10000 */
  readonly deadlineMs: number
}

/** One case: fresh store in, assertion error out. */
export interface ConformanceCase {
  readonly name: string
  readonly settings?: (timing: ConformanceTiming) => NewStoreOptions
  readonly needs?: 'retention' | 'list' | 'shared' | 'steps'
  /** Left out when the store has this. */
  readonly unless?: 'shared' | 'steps'
  readonly run: (world: World) => Promise<void>
}

type Script = (attempt: ScriptedAttempt) => Settlement | Promise<Settlement>

/** One attempt as the suite plays it: everything the store did to it is written down. */
export class ScriptedAttempt {
  readonly claim: Claim
  readonly aborts: string[] = []
  readonly verdicts: SettleVerdict[] = []
  /** Resolves when the script of the attempt has ended. */
  readonly ended: Promise<Settlement>
  #end: (settlement: Settlement) => void = () => {}
  #onAbort: Array<() => void> = []

  constructor (claim: Claim) {
    this.claim = claim
    this.ended = new Promise((resolve) => { this.#end = resolve })
  }

  get id (): string { return this.claim.job.id }
  get verdict (): SettleVerdict | undefined { return this.verdicts[0] }

  /** Ends an attempt whose consumer has no script. */
  end (settlement: Settlement): void { this.#end(settlement) }

  /** Resolves when the store aborts the attempt. */
  aborted (): Promise<void> {
    if (this.aborts.length > 0) return Promise.resolve()
    return new Promise((resolve) => { this.#onAbort.push(resolve) })
  }

  abort (reason: 'cancelled' | 'lease-lost'): void {
    this.aborts.push(reason)
    for (const listener of this.#onAbort.splice(0)) listener()
  }
}

/** A consumer under the suite's control, with its diary. */
export class ScriptedConsumer {
  readonly consumer: Consumer
  readonly attempts: ScriptedAttempt[] = []
  readonly stalled: string[] = []
  readonly errors: Error[] = []
  /** Most attempts seen at one time. */
  peak = 0
  /** Ids of jobs that were started while another attempt of theirs was under way here. */
  readonly overlaps: string[] = []
  #running = new Map<string, number>()

  /** Without a script every attempt waits for `attempt.end(…)`. */
  constructor (store: JobStore, queue: string, concurrency: number, script?: Script) {
    this.consumer = store.consume({
      queue,
      concurrency,
      workerId: `suite:${queue}`,
      attempt: (claim) => this.#attempt(claim, script),
      onStalled: (id) => { this.stalled.push(id) },
      onError: (error) => { this.errors.push(error) }
    })
  }

  /** Ids in the order of their claims. */
  get ids (): string[] { return this.attempts.map((attempt) => attempt.id) }

  at (index: number): ScriptedAttempt {
    const attempt = this.attempts[index]
    assert.ok(attempt, `there is an attempt number ${index + 1}`)
    return attempt
  }

  #attempt (claim: Claim, script: Script | undefined): { run (): Promise<Settlement>, abort (reason: 'cancelled' | 'lease-lost'): void, settled (verdict: SettleVerdict): void } {
    const attempt = new ScriptedAttempt(claim)
    this.attempts.push(attempt)
    return {
      run: async () => {
        const others = this.#running.get(claim.job.id) ?? 0
        if (others > 0) this.overlaps.push(claim.job.id)
        this.#running.set(claim.job.id, others + 1)
        this.peak = Math.max(this.peak, [...this.#running.values()].reduce((sum, count) => sum + count, 0))
        const settlement = await (script === undefined ? attempt.ended : script(attempt))
        this.#running.set(claim.job.id, (this.#running.get(claim.job.id) ?? 1) - 1)
        return settlement
      },
      abort: (reason) => { attempt.abort(reason) },
      settled: (verdict) => { attempt.verdicts.push(verdict) }
    }
  }
}

/** What a case works with: the store, its clock, and waits that have a deadline. */
export class World {
  readonly store: JobStore
  readonly host: StoreHost
  readonly timing: ConformanceTiming
  readonly under: StoreUnderTest
  readonly #stores: JobStore[] = []
  readonly #consumers: ScriptedConsumer[] = []

  constructor (under: StoreUnderTest, timing: ConformanceTiming) {
    this.under = under
    this.store = under.store
    this.host = under.host
    this.timing = timing
    this.#stores.push(under.store)
  }

  /** On the clock of the store, which need not be that of the host. */
  now (): number { return storeNow(this.store, this.host.context.clock) }

  /** A submission with nothing special about it. */
  job (overrides: Partial<NewJob> = {}): NewJob {
    const createdAt = overrides.createdAt ?? this.now()
    return {
      id: this.host.context.ids.job(),
      name: 'conformance',
      queue: 'conformance',
      input: { body: { n: 1 }, params: {}, query: {}, headers: {} },
      owner: undefined,
      correlationId: this.host.context.ids.correlation(),
      trace: undefined,
      priority: 0,
      runAt: createdAt,
      maxAttempts: 5,
      idempotency: undefined,
      ...overrides,
      createdAt
    }
  }

  /** Creates one job, and gives its id. */
  async create (overrides: Partial<NewJob> = {}, store: JobStore = this.store): Promise<string> {
    const created = await store.create(this.job(overrides))
    assert.equal(created.created, true, 'the job is created')
    return created.id
  }

  /** Creates jobs one after the other, so that their order is certain. */
  async createMany (count: number, overrides: Partial<NewJob> = {}): Promise<string[]> {
    const ids: string[] = []
    for (let n = 0; n < count; n++) ids.push(await this.create({ ...overrides, input: { body: { n }, params: {}, query: {}, headers: {} } }))
    return ids
  }

  async read (id: string, store: JobStore = this.store): Promise<JobRecord> {
    const record = await store.get(id)
    assert.ok(record, `job ${id} can be read`)
    return record
  }

  /** Another view on the same data; the same store when there can be no other. */
  async second (): Promise<JobStore> {
    const second = await this.under.secondStore?.()
    if (second === undefined) return this.store
    this.#stores.push(second)
    await second.open(this.host)
    return second
  }

  consume (options: { queue?: string, concurrency?: number, script?: Script, store?: JobStore } = {}): ScriptedConsumer {
    const consumer = new ScriptedConsumer(options.store ?? this.store, options.queue ?? 'conformance', options.concurrency ?? 1, options.script)
    this.#consumers.push(consumer)
    return consumer
  }

  /** Waits for a condition, on whichever clock the store has. */
  async until (what: string, condition: () => boolean | Promise<boolean>, withinMs: number = this.timing.deadlineMs): Promise<void> {
    const { clock } = this.host.context
    const end = clock.monotonic() + withinMs
    const step = Math.max(1, Math.ceil(withinMs / 500))
    for (let round = 0; !(await condition()); round++) {
      if (clock.monotonic() > end) assert.fail(`waited ${withinMs} ms for this: ${what}`)
      if (this.under.advance === undefined) await realSleep(4)
      else await this.under.advance(round === 0 ? 0 : step)
    }
  }

  /** Waits for a promise that may need the clock to move. */
  async within<T> (what: string, work: Promise<T>, withinMs?: number): Promise<T> {
    let over = false
    work.then(() => { over = true }, () => { over = true })
    await this.until(what, () => over, withinMs)
    return await work
  }

  /** Lets time pass, to see that something does *not* happen in it. */
  async elapse (ms: number): Promise<void> {
    await (this.under.advance === undefined ? realSleep(ms) : this.under.advance(ms))
  }

  /** Waits until the job is in a state, and gives the record. */
  async state (id: string, ...states: ReadonlyArray<JobRecord['state']>): Promise<JobRecord> {
    let record: JobRecord | undefined
    await this.until(`job is ${states.join(' or ')}`, async () => {
      record = await this.store.get(id)
      return record !== undefined && states.includes(record.state)
    })
    assert.ok(record)
    return record
  }

  /** Waits for the nth claim of a consumer (from 1). */
  async claimed (consumer: ScriptedConsumer, count: number, withinMs?: number): Promise<ScriptedAttempt> {
    await this.until(`claim number ${count} (so far ${consumer.attempts.length})`, () => consumer.attempts.length >= count, withinMs)
    return consumer.at(count - 1)
  }

  /** Ends an attempt and waits until the store has said what it made of it. */
  async settle (attempt: ScriptedAttempt, settlement: Settlement): Promise<SettleVerdict> {
    attempt.end(settlement)
    await this.until(`verdict on ${settlement.kind}`, () => attempt.verdicts.length > 0)
    assert.equal(attempt.verdicts.length, 1, 'settled is called once')
    return attempt.verdicts[0] as SettleVerdict
  }

  /** Ends everything the case left, whether it passed or not. */
  async end (): Promise<void> {
    const { deadlineMs } = this.timing
    for (const { attempts } of this.#consumers) {
      for (const attempt of attempts) attempt.end({ kind: 'release' })
    }
    for (const { consumer } of this.#consumers) {
      await this.within('a consumer is drained', consumer.drain(1_000), deadlineMs * 2)
      await this.within('a consumer is closed', consumer.close(deadlineMs), deadlineMs * 2)
    }
    for (const store of this.#stores.reverse()) await this.within('a store is closed', store.close(deadlineMs), deadlineMs * 2)
    await this.under.cleanup?.()
  }
}

export const COMPLETED: Settlement = Object.freeze({ kind: 'completed', result: undefined, resultBytes: undefined })

export function completed (result: string): Settlement {
  return { kind: 'completed', result, resultBytes: Buffer.byteLength(result) }
}

/** Asserts that a call is refused with a code of this library. */
export async function refused (work: Promise<unknown>, ...codes: string[]): Promise<void> {
  const error: unknown = await work.then(() => undefined, (reason: unknown) => reason)
  assert.ok(error instanceof Error, 'the call is refused with an error')
  const code = (error as { code?: unknown }).code
  assert.ok(typeof code === 'string' && code.startsWith('FAE_'), `the error has a code of this library (FAE_…), not ${String(code)}`)
  if (codes.length > 0) assert.ok(codes.includes(code), `${code} is one of ${codes.join(', ')}`)
}
