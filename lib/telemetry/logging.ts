import { context, ROOT_CONTEXT, trace } from '@opentelemetry/api'
import type { Logger } from '../core/context.ts'
import type { EventName } from '../events/catalogue.ts'
import type { Sink } from '../events/router.ts'
import type { AttemptMiddleware, AttemptScope } from '../jobs/seams.ts'
import type { Exclusion } from './exclude.ts'
import { LOG_EVENTS, LOG_LEVELS, type LogEvent, type LogLevel } from './log-events.ts'

export interface LoggingParts {
  readonly logger: Logger
  /** Lifecycle events below it are not written. */
  readonly level: LogLevel
  readonly excluded: Exclusion
}

const MAX_TEXT = 1_000
/** Ids are only handed to a log line when their span is sampled. */
const SAMPLED_FLAGS = '01'
// Pino escapes them in JSON; a transport that prints the text may not.
// eslint-disable-next-line no-control-regex
const CONTROL = /[\u0000-\u001f\u007f\u2028\u2029]+/g

/** Writes the numbered log events. */
export function createLogSink ({ logger, level, excluded }: LoggingParts): Sink {
  // What Fastify has instead of a logger: every method is the same empty function. Building lines for it is for nothing.
  if (logger.info === logger.error) return {}
  const lowest = LOG_LEVELS.indexOf(level)
  const entries = Object.entries(LOG_EVENTS as Record<string, LogEvent>).filter(([, event]) => LOG_LEVELS.indexOf(event.level) >= lowest)
  return Object.fromEntries(entries.map(([name, event]) => [name, writer(logger, name, event, excluded)])) as Sink
}

function writer (logger: Logger, name: string, { id, level, message, fields }: LogEvent, excluded: Exclusion): (event: object, name: EventName) => void {
  const pairs = Object.entries(fields)
  // What an excluded job does in the normal course is not told; that it went wrong still is.
  const excludable = 'jobName' in fields && (level === 'trace' || level === 'debug' || level === 'info')
  return (event) => {
    if (logger.isLevelEnabled?.(level) === false) return
    const payload = event as Readonly<Record<string, unknown>>
    if (excludable && excluded(String(payload.jobName))) return
    const line: Record<string, unknown> = { eventId: id, event: name }
    for (const [from, to] of pairs) {
      const value = payload[from]
      if (value !== undefined && value !== '') line[to] = clean(value)
    }
    if (line.trace_id !== undefined) line.trace_flags = SAMPLED_FLAGS
    logger[level](line, message)
  }
}

function clean (value: unknown): unknown {
  if (typeof value === 'number') return Number.isInteger(value) ? value : Math.round(value * 100) / 100
  return typeof value === 'string' ? value.slice(0, MAX_TEXT).replace(CONTROL, ' ') : value
}

/**
 * Gives each attempt a logger that carries its ids, made when the handler first asks for it: a job that never logs
 * pays nothing.
 *
 * @param withTraceIds `false` where the logger adds them by itself, so that no line has a key twice
 */
export function attemptLogging (logger: Logger, withTraceIds: () => boolean): AttemptMiddleware {
  return (scope, next) => {
    scope.makeLogger = () => logger.child(bindingsOf(scope, withTraceIds()))
    return next()
  }
}

function bindingsOf ({ claim: { job }, traceIds }: AttemptScope, withTraceIds: boolean): Record<string, unknown> {
  const bindings: Record<string, unknown> = { job_id: job.id, job_name: job.name, queue: job.queue, attempt: job.attempts, correlation_id: job.correlationId }
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
