import type { Clock } from '../core/context.ts'
import type { Redaction } from '../core/redact.ts'
import { singleLine } from '../core/text.ts'
import type { EventBus } from '../events/bus.ts'
import type { HistogramCell } from '../telemetry/metric-cells.ts'
import type { FinishedSpan, SpanWatcher } from '../telemetry/sdk/span-watch.ts'
import type { ResolvedPerformanceOptions } from './options.ts'
import type { NewestSamples } from './newest-samples.ts'
import { operationName, readStatement, type Statement } from './query-statement.ts'

/** A slow query in the bottleneck report. */
export interface SlowQuery {
  /** Wall clock, milliseconds since the epoch. */
  readonly at: number
  readonly system: string
  readonly operation: string
  readonly target: string
  readonly statement: string
  readonly durationMs: number
}

export interface QueriesParts {
  readonly clock: Clock
  readonly bus: EventBus
  readonly redaction: Redaction
  readonly options: Pick<ResolvedPerformanceOptions, 'slowQueryMs'>
  readonly samples: NewestSamples<SlowQuery>
  readonly duration: (system: string, operation: string, target: string) => HistogramCell
  /** Called with each error that happened while a span was read. Must not throw. */
  readonly failed: (error: unknown) => void
}

const MAX_STATEMENT = 500
const MAX_NAME = 100
/**
 * Query texts with placeholders come again and again. Reading one takes some microseconds, looking it up a fraction of
 * one.
 */
const MAX_REMEMBERED = 500
const MAX_REMEMBERED_LENGTH = 2_000
/** Not measured: questions about the database itself, and what clients send to connect. */
const NOT_QUERIES: ReadonlySet<string> = new Set(['show', 'describe', 'desc', 'explain', 'schema', 'pragma', 'connect', 'auth', 'hello', 'info'])
const CATALOGUES = /^(?:information_schema|pg_catalog|sqlite_master|sqlite_schema)\b/i
const NOTHING_READ: Statement = Object.freeze({ operation: 'unknown', target: '', text: '' })
/** Attribute names of OpenTelemetry's conventions, the stable ones first; many clients still write the older ones. */
const TEXT = ['db.query.text', 'db.statement'] as const
const OPERATION = ['db.operation.name', 'db.operation'] as const
const TARGET = ['db.collection.name', 'db.sql.table', 'db.mongodb.collection', 'db.cassandra.table'] as const

/**
 * Measures database queries from the spans of instrumented clients, for every database. A span that is not of a
 * database costs two look-ups. It never throws into the tracing of the application.
 */
export class Queries implements SpanWatcher {
  readonly #parts: QueriesParts
  readonly #read = new Map<string, Map<string, Statement>>()
  #remembered = 0
  /** While this is false, spans are ignored: an application that has added this to its SDK cannot remove it. */
  listening = false

  constructor (parts: QueriesParts) { this.#parts = parts }

  onStart (): void {}

  onEnd (span: FinishedSpan): void {
    if (!this.listening) return
    try {
      const { attributes } = span
      const system = attributes['db.system.name'] ?? attributes['db.system']
      if (typeof system === 'string') this.#query(span, singleLine(system.toLowerCase(), MAX_NAME))
    } catch (error) {
      this.#parts.failed(error)
    }
  }

  async forceFlush (): Promise<void> {}
  async shutdown (): Promise<void> {}

  #query (span: FinishedSpan, system: string): void {
    const { attributes, duration: [seconds, nanoseconds] } = span
    const text = firstText(attributes, TEXT)
    const named = firstText(attributes, OPERATION)
    // The span of a connection, or of waiting for one.
    if (text === '' && named === '') return
    const read = text === '' ? NOTHING_READ : this.#statement(text, system)
    const operation = named === '' ? read.operation : operationName(named)
    const target = singleLine(firstText(attributes, TARGET) || read.target, MAX_NAME, this.#parts.redaction.text)
    if (NOT_QUERIES.has(operation) || NOT_QUERIES.has(read.operation) || CATALOGUES.test(target)) return
    const { bus, clock, duration, options, redaction, samples } = this.#parts
    const took = seconds + nanoseconds / 1e9
    duration(system, operation, target).observe(took)
    const durationMs = took * 1_000
    if (!(durationMs > options.slowQueryMs)) return
    const statement = singleLine(read.text, MAX_STATEMENT, redaction.text)
    samples.add({ at: clock.now(), system, operation, target, statement, durationMs })
    const { traceId, spanId } = span.spanContext()
    bus.emit('performance.slow_query', { system, operation, target, statement, durationMs, thresholdMs: options.slowQueryMs, traceId, spanId })
  }

  #statement (text: string, system: string): Statement {
    if (text.length > MAX_REMEMBERED_LENGTH) return readStatement(text, system)
    const known = this.#read.get(system)?.get(text)
    if (known !== undefined) return known
    const read = readStatement(text, system)
    // Texts that contain values fill the cache, because each is different. Then it is emptied.
    if (this.#remembered++ >= MAX_REMEMBERED) {
      this.#read.clear()
      this.#remembered = 1
    }
    let ofSystem = this.#read.get(system)
    if (ofSystem === undefined) this.#read.set(system, ofSystem = new Map())
    ofSystem.set(text, read)
    return read
  }
}

function firstText (attributes: FinishedSpan['attributes'], keys: readonly string[]): string {
  for (const key of keys) {
    const value = attributes[key]
    if (typeof value === 'string' && value !== '') return value
  }
  return ''
}
