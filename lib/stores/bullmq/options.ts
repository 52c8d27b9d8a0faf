/** The options of `redisStore()`: what they mean, their defaults, and how they are checked. */
import { invalidOptions, readOptions, type OptionsSchema } from '../../core/options.ts'
import { clientOptionProblems, connectionProblems } from './client-options.ts'
import { parseRedisUrl, URL_FORMS, URL_PATTERN, type RedisConnectionOptions } from './redis-url.ts'

export type { RedisConnectionOptions }

/**
 * A client or cluster of ioredis that the application made. Its own options hold (its offline queue and retries, too).
 * Every command of the store gets the deadline `operationTimeoutMs` on top.
 */
export interface RedisClientLike {
  readonly status: string
  duplicate (...args: never[]): unknown
  defineCommand (name: string, definition: { lua: string, numberOfKeys?: number, readOnly?: boolean }): void
  on (...args: never[]): unknown
}

export interface RedisRetentionOptions {
  /**
   * How long a completed or cancelled job (with its result) can be read, in milliseconds.
   * @defaultValue 86400000 (24 h)
   */
  completedMs?: number | undefined
  /** How long a failed job can be read and redriven, in milliseconds. @defaultValue 604800000 (7 days) */
  failedMs?: number | undefined
  /**
   * At most this many completed jobs are kept per queue, and as many failed and cancelled ones together; the oldest go
   * first. It bounds what small jobs leave on the server. @defaultValue 10000
   */
  maxCount?: number | undefined
  /**
   * At most this many finished jobs are kept of one owner and queue, whatever their state; the oldest of that owner go
   * first. Jobs without an owner are bounded by `maxCount` alone. Lower keeps one client from pushing out what others
   * have yet to read; higher lets a busy client read its older jobs. @defaultValue 1000
   */
  maxPerOwner?: number | undefined
  /**
   * At most this many bytes of results, and of the input of failed jobs, are kept per queue; the oldest jobs go first,
   * wholly. What is smaller than 4 KiB is not counted (`maxCount` bounds it), and the newest job stays however large it
   * is. Together with `maxWaitingBytes` it says how much memory the server needs. @defaultValue 268435456 (256 MiB)
   */
  maxBytes?: number | undefined
  /**
   * At most this many idempotency keys are remembered of one owner and queue; the one that would be forgotten next goes
   * first. Keys of jobs without an owner are bounded by their time alone. About 400 bytes each. @defaultValue 10000
   */
  maxKeysPerOwner?: number | undefined
}

/**
 * One of `url`, `connection` and `client` says where the server is. Without any of them it is localhost:6379. More
 * than one is refused, and so is one that is there and `undefined`: an environment variable that is not set must not
 * become localhost.
 */
