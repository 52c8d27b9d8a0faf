import type { Context } from '../core/context.ts'
import { watchEventLoop, type LoopWatch } from '../core/event-loop.ts'
import { FirstOnly } from '../core/first-only.ts'
import { Periodic } from '../core/periodic.ts'
import type { Redaction } from '../core/redact.ts'
import { BaseService } from '../core/service.ts'
import type { EventBus } from '../events/bus.ts'
import type { OperationContext } from '../events/catalogue.ts'
import type { Instrument } from '../telemetry/instrument.ts'
import { INSTRUMENTS } from '../telemetry/instruments.ts'
import type { MetricsRegistry } from '../telemetry/registry.ts'
import type { SpanWatcher } from '../telemetry/sdk/span-watch.ts'
import type { SpanWatch } from '../telemetry/telemetry.ts'
import { FactReader, type Surroundings } from './fact-reader.ts'
import { findings, limitOf, verdict } from './bottleneck-findings.ts'
import { LastingBottleneck } from './lasting-bottleneck.ts'
import { Operations, type SlowOperation } from './operations.ts'
import type { ResolvedPerformanceOptions } from './options.ts'
import { Queries, type SlowQuery } from './queries.ts'
import type { BottleneckReport, Facts, Finding, Shown } from './bottleneck-report.ts'
import { NewestSamples } from './newest-samples.ts'
import { cut } from '../core/text.ts'

/** `app.jobMonitor`: measures operations of the application, and reports what limits the throughput. */
export interface PerformanceMonitor {
  /**
   * Runs the work and measures it. Its duration and the change of the heap become metrics, and events when the work was
   * slow or left the heap much larger. Returns what the work returns, throws what it throws.
   *
   * @param operation a name out of few: it becomes a metric label
   * @param context facts for the events, such as which customer or how many rows; they never become labels
   * @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS` for an invalid name, before the work begins
   */
  monitor<R> (operation: string, work: () => PromiseLike<R>, context?: OperationContext): Promise<R>
  monitor<R> (operation: string, work: () => R, context?: OperationContext): R
  /** What limits the throughput now; `undefined` when the report is switched off. */
  bottlenecks (): BottleneckReport | undefined
  /**
   * For an OpenTelemetry SDK that the monitor cannot find by itself: add what this returns to the span processors of
   * that SDK, and its database spans are measured. From the call on, the spans of no other SDK are measured.
   */
  spanProcessor (): SpanWatcher
}

export interface MonitorParts {
  readonly context: Context
  readonly bus: EventBus
  readonly redaction: Redaction
  readonly registry: MetricsRegistry
  readonly options: ResolvedPerformanceOptions
  /** False: there is no bottleneck report. It is made from metrics, so this must be false where none are recorded. */
  readonly bottlenecks: boolean
  readonly surroundings: Surroundings
  /** Passes the spans of this process to a watcher; see {@link SpanWatch}. */
  readonly watchSpans: (watcher: SpanWatcher) => SpanWatch
  /** Runs the work, and what it starts, without spans. */
  readonly quietly: <R>(work: () => R) => R
  /** @defaultValue the event loop of this process */
  readonly loop?: LoopWatch
  /** Bytes of the heap in use. @defaultValue V8's own count */
  readonly heapUsed?: () => number
}

/** How many slow operations and slow queries a report shows, unless it is asked for another number. */
const SHOWN = 20
/** How many jobs an event names that ran while the event loop was blocked; nobody reads a longer list. */
const MAX_NAMED = 10
const NO_SPANS = 'slow database queries cannot be seen: the library cannot add a span processor to the tracer provider of this process; ' +
  'add app.jobMonitor.spanProcessor() to it, or set performance.slowQueries to false'
const FAILURE_SOURCE = 'performance.slow-queries'

/**
 * The implementation of `app.jobMonitor`: measures operations, database queries and the event loop, and finds what
 * limits the throughput.
 *
 * ```
 * made (monitor() works) ──start──▶ running: a sample every sampleIntervalMs, spans and events are watched ──stop──▶ stopped
 * ```
 */
export class Monitor extends BaseService implements PerformanceMonitor {
  readonly #parts: MonitorParts
  readonly #loop: LoopWatch
  readonly #operations: Operations
  readonly #queries: Queries
  readonly #facts: FactReader | undefined
  readonly #lasting: LastingBottleneck
  readonly #slowOperations: NewestSamples<SlowOperation>
  readonly #slowQueries: NewestSamples<SlowQuery>
  readonly #lag: Instrument<'gauge'>
  readonly #utilization: Instrument<'gauge'>
  /** Names of the jobs that were claimed here since the last sample. */
  readonly #claimed = new Set<string>()
  #unlisten: ReadonlyArray<() => void> = []
  #watch: SpanWatch | undefined
  readonly #samples: Periodic
  /** The application has asked for the span processor, in order to add it to its own SDK. */
  #taken = false
  readonly #failures = new FirstOnly()

