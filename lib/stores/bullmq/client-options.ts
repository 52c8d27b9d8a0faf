/**
 * Every option of ioredis, and whether the store can work with it. `test/stores/bullmq-client-options.test.ts` holds
 * the list against ioredis.
 */

type Check = (value: unknown) => string | undefined

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> => typeof value === 'object' && value !== null
const text: Check = (value) => typeof value === 'string' ? undefined : 'must be a string'
const flag: Check = (value) => typeof value === 'boolean' ? undefined : 'must be true or false'
const object: Check = (value) => isRecord(value) ? undefined : 'must be an object'
const method: Check = (value) => typeof value === 'function' ? undefined : 'must be a function'
const map: Check = (value) => isRecord(value) || typeof value === 'function' ? undefined : 'must be an object or a function'
const oneOf = (...allowed: readonly unknown[]): Check => (value) => allowed.includes(value) ? undefined : `must be ${allowed.map((entry) => JSON.stringify(entry)).join(' or ')}`
const whole = (least: number, most: number): Check => (value) => {
  // Digits as text, as they come out of an environment variable, are what the client takes too.
  const number = typeof value === 'string' && /^\d{1,9}$/.test(value) ? Number(value) : value
  return typeof number === 'number' && Number.isInteger(number) && number >= least && number <= most ? undefined : `must be a whole number from ${least} to ${most}`
}
const addresses: Check = (value) => {
  const fine = Array.isArray(value) && value.length > 0 && value.every((entry) => isRecord(entry) && typeof entry['host'] === 'string' &&
    (entry['port'] === undefined || whole(1, 65_535)(entry['port']) === undefined))
  return fine ? undefined : 'must be a list like [{ host, port }]'
}

const LONGEST_MS = 600_000

/** What `connection` may have. */
const ALLOWED: Readonly<Record<string, Check>> = {
  host: text,
  port: whole(1, 65_535),
  path: text,
  family: oneOf(0, 4, 6, '0', '4', '6'),
  username: text,
  password: text,
  db: whole(0, 999_999),
  tls: (value) => typeof value === 'boolean' || typeof value === 'string' ? undefined : object(value),
  connectionName: text,
  clientInfoTag: text,
  disableClientInfo: flag,
  keepAlive: whole(0, 86_400_000),
  noDelay: flag,
  connectTimeout: whole(1, LONGEST_MS),
  protocol: oneOf(2, 3),
  showFriendlyErrorStack: flag,
  sentinels: addresses,
  name: text,
  role: (value) => value === 'master' ? undefined : 'must be "master": the store writes',
  sentinelUsername: text,
  sentinelPassword: text,
  sentinelTLS: object,
  enableTLSForSentinelMode: flag,
  sentinelCommandTimeout: whole(1, LONGEST_MS),
  sentinelRetryStrategy: method,
  sentinelReconnectStrategy: method,
  sentinelMaxConnections: whole(1, 1_000),
  updateSentinels: flag,
  failoverDetector: flag,
  natMap: map
}

const BY_STORE = 'is set by the store'
const NO_RECONNECT = 'without it a lost connection is never made again'

/** What it may not have, and why. */
const REFUSED: Readonly<Record<string, string>> = {
  retryStrategy: BY_STORE,
  reconnectOnError: BY_STORE,
  enableOfflineQueue: BY_STORE,
  enableReadyCheck: BY_STORE,
  maxRetriesPerRequest: BY_STORE,
  maxLoadingRetryTime: BY_STORE,
  commandTimeout: `${BY_STORE}; see operationTimeoutMs`,
  blockingTimeout: BY_STORE,
  blockingTimeoutGrace: BY_STORE,
  socketTimeout: `${BY_STORE}: it watches its connections itself`,
  disconnectTimeout: BY_STORE,
  lazyConnect: BY_STORE,
  autoResubscribe: BY_STORE,
  autoResendUnfulfilledCommands: BY_STORE,
  offlineQueue: BY_STORE,
  commandQueue: BY_STORE,
  autoPipeliningIgnoredCommands: 'has no effect: enableAutoPipelining cannot be used',
  preferredSlaves: 'has no effect: the store writes, and so needs the master',
  scripts: 'has no effect: nobody but the store uses its connections',
  himportFieldsets: 'has no effect: nobody but the store uses its connections',
  Connector: 'cannot be checked; give a client instead'
}

