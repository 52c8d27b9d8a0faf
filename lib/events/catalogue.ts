/**
 * Every lifecycle event, once: what it means, its numbers (`measurements`) and its words (`metadata`). Names are past
 * tense, `domain.what_happened`; a number ending in `Ms` is milliseconds. Payloads, results and headers are never part
 * of an event. The types of the events follow below, and a test compares the two.
 */
export const EVENT_CATALOGUE = {
  'job.submitted': { about: 'A job was stored; the client may be told its id.', measurements: ['submitMs', 'delayMs', 'payloadBytes'], metadata: ['jobId', 'jobName', 'queue', 'correlationId', 'traceId', 'spanId', 'origin'] },
  'job.replayed': { about: 'A submission with a known idempotency key was answered with the job that is there.', measurements: ['submitMs'], metadata: ['jobId', 'jobName', 'queue', 'correlationId', 'traceId', 'spanId', 'origin'] },
  'job.rejected': { about: 'A submission was refused before anything was stored, or a redrive because there is no room for it.', measurements: ['submitMs'], metadata: ['jobName', 'queue', 'correlationId', 'reason', 'origin'] },
  'job.submit_failed': { about: 'The store did not take a submission.', measurements: ['submitMs'], metadata: ['jobName', 'queue', 'correlationId', 'errorCode', 'message', 'origin'] },
  'job.claimed': { about: 'A worker took a job to run it; the ids are those of its submission.', measurements: ['attempt', 'queueWaitMs', 'claimMs'], metadata: ['jobId', 'jobName', 'queue', 'workerId', 'traceId', 'spanId'] },
  'job.started': { about: 'An attempt began.', measurements: ['attempt', 'maxAttempts'], metadata: ['jobId', 'jobName', 'queue', 'workerId', 'correlationId', 'traceId', 'spanId'] },
  'job.progressed': { about: 'A running job told how far it is (throttled).', measurements: ['done', 'total'], metadata: ['jobId', 'jobName', 'queue', 'correlationId', 'traceId', 'spanId'] },
  'job.attempt_failed': { about: 'An attempt ended in an error; the job may be retried.', measurements: ['attempt', 'maxAttempts', 'processingMs'], metadata: ['jobId', 'jobName', 'queue', 'workerId', 'correlationId', 'errorCode', 'errorMessage', 'failure', 'final', 'traceId', 'spanId'] },
  'job.retry_scheduled': { about: 'Another attempt will follow after a backoff.', measurements: ['attempt', 'maxAttempts', 'delayMs'], metadata: ['jobId', 'jobName', 'queue', 'workerId', 'correlationId', 'errorCode', 'traceId', 'spanId'] },
  'job.snoozed': { about: 'The handler asked to be run later; no attempt was spent.', measurements: ['delayMs', 'processingMs'], metadata: ['jobId', 'jobName', 'queue', 'workerId', 'correlationId', 'traceId', 'spanId'] },
  'job.timed_out': { about: 'An attempt exceeded its timeout and was aborted.', measurements: ['attempt', 'maxAttempts', 'timeoutMs'], metadata: ['jobId', 'jobName', 'queue', 'workerId', 'correlationId', 'traceId', 'spanId'] },
  'job.completed': { about: 'The job is over: its result is stored.', measurements: ['attempt', 'maxAttempts', 'processingMs', 'queueWaitMs', 'totalMs', 'resultBytes'], metadata: ['jobId', 'jobName', 'queue', 'workerId', 'correlationId', 'traceId', 'spanId'] },
  'job.failed': { about: 'The job is over: no attempt is left, or it was discarded.', measurements: ['attempt', 'maxAttempts', 'processingMs', 'totalMs'], metadata: ['jobId', 'jobName', 'queue', 'workerId', 'correlationId', 'errorCode', 'errorMessage', 'traceId', 'spanId'] },
  'job.cancel_requested': { about: 'A running job was asked to stop.', measurements: [], metadata: ['jobId', 'jobName', 'queue', 'correlationId', 'traceId', 'spanId'] },
  'job.cancelled': { about: 'The job is over: it was cancelled while waiting (the ids are those of its submission), or its attempt stopped.', measurements: ['processingMs', 'totalMs'], metadata: ['jobId', 'jobName', 'queue', 'workerId', 'correlationId', 'traceId', 'spanId'] },
  'job.released': { about: 'A stopping worker handed a running job back; no attempt was spent.', measurements: ['processingMs'], metadata: ['jobId', 'jobName', 'queue', 'workerId', 'correlationId', 'traceId', 'spanId'] },
  'job.stalled': { about: 'A lease ran out; the job is back in its queue.', measurements: [], metadata: ['jobId', 'queue'] },
  'job.recovered': { about: 'A stalled job was claimed again and its stall counted as an attempt.', measurements: ['attempt', 'maxAttempts'], metadata: ['jobId', 'jobName', 'queue', 'workerId', 'correlationId', 'traceId', 'spanId'] },
  'job.lease_lost': { about: 'An attempt ended, but its job belonged to another worker by then; its ending does not count.', measurements: ['attempt', 'maxAttempts', 'processingMs'], metadata: ['jobId', 'jobName', 'queue', 'workerId', 'correlationId', 'traceId', 'spanId'] },
  'job.settle_failed': { about: 'The store could not take the ending of an attempt; the lease will run out.', measurements: ['attempt', 'maxAttempts'], metadata: ['jobId', 'jobName', 'queue', 'workerId', 'correlationId', 'errorCode', 'traceId', 'spanId'] },
  'job.unhandled': { about: 'A claimed job has a name this process does not know; it went back with a backoff.', measurements: ['delayMs'], metadata: ['jobId', 'jobName', 'queue', 'workerId', 'correlationId', 'traceId', 'spanId'] },
  'job.redriven': { about: 'A failed job was queued again.', measurements: [], metadata: ['jobId', 'jobName', 'queue', 'correlationId', 'traceId', 'spanId'] },
  'job.removed': { about: 'A job was forgotten on request.', measurements: [], metadata: ['jobId', 'jobName', 'queue', 'correlationId', 'traceId', 'spanId'] },

  'handler.registered': { about: 'A job was defined in this process.', measurements: [], metadata: ['jobName', 'queue'] },
  'handler.started': { about: 'A handler was called.', measurements: ['attempt'], metadata: ['jobId', 'jobName', 'queue'] },
  'handler.completed': { about: 'A handler returned.', measurements: ['durationMs'], metadata: ['jobId', 'jobName', 'queue', 'traceId', 'spanId'] },
  'handler.failed': { about: 'A handler threw.', measurements: ['durationMs'], metadata: ['jobId', 'jobName', 'queue', 'correlationId', 'errorCode', 'traceId', 'spanId'] },
  'handler.abandoned': { about: 'A handler went on after its grace; its attempt was settled without it.', measurements: ['durationMs', 'graceMs'], metadata: ['jobId', 'jobName', 'queue', 'correlationId', 'reason', 'traceId', 'spanId'] },
  'handler.ended_late': { about: 'An abandoned handler has ended after all; its place is free again.', measurements: ['lateMs'], metadata: ['jobId', 'jobName', 'queue', 'correlationId', 'traceId', 'spanId'] },

  'worker.started': { about: 'A worker began to claim jobs.', measurements: ['concurrency'], metadata: ['workerId', 'queue'] },
  'worker.idled': { about: 'A worker had a free place and nothing to do until now.', measurements: ['idleMs'], metadata: ['workerId', 'queue'] },
  'worker.paused': { about: 'A worker stopped claiming on request.', measurements: [], metadata: ['workerId', 'queue'] },
  'worker.resumed': { about: 'A paused worker claims again.', measurements: [], metadata: ['workerId', 'queue'] },
  'worker.draining': { about: 'A worker claims no more and waits for its attempts.', measurements: ['active', 'drainTimeoutMs'], metadata: ['workerId'] },
  'worker.stopped': { about: 'A worker has ended.', measurements: ['released'], metadata: ['workerId'] },
  'worker.restarted': { about: 'A queue was claimed from no more although its server answered: its consumer was made anew. Attempts under way went on.', measurements: ['silentMs'], metadata: ['workerId', 'queue', 'reason'] },
  'worker.exhausted': { about: 'Abandoned handlers hold every place of a queue: nothing is claimed from it until one of them ends.', measurements: ['abandoned'], metadata: ['workerId', 'queue'] },
  'worker.relieved': { about: 'An abandoned handler has ended, and its queue is claimed from again.', measurements: ['exhaustedMs'], metadata: ['workerId', 'queue'] },
  'worker.failed': { about: 'Claiming met an error; it goes on.', measurements: [], metadata: ['workerId', 'queue', 'errorCode', 'message'] },

  'store.connected': { about: 'The server behind the store can be reached.', measurements: [], metadata: ['storeType', 'server'] },
  'store.disconnected': { about: 'The server behind the store cannot be reached: which one, and what to do.', measurements: [], metadata: ['storeType', 'server', 'errorCode', 'message'] },
  'store.failed': { about: 'The store met an error outside of any call.', measurements: [], metadata: ['storeType', 'errorCode', 'message'] },
  'store.warned': { about: 'The store found something that an operator should know: a setting to be changed, keys that it had to mend, a queue that nobody works on.', measurements: [], metadata: ['storeType', 'errorCode', 'message'] },
  'store.operated': { about: 'A store operation succeeded.', measurements: ['durationMs'], metadata: ['storeType', 'operation'] },
  'store.operation_failed': { about: 'A store operation failed.', measurements: ['durationMs'], metadata: ['storeType', 'operation', 'errorCode', 'message'] },

  'health.check_changed': { about: 'A health check gives another answer than before, or its first one is not good.', measurements: [], metadata: ['check', 'status', 'previous', 'message'] },
  'health.changed': { about: 'The readiness of this process changed, because of its checks or because it is shutting down.', measurements: [], metadata: ['status', 'previous', 'reason'] },

  'performance.slow_operation': { about: 'A monitored operation took longer than its threshold.', measurements: ['durationMs', 'thresholdMs'], metadata: ['operation', 'context'] },
  'performance.memory_spike': { about: 'The heap was much larger after a monitored operation than before it.', measurements: ['deltaMb', 'thresholdMb'], metadata: ['operation', 'context'] },
  'performance.slow_query': { about: 'A database query of an instrumented client took longer than its threshold.', measurements: ['durationMs', 'thresholdMs'], metadata: ['system', 'operation', 'target', 'statement', 'traceId', 'spanId'] },
  'performance.event_loop_lagged': { about: 'The event loop of this process was late: something blocked it, perhaps one of the jobs that ran meanwhile.', measurements: ['lagMs', 'thresholdMs'], metadata: ['jobs'] },
  'performance.bottleneck_found': { about: 'Something has limited the throughput for longer than performance.windowMs; told again once per window as long as it does.', measurements: ['value', 'threshold'], metadata: ['cause', 'severity', 'subject', 'unit', 'sentence'] },

  'alert.raised': { about: 'An alert rule found something; the senders are about to be told.', measurements: [], metadata: ['fingerprint', 'rule', 'severity', 'alertType', 'title', 'message'] },
  'alert.reminded': { about: 'An alert is still firing; the senders are about to be told again.', measurements: ['firingMs'], metadata: ['fingerprint', 'rule', 'severity', 'alertType', 'title', 'message'] },
  'alert.resolved': { about: 'What an alert was about is over; the senders are about to be told.', measurements: ['firingMs'], metadata: ['fingerprint', 'rule', 'severity', 'alertType', 'title', 'message'] },
  'alert.send_failed': { about: 'A sender could not pass a notice on; it is tried again with the next evaluation.', measurements: ['tries'], metadata: ['sender', 'fingerprint', 'rule', 'errorCode', 'message'] },

  'access.jobs_left_open': { about: 'In production, at the start: the job routes have no owner function, and nobody has said that they are open on purpose.', measurements: [], metadata: ['path'] },
  'access.metrics_left_open': { about: 'In production, at the start: the metrics have no authorize function, and nobody has said that they are open on purpose.', measurements: [], metadata: ['path'] },

  'subscriber.registered': { about: 'Somebody subscribed to events.', measurements: ['events'], metadata: ['name'] },
  'subscriber.unregistered': { about: 'A subscriber left.', measurements: ['events'], metadata: ['name'] },

  'telemetry.cache_synced': { about: 'This process showed its metrics to the others on its store.', measurements: ['metrics', 'bytes'], metadata: [] },
  'telemetry.export_requested': { about: 'Metrics are to be exported.', measurements: [], metadata: ['exporter', 'format', 'target'] },
  'telemetry.export_completed': { about: 'Metrics were exported.', measurements: ['durationMs', 'bytes'], metadata: ['exporter', 'format', 'target'] },
  'telemetry.export_failed': { about: 'Metrics could not be exported; the next turn tries again.', measurements: ['durationMs'], metadata: ['exporter', 'format', 'target', 'errorCode', 'message'] },
  'telemetry.plugin_registered': { about: 'An exporter of metrics was registered.', measurements: [], metadata: ['exporter'] },
  'telemetry.plugin_unregistered': { about: 'An exporter of metrics was taken away.', measurements: [], metadata: ['exporter'] },
  'telemetry.listener_failed': { about: 'A listener, metrics implementation or exporter threw; jobs are not affected.', measurements: [], metadata: ['source', 'message'] }
} as const satisfies Record<string, EventEntry>

