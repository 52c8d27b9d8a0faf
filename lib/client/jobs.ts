import type { SubmitOrigin } from '../events/catalogue.ts'
import type { BodyOf, JobDefinition, JobReference, ResultOf, SubmitArguments } from '../jobs/definition.ts'
import type { JobInput, JobRecord } from '../jobs/job.ts'
import type { SubmitMeta, Submitted } from '../jobs/submit.ts'
import type { JobState } from '../jobs/states.ts'
import type { JobPage, QueueCounts } from '../jobs/store.ts'

export type { SubmitMeta, Submitted } from '../jobs/submit.ts'

/** One job of {@link Jobs.submitMany}: its body, and what `submit` takes beside it. */
export type SubmitItem<Body = unknown> = SubmitMeta & (undefined extends Body ? { body?: Body } : { body: Body })

/** The outcome of one item: it was stored, or it was refused for a reason of its own. */
export type SubmitManyResult =
  | (Submitted & { readonly error?: undefined })
  | { readonly error: Error, readonly id?: undefined, readonly created?: undefined, readonly job?: undefined }

export interface SubmitManyOptions {
  /** Items that are on their way to the store at one time, 1 to 10,000. @defaultValue 256 */
  maxInFlight?: number | undefined
}

export interface WaitOptions {
  /** The longest wait in milliseconds, 0 or more; then `FAE_WAIT_TIMEOUT`. @defaultValue 30000 */
  readonly timeoutMs?: number | undefined
  /** Ends the wait as soon as it aborts; `waitFor` rejects with its reason. The job itself goes on. */
  readonly signal?: AbortSignal | undefined
}

/** Which jobs {@link Jobs.list} returns: all of them without any of these, else those that fit every one. */
export interface ListOptions {
  readonly queue?: string | undefined
  readonly name?: string | undefined
  /** Leaves out jobs of this name, such as `webhook-delivery`. */
  readonly exceptName?: string | undefined
  readonly state?: JobState | undefined
  /** Whose jobs. Leave it out for the jobs of all owners; present and `undefined`, it is refused. */
  readonly owner?: string
  /** The `cursor` of the page before. */
  readonly cursor?: string | undefined
  /** Jobs on one page, 1 to 100. @defaultValue 20 */
  readonly limit?: number | undefined
}

/**
 * What {@link Jobs.cancel} did: a job that waited is cancelled; one that runs was asked to end, and ends when its handler
 * does; a saga that has done something was asked to undo it, and ends when that is done.
 */
export interface Cancelled {
  readonly state: 'cancelled' | 'requested'
  readonly job: JobRecord
}

/** What {@link Jobs.signal} did. */
export interface Signalled {
  /** `repeated`: the same signal was there already. */
  readonly state: 'stored' | 'repeated'
  /** The job as it was before. */
  readonly job: JobRecord
}

/**
 * `app.jobs`: submits, reads, cancels, redrives and removes jobs, without HTTP. Each method rejects with `FAE_STORE_UNAVAILABLE` while
 * the store cannot be reached, and with `FAE_INVALID_OPTIONS` for an option that it does not know.
 */
