import { setMaxListeners } from 'node:events'
import type { Backbone } from '../channels/backbone.ts'
import { AsyncEndpointsError, ownMessage } from '../core/errors.ts'
import { assertKnown } from '../core/known-options.ts'
import { singleLine } from '../core/text.ts'
import type { JobRuntime } from '../events/runtime.ts'
import { compose } from '../jobs/compose.ts'
import type { JobDefinition } from '../jobs/definition.ts'
import type { JobInput, JobRecord } from '../jobs/job.ts'
import { lostInJson } from '../jobs/json-value.ts'
import type { BodyReader } from '../jobs/schemas.ts'
import type { SubmitMeta, Submitted } from '../jobs/submit.ts'
import { unknownJob } from '../jobs/registry.ts'
import type { SubmitScope } from '../jobs/seams.ts'
import type { Created, JobPage, QueueCounts } from '../jobs/store.ts'
import { JOB_STATES } from '../jobs/states.ts'
import { storeNow } from '../jobs/store-clock.ts'
import { errorCodeOf, toReason } from '../jobs/stored-error.ts'
import { eventIds } from '../jobs/trace-ids.ts'
import { QueueDepths } from './depth.ts'
import type {
  Cancelled, EndpointSubmitMeta, JobsClient, ListOptions, RedriveAdmission, SubmitItem, SubmitManyOptions, SubmitManyResult, WaitOptions
} from './jobs.ts'
import { assertSubmitKeys, LIST_KEYS, WAIT_KEYS } from './known-options.ts'
import { notFound, readResult } from './result.ts'
import { draftJob, freshRecord, givenTrace } from './submission.ts'
import { keyExpired, keyReused, timeErrors } from './submission-errors.ts'
import { SubmitGate } from './submit-gate.ts'
import { readManyOptions, submitEach } from './submit-many.ts'
import { waitForEnd } from './wait.ts'

export interface ClientOptions {
  /**
   * A submission that the store has not confirmed so long after it was sent, or that could not be sent for so long, is refused
   * with `FAE_STORE_UNAVAILABLE`.
   */
  readonly submitTimeoutMs: number
}

/** How long admission waits at most to learn the depth of the queue. */
const ADMISSION_MS = 250

/** What a validator says of a body may be as long as the body. */
const MAX_PROBLEM = 1_000

const NO_META: SubmitMeta = Object.freeze({})

/** What `app.jobs` is. Holds no state of its own but the submissions that are under way. */
export class Client implements JobsClient {
  readonly #runtime: JobRuntime
  readonly #backbone: Backbone
  readonly #options: ClientOptions
  readonly #depths: QueueDepths
  readonly #gate: SubmitGate
  readonly #closing = new AbortController()

