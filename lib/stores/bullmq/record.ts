/** Makes a record of the contract out of the fields that the server holds of a job. */
import type { ClaimedJob, JobProgress, JobRecord } from '../../jobs/job.ts'
import type { JobState } from '../../jobs/states.ts'
import { envelopeIn, errorOf, inputOf, NO_ENVELOPE, originOf, parseNotes, traceOf, type Envelope, type Notes } from './envelope.ts'
import type { BullJob } from './internals.ts'
import { FIELD } from './layout.ts'

/**
 * The fields of a job's hash that a record is made of, in the order in which scripts give them. All are small: `data`
 * is none of them.
 */
export const RECORD_FIELDS = [
  FIELD.name, FIELD.timestamp, FIELD.opts, FIELD.priority, FIELD.delay, FIELD.processedOn, FIELD.finishedOn,
  FIELD.failedReason, FIELD.returnvalue, FIELD.progress, FIELD.attemptsMade, FIELD.stalls, FIELD.deferredFailure, FIELD.attemptsStarted, FIELD.redrives,
  FIELD.undo, FIELD.stepsHead, FIELD.changes
] as const

/** What the server says about one job: the fields above, and whether somebody holds its lease. */
export interface RawJob {
  readonly fields: ReadonlyArray<string | null>
  readonly leased: boolean
}

/** `undefined` for an answer that is not a job. */
export function rawJob (fields: unknown, leased: unknown): RawJob | undefined {
  if (!Array.isArray(fields) || typeof fields[0] !== 'string') return undefined
  return { fields: fields.map((field) => field === null || field === undefined ? null : String(field)), leased: Number(leased) === 1 }
}

/** A job with what only the store needs to know about it. */
export interface StoredRecord {
  readonly record: JobRecord
  /** `undefined`: somebody else added it, with BullMQ alone. */
  readonly envelope: Envelope | undefined
}

export function recordOf (id: string, queue: string, { fields, leased }: RawJob): StoredRecord {
  const [name, timestamp, opts, priority, delay, processedOn, finishedOn, failedReason, returnvalue, progress, atm, stc, defa, ats, rdr, , head, changes] = fields
  const { delayMs, ours } = parseOptions(opts)
  const envelope = ours ?? NO_ENVELOPE
  const notes = parseNotes(failedReason)
  const deferred = defa === null || defa === undefined ? undefined : parseNotes(defa)
  const ended = integer(finishedOn)
  const createdAt = integer(timestamp) ?? 0
  const counted = (integer(atm) ?? 0) + (integer(stc) ?? 0)
  // A claim that has neither been settled nor counted as a stall: it runs, or its worker died and nobody has looked
  // yet.
  const claimed = (integer(ats) ?? 0) - counted - (notes.a ?? 0) > 0
  const state = stateOf(ended, returnvalue, notes, deferred, leased || claimed, integer(delay) ?? 0)
  const running = state === 'in-progress' ? 1 : 0
  const finishedAt = ended ?? (state === 'cancelled' ? deferred?.t : undefined)
  const error = state === 'completed' ? undefined : state === 'cancelled' ? cancelError(ended === undefined ? deferred : notes) : errorOf(notes)
  const bytes = integer(returnvalue)
  return {
    envelope: ours,
    record: withHead(head, {
      id,
      name: name ?? '',
      queue,
      state,
      owner: envelope.o,
      correlationId: envelope.c,
      trace: traceOf(envelope),
      priority: integer(priority) ?? 0,
      createdAt,
      runAt: Math.max(createdAt + delayMs, notes.r ?? 0),
      startedAt: integer(processedOn),
      finishedAt,
      attempts: counted - (notes.k ?? 0) + running,
      maxAttempts: envelope.n,
      progress: progressIn(progress),
      error,
      cancelRequested: deferred !== undefined && finishedAt === undefined,
      resultBytes: state === 'completed' ? bytes : undefined,
      redrives: integer(rdr) ?? 0,
      version: versionOf(state, integer(ats) ?? 0, integer(changes) ?? 0)
    })
  }
}

/** How far a job is between two claims. */
const PHASE: Readonly<Record<JobState, number>> = { 'in-progress': 0, scheduled: 1, queued: 2, completed: 3, failed: 3, cancelled: 3 }