  constructor (parts: MonitorParts) {
    super()
    this.#parts = parts
    const { context: { clock }, registry, options } = parts
    this.#loop = parts.loop ?? watchEventLoop()
    this.#lasting = new LastingBottleneck(options.windowMs)
    this.#slowOperations = new NewestSamples(options.maxSamples)
    this.#slowQueries = new NewestSamples(options.maxSamples)
    this.#lag = registry.instrument(INSTRUMENTS.eventLoopLag)
    this.#utilization = registry.instrument(INSTRUMENTS.eventLoopUtilization)
    this.#samples = new Periodic({ clock, intervalMs: options.sampleIntervalMs, turn: () => { this.#sample() } })
    this.#operations = this.#newOperations()
    this.#queries = this.#newQueries()
    if (parts.bottlenecks) this.#facts = new FactReader(registry, parts.surroundings, options.windowMs, () => clock.monotonic())
  }

  #newOperations (): Operations {
    const { context: { clock }, bus, redaction, registry, options, heapUsed } = this.#parts
    const duration = registry.instrument(INSTRUMENTS.operationDuration)
    const memoryDelta = registry.instrument(INSTRUMENTS.operationMemoryDelta)
    return new Operations({
      clock,
      bus,
      redaction,
      options,
      heapUsed,
      samples: this.#slowOperations,
      duration: (operation) => duration.bind({ operation }),
      memoryDelta: (operation) => memoryDelta.bind({ operation })
    })
  }

  #newQueries (): Queries {
    const { context: { clock }, bus, redaction, registry, options } = this.#parts
    const duration = registry.instrument(INSTRUMENTS.databaseQueryDuration)
    return new Queries({
      clock,
      bus,
      redaction,
      options,
      samples: this.#slowQueries,
      duration: (system, operation, target) =>
        duration.bind({ db_system_name: system, db_operation_name: operation, db_collection_name: target }),
      failed: (error) => { this.#queriesFailed(error) }
    })
  }

  monitor<R> (operation: string, work: () => PromiseLike<R>, context?: OperationContext): Promise<R>
  monitor<R> (operation: string, work: () => R, context?: OperationContext): R
  monitor (operation: string, work: () => unknown, context?: OperationContext): unknown {
    return this.#operations.measure(operation, work, context)
  }

  spanProcessor (): SpanWatcher {
    this.#taken = true
    this.#unwatch()
    this.#queries.listening = this.#parts.options.slowQueries && this.phase !== 'stopping' && this.phase !== 'stopped'
    return this.#queries
  }

  /** @param samples how many slow operations and queries to show, the newest */
  bottlenecks (samples = SHOWN): BottleneckReport | undefined {
    const { context: { clock }, registry, options } = this.#parts
    if (this.#facts === undefined) return undefined
    // Updates the gauges that are computed when they are read, such as the age of the counts of the store.
    registry.families()
    const facts = this.#facts.read()
    const now = clock.now()
    const found = this.#findings(facts, now)
    return {
      ...verdict(found, facts),
      findings: found,
      asOf: new Date(now).toISOString(),
      windowMs: options.windowMs,
      ...facts,
      slowOperations: this.#slowOperations.newest(samples).map(shown),
      slowQueries: this.#slowQueries.newest(samples).map(shown)
    }
  }

  #findings (facts: Facts, now: number): Finding[] {
    const { options, surroundings } = this.#parts
    return findings({
      facts,
      options,
      timeouts: new Map(surroundings.jobs().map(({ name, timeoutMs }) => [name, timeoutMs])),
      worker: surroundings.worker(),
      countsIntervalMs: surroundings.countsIntervalMs,
      slowQueries: this.#slowQueries.newest().filter(({ at }) => at >= now - options.windowMs)
    })
  }

  protected async onStart (): Promise<void> {
    const { quietly, options } = this.#parts
    quietly(() => {
      this.#loop.start()
      this.#facts?.window.take(this.#moment())
      this.#samples.start()
    })
    this.#unlisten = this.#listen()
    if (options.slowQueries && !this.#taken) this.#watchSpans()
  }

  protected async onStop (): Promise<void> {
    this.#samples.cancel()
    this.#queries.listening = false
    this.#unwatch()
    for (const stop of this.#unlisten) stop()
    this.#loop.stop()
  }

  /**
   * The library measures its own operations; their events carry the durations, and slow ones are reported like slow
   * operations of the application. Handlers are not: jobs may take long.
   */
  #listen (): Array<() => void> {
    const { bus, options } = this.#parts
    const operations = this.#operations
    return [
      bus.on('job.submitted', ({ submitMs }) => { operations.reportIfSlow('submit', submitMs) }),
      bus.on('job.claimed', ({ jobName, claimMs }) => {
        this.#claimed.add(jobName)
        if (claimMs !== undefined) operations.reportIfSlow('claim', claimMs)
      }),
      bus.on('store.operated', ({ operation, durationMs }) => {
        // Compared here too, before a name is made: every job has several of these events, and most are fast.
        if (durationMs <= options.slowMs) return
        // These two are reported by the listeners above, as `submit` and `claim`.
        if (operation !== 'create' && operation !== 'claim') operations.reportIfSlow(`store.${operation}`, durationMs)
      })
    ]
  }

  #watchSpans (): void {
    this.#queries.listening = true
    this.#watch = this.#parts.watchSpans(this.#queries)
    if (!this.#watch.missed) return
    this.#parts.context.logger.warn({ source: 'performance' }, NO_SPANS)
  }

  #unwatch (): void {
    this.#watch?.stop()
    this.#watch = undefined
  }

  #sample (): void {
    const { bus, options } = this.#parts
    const moment = this.#moment()
    this.#facts?.window.take(moment)
    this.#reportBottleneck()
    const jobs = this.#jobsThatRan()
    if (moment.loop === undefined) return
    const { lagMs, utilization } = moment.loop
    this.#lag.bind({}).set(lagMs / 1_000)
    this.#utilization.bind({}).set(100 * utilization)
    if (lagMs > options.eventLoopLagMs) bus.emit('performance.event_loop_lagged', { lagMs, thresholdMs: options.eventLoopLagMs, jobs })
  }

  /** The names of the jobs that ran since the last sample: one of them may have blocked the event loop. */
  #jobsThatRan (): string {
    const names = this.#claimed
    for (const { name } of this.#parts.surroundings.worker()?.attempts() ?? []) names.add(name)
    const shown = [...names].slice(0, MAX_NAMED).join(', ')
    const more = names.size - MAX_NAMED
    names.clear()
    return more > 0 ? `${shown} and ${more} more` : shown
  }

  #reportBottleneck (): void {
    const { bus, context: { clock } } = this.#parts
    const now = clock.monotonic()
    if (this.#facts === undefined || !this.#lasting.due(now)) return
    const limit = this.#lasting.check(limitOf(this.#findings(this.#facts.read(), clock.now())), now)
    if (limit === undefined) return
    const { cause, severity, subject, value, threshold, unit, sentence } = limit
    bus.emit('performance.bottleneck_found', { cause, severity, subject: subject ?? undefined, value, threshold, unit, sentence })
  }

  #moment (): Parameters<FactReader['window']['take']>[0] {
    return { loop: this.#loop.sample(), loads: this.#parts.surroundings.worker()?.loads ?? [] }
  }

  #queriesFailed (error: unknown): void {
    const { bus, context: { logger } } = this.#parts
    bus.emit('telemetry.listener_failed', { source: FAILURE_SOURCE, message: error instanceof Error ? cut(error.message, 200) : 'not an Error' })
    if (!this.#failures.note(FAILURE_SOURCE)) return
    logger.warn({ source: FAILURE_SOURCE, err: error }, 'a database span could not be read; further ones are counted, not logged')
  }
}

function shown<S extends { readonly at: number, readonly durationMs: number }> (sample: S): Shown<S> {
  return { ...sample, at: new Date(sample.at).toISOString(), durationMs: Math.round(sample.durationMs * 100) / 100 }
}

const IGNORES_SPANS: SpanWatcher = Object.freeze({ onStart: () => {}, onEnd: () => {}, forceFlush: async () => {}, shutdown: async () => {} })

/** Used instead of a monitor when monitoring is switched off. */
export const UNMONITORED: PerformanceMonitor = Object.freeze({
  monitor: <R>(_operation: string, work: () => R): R => work(),
  bottlenecks: () => undefined,
  spanProcessor: () => IGNORES_SPANS
}) as PerformanceMonitor
