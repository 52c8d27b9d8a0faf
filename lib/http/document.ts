import { createHash } from 'node:crypto'
import { iso } from '../core/iso-time.ts'
import type { JobProgress, JobRecord } from '../jobs/job.ts'
import { openSignals, sagaView, type StepView } from '../jobs/saga-document.ts'
import type { SagaPhase, StepState } from '../jobs/saga-facts.ts'
import type { SagaPlan } from '../jobs/saga-plan.ts'
import { isTerminal, type JobState } from '../jobs/states.ts'
import type { JobLinks, Links } from './links.ts'
import type { ListeningDocument } from './listening.ts'
import { shownError, shownStepError, type ExposeErrors, type ShownError } from './shown-error.ts'

/** The body of a 202: what a client needs to find the job again. All times are ISO 8601 in UTC. */
export interface SubmittedDocument {
  readonly id: string
  readonly name: string
  readonly status: JobState
  readonly createdAt: string
  readonly links: Links
  /** In the answer to a submission: whether a webhook will be called. Absent if the endpoint has none to offer. */
  readonly webhook?: boolean
  /** In the answer to a submission that asked for a channel. */
  readonly listening?: ListeningDocument | undefined
}

/** The body of `GET /jobs/:id`. An allow-list: payload, owner, result, worker and stack trace are never part of it. */
export interface StatusDocument extends SubmittedDocument {
  /** The earliest moment at which a scheduled job runs. */
  readonly scheduledFor?: string
  readonly startedAt?: string
  readonly finishedAt?: string
  readonly attempts: { readonly made: number, readonly max: number }
  readonly progress?: JobProgress
  /** Of a saga: whether its steps go forward or are undone. */
  readonly phase?: SagaPhase
  /** Of a saga: each of its steps, in order, pending ones included. Of a handler with steps: those that are done. */
  readonly steps?: readonly StepDocument[]
  /**
   * The error of the newest attempt; of a failed job, the reason for its failure. The message is shown only if it is
   * meant for clients.
   */
  readonly error?: ShownError
  /** `true`: somebody asked to cancel the job, and its running attempt has not stopped yet. */
  readonly cancelRequested: boolean
  readonly correlationId: string
  /** The W3C trace id of the submission, if it was traced. */
  readonly traceId?: string
}

/** One step in a status document. Its result is never part of it. */
export interface StepDocument {
  readonly name: string
  /** The group that it is in. */
  readonly group?: string
  readonly state: StepState
  /** How many tries have ended. */
  readonly attempt: number
  /** How many tries are allowed. */
  readonly attempts?: number
  readonly startedAt?: string
  /** Of its newest try, in milliseconds; once it is being undone, of the newest try of its undo. */
  readonly durationMs?: number
  /** Until when it waits: asleep, for a signal, or for its next try or that of its compensation. */
  readonly waitsUntil?: string
  /** The error of its newest try, with the same rules as that of the job. */
  readonly error?: ShownError
}

/** States in which a step waits for a moment. */
const WAITING: ReadonlySet<StepState> = new Set(['waiting', 'backoff', 'compensating'])

/**
 * The document of a job that was just submitted. A class, so that {@link writeSubmitted} notices when a hook has
 * replaced the document.
 */
class FreshDocument implements SubmittedDocument {
  readonly id: string
  readonly name: string
  readonly status: JobState
  readonly createdAt: string
  readonly links: Links

  constructor (job: JobRecord, links: JobLinks, createdAt: string) {
    this.id = job.id
    this.name = job.name
    this.status = job.state
    this.createdAt = createdAt
    this.links = links.of(job.id, job.state)
  }
}

/** @param format writes a time as ISO 8601 */
export function submittedDocument (
  job: JobRecord, links: JobLinks, format: (time: number) => string
): SubmittedDocument {
  return new FreshDocument(job, links, format(job.createdAt))
}

/** Texts without characters that JSON must escape. */
const PLAIN = /^[\w:/.~?&=-]*$/

/**
 * Writes the body of a 202 as JSON. Every submission is answered with one, so the usual document is written by hand,
 * at a quarter of the cost of `JSON.stringify`.
 */
