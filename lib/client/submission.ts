import { createHash } from 'node:crypto'
import { AsyncEndpointsError } from '../core/errors.ts'
import type { JobDefinition } from '../jobs/definition.ts'
import { MAX_PRIORITY, type IdempotencyClaim, type JobInput, type JobRecord, type JobWebhook, type NewJob, type TraceCarrier } from '../jobs/job.ts'
import { lostInJson } from '../jobs/json-value.ts'
import type { SubmitMeta } from '../jobs/submit.ts'
import { isTraceparent } from '../jobs/trace-ids.ts'
import type { EndpointSubmitMeta } from './jobs.ts'

const NOTHING: Readonly<Record<string, never>> = Object.freeze({})
/** A day: what most clients that retry with one key can expect (draft-ietf-httpapi-idempotency-key-header §2.6 leaves it open). */
export const IDEMPOTENCY_TTL_MS = 86_400_000
/** A hundred years. Stores compute with it, and a server refuses moments that its numbers cannot hold. */
export const MAX_IDEMPOTENCY_TTL_MS = 3_153_600_000_000
const MAX_KEY_LENGTH = 255
/** Nothing else is allowed, because a correlation id is written into log lines, spans and headers. */
const CORRELATION_ID = /^[\x21-\x7e]{1,128}$/
/** What every tracing system must pass on (W3C Trace Context §3.3.1.5); a longer one is left out as a whole. */
const MAX_TRACESTATE = 512
/** The last moment that a Date can hold (ECMA-262 §21.4.1.1), milliseconds since the epoch. */
const LAST_MOMENT = 8.64e15

/**
 * Makes the job of a submission, without its trace context.
 *
 * @throws {AsyncEndpointsError} `FAE_INVALID_SUBMISSION`, one message with everything that is wrong
 */
export function draftJob (
  definition: JobDefinition, body: unknown, meta: EndpointSubmitMeta, id: string, now: number, correlationId: () => string
): NewJob {
  const problems: string[] = []
  const runAt = readRunAt(meta, now, problems)
  const priority = meta.priority ?? definition.priority
  if (!Number.isInteger(priority) || priority < 0 || priority > MAX_PRIORITY) {
    problems.push(`priority must be an integer from 0 to ${MAX_PRIORITY}`)
  }
  for (const name of ['owner', 'correlationId'] as const) {
    if (meta[name] !== undefined && typeof meta[name] !== 'string') problems.push(`${name} must be a text`)
  }
  if (meta.owner === '') problems.push('owner must not be empty; leave it out for a job of nobody in particular')
  if (typeof meta.correlationId === 'string' && !CORRELATION_ID.test(meta.correlationId)) {
    problems.push('correlationId must have 1 to 128 visible ASCII characters')
  }
  const key = meta.idempotencyKey
  if (key !== undefined && (typeof key !== 'string' || key.length === 0 || key.length > MAX_KEY_LENGTH)) {
    problems.push(`idempotencyKey must be a text of 1 to ${MAX_KEY_LENGTH} characters`)
  }
  const { params, query, headers } = meta
  for (const [path, value] of Object.entries({ body, params, query, headers })) {
    const lost = lostInJson(value, path)
    if (lost !== undefined) problems.push(`${lost}, which JSON cannot hold: put it somewhere else and submit a reference`)
  }
  const { idempotencyTtlMs, trace } = meta
  const ttlFits = idempotencyTtlMs === undefined ||
    (Number.isFinite(idempotencyTtlMs) && idempotencyTtlMs >= 1 && idempotencyTtlMs <= MAX_IDEMPOTENCY_TTL_MS)
  if (!ttlFits) {
    problems.push('idempotencyTtlMs must be milliseconds, from 1 to a hundred years')
  }
  const webhook = readWebhook(meta.webhook, problems)
  if (meta.validate !== undefined && typeof meta.validate !== 'boolean') problems.push('validate must be true or false')
  for (const name of ['params', 'query', 'headers'] as const) {
    if (meta[name] !== undefined && (typeof meta[name] !== 'object' || meta[name] === null)) problems.push(`${name} must be an object`)
  }
  if (trace !== undefined && !isCarrier(trace)) {
    problems.push('trace must be { traceparent, tracestate } with a traceparent as W3C Trace Context says')
  }
  if (problems.length > 0) {
    throw new AsyncEndpointsError('FAE_INVALID_SUBMISSION', `The submission of "${definition.name}" is not valid: ${problems.join('; ')}`)
  }

  const input: JobInput = { body, params: meta.params ?? NOTHING, query: meta.query ?? NOTHING, headers: meta.headers ?? NOTHING }
  if (webhook !== undefined) input.webhook = webhook
  return {
    id,
    name: definition.name,
    queue: definition.queue,
    input,
    owner: meta.owner,
    correlationId: meta.correlationId ?? correlationId(),
    trace: undefined,
    priority,
    createdAt: now,
    runAt,
    maxAttempts: definition.maxAttempts,
    idempotency: key === undefined ? undefined : idempotencyClaim(definition.name, input, key, meta)
  }
}