interface EventEntry {
  readonly about: string
  readonly measurements: readonly string[]
  readonly metadata: readonly string[]
}

export type EventName = keyof typeof EVENT_CATALOGUE
export const EVENT_NAMES = Object.keys(EVENT_CATALOGUE) as EventName[]

/** Which type each key has, wherever it appears. */
interface Fields {
  jobId: string, jobName: string, queue: string, workerId: string, correlationId: string
  /** Only when the span is sampled: exemplars and log lines point at it. */
  traceId: string | undefined, spanId: string | undefined
  storeType: string, operation: string, errorCode: string, errorMessage: string, message: string, reason: string, source: string
  status: string, previous: string, check: string, final: boolean
  /** Host and port of a store's server, where it has one; never user and password. */
  server: string | undefined
  /** Of routes of ours. */
  path: string
  submitMs: number, delayMs: number, queueWaitMs: number, claimMs: number | undefined, processingMs: number, totalMs: number
  durationMs: number, idleMs: number, silentMs: number, timeoutMs: number, graceMs: number, drainTimeoutMs: number, lateMs: number, exhaustedMs: number, abandoned: number
  attempt: number, /** Attempts that the job has in all. */ maxAttempts: number, resultBytes: number | undefined, concurrency: number, active: number, released: number
  done: number | undefined, total: number | undefined
  /** Of the request's body, as its sender told it. */
  payloadBytes: number | undefined
  /** Whose submission it was, over HTTP; asked only for what is to be told. */
  origin: SubmitOrigin | undefined
  /** Of an attempt that ended because its handler threw. */
  failure: AttemptFailure | undefined
  /** What the caller said about a monitored operation: bounded, and without what must not be shown. */
  context: OperationContext | undefined
  /** Of a bottleneck: a word for what it is, the queue or operation it is about, numbers in `unit`, and all of it as a sentence. */
  cause: string, subject: string | undefined, value: number, threshold: number, unit: string, sentence: string
  thresholdMs: number, deltaMb: number, thresholdMb: number, lagMs: number
  /** A database by its OpenTelemetry name (`postgresql`, `redis`, …), what was asked of it, and without parameters. */
  system: string, target: string, statement: string
  /** Names of jobs, separated by commas; empty when none ran. */
  jobs: string
  /** Of an alert: `rule`, or `rule:key`. */
  fingerprint: string, rule: string, severity: string, alertType: string, title: string, sender: string
  firingMs: number, tries: number
  events: number, metrics: number, bytes: number, name: string, exporter: string, format: string
}

