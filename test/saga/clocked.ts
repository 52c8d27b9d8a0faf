/** Applications with sagas on a clock that the test moves, on a memory store that survives them, and whose workers can die. */
import type { FastifyInstance } from 'fastify'
import type { Test } from 'tap'
import { runtimeOf } from '../../lib/events/runtime.ts'
import type { Attempt, Claim, ConsumeOptions, JobRecord, JobStore, Journal, Settlement } from '../../plugins/async-endpoints.ts'
import { memoryStore, type AsyncEndpointsOptions, type MemoryStoreOptions } from '../../plugins/async-endpoints.ts'
import { FakeClock } from '../../lib/testing/index.ts'
import { sagaApp, type SagaApp } from './support.ts'

/** A third of it is a whole number: moments of the clock stay whole. */
export const LEASE_MS = 900

/** A memory store for several applications, one after the other: as a server is for processes. */
export class LastingStore {
  readonly store: JobStore
  readonly #inner: JobStore
  readonly #dead = new WeakSet<object>()
  readonly #running = new Map<Claim, () => void>()
  #opened = false
  #refuses = false
  /** Called with every checkpoint, before it is stored. */
  onCheckpoint: (claim: Claim, checkpoint: object) => void = () => {}
  /** Reads the steps of a job; a test may put another one in its place. */
  journal: (id: string) => Promise<Journal | undefined>
  /** Called when it is stored, before its writer hears of it. */
  onStored: () => void = () => {}
  /** Changes what an attempt reads. */
  onJournal: (journal: Journal) => Journal = (journal) => journal

  constructor (options: MemoryStoreOptions = {}) {
    this.#inner = memoryStore({ leaseMs: LEASE_MS, ...options })
    const { steps } = this.#inner
    this.journal = async (id) => await steps?.journal(id)
    const own: Partial<JobStore> = {
      open: async (host) => {
        if (!this.#opened) await this.#inner.open(host)
        this.#opened = true
      },
      close: async () => {},
      consume: (options) => this.#consume(options),
      steps: this.#steps()
    }
    this.store = new Proxy(this.#inner, {
      get: (store, name: keyof JobStore) => {
        if (Object.hasOwn(own, name)) return own[name]
        const member: unknown = store[name]
        return typeof member === 'function' ? member.bind(store) : member
      }
    })
  }

  /** The workers of all attempts that run die: what they do from now on is not stored, and their leases run out. */
  crash (): void {
    for (const [claim, die] of this.#running) {
      this.#dead.add(claim.job)
      die()
    }
    this.#running.clear()
  }

  /** The next checkpoint is refused, as one of an attempt that has lost its lease. */
  refuseNext (): void { this.#refuses = true }

  #consume (options: ConsumeOptions) {
    return this.#inner.consume({ ...options, attempt: (claim) => this.#mortal(claim, options.attempt(claim)) })
  }

  #mortal (claim: Claim, attempt: Attempt): Attempt {
    return {
      run: async () => {
        const death = new Promise<never>((_resolve, reject) => { this.#running.set(claim, () => { reject(new Error('the process died')) }) })
        const settlement = await Promise.race<Settlement>([attempt.run(), death])
        this.#running.delete(claim)
        return settlement
      },
      abort: (reason) => { attempt.abort(reason) },
      settled: (verdict) => { if (!this.#dead.has(claim.job)) attempt.settled(verdict) }
    }
  }

  #steps (): NonNullable<JobStore['steps']> {
    const { steps } = this.#inner
    if (steps === undefined) throw new Error('the memory store keeps steps')
    return {
      checkpoint: async (claim, checkpoint) => {
        this.onCheckpoint(claim, checkpoint)
        // A dead process gets no answer.
        if (this.#dead.has(claim.job)) return await new Promise(() => {})
        if (this.#refuses) {
          this.#refuses = false
          return { stored: false }
        }
        const verdict = await steps.checkpoint(claim, checkpoint)
        this.onStored()
        return this.#dead.has(claim.job) ? await new Promise(() => {}) : verdict
      },
      journal: async (id) => {
        const journal = await this.journal(id)
        return journal === undefined ? undefined : this.onJournal(journal)
      },
      signal: (id, name, value) => steps.signal(id, name, value)
    }
  }
}

export interface ClockedApp extends SagaApp {
  readonly clock: FakeClock
  readonly lasting: LastingStore
  submit (name: string, body?: unknown): Promise<string>
  /** Moves the clock until the condition holds. */
  until (what: string, condition: () => boolean | Promise<boolean>, withinMs?: number): Promise<void>
  /** Moves the clock until the job has ended. */
  ended (id: string, withinMs?: number): Promise<JobRecord>
  record (id: string): Promise<JobRecord>
  signal (id: string, name: string, value: unknown): Promise<unknown>
  close (): Promise<void>
}

const STEP_MS = 100

/** @param before the application whose clock and store this one takes over, after it was closed */
export async function clockedApp (
  t: Test, define: (app: FastifyInstance) => void, before?: Pick<ClockedApp, 'clock' | 'lasting'>, options: AsyncEndpointsOptions = {}
): Promise<ClockedApp> {
  const clock = before?.clock ?? new FakeClock()
  const lasting = before?.lasting ?? new LastingStore()
  const closing: { work?: Promise<void> } = {}
  const made = await sagaApp(t, define, { clock, store: lasting.store, health: false, ...options }, () => close())
  const { app } = made
  const close = (): Promise<void> => {
    closing.work ??= (async () => {
      lasting.crash()
      await closeOn(clock, app)
    })()
    return closing.work
  }
  const record = async (id: string): Promise<JobRecord> => {
    const found = await lasting.store.get(id)
    if (found === undefined) throw new Error(`there is no job ${id}`)
    return found
  }
  const until: ClockedApp['until'] = async (what, condition, withinMs = 60_000) => {
    const end = clock.now() + withinMs
    await clock.advance(0)
    while (!await condition()) {
      if (clock.now() >= end) throw new Error(`not within ${withinMs} ms: ${what}\n${made.story().join('\n')}`)
      await clock.advance(STEP_MS)
    }
  }
  const over = async (id: string): Promise<boolean> => ['completed', 'failed', 'cancelled'].includes((await record(id)).state)
  return {
    ...made,
    clock,
    lasting,
    record,
    until,
    close,
    submit: async (name, body) => (await app.jobs.submit(name as never, body as never)).id,
    ended: async (id, withinMs) => {
      await until('the job has ended', () => over(id), withinMs)
      return await record(id)
    },
    signal: async (id, name, value) => await runtimeOf(app).store.steps?.signal(id, name, JSON.stringify(value))
  }
}

/** Closes an application while its clock goes on. Its workers are alive. */
export async function closeOn (clock: FakeClock, app: FastifyInstance): Promise<void> {
  const state = { closed: false }
  const work = app.close().finally(() => { state.closed = true })
  for (let n = 0; n < 1_000 && !state.closed; n++) await clock.advance(STEP_MS)
  await work
}

/** A promise, and what resolves it. */
export function latch (): { readonly opened: Promise<void>, readonly open: () => void } {
  let open = (): void => {}
  const opened = new Promise<void>((resolve) => { open = resolve })
  return { opened, open: () => { open() } }
}

/** Rejects when the signal aborts: a step that stops when it is asked to. */
export async function aborted (signal: AbortSignal): Promise<never> {
  return await new Promise((_resolve, reject) => {
    if (signal.aborted) reject(signal.reason as Error)
    signal.addEventListener('abort', () => { reject(signal.reason as Error) }, { once: true })
  })
}

export const never = new Promise<never>(() => {})