/**
 * The version of a job. BullMQ counts the claims of a job, and most changes begin or end one: they need no write of
 * their own. The others are counted in {@link FIELD.changes}, and so is what a redrive resets.
 */
export function versionOf (state: JobState, claims: number, changes: number): number {
  return 3 * claims + PHASE[state] + changes
}

/** Only a job with steps has facts. */
function withHead (head: string | null | undefined, record: JobRecord): JobRecord {
  return head === null || head === undefined ? record : { ...record, facts: { '': head } }
}

function stateOf (ended: number | undefined, returnvalue: string | null | undefined, notes: Notes, deferred: Notes | undefined, claimed: boolean, delay: number): JobState {
  if (ended !== undefined) return returnvalue !== null && returnvalue !== undefined ? 'completed' : notes.x === 1 ? 'cancelled' : 'failed'
  // Cancelled where it waits; some worker will take it out of the line, without running it.
  if (deferred?.x === 1) return 'cancelled'
  if (claimed) return 'in-progress'
  return delay > 0 ? 'scheduled' : 'queued'
}

function cancelError (notes: Notes | undefined): JobRecord['error'] {
  return notes === undefined ? undefined : { code: 'FAE_JOB_CANCELLED', message: notes.m ?? '' }
}

/** A job as a worker of BullMQ has it, right after the claim. */
export function claimedRecord (job: BullJob, queue: string, notes: Notes, cancelRequested: boolean): ClaimedJob {
  const createdAt = job.timestamp
  const ours = envelopeIn(job.opts)
  const envelope = ours ?? NO_ENVELOPE
  // The keys in the same order as below: all records have one shape and print the same.
  return {
    id: String(job.id),
    name: job.name,
    queue,
    state: 'in-progress',
    input: inputOf(job.data, ours !== undefined),
    origin: originOf(envelope),
    owner: envelope.o,
    correlationId: envelope.c,
    trace: traceOf(envelope),
    priority: job.priority,
    createdAt,
    runAt: Math.max(createdAt + (job.opts.delay ?? 0), notes.r ?? 0),
    startedAt: job.processedOn === undefined ? undefined : Math.floor(job.processedOn),
    finishedAt: undefined,
    attempts: job.attemptsMade + job.stalledCounter + 1,
    maxAttempts: envelope.n,
    progress: isProgress(job.progress) ? job.progress : undefined,
    error: errorOf(notes),
    cancelRequested,
    resultBytes: undefined,
    // BullMQ's job does not carry it.
    redrives: undefined
  }
}

/** When a waiting job could first have been claimed, from its timestamp, options and notes. */
export function claimableSince (timestamp: unknown, opts: unknown, failedReason: unknown): number | undefined {
  const createdAt = integer(text(timestamp))
  if (createdAt === undefined) return undefined
  return Math.max(createdAt + parseOptions(text(opts)).delayMs, parseNotes(text(failedReason)).r ?? 0)
}

function text (value: unknown): string | null {
  return typeof value === 'string' ? value : null
}

interface ParsedOptions { readonly delayMs: number, readonly ours: Envelope | undefined }

function parseOptions (json: string | null | undefined): ParsedOptions {
  let opts: unknown
  try {
    opts = JSON.parse(json ?? '{}')
  } catch { /* somebody else wrote them */ }
  const delay: unknown = Reflect.get(Object(opts), 'delay')
  return { delayMs: typeof delay === 'number' && delay > 0 ? delay : 0, ours: envelopeIn(opts) }
}

function progressIn (json: string | null | undefined): JobProgress | undefined {
  if (json === null || json === undefined) return undefined
  try {
    const progress: unknown = JSON.parse(json)
    return isProgress(progress) ? progress : undefined
  } catch {
    return undefined
  }
}

function isProgress (value: unknown): value is JobProgress {
  return typeof value === 'object' && value !== null
}

function integer (value: string | null | undefined): number | undefined {
  if (value === null || value === undefined || value === '') return undefined
  const number = Number(value)
  return Number.isFinite(number) ? Math.floor(number) : undefined
}
