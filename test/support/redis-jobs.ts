/** Small parts that the tests of the Redis store share: jobs, hosts that remember, attempts played by hand, waits. */
import { strict as assert } from 'node:assert'
import { setTimeout as sleep } from 'node:timers/promises'
import { createContext } from '../../lib/core/context.ts'
import type { JobUpdate, NewJob } from '../../lib/jobs/job.ts'
import type {
  Attempt, Claim, Consumer, FeedListener, JobFeed, JobStore, SettleVerdict, Settlement, StoreHost, StoreReport
} from '../../lib/jobs/store.ts'
import { redisStore, type RedisStoreOptions } from '../../lib/stores/bullmq/index.ts'

export const QUEUE = 'tests'
export const COMPLETED: Settlement = { kind: 'completed', result: undefined, resultBytes: undefined }
const context = createContext()

export function newJob (overrides: Partial<NewJob> = {}): NewJob {
  const createdAt = overrides.createdAt ?? Date.now()
  return {
    id: context.ids.job(),
    name: 'test',
    queue: QUEUE,
    input: { body: { n: 1 }, params: {}, query: {}, headers: {} },
    owner: undefined,
    correlationId: context.ids.correlation(),
    trace: undefined,
    priority: 0,
    runAt: createdAt,
    maxAttempts: 3,
    idempotency: undefined,
    ...overrides,
    createdAt
  }
}

export function withBody (body: unknown): NewJob['input'] {
  return { body, params: {}, query: {}, headers: {} }
}

/** A host that remembers what the store reported. */
export function listeningHost (): StoreHost & { readonly reports: StoreReport[] } {
  const reports: StoreReport[] = []
  return { context, reports, report: (event) => { reports.push(event) } }
}

export async function openStore (options: RedisStoreOptions, host: StoreHost = listeningHost()): Promise<JobStore> {
  const store = redisStore(options)
  await store.open(host)
  return store
}

/** Listens to jobs, and remembers what it has heard of them. */
export class Hearing implements FeedListener {
  readonly updates: JobUpdate[] = []
  readonly feed: JobFeed
  /** How often changes may have been missed. */
  gaps = 0

  constructor (store: JobStore) { this.feed = store.listen(this) }

  /** The states and ids. */
  get heard (): string[] { return this.updates.map(({ id, state }) => `${state} ${id}`) }
  changed (update: JobUpdate): void { this.updates.push(update) }
  missed (): void { this.gaps++ }
  async follow (id: string, queue = QUEUE): Promise<void> { await this.feed.follow({ id, queue }) }
}

/** Waits for a condition; says what it waited for when it does not come. */
export async function until (what: string, condition: () => unknown | Promise<unknown>, withinMs = 10_000): Promise<number> {
  const startedAt = performance.now()
  for (;;) {
    if (await condition()) return performance.now() - startedAt
    if (performance.now() - startedAt > withinMs) assert.fail(`waited ${withinMs} ms for this: ${what}`)
    await sleep(5)
  }
}

/** An attempt whose end the test decides. */
export class PlayedAttempt implements Attempt {
  readonly claim: Claim
  readonly aborts: string[] = []
  readonly verdicts: SettleVerdict[] = []
  readonly #ended: Promise<Settlement>
  end: (settlement: Settlement) => void = () => {}

  constructor (claim: Claim) {
    this.claim = claim
    this.#ended = new Promise((resolve) => { this.end = resolve })
  }

  run (): Promise<Settlement> { return this.#ended }
  abort (reason: 'cancelled' | 'lease-lost'): void { this.aborts.push(reason) }
  settled (verdict: SettleVerdict): void { this.verdicts.push(verdict) }

  async settle (settlement: Settlement): Promise<SettleVerdict> {
    this.end(settlement)
    await until('the verdict', () => this.verdicts.length > 0)
    const [verdict] = this.verdicts
    assert.ok(verdict)
    return verdict
  }
}

export interface Played {
  readonly consumer: Consumer
  readonly attempts: PlayedAttempt[]
  readonly stalled: string[]
  readonly errors: Error[]
  /** The nth attempt, from 1. */
  attempt (n: number, withinMs?: number): Promise<PlayedAttempt>
}

/** Consumes; with a script each attempt ends by itself. */
export function play (store: JobStore, options: { readonly queue?: string, readonly concurrency?: number, readonly script?: (attempt: PlayedAttempt) => Settlement } = {}): Played {
  const attempts: PlayedAttempt[] = []
  const stalled: string[] = []
  const errors: Error[] = []
  const consumer = store.consume({
    queue: options.queue ?? QUEUE,
    concurrency: options.concurrency ?? 1,
    workerId: 'tests',
    attempt: (claim) => {
      const attempt = new PlayedAttempt(claim)
      attempts.push(attempt)
      if (options.script !== undefined) attempt.end(options.script(attempt))
      return attempt
    },
    onStalled: (id) => { stalled.push(id) },
    onError: (error) => { errors.push(error) }
  })
  return {
    consumer,
    attempts,
    stalled,
    errors,
    attempt: async (n, withinMs) => {
      await until(`attempt number ${n}`, () => attempts.length >= n, withinMs)
      const attempt = attempts[n - 1]
      assert.ok(attempt)
      return attempt
    }
  }
}