function readWebhook (given: SubmitMeta['webhook'], problems: string[]): JobWebhook | undefined {
  if (given === undefined) return undefined
  const { url, include }: { readonly url?: unknown, readonly include?: unknown } =
    typeof given === 'string' ? { url: given } : given ?? {}
  if (typeof url !== 'string' || (include !== undefined && include !== 'result')) {
    problems.push("webhook must be a URL, or { url, include: 'result' }")
    return undefined
  }
  return include === undefined ? { url } : { url, include }
}

function isCarrier (trace: unknown): boolean {
  if (typeof trace !== 'object' || trace === null) return false
  const { traceparent, tracestate } = trace as { traceparent?: unknown, tracestate?: unknown }
  return isTraceparent(traceparent) && (tracestate === undefined || typeof tracestate === 'string')
}

/** The trace context that was given to a submission. Only the two fields: the object may hold others. */
export function givenTrace ({ trace }: SubmitMeta): TraceCarrier | undefined {
  if (trace === undefined) return undefined
  const { traceparent, tracestate } = trace
  return tracestate === undefined || tracestate.length > MAX_TRACESTATE ? { traceparent } : { traceparent, tracestate }
}

function readRunAt (meta: EndpointSubmitMeta, now: number, problems: string[]): number {
  const { delayMs, runAt } = meta
  if (delayMs === undefined && runAt === undefined) return now
  if (delayMs !== undefined && runAt !== undefined) problems.push('delayMs and runAt exclude each other')
  const at = delayMs !== undefined ? now + delayMs : Number(runAt)
  if (!Number.isFinite(at) || (delayMs !== undefined && delayMs < 0)) {
    problems.push(delayMs !== undefined ? 'delayMs must be milliseconds, 0 or more' : 'runAt must be a Date or milliseconds since the epoch')
    return now
  }
  if (at > LAST_MOMENT) {
    problems.push(`${delayMs !== undefined ? 'delayMs' : 'runAt'} is beyond the last moment that a Date can hold`)
    return now
  }
  return Math.max(Math.round(at), now)
}

/**
 * Binds the client's key to owner, endpoint and job: one client can never reach another's job by guessing its key.
 */
function idempotencyClaim (name: string, input: JobInput, key: string, meta: EndpointSubmitMeta): IdempotencyClaim {
  let content: string
  try {
    content = JSON.stringify([input.body, input.params, input.query], inOrder)
  } catch (cause) {
    throw new AsyncEndpointsError('FAE_INVALID_SUBMISSION', `The body of "${name}" cannot be written as JSON`, { cause })
  }
  return {
    key: sha256(JSON.stringify([meta.owner ?? null, meta.idempotencyScope ?? null, name, key])),
    fingerprint: sha256(content),
    ttlMs: meta.idempotencyTtlMs ?? IDEMPOTENCY_TTL_MS
  }
}

/** A replacer that puts members in order of their names: an object is the same in any order (RFC 8259 §1). */
export function inOrder (_key: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value
  if (value instanceof Number || value instanceof String || value instanceof Boolean) return value.valueOf()
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => a < b ? -1 : 1))
}

function sha256 (text: string): string {
  return createHash('sha256').update(text).digest('hex')
}

/** The record of a job that was stored just now, without asking the store for it. */
export function freshRecord (job: NewJob): JobRecord {
  return {
    id: job.id,
    name: job.name,
    queue: job.queue,
    state: job.runAt > job.createdAt ? 'scheduled' : 'queued',
    owner: job.owner,
    correlationId: job.correlationId,
    trace: job.trace,
    priority: job.priority,
    createdAt: job.createdAt,
    runAt: job.runAt,
    startedAt: undefined,
    finishedAt: undefined,
    attempts: 0,
    maxAttempts: job.maxAttempts,
    progress: undefined,
    error: undefined,
    cancelRequested: false,
    resultBytes: undefined
  }
}