/**
 * What no connection of the store may have, be it ours or the application's, unless the value is the one that does
 * nothing.
 */
const HARMFUL: Readonly<Record<string, { readonly harmless: readonly unknown[], readonly why: string }>> = {
  keyPrefix: { harmless: ['', null], why: 'cannot be used: keys inside scripts do not get it; use prefix instead' },
  readOnly: { harmless: [false, null], why: 'cannot be used: the store writes' },
  monitor: { harmless: [false, null], why: 'cannot be used: a connection that monitors takes no commands' },
  stringNumbers: { harmless: [false, null], why: 'cannot be used: the store compares numbers' },
  replyMapping: { harmless: ['legacy', null], why: 'cannot be used: BullMQ reads lists where it gives objects' },
  enableAutoPipelining: { harmless: [false, null], why: 'cannot be used: it changes the order of commands' }
}

/** Names of all options that are known here, for the test that holds them against ioredis. */
export const KNOWN_OPTIONS: readonly string[] = [...Object.keys(ALLOWED), ...Object.keys(REFUSED), ...Object.keys(HARMFUL)]

/** @returns one sentence for each option of `connection` that cannot work */
export function connectionProblems (connection: Readonly<Record<string, unknown>>): string[] {
  const problems: string[] = []
  for (const [key, value] of Object.entries(connection)) {
    if (value === undefined) continue
    const harmful = HARMFUL[key]
    const problem = harmful === undefined ? REFUSED[key] ?? (ALLOWED[key] ?? (() => 'is not an option of ioredis'))(value) : harmful.harmless.includes(value) ? undefined : harmful.why
    if (problem !== undefined) problems.push(`connection.${key} ${problem}`)
  }
  const { sentinels, name, path } = connection
  if (sentinels !== undefined && name === undefined) problems.push('connection.name is missing: the name of the master that the sentinels watch')
  if (sentinels === undefined && name !== undefined) problems.push('connection.name makes sense with connection.sentinels only')
  if (sentinels !== undefined && path !== undefined) problems.push('connection.path and connection.sentinels exclude each other')
  return problems
}

/** @returns one sentence for each setting of the application's client that cannot work */
export function clientOptionProblems (client: object): string[] {
  const given: unknown = Reflect.get(client, 'options')
  const options = isRecord(given) ? given : {}
  if (Reflect.get(client, 'isCluster') === true) return clusterProblems(options)
  const problems = harmfulIn(options, 'client')
  if (options['role'] !== undefined && options['role'] !== 'master' && isRecord(options['sentinels'])) problems.push('client must not have role: "slave"; the store writes')
  if (typeof options['retryStrategy'] !== 'function') problems.push(`client must have a retryStrategy: ${NO_RECONNECT}`)
  if (options['db'] !== undefined && whole(0, 999_999)(options['db']) !== undefined) problems.push('client must have a whole number as db')
  return problems
}

function clusterProblems (options: Readonly<Record<string, unknown>>): string[] {
  const { redisOptions, scaleReads, clusterRetryStrategy } = options
  const nodes = isRecord(redisOptions) ? redisOptions : {}
  const problems = [...new Set([...harmfulIn(options, 'client'), ...harmfulIn(nodes, 'client')])]
  if (scaleReads !== undefined && scaleReads !== 'master') problems.push('client must not have scaleReads: replicas do not know yet what was just written')
  if (typeof clusterRetryStrategy !== 'function') problems.push(`client must have a clusterRetryStrategy: ${NO_RECONNECT}`)
  if (Number(nodes['db'] ?? 0) !== 0) problems.push('client must not have a db: a cluster has one database only')
  return problems
}

function harmfulIn (options: Readonly<Record<string, unknown>>, what: string): string[] {
  return Object.entries(HARMFUL)
    .filter(([key, { harmless }]) => options[key] !== undefined && !harmless.includes(options[key]))
    .map(([key, { why }]) => `${what} must not have a ${key}: it ${why}`)
}
