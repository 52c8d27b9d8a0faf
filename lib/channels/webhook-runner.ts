/** Runs the jobs that deliver webhooks. */
import { EXPIRED, withDeadline } from '../core/deadline.ts'
import { readRetryAfter } from '../core/retry-after.ts'
import { isWebhookSecret, signWebhook, signWithKey } from '../core/webhook-signature.ts'
import type { JobRuntime } from '../events/runtime.ts'
import type { JobRecord, StoredError } from '../jobs/job.ts'
import type { JobRunner, RunnerScope } from '../jobs/seams.ts'
import { isTerminal } from '../jobs/states.ts'
import { storeNow } from '../jobs/store-clock.ts'
import type { Checkpoint, Journal } from '../jobs/steps.ts'
import type { Settlement, StepStore, Suspension } from '../jobs/store.ts'
import { eventIds } from '../jobs/trace-ids.ts'
import { ENDED_SIGNAL, NOTHING_TO_DELIVER, roundOf } from '../jobs/webhook.ts'
import { webhookText } from './webhook-document.ts'
import type { DeliveryInput } from './delivery-input.ts'
import type { ResolvedWebhooksOptions } from './webhook-options.ts'
import type { WebhookEnds } from './webhook-ends.ts'
import type { WebhookOrigins } from './webhook-origins.ts'
import type { WebhookAnswer, WebhookTransport } from './webhook-transport.ts'

/** What a client reads about a delivery that somebody cancelled without giving a reason. */
const ON_REQUEST = 'cancelled on request'

/** A delivery whose job does not appear within this time has none: its submission failed, or was a repeated one. */
const APPEARS_WITHIN_MS = 120_000
const FIRST_LOOK_MS = 15_000
const LONGEST_LOOK_MS = 300_000
const LONGEST_RETRY_AFTER_MS = 86_400_000
/** How many attempts a delivery has beyond its schedule, if each one ended with its worker. */
const MORE_AFTER_STALLS = 3
const STALLED: StoredError = Object.freeze({
  code: 'FAE_STALLED',
  message: 'The workers that sent the webhook stopped, one after the other, before it was known what became of it'
})
/** The message as it was made, among the stored values. */
const TEXT = 'text'
const SINCE = 'since'
/** Among the stored values: the job was there when it was looked at. */
const SEEN = 'seen'

export interface WebhookRunnerParts {
  readonly runtime: JobRuntime
  readonly steps: StepStore
  readonly options: ResolvedWebhooksOptions
  readonly origins: WebhookOrigins
  readonly transport: WebhookTransport
  readonly ends: WebhookEnds
  readonly random?: () => number
}

/** A message that is ready to be sent. */
interface Ready {
  readonly text: string
  /** When the job ended. */
  readonly since: number
  /** It is not stored yet. */
  readonly fresh: boolean
}

/**
 * The runner of deliveries. One delivery:
 *
 * ```
 * waiting ──(its job has ended: signal, or a look now and then)──▶ ready ──(a place at its origin)──▶ sending
 *    │ (the job is gone, was redriven)                                ▲                                  │
 *    ├──▶ completed, nothing was sent                                 └───(a pause of the schedule)──────┤
 *                                                     completed ◀──(2xx)─────────────────────────────────┤
 *                                                     failed ◀──(410, abort-message, schedule over)──────┘
 * ```
 *
 * Waiting for the end and for a place suspends the job: no slot, no lease, no attempt is spent. A delivery that was sent
 * and could not be settled is sent again with the same `webhook-id`: receivers see each end at least once.
 */
export function makeWebhookRunner (parts: WebhookRunnerParts): JobRunner {
  return {
    afterStall: async ({ claim: { job } }) => stalledTooOften(job) ? { kind: 'failed', error: STALLED } : undefined,
    run: (scope) => new Delivery(parts, scope).run()
  }
}

/** After a last attempt whose end nobody knows, the message is sent again, but not for ever. */
function stalledTooOften ({ attempts, maxAttempts }: Pick<JobRecord, 'attempts' | 'maxAttempts'>): boolean {
  // The attempt of this claim is counted already.
  return attempts - 1 >= maxAttempts + MORE_AFTER_STALLS
}

