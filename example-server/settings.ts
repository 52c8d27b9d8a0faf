import { tmpdir } from 'node:os'
import { join } from 'node:path'

export const ROLES = ['all', 'api', 'worker'] as const
export type Role = typeof ROLES[number]

export const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'] as const
export type LogLevel = typeof LOG_LEVELS[number]

/** The settings from the environment, validated. */
export interface Settings {
  readonly port: number
  readonly host: string
  /** `undefined`: jobs are kept in the memory of this process. */
  readonly redisUrl: string | undefined
  /** The prefix of all keys in Redis. Applications that share a Redis need different ones. */
  readonly redisPrefix: string
  /** `api` takes requests, `worker` runs jobs, `all` does both. */
  readonly role: Role
  readonly logLevel: LogLevel
  /** The time between "not ready" and closing, in which load balancers notice that this process is not ready. */
  readonly shutdownDelayMs: number
  /** How long running jobs have to end when the process is stopped. After that they are handed back. */
  readonly drainTimeoutMs: number
  /** Where the sagas keep their files. The workers of several machines need a directory that they share. */
  readonly filesDir: string
  /** The webhook that gets alerts in addition to the log; `undefined`: none. */
  readonly alertWebhook: AlertWebhook | undefined
}

interface AlertWebhook {
  readonly url: string
  readonly secret: string
  /** For a receiver that is not public: `true`, or the ranges in which it may be. */
  readonly allowPrivate?: boolean | readonly string[]
}

type Environment = Readonly<Record<string, string | undefined>>

/** @throws {Error} one message that names every invalid variable, without its value if that may be secret */
export function readSettings (env: Environment): Settings {
  const problems: string[] = []
  // An empty variable counts as not set, because shells and orchestrators often set empty ones.
  const text = (name: string): string | undefined => {
    const value = env[name]?.trim()
    return value === '' ? undefined : value
  }
  const number = (name: string, fallback: number, max: number): number => {
    const value = text(name)
    if (value === undefined) return fallback
    if (/^\d{1,9}$/.test(value) && Number(value) <= max) return Number(value)
    problems.push(`${name} must be a whole number from 0 to ${max}, not ${JSON.stringify(value)}`)
    return fallback
  }
  const oneOf = <T extends string>(name: string, allowed: readonly T[], fallback: T): T => {
    const value = text(name) ?? fallback
    const found = allowed.find((entry) => entry === value)
    if (found === undefined) problems.push(`${name} must be one of ${allowed.join(', ')}, not ${JSON.stringify(value)}`)
    return found ?? fallback
  }
  const redisUrl = text('REDIS_URL')
  if (redisUrl !== undefined && !isRedisUrl(redisUrl)) problems.push('REDIS_URL must be a URL like redis://localhost:6379 (or rediss://…, or redis+sentinel://host1:26379,host2:26379/name)')
  const [alertUrl, alertSecret] = [text('ALERT_WEBHOOK_URL'), text('ALERT_WEBHOOK_SECRET')]
  if (alertUrl !== undefined && !/^https?:$/.test(URL.canParse(alertUrl) ? new URL(alertUrl).protocol : '')) problems.push('ALERT_WEBHOOK_URL must be a URL like https://ops.example.com/hooks/jobs')
  if (alertSecret !== undefined && !/^whsec_[A-Za-z0-9+/]{32,}={0,2}$/.test(alertSecret)) problems.push('ALERT_WEBHOOK_SECRET must be whsec_ followed by at least 24 random bytes in base64: echo "whsec_$(openssl rand -base64 32)"')
  if ((alertUrl === undefined) !== (alertSecret === undefined)) problems.push('ALERT_WEBHOOK_URL and ALERT_WEBHOOK_SECRET must be set together, because alerts are signed')
  const allowPrivate = text('ALERT_WEBHOOK_ALLOW_PRIVATE')
  if (allowPrivate !== undefined && alertUrl === undefined) problems.push('ALERT_WEBHOOK_ALLOW_PRIVATE has no effect without ALERT_WEBHOOK_URL')
  const redisPrefix = text('REDIS_PREFIX') ?? '{fae}'
  // The store's own rule, checked here so that one message lists all problems. The braces keep all keys in one slot
  // of a cluster.
  if (!/^[A-Za-z0-9{}_.-]{1,100}$/.test(redisPrefix)) problems.push(`REDIS_PREFIX may only contain letters, digits and {}_.-, not ${JSON.stringify(redisPrefix)}`)
  const settings: Settings = {
    port: number('PORT', 3_000, 65_535),
    host: text('HOST') ?? '127.0.0.1',
    redisUrl,
    redisPrefix,
    role: oneOf('ROLE', ROLES, 'all'),
    logLevel: oneOf('LOG_LEVEL', LOG_LEVELS, 'info'),
    shutdownDelayMs: number('SHUTDOWN_DELAY_MS', 250, 600_000),
    drainTimeoutMs: number('DRAIN_TIMEOUT_MS', 20_000, 600_000),
    filesDir: text('FILES_DIR') ?? join(tmpdir(), 'async-endpoints-example'),
    alertWebhook: alertUrl === undefined || alertSecret === undefined
      ? undefined
      : { url: alertUrl, secret: alertSecret, ...(allowPrivate === undefined ? {} : { allowPrivate: privateRanges(allowPrivate) }) }
  }
  if (problems.length > 0) throw new Error(`The environment is not valid: ${problems.join('; ')}`)
  return settings
}

/** The library validates the ranges. */
function privateRanges (text: string): boolean | readonly string[] {
  return text === 'true' || text.split(',').map((range) => range.trim())
}

function isRedisUrl (text: string): boolean {
  // Node cannot parse a URL with several hosts. The store validates it.
  if (/^rediss?\+sentinel:\/\/[^/]+\/[^/]+/.test(text)) return true
  if (!URL.canParse(text)) return false
  const url = new URL(text)
  return (url.protocol === 'redis:' || url.protocol === 'rediss:') && url.hostname !== ''
}