export interface RedisStoreOptions {
  /**
   * `redis://` or `rediss://` (TLS), with everything that belongs to it: `rediss://user:password@host:6380/0`. Behind
   * Sentinels: `redis+sentinel://user:password@host1:26379,host2:26379/name/0`, or `rediss+sentinel://…`.
   */
  url?: string | undefined
  /**
   * What ioredis takes. How it reconnects, queues and times out is set by the store; such options, and those that the
   * store cannot work with, are refused.
   */
  connection?: RedisConnectionOptions | undefined
  /**
   * A client that the application made. The store sends commands over it, duplicates it for blocking and subscribing,
   * and never closes it. It must connect again by itself (`retryStrategy`). When nothing arrives from its server any
   * more, the store destroys its socket after ten seconds, so that it connects again.
   */
  client?: RedisClientLike | undefined
  /**
   * What every key begins with. Applications that share a server need different prefixes. The braces keep all keys in
   * one slot of a Redis Cluster; there, a prefix without them is refused.
   * @defaultValue '\{fae\}'
   */
  prefix?: string | undefined
  /**
   * How long an operation may take, in milliseconds. One that the server has not answered by then is refused with
   * `FAE_STORE_UNAVAILABLE`. It may have been carried out all the same: repeat a submission with the same idempotency
   * key.
   * @defaultValue 2000
   */
  operationTimeoutMs?: number | undefined
  /**
   * `replica`: a submission is accepted only after a replica has confirmed it (`WAIT 1`), so that it survives a
   * failover. One that no replica confirms within half of `operationTimeoutMs` is refused with
   * `FAE_STORE_UNAVAILABLE`; it is stored on the primary and may run. Every submission then takes a round trip to the
   * replica longer. Not possible with a cluster.
   * @defaultValue 'primary'
   */
  acknowledge?: 'primary' | 'replica' | undefined
  /**
   * How long a worker may hold a job without renewing its lease, in milliseconds. After that the job counts as
   * stalled, and another worker runs it. Lower: the jobs of a crashed worker run again sooner. Higher: a worker whose
   * event loop is blocked keeps its jobs for longer. BullMQ calls a lease a lock.
   * @defaultValue 10000
   */
  leaseMs?: number | undefined
  /** BullMQ's name of `leaseMs`, accepted so that its settings can be taken over as they are. Give only one of the two. */
  lockDurationMs?: number | undefined
  /**
   * How often the workers look for leases that ran out, in milliseconds. A look is left out when another worker has
   * just looked, so it can take twice as long until a stalled job runs again. Lower costs the server more.
   * @defaultValue 1000
   */
  stalledIntervalMs?: number | undefined
  /**
   * How many bytes the inputs of jobs that wait or run, and the results of their steps, may take, per queue. A
   * submission with an input that does not fit is refused with `FAE_STORE_FULL`. Inputs below 4 KiB are not counted:
   * `maxQueued` of an endpoint bounds those. Steps are never refused: while their results take more than this, every
   * submission to the queue is. Lower keeps clients with large bodies, and sleeping sagas, from filling the server;
   * higher takes more of a burst.
   * @defaultValue 1073741824 (1 GiB)
   */
  maxWaitingBytes?: number | undefined
  /** What is kept of jobs that are over. */
  retention?: RedisRetentionOptions | undefined
}

export interface ResolvedRedisStoreOptions {
  /** What `url` or `connection` say, in the words of ioredis. */
  readonly connection: RedisConnectionOptions
  readonly client: RedisClientLike | undefined
  readonly prefix: string
  readonly operationTimeoutMs: number
  readonly acknowledge: 'primary' | 'replica'
  readonly leaseMs: number
  readonly stalledIntervalMs: number
  readonly maxWaitingBytes: number
  readonly retention: Readonly<Required<RedisRetentionOptions>>
}

const RETENTION: Readonly<Required<RedisRetentionOptions>> = Object.freeze({
  completedMs: 86_400_000,
  failedMs: 604_800_000,
  maxCount: 10_000,
  maxPerOwner: 1_000,
  maxBytes: 268_435_456,
  maxKeysPerOwner: 10_000
})

export const REDIS_STORE_DEFAULTS = Object.freeze({
  prefix: '{fae}',
  operationTimeoutMs: 2_000,
  acknowledge: 'primary' as 'primary' | 'replica',
  leaseMs: 10_000,
  stalledIntervalMs: 1_000,
  maxWaitingBytes: 1_073_741_824,
  retention: RETENTION
})

const schema: OptionsSchema = {
  type: 'object',
  additionalProperties: false,
  properties: {
    url: { type: 'string', pattern: URL_PATTERN, description: `a URL of the form ${URL_FORMS}` },
    connection: { type: 'object' },
    client: { isObject: true },
    // A colon would let the keys of one prefix look like those of a queue under another.
    prefix: { type: 'string', pattern: '^[A-Za-z0-9{}_.-]{1,100}$', description: '1 to 100 letters, digits, "{", "}", "_", "." or "-"' },
    operationTimeoutMs: { type: 'number', minimum: 1, maximum: 600_000 },
    acknowledge: { enum: ['primary', 'replica'] },
    leaseMs: { type: 'number', minimum: 100 },
    lockDurationMs: { type: 'number', minimum: 100 },
    stalledIntervalMs: { type: 'number', minimum: 50 },
    maxWaitingBytes: { type: 'integer', minimum: 1 },
    retention: {
      type: 'object',
      additionalProperties: false,
      properties: {
        completedMs: { type: 'number', minimum: 1 },
        failedMs: { type: 'number', minimum: 1 },
        // With none kept a client could never read how its job ended.
        maxCount: { type: 'integer', minimum: 1 },
        maxPerOwner: { type: 'integer', minimum: 1 },
        maxBytes: { type: 'integer', minimum: 1 },
        maxKeysPerOwner: { type: 'integer', minimum: 1 }
      }
    }
  }
}

