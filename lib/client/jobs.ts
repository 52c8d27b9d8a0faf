import type { SubmitOrigin } from '../events/catalogue.ts'
import type { JobDefinition, JobTypes, Part } from '../jobs/definition.ts'
import type { JobInput, JobRecord } from '../jobs/job.ts'
import type { SubmitMeta, Submitted } from '../jobs/submit.ts'
import type { JobPage, ListQuery, QueueCounts } from '../jobs/store.ts'

export type { SubmitMeta, Submitted } from '../jobs/submit.ts'

/** One job of {@link Jobs.submitMany}: its body, and what `submit` takes beside it. */
export interface SubmitItem<T extends JobTypes = JobTypes> extends SubmitMeta {
  body?: Part<T, 'body', unknown> | undefined
}

/** What became of one item: it was taken, or refused for a reason of its own. */
export type SubmitManyResult =
  | (Submitted & { readonly error?: undefined })
  | { readonly error: Error, readonly id?: undefined, readonly created?: undefined, readonly job?: undefined }

export interface SubmitManyOptions {
  /** Items that are on their way to the store at one time, 1 to 10,000. @defaultValue 256 */
  maxInFlight?: number | undefined
}

/** `app.jobs`: everything about jobs, without HTTP. Every method may throw `FAE_STORE_UNAVAILABLE`. */
export interface Jobs {
  /**
   * Stores a job; it survives from the moment this resolves.
   *
   * @param job its name, or what `app.defineJob` returned: then the body is type-checked
   *
   * @throws {AsyncEndpointsError} `FAE_UNKNOWN_JOB`, `FAE_INVALID_SUBMISSION`, `FAE_IDEMPOTENCY_KEY_REUSED`, `FAE_JOB_EXPIRED`,
   * `FAE_STORE_UNAVAILABLE` (within `submitTimeoutMs`), `FAE_STORE_FULL`, `FAE_CLOSED`
   */
  submit<T extends JobTypes = JobTypes> (job: string | JobDefinition<T>, body?: Part<T, 'body', unknown>, meta?: SubmitMeta): Promise<Submitted>
  /**
   * Submits many jobs of one kind, each for itself, at the pace of the store: one that cannot be taken does not keep the
   * others from it. The items are read as there is room for them, so a generator can make them.
   *
   * @returns one result for each item, in the order of the items
   *
   * @throws {AsyncEndpointsError} `FAE_UNKNOWN_JOB`, `FAE_INVALID_OPTIONS`, and what the iterable itself throws; nothing of
   * a single item
   */
  submitMany<T extends JobTypes = JobTypes> (job: string | JobDefinition<T>, items: Iterable<SubmitItem<T>>, options?: SubmitManyOptions): Promise<SubmitManyResult[]>
  get (id: string): Promise<JobRecord | undefined>
  /**
   * What was submitted: there until the job is completed or cancelled; a failed job keeps it, for its redrive.
   * `undefined` after that, and for an unknown id.
   */
  input (id: string): Promise<JobInput | undefined>
  /** The parsed result of a completed job; `undefined` when it has none (or none any more). */
  result (id: string): Promise<unknown>
  /**
   * @throws {AsyncEndpointsError} `FAE_INVALID_REQUEST`, also for an `owner` that is there and `undefined`: leave it out to list the
   * jobs of everybody
   */
  list (query?: Partial<ListQuery>): Promise<JobPage>
  /** @throws {AsyncEndpointsError} `FAE_JOB_NOT_FOUND`, `FAE_JOB_FINISHED` */
  cancel (id: string, reason?: string): Promise<{ readonly state: 'cancelled' | 'requested', readonly job: JobRecord }>
  /**
   * Redrives a failed job. Called from code it is counted and never refused, as a submission is: neither `maxQueued` nor
   * `maxRedrives` of HTTP hold here.
   *
   * @throws {AsyncEndpointsError} `FAE_JOB_NOT_FOUND`, `FAE_JOB_NOT_FAILED`, `FAE_CLOSED`
   */
  redrive (id: string): Promise<JobRecord>
  /** Forgets a job. @throws {AsyncEndpointsError} `FAE_JOB_NOT_FOUND`, `FAE_JOB_ACTIVE` */
  remove (id: string): Promise<void>
  /** Of one queue, or of all queues that this process knows. */
  counts (queue?: string): Promise<readonly QueueCounts[]>
  /**
   * Waits until the job is over.
   *
   * @throws {AsyncEndpointsError} `FAE_WAIT_TIMEOUT` when it is not over after `timeoutMs`, `FAE_JOB_NOT_FOUND` when it
   * is unknown or disappears while waiting
   */
  waitFor (id: string, options?: { readonly timeoutMs?: number, readonly signal?: AbortSignal }): Promise<JobRecord>
}

/** What the HTTP room adds to a submission; not for applications. */
export interface EndpointSubmitMeta extends SubmitMeta {
  /** What tracing attached to the request; see `tracedSubmission` of `lib/http`. */
  requestTrace?: unknown
  /** With this many jobs waiting (queued and scheduled) in the queue: `FAE_QUEUE_FULL`. @defaultValue no limit */
  maxQueued?: number
  /** Mixed into the idempotency key, so that one client key on two endpoints is two keys. */
  idempotencyScope?: string
  /** It may wait in the process for any time until it is sent. @defaultValue false */
  patient?: boolean
  /** Who sent it, for whoever tells of it. */
  origin?: SubmitOrigin
  /** Length of the request's body, as its sender told it. */
  payloadBytes?: number | undefined
}

/** What a redrive has to pass. */
export interface RedriveAdmission {
  /** With this many jobs waiting in its queue: `FAE_QUEUE_FULL`. @defaultValue no limit */
  readonly maxQueued?: number | undefined
  /** A job that was redriven so often already: `FAE_REDRIVE_LIMIT`. @defaultValue no limit */
  readonly maxRedrives?: number | undefined
}

/** What the rooms inside get as `app.jobs`. */
export interface JobsClient extends Jobs {
  /** Like `submit`, for a definition at hand. The key's fingerprint is over body, params and query. */
  submitJob (definition: JobDefinition, body: unknown, meta: EndpointSubmitMeta): Promise<Submitted>
  /** Like `redrive`, admitted like a submission. `job`: as it was read just now. */
  redriveJob (job: JobRecord, admission: RedriveAdmission): Promise<JobRecord>
  /** The result as the JSON text that was stored. */
  resultText (id: string): Promise<string | undefined>
}
