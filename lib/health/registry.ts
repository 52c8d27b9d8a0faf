import type { Clock, Context } from '../core/context.ts'
import { EXPIRED, sleep, withDeadline } from '../core/deadline.ts'
import {
  checkOptionProperties, HEALTH_STATUSES, type HealthCheck, type HealthCheckOptions, type HealthData, type HealthStatus, type HealthVerdict
} from '../core/health-check.ts'
import { invalidOptions, readOptions, type OptionsSchema } from '../core/options.ts'
import type { EventBus } from '../events/bus.ts'
import { bounded, failureOf } from './check-failure.ts'
import { takeRejection } from '../core/rejections.ts'

export { HEALTH_STATUSES, type HealthCheck, type HealthCheckOptions, type HealthData, type HealthStatus, type HealthVerdict } from '../core/health-check.ts'

/** One line of a report. */
export interface CheckReport {
  readonly name: string
  readonly status: HealthStatus
  readonly description: string
  readonly durationMs: number
  readonly tags: readonly string[]
  readonly data: HealthData
}

export interface HealthReport {
  readonly status: HealthStatus
  readonly checks: readonly CheckReport[]
  readonly totalDurationMs: number
}

interface Entry {
  readonly name: string
  readonly check: HealthCheck
  readonly options: Readonly<Required<HealthCheckOptions>>
  /** The call under way; all who ask meanwhile get its answer. */
  running: Promise<CheckReport> | undefined
  newest: { readonly at: number, readonly report: CheckReport } | undefined
  /** Calls that outlived their deadline and have not settled yet. */
  hanging: number
}

const CHECK_DEFAULTS: Readonly<Required<HealthCheckOptions>> = Object.freeze({
  tags: Object.freeze([]) as readonly string[], timeoutMs: 1_000, critical: true, cacheMs: 1_000
})
const checkSchema: OptionsSchema = { type: 'object', additionalProperties: false, properties: checkOptionProperties }

/** Long enough for the name of a job and of what it requires. */
const CHECK_NAME = /^[A-Za-z0-9][A-Za-z0-9_.:-]{0,199}$/
const MAX_FACTS = 20
/** A check whose last call still hangs is called again after this many timeouts: it can recover, and its calls do not pile up. */
const HANGING_FACTOR = 10
/** The check that says whether the application takes requests. Its answer is never reused. */
const APPLICATION = 'application'
/** The `reason` of a `health.changed` that needs no attention: the process was asked to shut down. Logged at level `info`. */
const SHUTTING_DOWN = 'shutting-down'
/** Checks with the same time limit as the readiness probe get this much longer, so that they can answer what they found. */
const PROBE_MARGIN_MS = 50

export interface HealthTimes {
  /** How long {@link Health.drain} waits. @defaultValue 0 */
  readonly shutdownDelayMs?: number
  /** Readiness answers within this time, even if a check takes longer. @defaultValue no limit */
  readonly probeTimeoutMs?: number
}

type Phase = 'starting' | 'running' | 'draining'

/**
 * The health checks of one application and their newest answers.
 *
 * ```
 * starting ──started──▶ running ──startDraining──▶ draining        only `running` is ready
 *     └──────────────startDraining────────────────────▲
 * ```
 */
export class Health {
  readonly #context: Context
  readonly #bus: EventBus
  readonly #entries = new Map<string, Entry>()
  #phase: Phase = 'starting'
  #readiness: HealthStatus | 'Unknown' = 'Unknown'
  readonly #shutdownDelayMs: number
  readonly #probeTimeoutMs: number
  readonly #onDraining: Array<() => unknown> = []
  readonly #closing = new AbortController()