/** @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS` */
export function readRedisOptions (given: RedisStoreOptions | undefined): ResolvedRedisStoreOptions {
  const where = 'redisStore'
  const options = readOptions<RedisStoreOptions, typeof REDIS_STORE_DEFAULTS>(where, schema, REDIS_STORE_DEFAULTS, given)
  const problems: string[] = []
  const places = (['url', 'connection', 'client'] as const).filter((key) => options[key] !== undefined)
  if (places.length > 1) problems.push(`${places.join(' and ')} exclude each other`)
  if (given?.leaseMs !== undefined && given.lockDurationMs !== undefined) problems.push('leaseMs and lockDurationMs are two names of one option: give one of them')
  problems.push(...unsetProblems(given ?? {}))
  const { client, url, acknowledge } = options
  if (client !== undefined) problems.push(...clientProblems(client, options.prefix, acknowledge))
  if (options.connection !== undefined) problems.push(...connectionProblems(options.connection))
  const parsed = url === undefined ? undefined : parseRedisUrl(url)
  if (parsed !== undefined) problems.push(...parsed.problems)
  if (problems.length > 0) throw invalidOptions(where, problems)
  return Object.freeze({
    connection: Object.freeze({ ...(parsed?.connection ?? options.connection) }),
    client,
    prefix: options.prefix,
    operationTimeoutMs: options.operationTimeoutMs,
    acknowledge,
    leaseMs: options.lockDurationMs ?? options.leaseMs,
    stalledIntervalMs: options.stalledIntervalMs,
    maxWaitingBytes: options.maxWaitingBytes,
    retention: Object.freeze({
      completedMs: options.retention.completedMs ?? RETENTION.completedMs,
      failedMs: options.retention.failedMs ?? RETENTION.failedMs,
      maxCount: options.retention.maxCount ?? RETENTION.maxCount,
      maxPerOwner: options.retention.maxPerOwner ?? RETENTION.maxPerOwner,
      maxBytes: options.retention.maxBytes ?? RETENTION.maxBytes,
      maxKeysPerOwner: options.retention.maxKeysPerOwner ?? RETENTION.maxKeysPerOwner
    })
  })
}

/**
 * An option that is there and undefined was meant to say where the server is: an environment variable that is not set
 * must not become the server on this machine.
 */
function unsetProblems (given: RedisStoreOptions): string[] {
  const places = ['url', 'connection', 'client'] as const
  const unset = places.filter((key) => Object.hasOwn(given, key) && given[key] === undefined)
  if (unset.length > 0 && places.every((key) => given[key] === undefined)) {
    return [`${unset.join(' and ')} ${unset.length > 1 ? 'are' : 'is'} undefined: is its environment variable set? Give the address of the server, for example redis://localhost:6379`]
  }
  const { connection } = given
  const hidden = connection !== undefined && ['host', 'path', 'sentinels'].filter((key) => Object.hasOwn(connection, key))
  if (!hidden || hidden.length === 0 || hidden.some((key) => connection[key] !== undefined)) return []
  return [`connection.${hidden.join(' and connection.')} is undefined: is its environment variable set? Give the address of the server, for example host: 'localhost'`]
}

function clientProblems (client: RedisClientLike, prefix: string, acknowledge: 'primary' | 'replica'): string[] {
  const methods = ['duplicate', 'defineCommand', 'on'] as const
  if (methods.some((name) => typeof client[name] !== 'function')) return ['client must be a client or cluster of ioredis']
  const problems = clientOptionProblems(client)
  if (Reflect.get(client, 'isCluster') !== true) return problems
  if (!hasHashTag(prefix)) problems.push('prefix must contain a part in braces, like "{jobs}", for a cluster: all keys must be in one slot')
  if (acknowledge === 'replica') problems.push('acknowledge must be "primary" for a cluster: WAIT has no key, and so may reach another node than the job did')
  return problems
}

/** Whether a cluster puts all keys that begin with it in one slot. Only the first braces count. */
export function hasHashTag (prefix: string): boolean {
  return /^[^{]*\{[^}]+\}/.test(prefix)
}
