import { OptionProblems, readOptions, type OptionsSchema } from '../../core/options.ts'
import type { AlertRule, AlertSender, EmailOptions } from './alert.ts'
import { BUILT_IN_RULES, type AlertThresholds } from './rules.ts'
import { readWebhook, type AlertWebhookOptions, type ResolvedAlertWebhookOptions } from './webhook.ts'

/** When an alert is raised, and who is notified. Each threshold has a default; `false` switches its rule off. */
export interface AlertsOptions {
  /**
   * How often the rules are evaluated, in milliseconds, by one of the processes on a store. @defaultValue 300000 (5
   * min)
   */
  intervalMs?: number | undefined
  /** Alerts when the attempts of a job took longer than this in the last hour (95th percentile). @defaultValue 5000 */
  slowP95Ms?: number | false | undefined
  /** Alerts when a single attempt, finished or still running, took longer than this. @defaultValue 30000 */
  slowJobMs?: number | false | undefined
  /** Alerts when this many jobs, or more, failed in the last hour. @defaultValue 10 */
  failedPerHour?: number | false | undefined
  /** Alerts when a larger share of the jobs that ended in the last hour failed, 0 to 1. @defaultValue 0.1 */
  failureRate?: number | false | undefined
  /** `slowP95Ms` needs this many attempts and `failureRate` this many jobs: fewer prove nothing. @defaultValue 20 */
  minSamples?: number | undefined
  /**
   * Alerts when, for `afterMs`, `count` jobs or more have been in progress without a valid lease (stalled) and not claimed again.
   * @defaultValue { count: 5, afterMs: 600000 }
   */
  stuck?: { count?: number, afterMs?: number } | false | undefined
  /** Alerts when a process uses a larger share of its memory limit, 0 to 1. @defaultValue 0.8 */
  memoryRatio?: number | false | undefined
  /**
   * The limit that resident memory is compared with, in bytes. @defaultValue the limit of the container; without a
   * container the heap is compared with V8's heap limit
   */
  memoryLimitBytes?: number | undefined
  /** Alerts when the store keeps this many more failed jobs than an hour ago. @defaultValue 50 */
  deadLetterGrowth?: number | false | undefined
  /**
   * Alerts when the store keeps this many failed sagas of one name, or more, that could not undo all of their steps:
   * until they are redriven, removed or expire. It knows the newest 20 of a queue.
   * @defaultValue 1
   */
  failedCompensations?: number | false | undefined
  /** Alerts when this many webhooks, or more, were given up in the last hour. @defaultValue 1 */
  failedWebhooks?: number | false | undefined
  /**
   * Alerts when jobs have waited longer than this and no worker claims them, or when a worker with free slots has not
   * looked for a job for this long. @defaultValue 300000 (5 min)
   */
  workerMissingMs?: number | false | undefined
  /**
   * Alerts when a process cannot reach the store for this long. Every process raises this alert for itself.
   * @defaultValue 60000
   */
  storeUnreachableMs?: number | false | undefined
  /** Names of jobs that the rules about durations and failures leave out. */
  excludeJobs?: ReadonlyArray<string | RegExp> | undefined
  /** Names of jobs that are meant to take long: `slowP95Ms` and `slowJobMs` leave them out. */
  longJobs?: ReadonlyArray<string | RegExp> | undefined
  /** Your own rules. */
  rules?: readonly AlertRule[] | undefined
  /** No second notice of the same alert within this time after it was resolved. @defaultValue 900000 (15 min) */
  cooldownMs?: number | undefined
  /**
   * An alert that is still firing is sent again after this time; `false` sends it once. @defaultValue 14400000 (4 h)
   */
  repeatMs?: number | false | undefined
  /**
   * Writes numbered log lines: at `warn` when an alert is raised or still firing, at `info` when it is resolved.
   * @defaultValue true
   */
  log?: boolean | undefined
  /** HTTP receivers of notices, signed as Standard Webhooks. */
  webhook?: AlertWebhookOptions | readonly AlertWebhookOptions[] | undefined
  /** Sends notices as mail, through your own function: it receives a subject and a text. */
  email?: EmailOptions | undefined
  /** Your own senders of notices. */
  senders?: readonly AlertSender[] | undefined
  /** How many milliseconds a sender may take for one notice, its own retries included. @defaultValue 30000 */
  senderTimeoutMs?: number | undefined
}

const patterns = { type: 'array', items: { anyOf: [{ type: 'string', minLength: 1 }, { isRegExp: true }] } }
const span = { type: 'number', minimum: 1, maximum: 2_147_483_647 }
const orFalse = (schema: object): object => ({ anyOf: [{ const: false }, schema] })
const NAME = /^[A-Za-z0-9_.-]{1,64}$/

