import { context, ROOT_CONTEXT, trace } from '@opentelemetry/api'
import type { Logger } from '../core/context.ts'
import { compileMessage } from '../core/line-message.ts'
import type { Redaction } from '../core/redact.ts'
import { singleLine } from '../core/text.ts'
import type { AttemptFailure, EventName, SubmitOrigin } from '../events/catalogue.ts'
import type { Sink } from '../events/router.ts'
import type { AttemptMiddleware, AttemptScope } from '../jobs/seams.ts'
import type { Exclusion } from './job-exclusion.ts'
import { LOG_EVENTS, LOG_LEVELS, type LogEvent, type LogLevel } from './log-events.ts'
import { originFiller, originOfJob } from './log-request-origin.ts'
import type { LogEnrichment } from './options/logging.ts'

export interface LoggingParts {
  readonly logger: Logger
  /** Lifecycle events below it are not written. */
  readonly level: LogLevel
  /** What the lines of a submission tell of its sender. */
  readonly enrich: readonly LogEnrichment[]
  readonly excluded: Exclusion
  readonly redaction: Redaction
  /** Monotonic milliseconds. */
  readonly now: () => number
}

type Line = Record<string, unknown>
type Payload = Readonly<Record<string, unknown>>
type Writer = (event: object, name: EventName) => void

const MAX_TEXT = 1_000
/** Ids are only handed to a log line when their span is sampled. */
const SAMPLED_FLAGS = '01'
/** Text that people wrote, or that holds some of it. Everything else is ids and words of ours, and is spared the search. */
const FREE_TEXT: ReadonlySet<string> = new Set(['message', 'errorMessage', 'errorCode', 'statement', 'target', 'operation', 'reason'])
const PROGRESS_EVERY_MS = 10_000
const MAX_PROGRESSING = 1_000

/** Writes the numbered log events. */
export function createLogSink (parts: LoggingParts): Sink {
  const { logger, level } = parts
  // What Fastify has instead of a logger: every method is the same empty function. Building lines for it is for nothing.
  if (logger.info === logger.error) return {}
  const lowest = LOG_LEVELS.indexOf(level)
  const entries = Object.entries(LOG_EVENTS as Record<string, LogEvent>).filter(([, event]) => LOG_LEVELS.indexOf(event.level) >= lowest)
  const writers = entries.map(([name, event]): [string, Writer] => [name, writer(parts, name, event)])
  return Object.fromEntries(writers.map(([name, write]) => [name, name === 'job.progressed' ? sometimes(write, parts.now) : write])) as Sink
}

function writer (parts: LoggingParts, name: string, { id, level: usual, message, fields, lighter }: LogEvent): Writer {
  const { logger, excluded } = parts
  const fill = Object.entries(fields).map(([from, to]) => filler(parts, from, to))
  const messageOf = compileMessage(message, fields)
  // The class that logs.
  const component = `asyncendpoints.${name.slice(0, name.indexOf('.'))}`
  // What an excluded job does in the normal course is not told; that it went wrong still is.
  const excludable = 'jobName' in fields && (usual === 'trace' || usual === 'debug' || usual === 'info')
  return (event) => {
    const payload = event as Payload
    const level = lighter !== undefined && payload[lighter[0]] === lighter[1] ? lighter[2] : usual
    if (level !== usual && LOG_LEVELS.indexOf(level) < LOG_LEVELS.indexOf(parts.level)) return
    if (logger.isLevelEnabled?.(level) === false) return
    if (excludable && excluded(String(payload.jobName))) return
    const line: Line = { eventId: id, event: name, component }
    for (let index = 0; index < fill.length; index++) fill[index]?.(line, payload)
    if (line.trace_id !== undefined) line.trace_flags = SAMPLED_FLAGS
    logger[level](line, messageOf(line, payload))
  }
}

/** Puts one part of an event on the line. */
function filler ({ redaction, enrich }: LoggingParts, from: string, to: string): (line: Line, payload: Payload) => void {
  if (from === 'origin') {
    const fill = originFiller(redaction, enrich)
    return (line, payload) => { fill(line, payload.origin as SubmitOrigin | undefined) }
  }
  if (from === 'failure') return failureFiller(redaction)
  // Bounded and cleaned where the event was made.
  if (from === 'context') return (line, payload) => { if (payload.context !== undefined) line[to] = redaction.hides(to) ? redaction.mask : payload.context }
  const put = redaction.hides(to) ? () => redaction.mask : cleaner(FREE_TEXT.has(from) ? redaction.text : undefined)
  return (line, payload) => {
    const value = payload[from]
    if (value !== undefined && value !== '') line[to] = put(value)
  }
}

