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
import { isTerminal, JOB_STATES } from '../jobs/states.ts'
import { storeNow } from '../jobs/store-clock.ts'
import { errorCodeOf, toReason } from '../jobs/stored-error.ts'
import { eventIds } from '../jobs/trace-ids.ts'
import { mayDeliver, wakeDelivery } from '../jobs/webhook.ts'
import { QueueDepths } from './depth.ts'
import type {
  Cancelled, EndpointSubmitMeta, JobsClient, ListOptions, RedriveAdmission, Signalled,
  SubmitItem, SubmitManyOptions, SubmitManyResult,
  WaitOptions
} from './jobs.ts'
import { assertSubmitKeys, LIST_KEYS, WAIT_KEYS } from './known-options.ts'
import { notFound, readResult } from './result.ts'
import { draftJob, freshRecord, givenTrace } from './submission.ts'
import { keyExpired, keyReused, timeErrors } from './submission-errors.ts'
import { sendSignal } from './signal.ts'
import { SubmitGate } from './submit-gate.ts'
import { readManyOptions, submitEach } from './submit-many.ts'
import { waitForEnd } from './wait.ts'
import { checkWebhook, createWithDelivery, prepareRedrive } from './webhook.ts'

export interface ClientOptions {
  /**
   * A submission that the store has not confirmed so long after it was sent, or that could not be sent for so long, is refused
   * with `FAE_STORE_UNAVAILABLE`.
   */
  readonly submitTimeoutMs: number
}

/** How long admission waits at most to learn the depth of the queue. */
const ADMISSION_MS = 250

/** Characters. The message of a validator can be as long as the body that it quotes. */
const MAX_PROBLEM = 1_000

const NO_META: SubmitMeta = Object.freeze({})