  constructor (context: Context, bus: EventBus, { shutdownDelayMs = 0, probeTimeoutMs = Infinity }: HealthTimes = {}) {
    this.#context = context
    this.#bus = bus
    this.#shutdownDelayMs = shutdownDelayMs
    this.#probeTimeoutMs = probeTimeoutMs
    this.addCheck(APPLICATION, () => this.#application(), { tags: ['ready'], cacheMs: 0 })
  }

  /** True from the first {@link startDraining} on. */
  get draining (): boolean { return this.#phase === 'draining' }

  /**
   * Adds a check. It is called only when a probe or a report asks for it.
   *
   * @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS` for a bad or taken name, a check that is no function, or bad options
   */
  addCheck (name: string, check: HealthCheck, options?: HealthCheckOptions): void {
    const where = `health check "${String(name)}"`
    if (typeof name !== 'string' || !CHECK_NAME.test(name)) {
      throw invalidOptions(where, ['name must be 1 to 200 letters, digits, `_`, `.`, `:` or `-`'])
    }
    if (typeof check !== 'function') throw invalidOptions(where, ['check must be a function'])
    if (this.#entries.has(name)) throw invalidOptions(where, ['name is taken by another check'])
    const resolved = readOptions(where, checkSchema, CHECK_DEFAULTS, options)
    this.#entries.set(name, { name, check, options: resolved, running: undefined, newest: undefined, hanging: 0 })
  }

  /** Called when the application is loaded: from now on readiness depends on the checks. */
  started (): void {
    if (this.#phase === 'starting') this.#phase = 'running'
  }

  /**
   * The first half of a shutdown: readiness answers 503 and the worker claims no more jobs, while requests and running jobs go on.
   * Resolves after `health.shutdownDelayMs`, when load balancers have noticed; then close the application. (A wait within `close()`
   * would come too late, because Fastify refuses requests as soon as it is called.) Does not wait if the application is closing.
   */
  async drain (): Promise<void> {
    this.startDraining()
    await sleep(this.#context.clock, this.#shutdownDelayMs, this.#closing.signal)
  }

  /** The application closes: not ready from now on, and a {@link drain} that waits resolves at once. */
  close (): void {
    this.startDraining()
    this.#closing.abort()
  }

  /** What {@link drain} does, without waiting. Readiness answers 503 from now on; nothing takes that back. */
  startDraining (): void {
    if (this.#phase === 'draining') return
    this.#phase = 'draining'
    this.#emitReadiness('Unhealthy', [])
    for (const listener of this.#onDraining) {
      const failed = (err: unknown): void => {
        this.#context.logger.error({ err }, 'a listener for the beginning of draining failed; the shutdown goes on')
      }
      try { takeRejection(listener(), failed) } catch (error) { failed(error) }
    }
  }

  /** Calls the listener when draining begins; never if it has begun already. It is not awaited, and one that fails is logged. */
  onDraining (listener: () => unknown): void { this.#onDraining.push(listener) }

  /** Runs every check. */
  async report (): Promise<HealthReport> {
    return await this.#ask([...this.#entries.values()])
  }

  /** Runs the checks tagged `ready`, and emits `health.changed` when the answer differs from the one before. */
  async readiness (): Promise<HealthReport> {
    const report = await this.#ask([...this.#entries.values()].filter((entry) => entry.options.tags.includes('ready')), this.#probeTimeoutMs)
    // Draining may have begun while a slow check ran. Without this, readiness would answer Healthy once more.
    const status = this.draining ? 'Unhealthy' : report.status
    this.#emitReadiness(status, report.checks)
    return { ...report, status }
  }

  /** Always Healthy, because the process answers. No check is run: a restart would not help against what they find. */
  liveness (): HealthReport {
    return { status: 'Healthy', checks: [], totalDurationMs: 0 }
  }

  async #ask (entries: readonly Entry[], withinMs = Infinity): Promise<HealthReport> {
    const { clock } = this.#context
    const begin = clock.monotonic()
    const checks = await Promise.all(entries.map((entry) => this.#answerWithin(entry, withinMs)))
    let worst = 0
    for (const [index, entry] of entries.entries()) {
      const rank = HEALTH_STATUSES.indexOf(checks[index]?.status ?? 'Unhealthy')
      worst = Math.max(worst, entry.options.critical ? rank : Math.min(rank, 1))
    }
    return { status: HEALTH_STATUSES[worst] ?? 'Unhealthy', checks, totalDurationMs: round(clock.monotonic() - begin) }
  }

  /**
   * If a check takes longer than the probe may, its last answer counts; it goes on, until its own `timeoutMs`. If it has no last
   * answer, it counts as Unhealthy.
   */
  async #answerWithin (entry: Entry, withinMs: number): Promise<CheckReport> {
    const asked = this.#answer(entry)
    if (withinMs === Infinity || !(asked instanceof Promise)) return await asked
    const answer = await withDeadline(this.#context.clock, withinMs + PROBE_MARGIN_MS, asked)
    if (answer !== EXPIRED) return answer
    const { name, newest, options: { tags } } = entry
    return newest?.report ?? { name, status: 'Unhealthy', description: `no answer within ${withinMs} ms`, durationMs: withinMs, tags, data: {} }
  }

  #answer (entry: Entry): Promise<CheckReport> | CheckReport {
    if (entry.running !== undefined) return entry.running
    if (entry.newest !== undefined) {
      const { cacheMs, timeoutMs } = entry.options
      const reuseMs = entry.hanging > 0 ? Math.max(cacheMs, timeoutMs * HANGING_FACTOR) : cacheMs
      if (this.#context.clock.monotonic() - entry.newest.at < reuseMs) return entry.newest.report
    }
    entry.running = this.#call(entry)
    return entry.running
  }

  async #call (entry: Entry): Promise<CheckReport> {
    const { clock } = this.#context
    const begin = clock.monotonic()
    const verdict = await askOnce(entry, clock)
    const report: CheckReport = Object.freeze({
      name: entry.name,
      status: verdict.status,
      description: verdict.description,
      durationMs: round(clock.monotonic() - begin),
      tags: entry.options.tags,
      data: verdict.data
    })
    this.#compare(report, entry.newest?.report.status)
    entry.newest = { at: clock.monotonic(), report }
    entry.running = undefined
    return report
  }

  /** Emits `health.check_changed` when the status differs from the one before. A first answer that is Healthy is not emitted. */
  #compare ({ name, status, description }: CheckReport, previous: HealthStatus | undefined): void {
    // `health.changed` reports the start and the draining of the application. What checks find while it drains is not emitted.
    if (name === APPLICATION || this.draining || status === (previous ?? 'Healthy')) return
    this.#bus.emit('health.check_changed', { check: name, status, previous: previous ?? 'Unknown', message: description })
  }

  #application (): HealthVerdict {
    if (this.#phase === 'running') return { status: 'Healthy', description: 'taking requests' }
    return { status: 'Unhealthy', description: this.#phase === 'draining' ? 'shutting down' : 'starting' }
  }

  #emitReadiness (status: HealthStatus, reports: readonly CheckReport[]): void {
    const previous = this.#readiness
    if (previous === status) return
    this.#readiness = status
    // A process that is ready at its start is what everybody expects: nothing is emitted.
    if (previous === 'Unknown' && status === 'Healthy') return
    const checks = this.draining ? [] : reports.filter((check) => check.status !== 'Healthy').map(({ name }) => name)
    this.#bus.emit('health.changed', { status, previous, reason: this.draining ? SHUTTING_DOWN : 'checks', checks: checks.join(', ') })
  }
}

interface Answer { readonly status: HealthStatus, readonly description: string, readonly data: HealthData }

/** Calls a check under its deadline. Never rejects. */
async function askOnce (entry: Entry, clock: Clock): Promise<Answer> {
  const abort = new AbortController()
  try {
    const call = (async () => await entry.check({ signal: abort.signal }))()
    const verdict = await withDeadline(clock, entry.options.timeoutMs, call)
    if (verdict !== EXPIRED) return toAnswer(verdict)
    entry.hanging++
    const ended = (): void => { entry.hanging-- }
    call.then(ended, ended)
    abort.abort()
    return { status: 'Unhealthy', description: `no answer within ${entry.options.timeoutMs} ms`, data: {} }
  } catch (error) {
    return failureOf(error)
  }
}

function toAnswer (verdict: unknown): Answer {
  if (verdict === undefined || verdict === true) return { status: 'Healthy', description: '', data: {} }
  if (verdict === false) return { status: 'Unhealthy', description: '', data: {} }
  if (isStatus(verdict)) return { status: verdict, description: '', data: {} }
  if (typeof verdict === 'object' && verdict !== null) {
    const { status, description, data } = verdict as { status?: unknown, description?: unknown, data?: unknown }
    if (isStatus(status)) return { status, description: typeof description === 'string' ? bounded(description) : '', data: facts(data) }
  }
  return { status: 'Unhealthy', description: 'the check returned neither a status nor a boolean', data: {} }
}

function isStatus (value: unknown): value is HealthStatus {
  return (HEALTH_STATUSES as readonly unknown[]).includes(value)
}

/** The facts of a check that JSON can hold, at most {@link MAX_FACTS} and each one shortened. */
function facts (data: unknown): HealthData {
  if (typeof data !== 'object' || data === null) return {}
  const kept: Record<string, string | number | boolean | null> = {}
  for (const [key, value] of Object.entries(data).slice(0, MAX_FACTS)) {
    if (typeof value === 'string') kept[bounded(key)] = bounded(value)
    else if (value === null || typeof value === 'boolean' || (typeof value === 'number' && Number.isFinite(value))) kept[bounded(key)] = value
  }
  return kept
}

function round (ms: number): number {
  return Math.round(Math.max(0, ms) * 1_000) / 1_000
}
