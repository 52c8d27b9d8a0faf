/**
 * The table of checks: what the doctor looks at, why it matters, and what it takes for a note, a warning or a
 * problem. The table in `docs/doctor.md` is generated from it.
 */

/** From harmless to "must be fixed". */
export const SEVERITIES = ['ok', 'note', 'warning', 'problem'] as const
export type Severity = typeof SEVERITIES[number]

/** The groups of checks, each with its heading in the text report. */
export const CHECK_GROUPS = {
  redis: 'Redis',
  packages: 'Packages',
  opentelemetry: 'OpenTelemetry',
  application: 'Application'
} as const

export interface Check {
  readonly group: keyof typeof CHECK_GROUPS
  readonly title: string
  /** One sentence: what goes wrong if the check finds a problem and nobody fixes it. */
  readonly why: string
  /** What the check can only be made with: a Redis URL, or an application that the doctor may start. */
  readonly needs?: 'redis' | 'app'
  /** What is reported with this severity. */
  readonly note?: string
  readonly warning?: string
  readonly problem?: string
}

export const CHECKS = {
  'redis.connection': {
    group: 'redis',
    needs: 'redis',
    title: 'connection',
    why: 'Without the server no job is accepted and none is run: submissions are answered 503.',
    problem: 'refused, unknown host, no connection in time, connected but silent, TLS, NOAUTH, WRONGPASS, still loading, another refusal'
  },
  'redis.version': {
    group: 'redis',
    needs: 'redis',
    title: 'server version',
    why: 'Older servers lack commands that BullMQ and the store use, so the store refuses to start on them.',
    note: 'Valkey or Dragonfly, with its own version',
    problem: 'older than the store supports'
  },
  'redis.eviction': {
    group: 'redis',
    needs: 'redis',
    title: 'eviction policy',
    why: 'With any policy other than noeviction, the server deletes waiting jobs when memory runs short, and no error appears anywhere.',
    problem: '`maxmemory-policy` is not `noeviction`'
  },
  'redis.persistence': {
    group: 'redis',
    needs: 'redis',
    title: 'persistence',
    why: 'A job that was accepted with 202 survives a crash of the server only if the server has written it to disk.',
    note: 'AOF is on, but with `appendfsync no`',
    warning: 'neither AOF nor RDB is on; only RDB is on',
    problem: 'the last save, write or rewrite failed'
  },
  'redis.memory': {
    group: 'redis',
    needs: 'redis',
    title: 'memory',
    why: 'A full server refuses every submission (FAE_STORE_FULL) and cannot store the results of running jobs.',
    note: 'no `maxmemory`: only the machine limits it',
    warning: '80 % of the limit or more is used',
    problem: '95 % of the limit or more is used'
  },
  'redis.clock': {
    group: 'redis',
    needs: 'redis',
    title: 'clock',
    why: 'Jobs follow the clock of the Redis server. A host whose clock differs writes other times into its logs and spans, and a runAt that it ' +
      'computes is too early or too late.',
    note: 'off by more than 250 ms',
    warning: 'off by more than 1 s',
    problem: 'off by more than 30 s'
  },
  'redis.cluster': {
    group: 'redis',
    needs: 'redis',
    title: 'cluster',
    why: 'On a cluster, a script may only touch keys of one slot, so all keys of the store must share one hash tag.',
    warning: 'a cluster of several nodes, which a URL alone cannot reach',
    problem: 'the prefix has no part in braces; the cluster is down'
  },
  'redis.commands': {
    group: 'redis',
    needs: 'redis',
    title: 'permissions',
    why: 'If the user may not run a command, or the server does not carry it out now, jobs fail halfway through.',
    warning: 'the user may not subscribe to the channels of live updates',
    problem: 'a command is not allowed or unknown; the server takes no writes (replica, out of memory, failed save)'
  },
  'redis.latency': {
    group: 'redis',
    needs: 'redis',
    title: 'latency',
    why: 'Each submission and each state change waits for at least one round trip.',
    note: 'median over 20 ms',
    warning: 'median over 100 ms',
    problem: 'median over 1 s'
  },
  'packages.node': {
    group: 'packages',
    title: 'Node.js',
    why: 'From Node 24 on, carrying the trace context costs nothing; below 20.19 the package does not load.',
    note: 'older than 24',
    problem: 'older than the package supports'
  },
  'packages.fastify': {
    group: 'packages',
    title: 'fastify',
    why: 'The plugins are made for this range of Fastify versions.',
    problem: 'missing or outside the supported range'
  },
  'packages.bullmq': {
    group: 'packages',
    title: 'bullmq',
    why: 'redisStore() runs on BullMQ, and relies on internals of the supported releases.',
    problem: 'missing although a Redis URL is given, or outside the supported range'
  },
  'packages.ioredis': {
    group: 'packages',
    title: 'ioredis',
    why: 'redisStore() connects to Redis through ioredis.',
    problem: 'missing although a Redis URL is given, or outside the supported range'
  },
  'otel.api': {
    group: 'opentelemetry',
    title: '@opentelemetry/api',
    why: 'Copies of different versions ignore each other\'s registrations, so telemetry made through one of them is lost.',
    note: 'several copies of one version',
    warning: 'copies of different versions',
    problem: 'missing, outside the supported range, or copies of different major versions'
  },
  'otel.exporters': {
    group: 'opentelemetry',
    title: 'exporters',
    why: 'The environment variables ask for an export that no installed package can make. Only an SDK of your own could.',
    note: 'a variable has a value that cannot be used',
    warning: 'the package of the exporter is not installed'
  },
  'otel.sdk': {
    group: 'opentelemetry',
    needs: 'app',
    title: 'SDK start',
    why: 'Instrumentation changes packages while they are loaded. A package that was loaded earlier stays unchanged, and its spans are missing.',
    warning: 'fastify or ioredis was loaded before the tracer provider was registered'
  },
  'app.boot': {
    group: 'application',
    needs: 'app',
    title: 'start',
    why: 'The other checks of the application are only possible once its server is ready.',
    problem: 'the file is missing, or no server with this plugin became ready: the process ended before, or took too long'
  },
  'app.store': {
    group: 'application',
    needs: 'app',
    title: 'store',
    why: 'Jobs in memory are lost when the process ends, and no other process sees them. Checks of a Redis server that the application does not ' +
      'use say nothing about the application.',
    note: 'jobs are kept in memory',
    warning: '`--redis-url` or `REDIS_URL` names another server than the application uses, or the application keeps its jobs in memory although they name one'
  },
  'app.proxy': {
    group: 'application',
    needs: 'app',
    title: 'proxy',
    why: 'Behind a proxy, request.ip, request.protocol and request.host are those of the client only if trustProxy is set.',
    note: '`trustProxy: true` believes the header of every client',
    warning: '`publicUrl` is https, the server speaks http, and `trustProxy` is off'
  },
  'app.job-routes': {
    group: 'application',
    needs: 'app',
    title: 'job routes',
    why: 'Without an owner function or links, only the job\'s id protects the job, and ids end up in logs, links and screenshots.',
    note: '`http.access: \'open\'`',
    problem: 'an endpoint has no owner function, there are neither `http.authorize` nor `http.links`, and `http.access` does not say that this is intended'
  },
  'app.metrics': {
    group: 'application',
    needs: 'app',
    title: 'metrics',
    why: 'Metrics show strangers what the application does, how much of it, and how close it is to its limits.',
    note: '`metrics.access: \'open\'`',
    warning: 'there is no `metrics.authorize`, and `metrics.access` does not say that this is intended'
  },
  'worker.event-loop': {
    group: 'application',
    title: 'event loop',
    why: 'A worker that cannot renew its lease in time loses the job, and the job runs twice.',
    warning: 'an idle event loop was late by at least a tenth of the renewal interval',
    problem: 'an idle event loop was late by at least a whole renewal interval'
  }
} as const satisfies Readonly<Record<string, Check>>

export type CheckId = keyof typeof CHECKS
export const CHECK_IDS = Object.keys(CHECKS) as CheckId[]

/** The severities that the table allows for a check. */
type SeverityOf<Id extends CheckId> = 'ok' | Extract<keyof typeof CHECKS[Id], Severity>

export interface Finding {
  readonly check: CheckId
  readonly severity: Severity
  /** `false`: the check could not be made, and `what` says why. */
  readonly checked: boolean
  /** What the doctor saw. */
  readonly what: string
  readonly why: string
  /** A command to run or a line to write, when there is something to do. */
  readonly fix?: string
}

export function found<Id extends CheckId> (check: Id, severity: SeverityOf<Id>, what: string, fix?: string): Finding {
  return { check, severity, checked: true, what, why: CHECKS[check].why, ...(fix !== undefined && { fix }) }
}

export function notChecked (check: CheckId, because: string, fix?: string): Finding {
  return { check, severity: 'note', checked: false, what: `not checked: ${because}`, why: CHECKS[check].why, ...(fix !== undefined && { fix }) }
}
