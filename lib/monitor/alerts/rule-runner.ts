import type { Clock, Logger } from '../../core/context.ts'
import { EXPIRED, withDeadline } from '../../core/deadline.ts'
import { FirstOnly } from '../../core/first-only.ts'
import type { Redaction } from '../../core/redact.ts'
import { singleLine } from '../../core/text.ts'
import type { EventBus } from '../../events/bus.ts'
import { ALERT_SEVERITIES, ALERT_TYPES, type AlertFinding, type AlertRule } from './alert.ts'
import type { AlertFacts } from './alert-facts.ts'
import type { Found } from './ledger.ts'
import type { ResolvedAlertsOptions } from './options.ts'
import { JUDGES } from './rules.ts'

export interface RunnerParts {
  readonly clock: Clock
  readonly bus: EventBus
  readonly logger: Logger
  readonly redaction: Redaction
  readonly options: ResolvedAlertsOptions
  readonly long: (jobName: string) => boolean
  /** Runs the application's rules, whose spans are recorded. */
  readonly plainly: <R>(work: () => R) => R
}

export interface Evaluation {
  readonly found: Found[]
  /** Rules that could not be evaluated this time. */
  readonly unknown: ReadonlySet<string>
}

const RULE_TIMEOUT_MS = 10_000
const MAX_KEY = 100
const MAX_TITLE = 200
const MAX_MESSAGE = 1_000
const MAX_DETAILS = 8_000

/**
 * Runs all rules over the facts. A rule that throws, hangs or returns something invalid is unknown; the other rules are
 * not affected.
 */
export class RuleRunner {
  readonly #parts: RunnerParts
  readonly #hanging = new Set<string>()
  readonly #failing = new FirstOnly()

  constructor (parts: RunnerParts) {
    this.#parts = parts
  }

  async run (facts: AlertFacts): Promise<Evaluation> {
    const { options, long } = this.#parts
    const found: Found[] = []
    const unknown = new Set<string>()
    for (const [name, judge] of JUDGES) {
      const outcome = judge(facts, options, long)
      if (outcome === 'unknown') unknown.add(name)
      else found.push(...outcome.map((finding) => this.whole(name, finding)))
    }
    await Promise.all(options.rules.map(async (rule) => {
      try {
        found.push(...await this.#ask(rule, facts))
        this.#failing.forget(rule.name)
      } catch (error) {
        unknown.add(rule.name)
        this.#failed(rule.name, error)
      }
    }))
    return { found, unknown }
  }

  /** Fills in the defaults, limits the lengths of texts and redacts them. @throws {TypeError} for an invalid finding */
  whole (rule: string, { key = '', type = 'System', severity = 'medium', title, message, details = {}, forMs = 0 }: AlertFinding): Found {
    if (typeof title !== 'string' || typeof message !== 'string' || typeof key !== 'string') {
      throw new TypeError('a finding needs a title and a message; these and the key must be strings')
    }
    if (!ALERT_TYPES.includes(type)) throw new TypeError(`the type of a finding must be one of ${ALERT_TYPES.join(', ')}`)
    if (!ALERT_SEVERITIES.includes(severity)) {
      throw new TypeError(`the severity of a finding must be one of ${ALERT_SEVERITIES.join(', ')}`)
    }
    const { text } = this.#parts.redaction
    return {
      rule,
      type,
      severity,
      key: singleLine(key, MAX_KEY, text),
      title: singleLine(title, MAX_TITLE, text),
      message: singleLine(message, MAX_MESSAGE, text),
      details: this.#bounded(details),
      forMs: forMs > 0 ? forMs : 0
    }
  }

  /** Redacted, and as it will arrive: details are stored and sent as JSON. */
  #bounded (details: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
    try {
      const json = JSON.stringify(this.#parts.redaction.fields(details))
      return json.length <= MAX_DETAILS ? JSON.parse(json) : { left_out: `${json.length} characters of details are too many` }
    } catch {
      return { left_out: 'the details cannot be written as JSON' }
    }
  }

  async #ask (rule: AlertRule, facts: AlertFacts): Promise<Found[]> {
    const { clock, plainly } = this.#parts
    if (this.#hanging.has(rule.name)) throw new Error('its previous evaluation has not ended yet')
    const abort = new AbortController()
    const asked = (async () => await plainly(() => rule.evaluate(facts, { signal: abort.signal })))()
    try {
      const outcome = await withDeadline(clock, RULE_TIMEOUT_MS, asked)
      if (outcome === EXPIRED) {
        this.#hanging.add(rule.name)
        const ended = (): void => { this.#hanging.delete(rule.name) }
        asked.then(ended, ended)
        throw new Error(`it did not end within ${RULE_TIMEOUT_MS} ms`)
      }
      const findings: readonly AlertFinding[] = outcome === undefined || outcome === null ? [] : [outcome].flat()
      return findings.map((finding) => this.whole(rule.name, finding))
    } finally {
      abort.abort()
    }
  }

  #failed (rule: string, error: unknown): void {
    const { bus, logger, redaction } = this.#parts
    const message = error instanceof Error ? singleLine(error.message, MAX_TITLE, redaction.text) : 'not an Error'
    if (this.#failing.note(rule)) {
      logger.warn({ rule, detail: message },
        'an alert rule could not be evaluated; its alerts stay as they are, and its further failures are counted, not logged')
    }
    bus.emit('telemetry.listener_failed', { source: 'alert.rule', message })
  }
}
