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
  /** Lifecycle events below this level are not logged. */
  readonly level: LogLevel
  /** The fields about the sender on the lines of a submission. */
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
/** Log lines get the ids of sampled spans only. */
const SAMPLED_FLAGS = '01'
/**
 * The parts with text that people may have written: it is searched for credentials. The other parts are ids and words
 * of this library, for which the search would be wasted.
 */
const FREE_TEXT: ReadonlySet<string> = new Set([
  'message', 'errorMessage', 'errorCode', 'statement', 'target', 'operation', 'reason'
])
const PROGRESS_EVERY_MS = 10_000
const MAX_PROGRESSING = 1_000

/** Writes the numbered log lines of events. */
export function createLogSink (parts: LoggingParts): Sink {
  const { logger, level } = parts
  // Without a logger Fastify has an object whose methods are one and the same empty function. Build no lines for it.
  if (logger.info === logger.error) return {}
  const lowest = LOG_LEVELS.indexOf(level)
  const entries = Object.entries<LogEvent>(LOG_EVENTS).filter(([, event]) => LOG_LEVELS.indexOf(event.level) >= lowest)
  const writers = entries.map(([name, event]): [string, Writer] => [name, writer(parts, name, event)])
  const limited = writers.map(([name, write]) => [name, name === 'job.progressed' ? sometimes(write, parts.now) : write])
  return Object.fromEntries(limited) as Sink
}

function writer (parts: LoggingParts, name: string, { id, level: usual, message, fields, lighter, reworded }: LogEvent): Writer {
  const { logger, excluded } = parts
  const fill = Object.entries(fields).map(([from, to]) => filler(parts, from, to))
  const usually = compileMessage(message, fields)
  const otherwise = reworded === undefined ? usually : compileMessage(reworded[2], fields)
  // The part of the library that the line is about.
  const component = `asyncendpoints.${name.slice(0, name.indexOf('.'))}`
  // The normal course of an excluded job is not logged; what went wrong with it is.
  const excludable = 'jobName' in fields && (usual === 'trace' || usual === 'debug' || usual === 'info')
  return (event) => {
    const payload = event as Payload
    const level = lighter !== undefined && String(payload[lighter[0]]) === lighter[1] ? lighter[2] : usual
    if (level !== usual && LOG_LEVELS.indexOf(level) < LOG_LEVELS.indexOf(parts.level)) return
    if (logger.isLevelEnabled?.(level) === false) return
    if (excludable && excluded(String(payload.jobName))) return
    const line: Line = { eventId: id, event: name, component }
    for (let index = 0; index < fill.length; index++) fill[index]?.(line, payload)
    if (line.trace_id !== undefined) line.trace_flags = SAMPLED_FLAGS
    const messageOf = reworded !== undefined && String(payload[reworded[0]]) === reworded[1] ? otherwise : usually
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
  // Shortened and cleaned where the event was made.
  if (from === 'context') {
    return (line, payload) => {
      if (payload.context !== undefined) line[to] = redaction.hides(to) ? redaction.mask : payload.context
    }
  }
  const put = redaction.hides(to) ? () => redaction.mask : cleaner(FREE_TEXT.has(from) ? redaction.text : undefined)
  return (line, payload) => {
    const value = payload[from]
    if (value !== undefined && value !== '') line[to] = put(value)
  }
}

/** Why an attempt failed, beside its code and message: the chain of causes, and the stack. */
function failureFiller (redaction: Redaction): (line: Line, payload: Payload) => void {
  return (line, payload) => {
    const failure = payload.failure as AttemptFailure | undefined
    if (failure === undefined) return
    const { causes, stack } = failure
    if (causes.length > 0) line.error_causes = redaction.hides('error_causes') ? redaction.mask : causes
    if (stack.length > 0) line.error_stack = redaction.hides('error_stack') ? redaction.mask : stack
  }
}

/** @returns numbers with at most two decimals, texts as one line; values that JSON cannot hold are left out */
function cleaner (clean: ((text: string) => string) | undefined): (value: unknown) => unknown {
  return (value) => {
    if (typeof value === 'number') {
      if (Number.isInteger(value)) return value
      return Number.isFinite(value) ? Math.round(value * 100) / 100 : undefined
    }
    if (typeof value === 'string') return singleLine(value, MAX_TEXT, clean)
    return typeof value === 'boolean' ? value : undefined
  }
}

/** At most one line per job in ten seconds: handlers may report progress several times per second. */
function sometimes (write: Writer, now: () => number): Writer {
  const lines = new Map<string, number>()
  return (event, name) => {
    const jobId = String((event as Payload).jobId)
    const at = now()
    const last = lines.get(jobId)
    if (last !== undefined && at - last < PROGRESS_EVERY_MS) return
    // The map is in the order of the last lines, so that the job that has been silent for longest is dropped first.
    lines.delete(jobId)
    lines.set(jobId, at)
    const [oldest] = lines.keys()
    if (lines.size > MAX_PROGRESSING && oldest !== undefined) lines.delete(oldest)
    write(event, name)
  }
}

export interface AttemptLoggingParts {
  /** A logger that already hides what must not be shown. */
  readonly logger: Logger
  /** `false` where the logger adds trace ids by itself: otherwise lines would have these keys twice. */
  readonly withTraceIds: () => boolean
  /** The fields about the sender on the lines of a handler. */
  readonly enrich: readonly LogEnrichment[]
  readonly redaction: Redaction
}

/**
 * Gives each attempt a logger that carries its ids and the sender of the request. The logger is made when the handler
 * first uses it, so that a job that never logs costs nothing.
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
  // Another process, perhaps of another version, has written it into the store.
  const correlationId = singleLine(job.correlationId, MAX_TEXT)
  const bindings: Record<string, unknown> = {
    job_id: job.id,
    job_name: job.name,
    queue: job.queue,
    attempt: job.attempts,
    max_attempts: job.maxAttempts,
    correlation_id: correlationId
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
 * True when the logger puts the ids of the active span on every line by itself, as it does under OpenTelemetry's
 * instrumentation of pino. It is found out by calling the logger's mixin once inside a span: a mixin for another
 * purpose adds no `trace_id`.
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

/** Pino keeps the mixin under a symbol that it does not export. */
function mixinOf (logger: object): ((...values: unknown[]) => unknown) | undefined {
  for (let owner: object | null = logger; owner !== null; owner = Object.getPrototypeOf(owner) as object | null) {
    const symbol = Object.getOwnPropertySymbols(owner).find((entry) => entry.description === 'pino.mixin')
    const mixin: unknown = symbol === undefined ? undefined : Reflect.get(owner, symbol)
    if (typeof mixin === 'function') return (...values) => mixin.apply(logger, values)
  }
  return undefined
}