class Delivery {
  readonly #parts: WebhookRunnerParts
  readonly #scope: RunnerScope
  readonly #input: DeliveryInput

  constructor (parts: WebhookRunnerParts, scope: RunnerScope) {
    this.#parts = parts
    this.#scope = scope
    this.#input = scope.claim.job.input.body as DeliveryInput
  }

  async run (): Promise<Settlement> {
    const { claim: { job }, cancelRequested } = this.#scope
    this.#reportCancel()
    const journal = await this.#parts.steps.journal(job.id)
    if (journal === undefined) return { kind: 'release' }
    if (cancelRequested) return cancelled(journal)
    const ready = readyBefore(journal) ?? await this.#lookAtJob(journal.values[SEEN] !== undefined)
    return 'kind' in ready ? ready : await this.#deliver(ready)
  }

  /** However this attempt wants to end: somebody may have cancelled the delivery. */
  #reportCancel (): void {
    const { claim: { job } } = this.#scope
    this.#scope.onSettled((verdict, { kind }) => {
      if (verdict.kind !== 'stored' || (kind !== 'cancelled' && verdict.instead !== 'cancelled')) return
      this.#parts.ends.reported(job.id)
      const why = { statusCode: undefined, reason: 'cancelled' }
      this.#parts.runtime.bus.emit('webhook.cancelled', { ...this.#about(), ...why })
    })
  }

  get #now (): number { return storeNow(this.#parts.runtime.store, this.#parts.runtime.context.clock) }

  /**
   * @param seen an earlier attempt has found the job
   * @returns the message, or how the attempt ends because there is none (yet)
   */
  async #lookAtJob (seen: boolean): Promise<Ready | Settlement> {
    const { runtime: { store } } = this.#parts
    const { round } = this.#input
    const job = await store.get(this.#input.job)
    const age = this.#now - this.#scope.claim.job.createdAt
    if (job === undefined && seen) return this.#gone()
    // Also a redrive that was refused: its round does not come.
    if (job === undefined || roundOf(job) < round) return age > APPEARS_WITHIN_MS ? this.#nothing() : this.#wait(age)
    // It was redriven before this end was delivered. Its next end has a delivery of its own.
    if (roundOf(job) > round) return this.#nothing()
    if (!isTerminal(job.state)) return this.#wait(age, seen ? undefined : { facts: {}, values: { [SEEN]: '1' } })
    const text = webhookText({ job, linkBase: this.#input.linkBase, result: await this.#result(job) })
    return { text, since: job.finishedAt ?? this.#now, fresh: true }
  }

  async #result (job: JobRecord): Promise<string | undefined> {
    if (this.#input.include !== 'result' || job.state !== 'completed') return undefined
    const { runtime: { registry, store } } = this.#parts
    const text = await store.result(job.id)
    const write = registry.get(job.name)?.schemas.writeResult
    if (text === undefined || write === undefined) return text
    try {
      return write(JSON.parse(text))
    } catch {
      // It does not fit the schema of this process: what it may show is not known.
      return undefined
    }
  }

  /** The job has not ended. The signal of its end wakes the delivery; should that be lost, it looks by itself. */
  #wait (age: number, checkpoint?: Checkpoint): Suspension {
    const delayMs = Math.min(Math.max(FIRST_LOOK_MS, age / 2), LONGEST_LOOK_MS)
    return { kind: 'suspend', delayMs: this.#jittered(delayMs, 0.2), signal: ENDED_SIGNAL, checkpoint }
  }

  #nothing (): Settlement { return this.#scope.settle(NOTHING_TO_DELIVER) }

  /** How the job has ended will never be known: somebody has to hear of that. */
  #gone (): Settlement {
    this.#scope.onSettled((verdict) => {
      if (verdict.kind !== 'stored') return
      const about = { ...this.#about(), errorCode: 'job-gone', statusCode: undefined }
      this.#parts.ends.reported(this.#scope.claim.job.id)
      this.#parts.runtime.bus.emit('webhook.failed', { ...about, sinceEndMs: 0 })
    })
    const message = 'The job was removed, or its retention was over, before its webhook was made'
    return { kind: 'failed', error: { code: 'FAE_WEBHOOK_FAILED', message, expose: true } }
  }

  #jittered (ms: number, share: number): number {
    const { random = Math.random } = this.#parts
    return Math.round(ms * (1 - share + 2 * share * random()))
  }

  async #deliver (ready: Ready): Promise<Settlement> {
    const { origins } = this.#parts
    const { origin } = new URL(this.#input.url)
    const laterMs = origins.enter(origin)
    if (laterMs !== undefined) return { kind: 'suspend', delayMs: laterMs, checkpoint: ready.fresh ? checkpointOf(ready) : undefined }
    const { clock } = this.#parts.runtime.context
    const startedAt = clock.monotonic()
    const ends = new AbortController()
    this.#scope.onCancel(() => { ends.abort() })
    let answer: WebhookAnswer | undefined
    try {
      answer = await this.#send(ready.text, AbortSignal.any([this.#scope.signal, ends.signal]))
    } finally {
      const broken = answer?.status === undefined ? answer?.refused !== true : answer.status >= 500 || answer.status === 429
      // An attempt that this process has ended says nothing of the receiver.
      const asked = this.#scope.signal.aborted || ends.signal.aborted
      origins.leave(origin, asked || !broken, clock.monotonic() - startedAt)
    }
    if (this.#scope.signal.aborted) return { kind: 'release' }
    if (this.#scope.cancelRequested) return { kind: 'cancelled', reason: ON_REQUEST }
    const durationMs = clock.monotonic() - startedAt
    return isSuccess(answer)
      ? this.#delivered(ready, answer.status, durationMs)
      : await this.#failed(ready, answer, durationMs)
  }

  async #send (text: string, signal: AbortSignal): Promise<WebhookAnswer> {
    const { options, runtime: { context: { clock } }, transport } = this.#parts
    const { claim: { job }, attempt: { spanRunner } } = this.#scope
    const { url } = this.#input
    const target = new URL(url)
    // The time of this request, not of the first one: receivers refuse old timestamps as replays.
    const timestamp = Math.floor(clock.now() / 1_000)
    const secrets = await this.#secrets(target.origin)
    if (typeof secrets === 'string') return { ...NO_ANSWER, code: secrets, refused: true }
    const signature = secrets.length > 0
      ? signWebhook(secrets, job.id, timestamp, text)
      : options.privateKey === undefined ? undefined : signWithKey(options.privateKey, job.id, timestamp, text)
    if (signature === undefined) return { ...NO_ANSWER, code: 'no-secret', refused: true }
    const headers = {
      'content-type': 'application/json',
      'webhook-id': job.id,
      'webhook-timestamp': String(timestamp),
      'webhook-signature': signature
    }
    const post = (): Promise<WebhookAnswer> =>
      transport.send({ url, headers, body: text, timeoutMs: options.attemptTimeoutMs, signal })
    if (spanRunner === undefined) return await post()
    return await spanRunner('POST', post, {
      kind: 'client',
      attributes: { 'server.address': target.hostname, 'server.port': portOf(target) }
    }, (answer) => ({
      // Attributes of an application that begin with `http.request.` are dropped, because they may hold headers.
      attributes: { 'http.request.method': 'POST', 'http.response.status_code': answer.status },
      error: isSuccess(answer) ? undefined : answer.code ?? String(answer.status)
    }))
  }

  /**
   * What the application's function gives, which can throw, never answer, or give what is no secret: a message that is
   * signed with an empty key could come from anybody.
   *
   * @returns the secrets, or why nothing can be sent
   */
  async #secrets (origin: string): Promise<readonly string[] | SecretProblem> {
    const { options: { attemptTimeoutMs, secretsOf }, runtime: { context: { clock } } } = this.#parts
    try {
      const asked = Promise.resolve(secretsOf(this.#scope.claim.job.owner, origin))
      const given: unknown = await withDeadline(clock, attemptTimeoutMs, asked)
      if (given === EXPIRED) return 'no-secret-in-time'
      const secrets: unknown[] = [given ?? []].flat()
      return secrets.every(isWebhookSecret) ? secrets : 'bad-secret'
    } catch {
      // Without its message, which could hold the secret.
      return 'secret-failed'
    }
  }

  #delivered ({ since }: Ready, statusCode: number, durationMs: number): Settlement {
    this.#scope.onSettled((verdict) => {
      if (verdict.kind !== 'stored') return
      const sinceEndMs = Math.max(0, this.#now - since)
      this.#parts.runtime.bus.emit('webhook.delivered', { ...this.#about(), statusCode, durationMs, sinceEndMs })
    })
    return this.#scope.settle({ outcome: 'delivered', status: statusCode })
  }

  async #failed (ready: Ready, answer: WebhookAnswer, durationMs: number): Promise<Settlement> {
    const { claim: { job } } = this.#scope
    const { ends, options, steps, runtime: { bus } } = this.#parts
    const error = storedError(answer)
    const final = answer.status === 410 || answer.delivery === ABORT || job.attempts >= job.maxAttempts
    if (ready.fresh) {
      // The next attempt, or a redrive, sends the same text, even if the job is no longer stored by then.
      const { stored } = await steps.checkpoint(this.#scope.claim, checkpointOf(ready))
      if (!stored) return { kind: 'release' }
    }
    const askedMs = readRetryAfter(answer.retryAfter ?? null, this.#parts.runtime.context.clock.now(), LONGEST_RETRY_AFTER_MS)
    const pauseMs = this.#jittered(options.scheduleMs[job.attempts] ?? options.scheduleMs.at(-1) ?? 0, options.jitter)
    const delayMs = Math.max(pauseMs, askedMs ?? 0)
    this.#scope.onSettled((verdict) => {
      if (verdict.kind !== 'stored') return
      const about = { ...this.#about(), errorCode: answer.code ?? `HTTP_${answer.status ?? 0}` }
      bus.emit('webhook.attempt_failed', { ...about, statusCode: answer.status, durationMs, delayMs: final ? 0 : delayMs, final })
      if (!final) return
      ends.reported(job.id)
      const sinceEndMs = Math.max(0, this.#now - ready.since)
      bus.emit('webhook.failed', { ...about, statusCode: answer.status, sinceEndMs })
    })
    return final ? { kind: 'failed', error } : { kind: 'retry', error, delayMs }
  }

  /** For an event. Of the URL, only the host: its path and query may hold secrets. */
  #about () {
    const { claim: { job }, attempt: { traceIds } } = this.#scope
    const { url, job: jobId, name: jobName, queue } = this.#input
    const { traceId, spanId } = eventIds(traceIds, job.trace)
    return {
      jobId, jobName, queue, traceId, spanId, deliveryId: job.id, correlationId: job.correlationId,
      host: new URL(url).hostname, attempt: job.attempts, maxAttempts: job.maxAttempts
    }
  }
}

