/** A job and its lease, as they lie in memory. */
import { AsyncEndpointsError } from '../../core/errors.ts'
import { cut } from '../../core/text.ts'
import type { ClaimedJob, JobInput, JobOrigin, JobProgress, JobRecord, NewJob, StoredError, TraceCarrier } from '../../jobs/job.ts'
import type { JobState } from '../../jobs/states.ts'
import type { Attempt, Claim } from '../../jobs/store.ts'
import type { Heaped } from './heap.ts'
import type { JobSteps } from './steps.ts'
import type { LinkedList, Listed } from '../../core/linked-list.ts'

const MAX_PROGRESS_MESSAGE = 500
const NOTHING: Readonly<Record<string, never>> = Object.freeze({})

/**
 * Times are kept as milliseconds from here. V8 keeps integers below 2^31 in place; a time since 1970 is larger and
 * would be an object of its own, four per job. After 24 days of running that is what they become, and nothing else
 * changes.
 */
const BASE = Date.now()

/** What is stored beside the body, as JSON carries it. */
type Rest = [JobInput['params'], JobInput['query'], JobInput['headers'], NonNullable<JobInput['webhook']> | null]

/** About what a job takes in the heap beside its input and its result. */
const JOB_BYTES = 512

/**
 * A job as it lies in memory. Input and result are kept as JSON text: nobody outside can change them, they mean the
 * same as in a store on a server, and they take less room than the objects.
 */
export class StoredJob implements Listed<StoredJob>, Heaped {
  readonly id: string
  readonly name: string
  readonly queue: string
  readonly owner: string | undefined
  readonly correlationId: string
  readonly trace: TraceCarrier | undefined
  readonly priority: number
  readonly maxAttempts: number
  /** Its idempotency key, which becomes free when the job is removed. */
  readonly key: string | undefined
  #body: string | undefined
  #origin: JobOrigin | undefined
  /** Params, query and headers in one text; `undefined` when all are empty, as for every job submitted from code. */
  #rest: string | undefined

  /** Order of creation in this store, from 0. */
  serial = 0
  /** Of its id. */
  hash = 0
  state: JobState
  readonly #createdAt: number
  #runAt: number
  #startedAt: number | undefined
  #finishedAt: number | undefined
  attempts = 0
  redrives = 0
  /** Grows with every stored change. */
  version = 1
  progress: JobProgress | undefined
  error: StoredError | undefined
  cancelRequested = false
  cancelReason: string | undefined
  result: string | undefined
  resultBytes: number | undefined
  /** The newest attempt stalled, and the worker has not accounted for it yet. */
  stalled = false
  /** Who may settle the attempt under way. */
  lease: Lease | undefined
  /** Of a job without durable steps, nothing. */
  steps: JobSteps | undefined

  // Where it stands: in at most one list and one heap.
  list: LinkedList<StoredJob> | undefined
  previous: StoredJob | undefined
  next: StoredJob | undefined
  heapPlace = -1
  /** Place among equals, in the order in which they began to wait. */
  turn = 0

  /** @throws {AsyncEndpointsError} `FAE_INVALID_SUBMISSION` when the input is not JSON */
  constructor (job: NewJob, state: JobState) {
    this.id = job.id
    this.name = job.name
    this.queue = job.queue
    this.owner = job.owner
    this.correlationId = job.correlationId
    this.trace = job.trace === undefined ? undefined : Object.freeze({ ...job.trace })
    this.priority = job.priority
    this.#createdAt = job.createdAt - BASE
    this.maxAttempts = job.maxAttempts
    this.key = job.idempotency?.key
    this.state = state
    this.#runAt = job.runAt - BASE
    this.#origin = job.origin === undefined ? undefined : Object.freeze({ ...job.origin })
    const { body, params, query, headers, webhook } = job.input
    this.#body = body === undefined ? undefined : jsonText(body)
    const bare = isEmpty(params) && isEmpty(query) && isEmpty(headers) && webhook === undefined
    this.#rest = bare ? undefined : jsonText([params, query, headers, webhook])
  }

