/** What can be found, in one place: the checks, why each matters, and what makes it which severity. `docs/doctor.md` is made from it. */

/** From harmless to must be mended. */
export const SEVERITIES = ['ok', 'note', 'warning', 'problem'] as const
export type Severity = typeof SEVERITIES[number]

export interface Check {
  /** Headings of the report. */
  readonly group: 'Redis' | 'Packages' | 'OpenTelemetry' | 'Application'
  readonly title: string
  /** One sentence: what goes wrong otherwise. */
  readonly why: string
  /** What must be given for it, if anything. */
  readonly needs?: 'redis' | 'app'
  readonly note?: string
  readonly warning?: string
  readonly problem?: string
}

export const CHECKS = {
  'redis.connection': {
    group: 'Redis', needs: 'redis', title: 'connection',
    why: 'Without the server no job is accepted and none is run: submissions are answered 503.',
    problem: 'refused, unknown host, no connection in time, connected but silent, TLS, NOAUTH, WRONGPASS, still loading, another refusal'
  },
  'redis.version': {
    group: 'Redis', needs: 'redis', title: 'server version',
    why: 'Older servers lack commands that BullMQ and the store use, and the store refuses them.',
    note: 'Valkey, Dragonfly: named, with their own version', problem: 'older than the store supports'
  },
  'redis.eviction': {
    group: 'Redis', needs: 'redis', title: 'eviction policy',
    why: 'Any other policy than noeviction throws waiting jobs away when memory runs short, without an error anywhere.',
    problem: '`maxmemory-policy` is not `noeviction`'
  },
  'redis.persistence': {
    group: 'Redis', needs: 'redis', title: 'persistence',
    why: 'Jobs that were acknowledged with 202 are only as durable as what the server has written to disk.',
    note: 'on, but `appendfsync no`', warning: 'neither AOF nor RDB is on; RDB only', problem: 'the last save, write or rewrite failed'
  },
  'redis.memory': {
    group: 'Redis', needs: 'redis', title: 'memory',
    why: 'A server that is full refuses every submission (FAE_STORE_FULL) and cannot store the results of running jobs.',
    note: 'no `maxmemory`: the machine is the limit', warning: '80 % of the limit or more is used', problem: '95 % or more is used'
  },
  'redis.clock': {
    group: 'Redis', needs: 'redis', title: 'clock',
    why: 'Jobs follow the clock of the server, whatever a host says; but its logs and spans tell another time, and a runAt that it computes is early or late.',
    note: 'off by more than 250 ms', warning: 'off by more than 1 s', problem: 'off by more than 30 s'
  },
  'redis.cluster': {
    group: 'Redis', needs: 'redis', title: 'cluster',
    why: 'A script may only touch keys of one slot, so that on a cluster all keys of the store need one hash tag.',
    warning: 'a cluster of several nodes, which a URL alone does not reach', problem: 'the prefix has no part in braces; the cluster is not up'
  },
  'redis.commands': {
    group: 'Redis', needs: 'redis', title: 'permissions',
    why: 'A command that this user may not run, or that the server does not carry out now, fails in the middle of a job\'s life.',
    warning: 'the channels of live updates may not be subscribed to', problem: 'a command is not allowed or unknown; the server takes no writes (replica, full, failed save)'
  },
  'redis.latency': {
    group: 'Redis', needs: 'redis', title: 'latency',
    why: 'Each submission and each state change waits for at least one round trip.',
    note: 'median over 20 ms', warning: 'median over 100 ms', problem: 'median over 1 s'
  },
  'packages.node': {
    group: 'Packages', title: 'Node.js',
    why: 'Node 24 carries the trace context at no cost; below 20.19 the package does not load.',
    note: 'older than 24', problem: 'older than the package supports'
  },
  'packages.fastify': { group: 'Packages', title: 'fastify', why: 'The plugins are made for this version of Fastify.', problem: 'missing or outside the supported range' },
  'packages.bullmq': { group: 'Packages', title: 'bullmq', why: 'redisStore() runs on it, and knows the inside of the supported releases only.', problem: 'missing although a Redis URL is given, or outside the supported range' },
  'packages.ioredis': { group: 'Packages', title: 'ioredis', why: 'redisStore() connects through it.', problem: 'missing although a Redis URL is given, or outside the supported range' },
  'otel.api': {
    group: 'OpenTelemetry', title: '@opentelemetry/api',
    why: 'Copies of different versions do not accept each other\'s registrations: telemetry made through one of them goes nowhere.',
    note: 'several copies of one version', warning: 'copies of different versions', problem: 'missing, outside the supported range, or copies of different major versions'
  },
  'otel.exporters': {
    group: 'OpenTelemetry', title: 'exporters',
    why: 'The environment asks for an export that nothing in this project can make, unless an SDK of your own does.',
    note: 'a variable has a value that cannot be used', warning: 'the package of the exporter is not installed'
  },
  'otel.sdk': {
    group: 'OpenTelemetry', needs: 'app', title: 'SDK start',
    why: 'Instrumentation changes packages while they are loaded: one that is there before it stays as it is, and its spans are missing.',
    warning: 'fastify or ioredis was loaded before the tracer provider was registered'
  },
  'app.boot': {
    group: 'Application', needs: 'app', title: 'start',
    why: 'What the application itself is like can only be seen when it starts.',
    problem: 'the file is missing, or the process ended with an error before the server was ready'
  },
  'app.store': {
    group: 'Application', needs: 'app', title: 'store',
    why: 'Jobs in memory end with the process, and no other process sees them. Checks of a server that the application does not use say nothing about it.',
    note: 'jobs are kept in memory', warning: '`--redis-url` or `REDIS_URL` names another server than the application uses, or a server although it keeps its jobs in memory'
  },
  'app.proxy': {
    group: 'Application', needs: 'app', title: 'proxy',
    why: 'Behind a proxy request.ip, request.protocol and request.host are the client\'s only with trustProxy.',
    note: '`trustProxy: true` trusts whoever sends the header', warning: '`publicUrl` is https, the server speaks http, and `trustProxy` is off'
  },
  'app.job-routes': {
    group: 'Application', needs: 'app', title: 'job routes',
    why: 'Without an owner function the id of a job is all that protects it, and ids get into logs, links and screenshots.',
    note: '`http.access: \'open\'`', warning: 'an endpoint has no owner function, and nobody says that this is intended'
  },
  'app.metrics': {
    group: 'Application', needs: 'app', title: 'metrics',
    why: 'Metrics show strangers what the application does, how much, and how well it bears load.',
    note: '`metrics.access: \'open\'`', warning: 'there is no `metrics.authorize`, and nobody says that this is intended'
  },
  'worker.event-loop': {
    group: 'Application', title: 'event loop',
    why: 'A worker that cannot renew its lease in time loses the job, which then runs twice.',
    warning: 'an idle loop was late by a tenth of the renewal interval', problem: 'it was late by a whole renewal interval'
  }
} as const satisfies Readonly<Record<string, Check>>

export type CheckId = keyof typeof CHECKS
export const CHECK_IDS = Object.keys(CHECKS) as CheckId[]

/** Only what the table says can come of a check. */
type SeverityOf<Id extends CheckId> = 'ok' | Extract<keyof typeof CHECKS[Id], Severity>

export interface Finding {
  readonly check: CheckId
  readonly severity: Severity
  /** False: nobody looked, and `what` says why not. */
  readonly checked: boolean
  /** What is. */
  readonly what: string
  readonly why: string
  /** A command or a line, when something is to be done. */
  readonly fix?: string
}

export function found<Id extends CheckId> (check: Id, severity: SeverityOf<Id>, what: string, fix?: string): Finding {
  return { check, severity, checked: true, what, why: CHECKS[check].why, ...(fix !== undefined && { fix }) }
}

export function notChecked (check: CheckId, because: string, fix?: string): Finding {
  return { check, severity: 'note', checked: false, what: `not checked: ${because}`, why: CHECKS[check].why, ...(fix !== undefined && { fix }) }
}