export function writeSubmitted (payload: unknown): string {
  if (!(payload instanceof FreshDocument)) return JSON.stringify(payload)
  const { id, name, status, createdAt, links: { self, result, cancel, events, socket } } = payload
  if (result === undefined || !PLAIN.test(self) || !PLAIN.test(name)) return JSON.stringify(payload)
  const member = (key: string, url: string | undefined): string => url === undefined ? '' : `,"${key}":"${url}"`
  const rest = `${member('cancel', cancel)}${member('events', events)}${member('socket', socket)}`
  const links = `"self":"${self}","result":"${result}"${rest}`
  return `{"id":"${id}","name":"${name}","status":"${status}","createdAt":"${createdAt}","links":{${links}}}`
}

/**
 * @param expose which error messages are shown
 * @param maxRedrives how often a failed job may be redriven
 * @param plan the steps of a saga, if this process knows them
 */
export function statusDocument (
  job: JobRecord, links: JobLinks, expose: ExposeErrors = 'marked', maxRedrives = Infinity, plan?: SagaPlan
): StatusDocument {
  const saga = sagaView(job.facts, plan, isTerminal(job.state))
  return {
    id: job.id,
    name: job.name,
    status: job.state,
    createdAt: iso(job.createdAt),
    // JSON leaves out `undefined`.
    scheduledFor: job.state === 'scheduled' ? iso(job.runAt) : undefined,
    startedAt: job.startedAt === undefined ? undefined : iso(job.startedAt),
    finishedAt: job.finishedAt === undefined ? undefined : iso(job.finishedAt),
    attempts: { made: job.attempts, max: job.maxAttempts },
    progress: job.progress,
    phase: saga?.phase,
    steps: saga?.steps.map((step) => stepDocument(step, job, expose)),
    error: shownError(job, expose),
    cancelRequested: job.cancelRequested,
    correlationId: job.correlationId,
    traceId: job.trace?.traceparent.slice(3, 35),
    links: { ...links.of(job.id, job.state, (job.redrives ?? 0) < maxRedrives), signals: signalLinks(job, links, plan) }
  }
}

function stepDocument (step: StepView, job: JobRecord, expose: ExposeErrors): StepDocument {
  const { name, group, state, attempt, attempts, startedAt, durationMs, waitsUntil, error } = step
  const waits = waitsUntil !== undefined && WAITING.has(state)
  return {
    name,
    group,
    state,
    attempt,
    attempts,
    startedAt: startedAt === undefined ? undefined : iso(startedAt),
    durationMs,
    waitsUntil: waits ? iso(waitsUntil) : undefined,
    error: error === undefined ? undefined : shownStepError(error, state, job, expose)
  }
}

/** Where to send what a saga waits for. */
function signalLinks (job: JobRecord, links: JobLinks, plan: SagaPlan | undefined): Record<string, string> | undefined {
  if (plan === undefined || !links.may.signal || isTerminal(job.state)) return undefined
  const names = openSignals(job.facts, plan)
  return names.length === 0 ? undefined : Object.fromEntries(names.map((name) => [name, links.signal(job.id, name)]))
}

/** A weak entity tag (RFC 9110 §8.8.3). Equal documents have equal tags, in every process. */
export function weakETag (body: string): string {
  return `W/"${createHash('sha1').update(body).digest('base64url')}"`
}

/** Whether an `If-None-Match` header names this tag, with the weak comparison of RFC 9110 §13.1.2. */
export function matchesETag (ifNoneMatch: string | undefined, etag: string): boolean {
  if (ifNoneMatch === undefined) return false
  if (ifNoneMatch.trim() === '*') return true
  const opaque = etag.slice(etag.indexOf('"'))
  // An opaque tag has no quotes inside, so every quoted part is one tag.
  const tags: readonly string[] = ifNoneMatch.match(/"[^"]*"/g) ?? []
  return tags.includes(opaque)
}

const MAX_RETRY_AFTER = 60

/**
 * How many whole seconds a client should wait before it polls again; 0 if the job has ended. Short for a young job,
 * longer for an old one (a tenth of its age, up to 30 s), and at least until the start of a scheduled job.
 */
export function retryAfterSeconds (job: JobRecord, now: number): number {
  if (isTerminal(job.state)) return 0
  if (job.state === 'scheduled' && job.runAt > now) return Math.min(Math.max(1, Math.ceil((job.runAt - now) / 1_000)), MAX_RETRY_AFTER)
  const age = Math.max(0, now - (job.startedAt ?? job.runAt)) / 1_000
  return Math.min(Math.max(1, Math.floor(age / 10)), 30)
}