  constructor (runtime: JobRuntime, backbone: Backbone, options: ClientOptions) {
    this.#runtime = runtime
    this.#backbone = backbone
    this.#options = options
    this.#depths = new QueueDepths(runtime.counts, runtime.context.clock)
    this.#gate = new SubmitGate(runtime.context.clock, options.submitTimeoutMs)
    // Everybody who waits listens to it: many are no leak.
    setMaxListeners(0, this.#closing.signal)
  }

  /** Refuses further submissions with `FAE_CLOSED`, and ends every wait for a job with the same error. */
  close (): void {
    this.#closing.abort(closed())
    this.#gate.close(closed())
  }

  submit (job: string | JobDefinition, body?: unknown, meta: SubmitMeta = NO_META): Promise<Submitted> {
    const name = typeof job === 'string' ? job : job.name
    const definition = this.#runtime.registry.get(name)
    return definition === undefined ? Promise.reject(unknownJob(name)) : this.#submitFromCode(definition, body, meta)
  }

  async submitMany (job: string | JobDefinition, items: Iterable<SubmitItem>, options?: SubmitManyOptions): Promise<SubmitManyResult[]> {
    const { maxInFlight } = readManyOptions(options)
    const definition = this.#runtime.registry.require(typeof job === 'string' ? job : job.name)
    return await submitEach(items, maxInFlight, (body, meta) => this.#submitFromCode(definition, body, meta, true))
  }

  /** Not `async`: most submissions have nothing to wait for here. */
  #submitFromCode (definition: JobDefinition, body: unknown, meta: SubmitMeta, patient = false): Promise<Submitted> {
    try {
      if (meta !== NO_META) assertSubmitKeys(definition.name, meta)
      const { readBody } = definition.schemas
      const full: EndpointSubmitMeta = patient ? { ...meta, patient } : meta
      return readBody === undefined || meta.validate === false
        ? this.submitJob(definition, body, full)
        : validBody(definition.name, readBody, body).then((valid) => this.submitJob(definition, valid, full))
    } catch (error) {
      return Promise.reject(error)
    }
  }

  async submitJob (definition: JobDefinition, body: unknown, meta: EndpointSubmitMeta): Promise<Submitted> {
    if (this.#closing.signal.aborted) throw closed()
    const { clock, ids } = this.#runtime.context
    // A request that submits was not sent by a handler, even where a handler's context is still active: an injected one, for example.
    const inside = meta.origin === undefined ? this.#runtime.currentJobs?.current() : undefined
    const job = draftJob(definition, body, meta, ids.job(), storeNow(this.#runtime.store, clock), inside === undefined ? ids.correlation : () => inside.correlationId)
    const given = givenTrace(meta)
    const carrier = given ?? inside?.trace
    const parentTrace = carrier === undefined ? undefined : { carrier, given: given !== undefined }
    const scope: SubmitScope = { job, definition, requestTrace: meta.requestTrace, origin: meta.origin, parentTrace }
    const { maxQueued } = meta
    const timeoutMs = maxQueued === undefined ? this.#options.submitTimeoutMs : await this.#admit(job.queue, maxQueued)
    const startedAt = clock.monotonic()
    let created: Created
    try {
      const { submitMiddleware } = this.#runtime
      created = submitMiddleware.length === 0
        ? await this.#create(scope, timeoutMs, meta)
        : await compose(submitMiddleware, scope, () => this.#create(scope, timeoutMs, meta))
    } catch (error) {
      this.#runtime.bus.emit('job.submit_failed', { jobName: job.name, queue: job.queue, correlationId: job.correlationId, errorCode: errorCodeOf(error), message: ownMessage(error), submitMs: clock.monotonic() - startedAt, origin: meta.origin })
      throw error
    } finally {
      // A job that was made is counted as submitted before anybody else can look.
      if (maxQueued !== undefined) this.#depths.release(job.queue)
    }
    return this.#submitted(scope, created, clock.monotonic() - startedAt, meta)
  }

  /**
   * Takes a place in the queue; to be released.
   *
   * @returns what is left of `submitTimeoutMs`: a submission does not take longer because it was counted first
   * @throws {AsyncEndpointsError} `FAE_QUEUE_FULL`
   */
  async #admit (queue: string, maxQueued: number): Promise<number> {
    const { clock } = this.#runtime.context
    const half = this.#options.submitTimeoutMs / 2
    const startedAt = clock.monotonic()
    if (!await this.#depths.reserve(queue, maxQueued, Math.min(ADMISSION_MS, half))) throw new AsyncEndpointsError('FAE_QUEUE_FULL', 'Too many jobs are waiting; try again later')
    // Never less than half: a busy event loop that fires a timer late must not leave the store without a chance.
    return Math.max(half, this.#options.submitTimeoutMs - (clock.monotonic() - startedAt))
  }

  #create (scope: SubmitScope, timeoutMs: number, meta: EndpointSubmitMeta): Promise<Created> {
    const { store } = this.#runtime
    // Also where nothing is traced here: the worker may trace.
    scope.job.trace ??= scope.parentTrace?.carrier
    return this.#gate.run(timeoutMs, () => store.create(scope.job), () => timeErrors(meta, this.#options.submitTimeoutMs), {
      patient: meta.patient,
      // The store writes it down when it is sent; until then the caller may change what it has given.
      onWait: () => { scope.job.input = copyOf(scope.job.input) }
    })
  }

  #submitted ({ job }: SubmitScope, created: Created, submitMs: number, meta: EndpointSubmitMeta): Submitted {
    const { bus } = this.#runtime
    const { origin, payloadBytes } = meta
    if (!created.created) {
      if (!created.sameRequest) {
        bus.emit('job.rejected', { jobName: job.name, queue: job.queue, correlationId: job.correlationId, reason: 'idempotency-key-reused', submitMs, origin })
        throw keyReused(meta)
      }
      if (created.job === undefined) {
        bus.emit('job.rejected', { jobName: job.name, queue: job.queue, correlationId: job.correlationId, reason: 'job-expired', submitMs, origin })
        throw keyExpired(meta, created.id)
      }
      const { traceId, spanId } = eventIds(undefined, created.job.trace)
      bus.emit('job.replayed', { jobId: created.id, jobName: job.name, queue: job.queue, correlationId: created.job.correlationId, traceId, spanId, submitMs, origin })
      return { id: created.id, created: false, job: created.job }
    }
    this.#depths.submitted(job.queue)
    if (bus.wants('job.submitted')) {
      const { traceId, spanId } = eventIds(undefined, job.trace)
      bus.emit('job.submitted', {
        jobId: job.id,
        jobName: job.name,
        queue: job.queue,
        correlationId: job.correlationId,
        traceId,
        spanId,
        submitMs,
        delayMs: job.runAt - job.createdAt,
        payloadBytes,
        origin
      })
    }
    return { id: job.id, created: true, job: freshRecord(job) }
  }

  get (id: string): Promise<JobRecord | undefined> { return this.#runtime.store.get(id) }

  input (id: string): Promise<JobInput | undefined> { return this.#runtime.store.input(id) }

  resultText (id: string): Promise<string | undefined> { return this.#runtime.store.result(id) }

  result (job: string | JobDefinition, id?: string): Promise<unknown> {
    const { store } = this.#runtime
    if (typeof job === 'string' && id === undefined) return readResult(store, job, undefined)
    return readResult(store, String(id), typeof job === 'string' ? job : job.name)
  }

  list (query: ListOptions = {}): Promise<JobPage> {
    try {
      assertKnown(() => 'jobs.list', LIST_KEYS, query)
    } catch (error) {
      return Promise.reject(error)
    }
    if (Object.hasOwn(query, 'owner')) {
      const { owner }: { owner?: unknown } = query
      // A caller whose user is not signed in would be shown the jobs of everybody.
      if (owner === undefined) return Promise.reject(new AsyncEndpointsError('FAE_INVALID_REQUEST', 'owner is undefined; leave it out to list the jobs of everybody'))
      if (owner !== null && typeof owner !== 'string') return Promise.reject(new AsyncEndpointsError('FAE_INVALID_REQUEST', 'owner must be a text'))
      // Nobody in particular, as owner functions say it: no job carries that.
      if (owner === null || owner === '') return Promise.resolve({ jobs: [] })
    }
    const limit = query.limit ?? 20
    if (!Number.isInteger(limit) || limit < 1 || limit > 100) {
      return Promise.reject(new AsyncEndpointsError('FAE_INVALID_REQUEST', 'limit must be an integer from 1 to 100'))
    }
    if (query.cursor !== undefined && typeof query.cursor !== 'string') return Promise.reject(new AsyncEndpointsError('FAE_INVALID_REQUEST', 'cursor must be the text that the page before has given'))
    if (query.state !== undefined && !JOB_STATES.includes(query.state)) {
      return Promise.reject(new AsyncEndpointsError('FAE_INVALID_REQUEST', `state must be one of ${JOB_STATES.join(', ')}`))
    }
    return this.#runtime.store.list({ ...query, limit })
  }

  async cancel (id: string, reason?: string): Promise<Cancelled> {
    const verdict = await this.#runtime.store.cancel(id, toReason(reason, 'cancelled on request', this.#runtime.redaction.text))
    if (verdict === undefined) throw notFound(id)
    const { job } = verdict
    if (verdict.kind === 'finished') throw new AsyncEndpointsError('FAE_JOB_FINISHED', `The job is ${job.state}; it can no longer be cancelled`, { details: { jobStatus: job.state } })
    const about = aboutOf(job)
    if (verdict.kind === 'requested') this.#runtime.bus.emit('job.cancel_requested', about)
    else if (!verdict.already) {
      // It never ran, so no worker will emit its end.
      const totalMs = Math.max(0, storeNow(this.#runtime.store, this.#runtime.context.clock) - job.createdAt)
      this.#runtime.bus.emit('job.cancelled', { ...about, workerId: '', processingMs: 0, totalMs })
    }
    return { state: verdict.kind, job }
  }

  redrive (id: string): Promise<JobRecord> { return this.#redrive(id, undefined) }

  async redriveJob ({ id, queue, state }: JobRecord, { maxQueued, maxRedrives }: RedriveAdmission): Promise<JobRecord> {
    // What has not failed is refused for that, and takes no place.
    if (maxQueued === undefined || state !== 'failed') return await this.#redrive(id, maxRedrives)
    await this.#admit(queue, maxQueued)
    try {
      return await this.#redrive(id, maxRedrives)
    } finally {
      this.#depths.release(queue)
    }
  }

  async #redrive (id: string, limit: number | undefined): Promise<JobRecord> {
    if (this.#closing.signal.aborted) throw closed()
    const verdict = await this.#runtime.store.redrive(id, limit)
    if (verdict === undefined) throw notFound(id)
    const { job } = verdict
    if (verdict.kind === 'not-failed') throw new AsyncEndpointsError('FAE_JOB_NOT_FAILED', `The job is ${job.state}; only a failed job can be redriven`, { details: { jobStatus: job.state } })
    if (verdict.kind === 'limit') {
      throw new AsyncEndpointsError('FAE_REDRIVE_LIMIT', `The job was run again ${String(limit)} times already; submit it as a new one`, { details: { jobStatus: job.state } })
    }
    // Before anybody else is admitted, like a job that was submitted.
    this.#depths.submitted(job.queue)
    this.#runtime.bus.emit('job.redriven', aboutOf(job))
    return job
  }

  async remove (id: string): Promise<void> {
    // Read before the removal: the event names the job, and afterwards there is nothing to read.
    const job = await this.#runtime.store.get(id)
    const verdict = job === undefined ? undefined : await this.#runtime.store.remove(id)
    if (job === undefined || verdict === undefined) throw notFound(id)
    if (verdict === 'active') throw new AsyncEndpointsError('FAE_JOB_ACTIVE', 'The job is being worked on; cancel it before removing it')
    this.#runtime.bus.emit('job.removed', aboutOf(job))
  }

  counts (queue?: string): Promise<readonly QueueCounts[]> {
    const queues = queue === undefined ? this.#runtime.registry.queues() : [queue]
    return Promise.all(queues.map((name) => this.#runtime.store.counts(name)))
  }

  async waitFor (id: string, options: WaitOptions = {}): Promise<JobRecord> {
    assertKnown(() => 'jobs.waitFor', WAIT_KEYS, options)
    return await waitForEnd(this.#runtime.context.clock, this.#backbone, this.#runtime.store, this.#closing.signal, id, options)
  }
}

function aboutOf (job: JobRecord) {
  const { traceId, spanId } = eventIds(undefined, job.trace)
  return { jobId: job.id, jobName: job.name, queue: job.queue, correlationId: job.correlationId, traceId, spanId }
}

/**
 * The body as its schema makes it. A copy is validated, as a worker will get it: a validator that fills in defaults must not write
 * into what the caller holds. What cannot be copied is returned unchanged; `draftJob` refuses it and says why.
 *
 * @throws {AsyncEndpointsError} `FAE_INVALID_SUBMISSION`
 */
async function validBody (job: string, read: BodyReader, body: unknown): Promise<unknown> {
  if (lostInJson(body, 'body') !== undefined) return body
  let copy: unknown
  try {
    const text = JSON.stringify(body)
    copy = text === undefined ? undefined : JSON.parse(text)
  } catch {
    return body
  }
  const answer = await read(copy).catch((cause: unknown) => { throw new AsyncEndpointsError('FAE_INVALID_SUBMISSION', `The submission of "${job}" is not valid: the validator of schema.body failed`, { cause }) })
  if ('problem' in answer) throw new AsyncEndpointsError('FAE_INVALID_SUBMISSION', singleLine(`The submission of "${job}" is not valid: ${answer.problem}`, MAX_PROBLEM))
  return answer.value
}

/** As it is at this moment. What JSON cannot say is left as it is: the store refuses it. */
function copyOf (input: JobInput): JobInput {
  try {
    return JSON.parse(JSON.stringify(input)) as JobInput
  } catch {
    return input
  }
}

function closed (): AsyncEndpointsError {
  return new AsyncEndpointsError('FAE_CLOSED', 'The application is closing and takes no more jobs', { retryAfterSeconds: 5 })
}
