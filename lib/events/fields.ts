/** The type of each key of an event, whichever event has it. */
export interface EventFields {
  jobId: string
  jobName: string
  queue: string
  workerId: string
  correlationId: string
  /** Only set when the span is sampled. Exemplars and log lines refer to it. */
  traceId: string | undefined
  spanId: string | undefined
  /** Which attempt of the job, from 1. */
  attempt: number
  /** How many attempts the job has in all. */
  maxAttempts: number
  final: boolean
  errorCode: string
  errorMessage: string
  /** Set when the attempt ended because its handler threw. */
  failure: AttemptFailure | undefined
  reason: string
  message: string

  /** The path of a step of a saga, or the name of a step of `job.step()`. Of an event about a saga: the step it is at. */
  step: string
  /** Place of a step in the list of all steps, from 1; 0 for a step of an ordinary handler. */
  order: number
  /** Paths of steps, separated by commas. */
  steps: string
  /** `forward`, `compensating`, `compensated` or `compensation-failed`. */
  phase: string
  /** The name of a signal. */
  signal: string

  submitMs: number
  delayMs: number
  queueWaitMs: number
  claimMs: number | undefined
  processingMs: number
  totalMs: number
  /** Size of the request body, as the client declared it. */
  payloadBytes: number | undefined
  resultBytes: number | undefined
  /** Who sent the submission, if it came over HTTP. */
  origin: SubmitOrigin | undefined
  done: number | undefined
  total: number | undefined

  durationMs: number
  timeoutMs: number
  graceMs: number
  lateMs: number

  concurrency: number
  active: number
  released: number
  abandoned: number
  idleMs: number
  silentMs: number
  exhaustedMs: number
  drainTimeoutMs: number

  storeType: string
  operation: string
  /** Host and port of the store's server, without user and password. */
  server: string | undefined

  check: string
  status: string
  previous: string
  /** Names of the health checks that are not Healthy, separated by commas; empty if there are none. */
  checks: string

  /** What the caller said about a monitored operation: bounded and redacted. */
  context: OperationContext | undefined
  thresholdMs: number
  deltaMb: number
  thresholdMb: number
  lagMs: number
  /** Names of the jobs that were running, separated by commas; empty if there were none. */
  jobs: string
  /** A database by its OpenTelemetry name (`postgresql`, `redis`, …). */
  system: string
  target: string
  /** A query without its parameters. */
  statement: string
  /** The kind of a bottleneck, for example `workers-saturated`. */
  cause: string
  /** The queue, job or operation that a bottleneck is about. */
  subject: string | undefined
  value: number
  threshold: number
  /** The unit of `value` and `threshold`. */
  unit: string
  /** The bottleneck in words. */
  sentence: string

  /** Identifies an alert: `rule`, or `rule:key`. */
  fingerprint: string
  rule: string
  severity: string
  alertType: string
  title: string
  sender: string
  firingMs: number
  tries: number

  /** The kind of a channel: `sse`, `websocket`. */
  kind: string
  /** How many messages a client was sent. */
  sent: number
  /** How many channels of one kind are open in this process. */
  open: number

  /** The id of the job that delivers a webhook; receivers see it as `webhook-id`. */
  deliveryId: string
  /** The host name of a webhook's receiver. */
  host: string
  /** The status of an HTTP response; `undefined`: there was none. */
  statusCode: number | undefined
  /** Since the end of the job. */
  sinceEndMs: number

  /** The path of a group of routes. */
  path: string
  /** How many events a subscriber listens to. */
  events: number
  name: string
  source: string
  exporter: string
  format: string
  metrics: number
  bytes: number
}

/** A few facts about one run of a monitored operation, so that a person can find that run. */
export type OperationContext = Readonly<Record<string, string | number | boolean>>

/**
 * Who sent a submission. The values are read from the request on access, so that a log line that is not written costs
 * nothing.
 */
export interface SubmitOrigin {
  readonly requestId: string
  readonly userId: string | undefined
  readonly clientIp: string
  readonly userAgent: string | undefined
}

/**
 * Details of a thrown error: bounded and redacted. They are computed on access, because formatting a stack is
 * expensive.
 */
export interface AttemptFailure {
  /** The chain of causes, the nearest first, each as `code: message`. */
  readonly causes: readonly string[]
  /** The innermost stack frames. */
  readonly stack: readonly string[]
}
