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
  /** The call under way; everybody who asks meanwhile shares it. */
  running: Promise<CheckReport> | undefined
  newest: { readonly at: number, readonly report: CheckReport } | undefined
  /** Calls that outlived their deadline and have not settled yet. */
  hanging: number
}

const CHECK_DEFAULTS: Readonly<Required<HealthCheckOptions>> = Object.freeze({ tags: Object.freeze([]) as readonly string[], timeoutMs: 1_000, critical: true, cacheMs: 1_000 })
const checkSchema: OptionsSchema = { type: 'object', additionalProperties: false, properties: checkOptionProperties }

/** Room for the name of a job and what it requires. */
const CHECK_NAME = /^[A-Za-z0-9][A-Za-z0-9_.:-]{0,199}$/
const MAX_FACTS = 20
/** A check whose last call still hangs is asked again this many timeouts later: it can recover, and cannot pile up. */
const HANGING_FACTOR = 10
/** Whether traffic should come here; its answer is never reused. */
const APPLICATION = 'application'
/** The `reason` of a `health.changed` that needs no attention: the process was asked to shut down. Logged at level `info`. */
const SHUTTING_DOWN = 'shutting-down'
/** Checks that keep to the time of a readiness probe by themselves get this much longer to say what they found. */
const PROBE_MARGIN_MS = 50

export interface HealthTimes {
  /** How long {@link Health.drain} waits. @defaultValue 0 */
  readonly shutdownDelayMs?: number
  /** Readiness answers within this time, whatever the checks do. @defaultValue without limit */
  readonly probeTimeoutMs?: number
}

type Phase = 'starting' | 'running' | 'draining'

/**
 * The health questions of one application and their newest answers.
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
   * Adds a health question, asked only when a probe comes.
   *
   * @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS` for a bad or taken name, a check that is no function, or bad options
   */
  addCheck (name: string, check: HealthCheck, options?: HealthCheckOptions): void {
    const where = `health check "${String(name)}"`
    if (typeof name !== 'string' || !CHECK_NAME.test(name)) throw invalidOptions(where, ['name must be 1 to 200 letters, digits, `_`, `.`, `:` or `-`'])
    if (typeof check !== 'function') throw invalidOptions(where, ['check must be a function'])
    if (this.#entries.has(name)) throw invalidOptions(where, ['name is taken by another check'])
    this.#entries.set(name, { name, check, options: readOptions(where, checkSchema, CHECK_DEFAULTS, options), running: undefined, newest: undefined, hanging: 0 })
  }

  /** The application is loaded: readiness no longer says `starting`. */
  started (): void {
    if (this.#phase === 'starting') this.#phase = 'running'
  }

  /**
   * The first half of a shutdown: readiness says 503, and `health.shutdownDelayMs` later, when every load balancer has
   * noticed, this resolves; requests and running jobs go on meanwhile, claiming stops. Then close the application. (A wait within `close()` would
   * come too late: from its first moment on Fastify refuses requests.) Does not wait when the application is closing.
   */
  async drain (): Promise<void> {
    this.startDraining()
    await sleep(this.#context.clock, this.#shutdownDelayMs, this.#closing.signal)
  }

  /** Nobody is going to be served any more: not ready, and no {@link drain} waits. */
  close (): void {
    this.startDraining()
    this.#closing.abort()
  }

  /** Readiness says 503 from now on, for good; requests and running jobs go on, claiming stops. {@link drain} does this, and waits. */
  startDraining (): void {
    if (this.#phase === 'draining') return
    this.#phase = 'draining'
    this.#tell('Unhealthy')
    for (const listener of this.#onDraining) {
      const failed = (error: unknown): void => { this.#context.logger.error({ err: error }, 'a listener for the beginning of draining failed; the shutdown goes on') }
      try { takeRejection(listener(), failed) } catch (error) { failed(error) }
    }
  }

  /** Calls the listener when draining begins; not when it has begun already. Nobody waits for it, and one that fails is logged. */
  onDraining (listener: () => unknown): void { this.#onDraining.push(listener) }

  /** Asks every check. */
  async report (): Promise<HealthReport> {
    return await this.#ask([...this.#entries.values()])
  }

  /** Asks the checks tagged `ready`, and tells `health.changed` when the answer is another than last time. */
  async readiness (): Promise<HealthReport> {
    const report = await this.#ask([...this.#entries.values()].filter((entry) => entry.options.tags.includes('ready')), this.#probeTimeoutMs)
    // Draining may have begun while a slow check was asked: its news must not be overtaken by an older answer.
    const status = this.draining ? 'Unhealthy' : report.status
    this.#tell(status)
    return { ...report, status }
  }

  /** The process answers: nothing else is asked, because a restart would mend nothing else. */
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
   * A check that takes longer than the probe has time counts with its last answer: it is still being asked, and its own
   * `timeoutMs` decides. Without a last answer nobody knows better than "no".
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
      const reuseMs = entry.hanging > 0 ? Math.max(entry.options.cacheMs, entry.options.timeoutMs * HANGING_FACTOR) : entry.options.cacheMs
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

  /** The first answer is news only when it is not good. */
  #compare ({ name, status, description }: CheckReport, previous: HealthStatus | undefined): void {
    // Its starting and draining are told by `health.changed`; and that a process which is about to go does less is no news.
    if (name === APPLICATION || this.draining || status === (previous ?? 'Healthy')) return
    this.#bus.emit('health.check_changed', { check: name, status, previous: previous ?? 'Unknown', message: description })
  }

  #application (): HealthVerdict {
    if (this.#phase === 'running') return { status: 'Healthy', description: 'taking requests' }
    return { status: 'Unhealthy', description: this.#phase === 'draining' ? 'shutting down' : 'starting' }
  }

  #tell (status: HealthStatus): void {
    const previous = this.#readiness
    if (previous === status) return
    this.#readiness = status
    // The first good answer is no news.
    if (previous === 'Unknown' && status === 'Healthy') return
    this.#bus.emit('health.changed', { status, previous, reason: this.draining ? SHUTTING_DOWN : 'checks' })
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

/** Only what JSON can say, and not too much of it. */
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