  get createdAt (): number { return this.#createdAt + BASE }
  get runAt (): number { return this.#runAt + BASE }
  set runAt (at: number) { this.#runAt = at - BASE }
  get startedAt (): number | undefined { return this.#startedAt === undefined ? undefined : this.#startedAt + BASE }
  set startedAt (at: number | undefined) { this.#startedAt = at === undefined ? undefined : at - BASE }

  /** Another attempt begins. @returns whether there was one before, also one before a redrive */
  start (now: number): boolean {
    const again = this.#startedAt !== undefined || this.redrives > 0
    this.attempts++
    this.startedAt = now
    return again
  }

  /** Somebody has redriven it: it begins with a new budget of attempts. */
  redriven (now: number): void {
    this.redrives++
    this.attempts = 0
    this.stalled = false
    this.error = undefined
    this.progress = undefined
    this.startedAt = undefined
    this.finishedAt = undefined
    this.cancelReason = undefined
    this.runAt = now
  }

  setProgress ({ done, total, message }: JobProgress): void {
    this.progress = Object.freeze({
      ...(done === undefined ? undefined : { done }),
      ...(total === undefined ? undefined : { total }),
      ...(message === undefined ? undefined : { message: cut(message, MAX_PROGRESS_MESSAGE) })
    })
  }

  get finishedAt (): number | undefined { return this.#finishedAt === undefined ? undefined : this.#finishedAt + BASE }
  set finishedAt (at: number | undefined) { this.#finishedAt = at === undefined ? undefined : at - BASE }

  /** Characters of the input: what it takes in the heap, unless it has characters beyond Latin-1. */
  get inputBytes (): number { return (this.#body?.length ?? 0) + (this.#rest?.length ?? 0) + lengthOf(this.#origin) }

  get bytes (): number { return JOB_BYTES + this.inputBytes + (this.result?.length ?? 0) + (this.steps?.bytes ?? 0) }

  /** Nobody will run it again. */
  dropInput (): void {
    this.#body = undefined
    this.#rest = undefined
    this.#origin = undefined
  }

  /** The input, parsed each time: the caller may do with it what it likes. */
  input (): JobInput {
    const body: unknown = this.#body === undefined ? undefined : JSON.parse(this.#body)
    if (this.#rest === undefined) return { body, params: NOTHING, query: NOTHING, headers: NOTHING }
    const [params, query, headers, webhook]: Rest = JSON.parse(this.#rest)
    return webhook === null ? { body, params, query, headers } : { body, params, query, headers, webhook }
  }

  /** The job as it is now, for a claim: with its input at hand. */
  claimed (): ClaimedJob {
    return Object.assign(this.record(), { input: this.input(), origin: this.#origin })
  }

  /** The job as it is now, for a list of jobs. */
  listed (): JobRecord {
    return this.steps === undefined ? this.record() : { ...this.record(), facts: this.steps.head }
  }

  /** The job as it is now, for a reader of this one. */
  shown (): JobRecord {
    return this.steps === undefined ? this.record() : { ...this.record(), facts: this.steps.facts }
  }

  record (): JobRecord {
    return {
      id: this.id,
      name: this.name,
      queue: this.queue,
      state: this.state,
      owner: this.owner,
      correlationId: this.correlationId,
      trace: this.trace,
      priority: this.priority,
      createdAt: this.createdAt,
      runAt: this.runAt,
      startedAt: this.startedAt,
      finishedAt: this.finishedAt,
      attempts: this.attempts,
      maxAttempts: this.maxAttempts,
      progress: this.progress,
      error: this.error,
      cancelRequested: this.cancelRequested,
      resultBytes: this.resultBytes,
      redrives: this.redrives,
      version: this.version
    }
  }
}

/** What runs attempts (a consumer), as their leases see it. */
export interface LeaseHolder {
  /** It has let go: its leases are not renewed any more. */
  readonly closed: boolean
  /** Trouble that is nobody's fault but the worker's. Never throws. */
  trouble (error: unknown): void
  /** A lease of this queue ran out. Never throws. */
  stalled (jobId: string): void
}

/**
 * The right to one attempt. It is good as long as its job points back at it; that, and not the clock alone, is what
 * fences a late settlement off.
 */
export class Lease implements Listed<Lease> {
  readonly job: StoredJob
  readonly holder: LeaseHolder
  readonly claim: Claim
  /** On the monotonic clock. */
  until: number
  /** Made by the worker right after the claim. */
  attempt: Attempt | undefined
  /** Nobody knows how the attempt goes on: it is not renewed, and can only run out. */
  abandoned = false

  list: LinkedList<Lease> | undefined
  previous: Lease | undefined
  next: Lease | undefined

  constructor (job: StoredJob, holder: LeaseHolder, claim: Claim, until: number) {
    this.job = job
    this.holder = holder
    this.claim = claim
    this.until = until
  }

  get good (): boolean { return this.job.lease === this }

  /** Asks the attempt to stop. */
  abort (reason: 'cancelled' | 'lease-lost'): void {
    try {
      this.attempt?.abort(reason)
    } catch (error) {
      this.holder.trouble(error)
    }
  }
}

function lengthOf (origin: JobOrigin | undefined): number {
  return origin === undefined ? 0 : Object.values(origin).reduce<number>((sum, text) => sum + String(text ?? '').length, 0)
}

function jsonText (value: unknown): string | undefined {
  try {
    return JSON.stringify(value)
  } catch {
    // The reason may quote the payload, so it is not passed on.
    throw new AsyncEndpointsError('FAE_INVALID_SUBMISSION', 'The input of the job cannot be written as JSON: it has a circular reference, a BigInt or a toJSON that throws')
  }
}

function isEmpty (value: object): boolean {
  for (const key in value) if (Object.hasOwn(value, key)) return false
  return true
}

export function copyError ({ code, message, expose }: StoredError): StoredError {
  return Object.freeze(expose === true ? { code, message, expose } : { code, message })
}