export interface Jobs {
  /**
   * Stores a job. When the promise resolves, the job is as durable as the store can make it.
   *
   * @param job what `app.defineJob()` or `app.asyncEndpoint()` returned, so that the compiler checks the body; or the job's name
   * @param submission the body, and settings of this submission ({@link SubmitMeta})
   *
   * @throws {AsyncEndpointsError} `FAE_UNKNOWN_JOB`; `FAE_INVALID_OPTIONS` for a setting that does not exist; `FAE_INVALID_SUBMISSION` for a
   * body or a setting that is not valid; `FAE_IDEMPOTENCY_KEY_REUSED` and `FAE_JOB_EXPIRED` for an idempotency key that was used;
   * `FAE_STORE_UNAVAILABLE` when the store has not confirmed the job within `submitTimeoutMs`; `FAE_STORE_FULL`; `FAE_CLOSED`
   */
  submit<const J extends JobReference> (job: J, ...submission: SubmitArguments<J>): Promise<Submitted>
  /**
   * Submits many jobs of one name, at the pace of the store. Each item is a submission of its own: one that is refused does not stop
   * the others. The items are read one by one when they can be sent, so that a generator can make them.
   *
   * @returns one result for each item, in the order of the items
   *
   * @throws {AsyncEndpointsError} `FAE_UNKNOWN_JOB`, `FAE_INVALID_OPTIONS`, and whatever the iterable throws; errors of single items
   * are in their results
   */
  submitMany<const J extends JobReference> (job: J, items: Iterable<SubmitItem<BodyOf<J>>>, options?: SubmitManyOptions): Promise<SubmitManyResult[]>
  /** The job as it is now; `undefined` for an id that is unknown, has expired or was removed. */
  get (id: string): Promise<JobRecord | undefined>
  /**
   * What was submitted. It is kept until the job is completed or cancelled; a failed job keeps it, so that it can be redriven.
   * `undefined` after that, and for an unknown id.
   */
  input (id: string): Promise<JobInput | undefined>
  /**
   * Reads the result of a completed job; `undefined` when its handler returned nothing. It does not wait: see {@link Jobs.waitFor}.
   *
   * @param job what `app.defineJob()` or `app.asyncEndpoint()` returned, or the job's name: it types the result, and an id of a job
   * with another name is not found
   *
   * @throws {AsyncEndpointsError} `FAE_JOB_NOT_FOUND`; `FAE_JOB_NOT_FINISHED` while the job waits or runs; `FAE_JOB_FAILED` (the stored
   * error is in `details.error`) and `FAE_JOB_CANCELLED` for a job that has no result; `FAE_RESULT_EXPIRED` when it is no longer kept
   */
  result<const J extends JobReference> (job: J, id: string): Promise<ResultOf<J>>
  /** The same for an id alone, where nobody knows the job; its type is not known. */
  result (id: string): Promise<unknown>
  /**
   * Reads a page of jobs, the newest first.
   *
   * @throws {AsyncEndpointsError} `FAE_INVALID_REQUEST` for a value that is not valid, also for an `owner` that is present and `undefined`:
   * leave it out to list the jobs of all owners
   */
  list (query?: ListOptions): Promise<JobPage>
  /**
   * Cancels a job: at once when it waits; when it runs, its `job.signal` aborts, and the job is cancelled when its handler ends.
   * A saga that has done something is never just ended: it undoes its steps, at once also where it waits, and is cancelled
   * when all of them are undone. If it undoes its steps already, nothing changes.
   *
   * @param reason what clients may read about it, up to 1,000 characters @defaultValue 'cancelled on request'
   *
   * @throws {AsyncEndpointsError} `FAE_JOB_NOT_FOUND`, `FAE_JOB_FINISHED`
   */
  cancel (id: string, reason?: string): Promise<Cancelled>
  /**
   * Redrives a failed job: it waits in its queue again, with all its attempts. From code this is never refused: neither
   * `maxQueued` nor `maxRedrives` of HTTP apply.
   *
   * @throws {AsyncEndpointsError} `FAE_JOB_NOT_FOUND`, `FAE_JOB_NOT_FAILED`, `FAE_CLOSED`
   */
  redrive (id: string): Promise<JobRecord>
  /**
   * Removes a job and its result from the store.
   *
   * @throws {AsyncEndpointsError} `FAE_JOB_NOT_FOUND`; `FAE_JOB_ACTIVE` while it runs: cancel it first
   */
  remove (id: string): Promise<void>
  /**
   * Sends a signal to a saga, which may wait for it or come to it later. The first signal of a name counts; the same one
   * again changes nothing, whatever the order of its members.
   *
   * @param name the name of the signal in the saga's definition, which this process must know
   * @param value what is sent: the schema and `parse` of the signal check and convert it, and what they give is stored as JSON
   * @defaultValue `value`: null
   *
   * @throws {AsyncEndpointsError} `FAE_JOB_NOT_FOUND`; `FAE_SIGNAL_UNKNOWN` when the job is no saga, this process does not know
   * its definition, or that has no such signal; `FAE_INVALID_SUBMISSION` for a value that does not fit; `FAE_PAYLOAD_TOO_LARGE`
   * beyond the saga's `maxStepResultBytes`; `FAE_SIGNAL_CONFLICT` when another value was sent before; `FAE_JOB_FINISHED`; `FAE_CLOSED`
   */
  signal (id: string, name: string, value?: unknown): Promise<Signalled>
  /** How many jobs are in each state: of one queue, or of every queue that this process knows. */
  counts (queue?: string): Promise<readonly QueueCounts[]>
  /**
   * Waits until the job is completed, failed or cancelled.
   *
   * @throws {AsyncEndpointsError} `FAE_WAIT_TIMEOUT` when the job is not over after `timeoutMs`; `FAE_JOB_NOT_FOUND` when it is unknown or
   * removed during the wait; `FAE_CLOSED` when the application closes; the reason of `signal` when that aborts
   */
  waitFor (id: string, options?: WaitOptions): Promise<JobRecord>
}

/** What `lib/http` adds to a submission. */
export interface EndpointSubmitMeta extends SubmitMeta {
  /** What tracing attached to the request; see `tracedSubmission` of `lib/http`. */
  requestTrace?: unknown
  /** With this many jobs waiting (queued and scheduled) in the queue: `FAE_QUEUE_FULL`. @defaultValue no limit */
  maxQueued?: number
  /** Mixed into the idempotency key, so that one client key on two endpoints is two keys. */
  idempotencyScope?: string
  /** No time limit while it waits in the process to be sent. @defaultValue false */
  patient?: boolean
  /** The request that submitted it, for events, metrics and log lines. Absent: it was submitted from code. */
  origin?: SubmitOrigin
  /** Length of the request's body, as its `content-length` says. */
  payloadBytes?: number | undefined
}

/** The limits that a redrive over HTTP has to pass. */
export interface RedriveAdmission {
  /** With this many jobs waiting in its queue: `FAE_QUEUE_FULL`. @defaultValue no limit */
  readonly maxQueued?: number | undefined
  /** A job that was redriven so often already: `FAE_REDRIVE_LIMIT`. @defaultValue no limit */
  readonly maxRedrives?: number | undefined
}

/** `app.jobs` as `lib/http` sees it: with methods that applications do not get. */
export interface JobsClient extends Jobs {
  /** Like `submit`, for a definition that the caller has. The fingerprint of an idempotency key covers body, params and query. */
  submitJob (definition: JobDefinition, body: unknown, meta: EndpointSubmitMeta): Promise<Submitted>
  /** Like `redrive`, within the limits that a request has to pass. `job`: as it was read just now. */
  redriveJob (job: JobRecord, admission: RedriveAdmission): Promise<JobRecord>
  /** The result as the JSON text that was stored. */
  resultText (id: string): Promise<string | undefined>
}