/** Why a message could not be signed. */
type SecretProblem = 'no-secret-in-time' | 'bad-secret' | 'secret-failed'

/** The value of the header `webhook-delivery` by which a receiver asks for no further attempt. */
const ABORT = 'abort-message'

const NO_ANSWER: WebhookAnswer = Object.freeze({
  status: undefined, code: undefined, refused: false, retryAfter: undefined, delivery: undefined
})

function isSuccess (answer: WebhookAnswer): answer is WebhookAnswer & { readonly status: number } {
  return answer.status !== undefined && answer.status >= 200 && answer.status < 300
}

function portOf ({ port, protocol }: URL): number { return port === '' ? (protocol === 'http:' ? 80 : 443) : Number(port) }

/** Readers of the delivery, who may be clients, learn no more of the receiver than this. */
function storedError ({ status, code, delivery }: WebhookAnswer): StoredError {
  const message = delivery === ABORT
    ? 'The receiver asked for no further attempt'
    : status === undefined ? `The receiver could not be reached (${code ?? 'no answer'})` : `The receiver answered ${status}`
  return { code: 'FAE_WEBHOOK_FAILED', message, expose: true }
}

function cancelled ({ cancelReason }: Journal): Settlement {
  return { kind: 'cancelled', reason: cancelReason ?? ON_REQUEST }
}

function readyBefore ({ values }: Journal): Ready | undefined {
  const text = values[TEXT]
  return text === undefined ? undefined : { text, since: Number(values[SINCE]), fresh: false }
}

function checkpointOf ({ text, since }: Ready): Checkpoint {
  return { facts: {}, values: { [TEXT]: text, [SINCE]: String(since) } }
}