const alertsSchema: OptionsSchema = {
  type: 'object',
  additionalProperties: false,
  properties: {
    intervalMs: { ...span, minimum: 100 },
    slowP95Ms: orFalse(span),
    slowJobMs: orFalse(span),
    failedPerHour: orFalse({ type: 'integer', minimum: 1 }),
    failureRate: orFalse({ type: 'number', minimum: 0, maximum: 1 }),
    minSamples: { type: 'integer', minimum: 1 },
    stuck: orFalse({
      type: 'object',
      additionalProperties: false,
      properties: {
        count: { type: 'integer', minimum: 1 },
        afterMs: { ...span, minimum: 0 }
      }
    }),
    memoryRatio: orFalse({ type: 'number', exclusiveMinimum: 0, maximum: 1 }),
    memoryLimitBytes: { type: 'number', minimum: 1 },
    deadLetterGrowth: orFalse({ type: 'integer', minimum: 1 }),
    failedCompensations: orFalse({ type: 'integer', minimum: 1 }),
    failedWebhooks: orFalse({ type: 'integer', minimum: 1 }),
    workerMissingMs: orFalse(span),
    storeUnreachableMs: orFalse({ ...span, minimum: 0 }),
    excludeJobs: patterns,
    longJobs: patterns,
    rules: { type: 'array', maxItems: 100, items: { isObject: true } },
    cooldownMs: { ...span, minimum: 0 },
    repeatMs: orFalse(span),
    log: { type: 'boolean' },
    webhook: { isObject: true },
    email: { isObject: true },
    senders: { type: 'array', maxItems: 20, items: { isObject: true } },
    senderTimeoutMs: { ...span, maximum: 300_000 }
  }
}

type Defaulted = AlertThresholds &
  Readonly<Omit<Required<AlertsOptions>, 'webhook' | 'email' | 'memoryLimitBytes' | keyof AlertThresholds>>

interface Undefaulted {
  readonly memoryLimitBytes: number | undefined
  readonly email: EmailOptions | undefined
}

export type ResolvedAlertsOptions = Defaulted & Undefaulted & { readonly webhooks: readonly ResolvedAlertWebhookOptions[] }

const STUCK_DEFAULTS = Object.freeze({ count: 5, afterMs: 600_000 })

export const ALERTS_DEFAULTS: Defaulted & Undefaulted = Object.freeze({
  intervalMs: 300_000,
  slowP95Ms: 5_000,
  slowJobMs: 30_000,
  failedPerHour: 10,
  failureRate: 0.1,
  minSamples: 20,
  stuck: STUCK_DEFAULTS,
  memoryRatio: 0.8,
  memoryLimitBytes: undefined,
  deadLetterGrowth: 50,
  failedCompensations: 1,
  failedWebhooks: 1,
  workerMissingMs: 300_000,
  storeUnreachableMs: 60_000,
  excludeJobs: Object.freeze([]),
  longJobs: Object.freeze([]),
  rules: Object.freeze([]),
  cooldownMs: 900_000,
  repeatMs: 14_400_000,
  log: true,
  email: undefined,
  senders: Object.freeze([]),
  senderTimeoutMs: 30_000
})

/** @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS`, one message that lists every bad key */
export function readAlertsOptions (given: AlertsOptions | undefined): ResolvedAlertsOptions {
  const problems = new OptionProblems()
  const options = problems.collect('', () => readOptions('alerts', alertsSchema, {}, given))
  const endpoints = given?.webhook === undefined || given.webhook === null ? [] : [given.webhook].flat() as readonly AlertWebhookOptions[]
  const webhooks = endpoints.map((webhook, index, { length }) => {
    const name = index === 0 ? 'webhook' : `webhook-${index + 1}`
    return problems.collect(length === 1 ? 'webhook.' : `webhook.${index}.`, () => readWebhook(webhook, name))
  })
  const whole = webhooks.filter((webhook) => webhook !== undefined)
  if (options !== undefined) {
    problems.add(...problemsOf('rules', options.rules ?? [], 'evaluate', BUILT_IN_RULES.map(({ name }) => name)))
    problems.add(...problemsOf('senders', options.senders ?? [], 'send', ['log', 'email', ...whole.map(({ name }) => name)]))
    if (options.email !== undefined && typeof options.email.send !== 'function') problems.add('email.send must be a function')
  }
  problems.throwIfAny('alerts')
  const { webhook: _read, stuck, ...rest } = options ?? {}
  return Object.freeze({
    ...ALERTS_DEFAULTS,
    ...rest,
    stuck: stuck === false
      ? false
      : Object.freeze({ count: stuck?.count ?? STUCK_DEFAULTS.count, afterMs: stuck?.afterMs ?? STUCK_DEFAULTS.afterMs }),
    webhooks: Object.freeze(whole)
  })
}

/** What is wrong with the rules or senders of the application. @param taken names that they may not have */
function problemsOf (
  key: string, entries: ReadonlyArray<{ readonly name: string }>, method: string, taken: readonly string[]
): string[] {
  const names = new Set(taken)
  const problems: string[] = []
  for (const [index, entry] of entries.entries()) {
    if (typeof entry.name !== 'string' || !NAME.test(entry.name)) {
      problems.push(`${key}.${index}.name must be 1 to 64 letters, digits, "_", "-" or "."`)
    } else if (names.has(entry.name)) problems.push(`${key}.${index}.name: "${entry.name}" is taken`)
    else names.add(entry.name)
    if (typeof Reflect.get(entry, method) !== 'function') problems.push(`${key}.${index}.${method} must be a function`)
  }
  return problems
}