/** Why an attempt failed, besides its code and message: what an operator looks for at three in the morning. */
function failureFiller (redaction: Redaction): (line: Line, payload: Payload) => void {
  return (line, payload) => {
    const failure = payload.failure as AttemptFailure | undefined
    if (failure === undefined) return
    const { causes, stack } = failure
    if (causes.length > 0) line.error_causes = redaction.hides('error_causes') ? redaction.mask : causes
    if (stack.length > 0) line.error_stack = redaction.hides('error_stack') ? redaction.mask : stack
  }
}

/** @returns numbers with two decimals at most, texts as one line; what JSON has no word for is left out */
function cleaner (clean: ((text: string) => string) | undefined): (value: unknown) => unknown {
  return (value) => {
    if (typeof value === 'number') return Number.isInteger(value) ? value : Number.isFinite(value) ? Math.round(value * 100) / 100 : undefined
    if (typeof value === 'string') return singleLine(value, MAX_TEXT, clean)
    return typeof value === 'boolean' ? value : undefined
  }
}

/** One line per job and ten seconds: how far it is, for who reads along, and not four times a second. */
function sometimes (write: Writer, now: () => number): Writer {
  const told = new Map<string, number>()
  return (event, name) => {
    const jobId = String((event as Payload).jobId)
    const at = now()
    const last = told.get(jobId)
    if (last !== undefined && at - last < PROGRESS_EVERY_MS) return
    // In order of their last line; those of long ago are over, or may speak.
    told.delete(jobId)
    told.set(jobId, at)
    const [oldest] = told.keys()
    if (told.size > MAX_PROGRESSING && oldest !== undefined) told.delete(oldest)
    write(event, name)
  }
}

export interface AttemptLoggingParts {
  /** Hides already what must not be shown. */
  readonly logger: Logger
  /** `false` where the logger adds them by itself, so that no line has a key twice. */
  readonly withTraceIds: () => boolean
  /** What the lines of a handler tell of the sender of its job. */
  readonly enrich: readonly LogEnrichment[]
  readonly redaction: Redaction
}

/**
 * Gives each attempt a logger that carries its ids, and who sent the request, made when the handler first asks for it: a job that
 * never logs pays nothing.
 */
export function attemptLogging ({ logger, withTraceIds, enrich, redaction }: AttemptLoggingParts): AttemptMiddleware {
  const fill = originFiller(redaction, enrich)
  return (scope, next) => {
    scope.makeLogger = () => {
      const bindings = bindingsOf(scope, withTraceIds())
      fill(bindings, originOfJob(scope.claim.job))
      return logger.child(bindings)
    }
    return next()
  }
}

function bindingsOf ({ claim: { job }, traceIds }: AttemptScope, withTraceIds: boolean): Record<string, unknown> {
  // Another process, of another version perhaps, has written it into the store.
  const correlationId = singleLine(job.correlationId, MAX_TEXT)
  const bindings: Record<string, unknown> = {
    job_id: job.id, job_name: job.name, queue: job.queue, attempt: job.attempts, max_attempts: job.maxAttempts, correlation_id: correlationId
  }
  if (withTraceIds && traceIds !== undefined) {
    bindings.trace_id = traceIds.traceId
    bindings.span_id = traceIds.spanId
    bindings.trace_flags = traceIds.traceFlags
  }
  return bindings
}

const PROBE = { traceId: '0af7651916cd43dd8448eb211c80319c', spanId: 'b7ad6b7169203331', traceFlags: 1 }

/**
 * True when the logger puts the active span's ids on every line by itself, as OpenTelemetry's instrumentation of pino
 * makes it do. Found out by asking its mixin once, inside a span: a mixin of another purpose is none of our business.
 */
export function logsTraceIdsItself (logger: Logger): boolean {
  try {
    const mixin = mixinOf(logger)
    if (mixin === undefined) return false
    const inside = trace.setSpanContext(ROOT_CONTEXT, PROBE)
    const fields = context.with(inside, () => mixin({}, 30, logger))
    return typeof fields === 'object' && fields !== null && 'trace_id' in fields
  } catch {
    return false
  }
}

/** Pino keeps it under a symbol that it does not export. */
function mixinOf (logger: object): ((...values: unknown[]) => unknown) | undefined {
  for (let owner: object | null = logger; owner !== null; owner = Object.getPrototypeOf(owner) as object | null) {
    const symbol = Object.getOwnPropertySymbols(owner).find((entry) => entry.description === 'pino.mixin')
    const mixin: unknown = symbol === undefined ? undefined : Reflect.get(owner, symbol)
    if (typeof mixin === 'function') return (...values) => mixin.apply(logger, values)
  }
  return undefined
}