/** The implementation of `app.jobs`. Its only state is the submissions that are under way. */
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
    // Each waitFor() adds a listener. Without this, Node would warn of a leak at the eleventh.
    setMaxListeners(0, this.#closing.signal)
  }

  /** From now on submissions are refused with `FAE_CLOSED`, and so are the calls of `waitFor` that still wait. */
  close (): void {
    this.#closing.abort(closed())
    this.#gate.close(closed())
  }

  submit (job: string | JobDefinition, body?: unknown, meta: SubmitMeta = NO_META): Promise<Submitted> {
    const name = typeof job === 'string' ? job : job.name
    const definition = this.#runtime.registry.get(name)
    return definition === undefined ? Promise.reject(unknownJob(name)) : this.#submitFromCode(definition, body, meta)
  }

  async submitMany (
    job: string | JobDefinition, items: Iterable<SubmitItem>, options?: SubmitManyOptions
  ): Promise<SubmitManyResult[]> {
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
    // Only a submission from code can come from inside a handler. A request may arrive while a handler's async context is active
    // (`app.inject` in a handler does that), and still has nothing to do with that handler's job.
    const inside = meta.origin === undefined ? this.#runtime.currentJobs?.current() : undefined
    const correlationId = inside === undefined ? ids.correlation : () => inside.correlationId
    const job = draftJob(definition, body, meta, ids.job(), storeNow(this.#runtime.store, clock), correlationId)
    if (job.input.webhook !== undefined) checkWebhook(this.#runtime, job.name, job.input.webhook)
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
      this.#runtime.bus.emit('job.submit_failed', {
        jobName: job.name,
        queue: job.queue,
        correlationId: job.correlationId,
        errorCode: errorCodeOf(error),
        message: ownMessage(error),
        submitMs: clock.monotonic() - startedAt,
        origin: meta.origin
      })
      throw error
    } finally {
      // Nothing is awaited from here until `#submitted` counts the job, so no other submission sees the queue without it.
      if (maxQueued !== undefined) this.#depths.release(job.queue)
    }
    return this.#submitted(scope, created, clock.monotonic() - startedAt, meta)
  }

  /**
   * Reserves room in the queue for one job; the caller must release it.
   *
   * @returns what is left of `submitTimeoutMs`, so that the count and the submission together keep to it
   * @throws {AsyncEndpointsError} `FAE_QUEUE_FULL`
   */
  async #admit (queue: string, maxQueued: number): Promise<number> {
    const { clock } = this.#runtime.context
    const half = this.#options.submitTimeoutMs / 2
    const startedAt = clock.monotonic()
    if (!await this.#depths.reserve(queue, maxQueued, Math.min(ADMISSION_MS, half))) {
      throw new AsyncEndpointsError('FAE_QUEUE_FULL', 'Too many jobs are waiting; try again later')
    }
    // At least half. A blocked event loop fires timers late, and the store would otherwise get no time to answer.
    return Math.max(half, this.#options.submitTimeoutMs - (clock.monotonic() - startedAt))
  }

  #create (scope: SubmitScope, timeoutMs: number, meta: EndpointSubmitMeta): Promise<Created> {
    const { store, webhooks } = this.#runtime
    // Store the trace context even if this process traces nothing: the process that runs the job may.
    scope.job.trace ??= scope.parentTrace?.carrier
    const { webhook } = scope.job.input
    const create = webhook === undefined || webhooks === undefined
      ? () => store.create(scope.job)
      : () => createWithDelivery(store, webhooks, scope.job, webhook, storeNow(store, this.#runtime.context.clock))
    return this.#gate.run(timeoutMs, create, () => timeErrors(meta, this.#options.submitTimeoutMs), {
      patient: meta.patient,
      // The store writes the input as JSON when the submission is sent. Copy it now: the caller may change it in the meantime.
      onWait: () => { scope.job.input = copyOf(scope.job.input) }
    })
  }

  #submitted ({ job }: SubmitScope, created: Created, submitMs: number, meta: EndpointSubmitMeta): Submitted {
    const { bus } = this.#runtime
    const { origin, payloadBytes } = meta
    if (!created.created) {
      const { name: jobName, queue } = job
      const rejected = { jobName, queue, correlationId: job.correlationId, submitMs, origin }
      if (!created.sameRequest) {
        bus.emit('job.rejected', { ...rejected, reason: 'idempotency-key-reused' })
        throw keyReused(meta)
      }
      if (created.job === undefined) {
        bus.emit('job.rejected', { ...rejected, reason: 'job-expired' })
        throw keyExpired(meta, created.id)
      }
      const { traceId, spanId } = eventIds(undefined, created.job.trace)
      const { correlationId } = created.job
      bus.emit('job.replayed', { jobId: created.id, jobName, queue, correlationId, traceId, spanId, submitMs, origin })
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
      // Code such as `list({ owner: request.user?.id })` would otherwise show all jobs to somebody who is not signed in.
      if (owner === undefined) return invalidRequest('owner is undefined; leave it out to list the jobs of everybody')
      if (owner !== null && typeof owner !== 'string') return invalidRequest('owner must be a text')
      // `http.owner` may return these for a request without an owner. No job is stored with them, so none can match.
      if (owner === null || owner === '') return Promise.resolve({ jobs: [] })
    }
    const limit = query.limit ?? 20
    if (!Number.isInteger(limit) || limit < 1 || limit > 100) {
      return invalidRequest('limit must be an integer from 1 to 100')
    }
    if (query.cursor !== undefined && typeof query.cursor !== 'string') {
      return invalidRequest('cursor must be the text that the page before has given')
    }
    if (query.state !== undefined && !JOB_STATES.includes(query.state)) {
      return invalidRequest(`state must be one of ${JOB_STATES.join(', ')}`)
    }
    return this.#runtime.store.list({ ...query, limit })
  }

  async cancel (id: string, reason?: string): Promise<Cancelled> {
    const { redaction, store, webhooks } = this.#runtime
    const input = webhooks !== undefined && mayDeliver(id) ? await this.#inputIfReadable(id) : undefined
    const verdict = await store.cancel(id, toReason(reason, 'cancelled on request', redaction.text))
    if (verdict === undefined) throw notFound(id)
    const { job } = verdict
    if (verdict.kind === 'finished') {
      const details = { jobStatus: job.state }
      throw new AsyncEndpointsError('FAE_JOB_FINISHED', `The job is ${job.state}; it can no longer be cancelled`, { details })
    }
    const about = aboutOf(job)
    if (verdict.kind === 'requested') {
      if (verdict.already !== true) this.#runtime.bus.emit('job.cancel_requested', about)
    } else if (!verdict.already) {
      // The job waited and never runs again, so no worker will emit its end. Emit it here.
      const totalMs = Math.max(0, storeNow(this.#runtime.store, this.#runtime.context.clock) - job.createdAt)
      if (webhooks?.delivers(job) === true) webhooks.dropped(job, input, 'cancelled')
      this.#runtime.bus.emit('job.cancelled', { ...about, workerId: '', processingMs: 0, totalMs })
      if (webhooks !== undefined) void wakeDelivery(this.#runtime.store, job)
    }
    return { state: verdict.kind, job }
  }

  redrive (id: string): Promise<JobRecord> { return this.#redrive(id, undefined) }

  async redriveJob ({ id, queue, state }: JobRecord, { maxQueued, maxRedrives }: RedriveAdmission): Promise<JobRecord> {
    // A job that has not failed is refused by the store; it needs no room in the queue.
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
    const finish = await prepareRedrive(this.#runtime, id)
    const verdict = await this.#runtime.store.redrive(id, limit)
    if (verdict?.kind === 'redriven') await finish?.(verdict.job)
    if (verdict === undefined) throw notFound(id)
    const { job } = verdict
    const details = { jobStatus: job.state }
    if (verdict.kind === 'not-failed') {
      throw new AsyncEndpointsError('FAE_JOB_NOT_FAILED', `The job is ${job.state}; only a failed job can be redriven`, { details })
    }
    if (verdict.kind === 'limit') {
      const message = `The job was run again ${String(limit)} times already; submit it as a new one`
      throw new AsyncEndpointsError('FAE_REDRIVE_LIMIT', message, { details })
    }
    // Counted at once, as a submission is: the next admission must see it, although the store has not been read again.
    this.#depths.submitted(job.queue)
    this.#runtime.bus.emit('job.redriven', aboutOf(job))
    return job
  }

  async remove (id: string): Promise<void> {
    // Read the job before removing it: the event `job.removed` names it, and afterwards nobody knows its name and queue.
    const { store, webhooks } = this.#runtime
    const job = await store.get(id)
    const input = job !== undefined && webhooks?.delivers(job) === true ? await this.#inputIfReadable(id) : undefined
    const verdict = job === undefined ? undefined : await store.remove(id)
    if (job === undefined || verdict === undefined) throw notFound(id)
    if (verdict === 'active') throw new AsyncEndpointsError('FAE_JOB_ACTIVE', 'The job is being worked on; cancel it before removing it')
    this.#runtime.bus.emit('job.removed', aboutOf(job))
    if (webhooks?.delivers(job) === true && !isTerminal(job.state)) webhooks.dropped(job, input, 'removed')
  }

  /** For the report of a delivery's end only: an input that cannot be read must not keep the delivery from its end. */
  #inputIfReadable (id: string): Promise<JobInput | undefined> {
    return this.#runtime.store.input(id).catch(() => undefined)
  }

  async signal (id: string, name: string, value?: unknown): Promise<Signalled> {
    if (this.#closing.signal.aborted) throw closed()
    return await sendSignal(this.#runtime, id, name, value)
  }

  counts (queue?: string): Promise<readonly QueueCounts[]> {
    const queues = queue === undefined ? this.#runtime.registry.queues() : [queue]
    return Promise.all(queues.map((name) => this.#runtime.store.counts(name)))
  }

  async waitFor (id: string, options: WaitOptions = {}): Promise<JobRecord> {
    assertKnown(() => 'jobs.waitFor', WAIT_KEYS, options)
    const { context: { clock }, store } = this.#runtime
    return await waitForEnd(clock, this.#backbone, store, this.#closing.signal, id, options)
  }
}

function aboutOf (job: JobRecord) {
  const { traceId, spanId } = eventIds(undefined, job.trace)
  return { jobId: job.id, jobName: job.name, queue: job.queue, correlationId: job.correlationId, traceId, spanId }
}

/**
 * The body as its schema makes it. What is validated is a JSON copy, as the handler will get it: a validator that fills in defaults
 * would otherwise change the caller's object. A body that JSON cannot hold is returned unchanged; `draftJob` refuses it and says why.
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
  const invalid = `The submission of "${job}" is not valid`
  const answer = await read(copy).catch((cause: unknown) => {
    throw new AsyncEndpointsError('FAE_INVALID_SUBMISSION', `${invalid}: the validator of schema.body failed`, { cause })
  })
  if ('problem' in answer) {
    throw new AsyncEndpointsError('FAE_INVALID_SUBMISSION', singleLine(`${invalid}: ${answer.problem}`, MAX_PROBLEM))
  }
  return answer.value
}

/** The input as it is at this moment. One that JSON cannot hold is returned itself; the store refuses it. */
function copyOf (input: JobInput): JobInput {
  try {
    return JSON.parse(JSON.stringify(input)) as JobInput
  } catch {
    return input
  }
}

function invalidRequest (message: string): Promise<never> {
  return Promise.reject(new AsyncEndpointsError('FAE_INVALID_REQUEST', message))
}

function closed (): AsyncEndpointsError {
  return new AsyncEndpointsError('FAE_CLOSED', 'The application is closing and takes no more jobs', { retryAfterSeconds: 5 })
}
