export const ROLES = ['all', 'api', 'worker'] as const
export type Role = typeof ROLES[number]

export const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'] as const
export type LogLevel = typeof LOG_LEVELS[number]

/** What the environment says, checked. */
export interface Settings {
  readonly port: number
  readonly host: string
  /** `undefined`: jobs live in this process. */
  readonly redisUrl: string | undefined
  /** Of every key in Redis: one for each application that shares it. */
  readonly redisPrefix: string
  /** `api` takes requests, `worker` runs jobs, `all` does both. */
  readonly role: Role
  readonly logLevel: LogLevel
  /** Between "not ready" and closing, so that a load balancer can look elsewhere. */
  readonly shutdownDelayMs: number
  /** Running jobs have this long to end when the process is told to; then they are handed back. */
  readonly drainTimeoutMs: number
  /** Who is told of alerts besides the log; `undefined`: nobody. */
  readonly alertWebhook: { readonly url: string, readonly secret: string } | undefined
}

type Environment = Readonly<Record<string, string | undefined>>

/** @throws {Error} one message that names every variable that cannot be used, without its value if that may be secret */
export function readSettings (env: Environment): Settings {
  const problems: string[] = []
  // An empty variable counts as not set: shells and orchestrators leave those behind.
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
  if (alertSecret !== undefined && !/^whsec_[A-Za-z0-9+/]{32,}={0,2}$/.test(alertSecret)) problems.push('ALERT_WEBHOOK_SECRET must be whsec_ and at least 24 random bytes in base64: echo "whsec_$(openssl rand -base64 32)"')
  if ((alertUrl === undefined) !== (alertSecret === undefined)) problems.push('ALERT_WEBHOOK_URL and ALERT_WEBHOOK_SECRET belong together: alerts are signed')
  const redisPrefix = text('REDIS_PREFIX') ?? '{fae}'
  // As the store will have it, said here with all the rest. The braces keep the keys of a cluster together.
  if (!/^[A-Za-z0-9{}_.-]{1,100}$/.test(redisPrefix)) problems.push(`REDIS_PREFIX may have letters, digits and {}_.- only, not ${JSON.stringify(redisPrefix)}`)
  const settings: Settings = {
    port: number('PORT', 3_000, 65_535),
    host: text('HOST') ?? '127.0.0.1',
    redisUrl,
    redisPrefix,
    role: oneOf('ROLE', ROLES, 'all'),
    logLevel: oneOf('LOG_LEVEL', LOG_LEVELS, 'info'),
    shutdownDelayMs: number('SHUTDOWN_DELAY_MS', 250, 600_000),
    drainTimeoutMs: number('DRAIN_TIMEOUT_MS', 20_000, 600_000),
    alertWebhook: alertUrl === undefined || alertSecret === undefined ? undefined : { url: alertUrl, secret: alertSecret }
  }
  if (problems.length > 0) throw new Error(`The environment is not valid: ${problems.join('; ')}`)
  return settings
}

function isRedisUrl (text: string): boolean {
  // Several hosts are no URL for Node; the store looks at them more closely.
  if (/^rediss?\+sentinel:\/\/[^/]+\/[^/]+/.test(text)) return true
  if (!URL.canParse(text)) return false
  const url = new URL(text)
  return (url.protocol === 'redis:' || url.protocol === 'rediss:') && url.hostname !== ''
}