/** Few words about one run of an operation: what a person needs to find it again. */
export type OperationContext = Readonly<Record<string, string | number | boolean>>

/** Who sent a submission. Its parts are read when somebody asks: a line that is not written costs nothing. */
export interface SubmitOrigin {
  readonly requestId: string
  readonly userId: string | undefined
  readonly clientIp: string
  readonly userAgent: string | undefined
}

/**
 * What there is to know of a thrown error besides its code and message. Bounded, without what must not be shown; made when
 * somebody reads it: a stack is expensive to write down.
 */
export interface AttemptFailure {
  /** What it was caused by, from the nearest on, each as `code: message`. */
  readonly causes: readonly string[]
  /** Where it was thrown: the innermost frames. */
  readonly stack: readonly string[]
}

type KeysOf<N extends EventName> =
  (typeof EVENT_CATALOGUE)[N]['measurements'][number] | (typeof EVENT_CATALOGUE)[N]['metadata'][number]

/** What only completes the picture: an event that is made by hand, for the test of a listener, can do without. */
type Extras = 'maxAttempts' | 'traceId' | 'spanId'

/** The payload of an event: flat, one object per emission, not to be changed or kept by a listener. */
export type EventPayload<N extends EventName> =
  { readonly [K in Exclude<KeysOf<N>, Extras> & keyof Fields]: Fields[K] } & { readonly [K in Extract<KeysOf<N>, Extras>]?: Fields[K] }

export type EventMap = { readonly [N in EventName]: EventPayload<N> }
