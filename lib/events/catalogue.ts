/**
 * The catalogue of lifecycle events: what each means, its numbers (`measurements`) and its words (`metadata`). Names
 * have the form `domain.what_happened`, in the past tense; a number whose key ends in `Ms` is milliseconds. Payloads,
 * results and headers are never part of an event. The types of the events are derived below, and a test compares the
 * two.
 */
import type { EventFields } from './fields.ts'
import { SAGA_EVENTS } from './saga-catalogue.ts'
import { WEBHOOK_EVENTS } from './webhook-catalogue.ts'

export type { AttemptFailure, OperationContext, SubmitOrigin } from './fields.ts'

const JOB = ['jobId', 'jobName', 'queue'] as const
const JOB_RUN = [...JOB, 'workerId'] as const
const TRACE = ['traceId', 'spanId'] as const

export const EVENT_CATALOGUE = {
  'job.submitted': {
    about: 'The store has a new job, and the client gets its id.',
    measurements: ['submitMs', 'delayMs', 'payloadBytes'], metadata: [...JOB, 'correlationId', ...TRACE, 'origin']
  },
  'job.replayed': {
    about: 'A submission used an idempotency key that is already known; it was answered with the job of that key.',
    measurements: ['submitMs'], metadata: [...JOB, 'correlationId', ...TRACE, 'origin']
  },
  'job.rejected': {
    about: 'A submission was refused before anything was stored, or a redrive was refused because the queue is full.',
    measurements: ['submitMs'], metadata: ['jobName', 'queue', 'correlationId', 'reason', 'origin']
  },
  'job.submit_failed': {
    about: 'The store could not store a submission.',
    measurements: ['submitMs'], metadata: ['jobName', 'queue', 'correlationId', 'errorCode', 'message', 'origin']
  },
  'job.claimed': {
    about: 'A worker took a job from its queue to run it. Trace and span ids are those of the submission.',
    measurements: ['attempt', 'queueWaitMs', 'claimMs'], metadata: [...JOB_RUN, ...TRACE]
  },
  'job.started': {
    about: 'An attempt began.',
    measurements: ['attempt', 'maxAttempts'], metadata: [...JOB_RUN, 'correlationId', ...TRACE]
  },
  'job.progressed': {
    about: 'A running job reported its progress (throttled).',
    measurements: ['done', 'total'], metadata: [...JOB, 'correlationId', ...TRACE]
  },
  'job.attempt_failed': {
    about: 'An attempt ended with an error. `final` says whether it was the last one.',
    measurements: ['attempt', 'maxAttempts', 'processingMs'],
    metadata: [...JOB_RUN, 'correlationId', 'errorCode', 'errorMessage', 'failure', 'final', ...TRACE]
  },
  'job.retry_scheduled': {
    about: 'The job will be attempted again after a backoff.',
    measurements: ['attempt', 'maxAttempts', 'delayMs'],
    metadata: [...JOB_RUN, 'correlationId', 'errorCode', ...TRACE]
  },
  'job.snoozed': {
    about: 'The handler asked to run again later. This spends no attempt.',
    measurements: ['delayMs', 'processingMs'], metadata: [...JOB_RUN, 'correlationId', ...TRACE]
  },
  'job.timed_out': {
    about: 'An attempt took longer than its timeout and was aborted.',
    measurements: ['attempt', 'maxAttempts', 'timeoutMs'], metadata: [...JOB_RUN, 'correlationId', ...TRACE]
  },
  'job.completed': {
    about: 'The job ended: its result is stored.',
    measurements: ['attempt', 'maxAttempts', 'processingMs', 'queueWaitMs', 'totalMs', 'resultBytes'],
    metadata: [...JOB_RUN, 'correlationId', ...TRACE]
  },
  'job.failed': {
    about: 'The job ended: no attempt is left, or its handler discarded it.',
    measurements: ['attempt', 'maxAttempts', 'processingMs', 'totalMs'],
    metadata: [...JOB_RUN, 'correlationId', 'errorCode', 'errorMessage', ...TRACE]
  },
  'job.cancel_requested': {
    about: 'Somebody asked to cancel a job that is running. Its signal aborts.',
    measurements: [], metadata: [...JOB, 'correlationId', ...TRACE]
  },
  'job.cancelled': {
    about: 'The job ended: it was cancelled while it waited (trace and span ids are those of the submission), ' +
      'or its attempt stopped.',
    measurements: ['processingMs', 'totalMs'], metadata: [...JOB_RUN, 'correlationId', ...TRACE]
  },
  'job.released': {
    about: 'A worker that is stopping handed a running job back to the queue. This spends no attempt.',
    measurements: ['processingMs'], metadata: [...JOB_RUN, 'correlationId', ...TRACE]
  },
  'job.stalled': {
    about: 'The lease of a running job ran out, and the job is back in its queue.',
    measurements: [], metadata: ['jobId', 'queue']
  },
  'job.recovered': {
    about: 'A job that had stalled was claimed again. The stall counts as an attempt.',
    measurements: ['attempt', 'maxAttempts'], metadata: [...JOB_RUN, 'correlationId', ...TRACE]
  },
  'job.lease_lost': {
    about: 'An attempt ended after its lease was lost. Its ending is ignored, because another worker may ' +
      'already run the job.',
    measurements: ['attempt', 'maxAttempts', 'processingMs'], metadata: [...JOB_RUN, 'correlationId', ...TRACE]
  },
  'job.settle_failed': {
    about: 'The store could not record how an attempt ended. The lease will run out, and the job will run again.',
    measurements: ['attempt', 'maxAttempts'], metadata: [...JOB_RUN, 'correlationId', 'errorCode', ...TRACE]
  },
  'job.unhandled': {
    about: 'A worker claimed a job whose name is not defined in this process, and put it back with a backoff.',
    measurements: ['delayMs'], metadata: [...JOB_RUN, 'correlationId', ...TRACE]
  },
  'job.redriven': {
    about: 'A failed job was put back into its queue.',
    measurements: [], metadata: [...JOB, 'correlationId', ...TRACE]
  },
  'job.removed': {
    about: 'A job was deleted on request.',
    measurements: [], metadata: [...JOB, 'correlationId', ...TRACE]
  },

  'handler.registered': {
    about: 'A job was defined in this process.',
    measurements: [], metadata: ['jobName', 'queue']
  },
  'handler.started': {
    about: 'A handler was called.',
    measurements: ['attempt'], metadata: [...JOB]
  },
  'handler.completed': {
    about: 'A handler returned.',
    measurements: ['durationMs'], metadata: [...JOB, ...TRACE]
  },
  'handler.failed': {
    about: 'A handler threw an error.',
    measurements: ['durationMs'], metadata: [...JOB, 'correlationId', 'errorCode', ...TRACE]
  },
  'handler.abandoned': {
    about: 'A handler was still running when its grace period ended. Its attempt was settled without it.',
    measurements: ['durationMs', 'graceMs'], metadata: [...JOB, 'correlationId', 'reason', ...TRACE]
  },
  'handler.ended_late': {
    about: 'An abandoned handler has ended, and its slot is free again.',
    measurements: ['lateMs'], metadata: [...JOB, 'correlationId', ...TRACE]
  },

  ...SAGA_EVENTS,
  ...WEBHOOK_EVENTS,

  'worker.started': {
    about: 'A worker began to claim jobs from a queue.',
    measurements: ['concurrency'], metadata: ['workerId', 'queue']
  },
  'worker.idled': {
    about: 'A worker had a free slot and nothing to run, until now.',
    measurements: ['idleMs'], metadata: ['workerId', 'queue']
  },
  'worker.paused': {
    about: 'A worker stopped claiming jobs because it was asked to.',
    measurements: [], metadata: ['workerId', 'queue']
  },
  'worker.resumed': {
    about: 'A paused worker claims jobs again.',
    measurements: [], metadata: ['workerId', 'queue']
  },
  'worker.draining': {
    about: 'A worker claims no more jobs and waits for its running attempts.',
    measurements: ['active', 'drainTimeoutMs'], metadata: ['workerId']
  },
  'worker.stopped': {
    about: 'A worker has stopped.',
    measurements: ['released'], metadata: ['workerId']
  },
  'worker.restarted': {
    about: 'A worker claimed nothing from a queue although the store answered, so it got a new consumer. ' +
      'Running attempts went on.',
    measurements: ['silentMs'], metadata: ['workerId', 'queue', 'reason']
  },
  'worker.exhausted': {
    about: 'Abandoned handlers hold every slot of a queue: no job of it is claimed until one of them ends.',
    measurements: ['abandoned'], metadata: ['workerId', 'queue']
  },
  'worker.relieved': {
    about: 'An abandoned handler has ended, and jobs of its queue are claimed again.',
    measurements: ['exhaustedMs'], metadata: ['workerId', 'queue']
  },
  'worker.failed': {
    about: 'Claiming jobs failed with an error; the worker tries again.',
    measurements: [], metadata: ['workerId', 'queue', 'errorCode', 'message']
  },

  'store.connected': {
    about: 'The server behind the store can be reached.',
    measurements: [], metadata: ['storeType', 'server']
  },
  'store.disconnected': {
    about: 'The server behind the store cannot be reached. `message` says what to do.',
    measurements: [], metadata: ['storeType', 'server', 'errorCode', 'message']
  },
  'store.failed': {
    about: 'The store met an error that belongs to no call.',
    measurements: [], metadata: ['storeType', 'errorCode', 'message']
  },
  'store.warned': {
    about: 'The store found something that an operator should know: a setting to change, keys that it repaired, ' +
      'or a queue that no worker consumes.',
    measurements: [], metadata: ['storeType', 'errorCode', 'message']
  },
  'store.operated': {
    about: 'A store operation succeeded.',
    measurements: ['durationMs'], metadata: ['storeType', 'operation']
  },
  'store.operation_failed': {
    about: 'A store operation failed.',
    measurements: ['durationMs'], metadata: ['storeType', 'operation', 'errorCode', 'message']
  },

  'health.check_changed': {
    about: 'The status of a health check changed, or its first status is not Healthy.',
    measurements: [], metadata: ['check', 'status', 'previous', 'message']
  },
  'health.changed': {
    about: 'The readiness of this process changed, because of its checks or because it is shutting down.',
    measurements: [], metadata: ['status', 'previous', 'reason', 'checks']
  },

  'performance.slow_operation': {
    about: 'A monitored operation took longer than its threshold.',
    measurements: ['durationMs', 'thresholdMs'], metadata: ['operation', 'context']
  },
  'performance.memory_spike': {
    about: 'The heap was much larger after a monitored operation than before it.',
    measurements: ['deltaMb', 'thresholdMb'], metadata: ['operation', 'context']
  },
  'performance.slow_query': {
    about: 'A database query of an instrumented client took longer than its threshold.',
    measurements: ['durationMs', 'thresholdMs'], metadata: ['system', 'operation', 'target', 'statement', ...TRACE]
  },
  'performance.event_loop_lagged': {
    about: 'The event loop of this process was blocked, perhaps by one of the jobs that were running.',
    measurements: ['lagMs', 'thresholdMs'], metadata: ['jobs']
  },
  'performance.bottleneck_found': {
    about: 'Something has limited the throughput for longer than `performance.windowMs`. Emitted once per ' +
      'window while it lasts.',
    measurements: ['value', 'threshold'], metadata: ['cause', 'severity', 'subject', 'unit', 'sentence']
  },

  'alert.raised': {
    about: 'An alert rule found something, and the alert is about to be sent.',
    measurements: [], metadata: ['fingerprint', 'rule', 'severity', 'alertType', 'title', 'message']
  },
  'alert.reminded': {
    about: 'An alert is still firing, and a reminder is about to be sent.',
    measurements: ['firingMs'], metadata: ['fingerprint', 'rule', 'severity', 'alertType', 'title', 'message']
  },
  'alert.resolved': {
    about: 'An alert no longer fires, and the senders are about to be notified.',
    measurements: ['firingMs'], metadata: ['fingerprint', 'rule', 'severity', 'alertType', 'title', 'message']
  },
  'alert.send_failed': {
    about: 'A sender could not deliver a notice. The next evaluation tries again.',
    measurements: ['tries'], metadata: ['sender', 'fingerprint', 'rule', 'errorCode', 'message']
  },

  'channel.opened': {
    about: 'A client began to listen to jobs on a connection that stays open. `open` counts those of its kind in this process.',
    measurements: ['open'], metadata: ['kind']
  },
  'channel.closed': {
    about: 'A connection on which a client listened has ended. `sent` counts the messages.',
    measurements: ['durationMs', 'sent', 'open'], metadata: ['kind', 'reason']
  },

  'access.jobs_left_open': {
    about: 'At the start of a process in production: the job routes have no owner function, no `authorize` and ' +
      'no links, and `http.access` does not say that this is intended.',
    measurements: [], metadata: ['path']
  },
  'access.metrics_left_open': {
    about: 'At the start of a process in production: the metrics have no `authorize` function, and ' +
      '`metrics.access` does not say that this is intended.',
    measurements: [], metadata: ['path']
  },

  'subscriber.registered': {
    about: 'A subscriber was added with `app.jobEvents.subscribe()`.',
    measurements: ['events'], metadata: ['name']
  },
  'subscriber.unregistered': {
    about: 'A subscriber was removed.',
    measurements: ['events'], metadata: ['name']
  },

  'telemetry.cache_synced': {
    about: 'This process shared its metrics with the other processes on its store.',
    measurements: ['metrics', 'bytes'], metadata: []
  },
  'telemetry.export_requested': {
    about: 'An export of metrics began.',
    measurements: [], metadata: ['exporter', 'format', 'target']
  },
  'telemetry.export_completed': {
    about: 'Metrics were exported.',
    measurements: ['durationMs', 'bytes'], metadata: ['exporter', 'format', 'target']
  },
  'telemetry.export_failed': {
    about: 'Metrics could not be exported. The next turn tries again.',
    measurements: ['durationMs'], metadata: ['exporter', 'format', 'target', 'errorCode', 'message']
  },
  'telemetry.plugin_registered': {
    about: 'An exporter of metrics was registered.',
    measurements: [], metadata: ['exporter']
  },
  'telemetry.plugin_unregistered': {
    about: 'An exporter of metrics was removed.',
    measurements: [], metadata: ['exporter']
  },
  'telemetry.listener_failed': {
    about: 'A listener, a metrics implementation or an exporter threw an error. No job is affected.',
    measurements: [], metadata: ['source', 'message']
  }
} as const satisfies Record<string, EventEntry>

interface EventEntry {
  readonly about: string
  readonly measurements: readonly string[]
  readonly metadata: readonly string[]
}

export type EventName = keyof typeof EVENT_CATALOGUE
export const EVENT_NAMES = Object.keys(EVENT_CATALOGUE) as EventName[]

type KeysOf<N extends EventName> =
  (typeof EVENT_CATALOGUE)[N]['measurements'][number] | (typeof EVENT_CATALOGUE)[N]['metadata'][number]

/** Optional keys: an event that a test of a listener makes by hand may leave them out. */
type Extras = 'maxAttempts' | 'traceId' | 'spanId'

/** The payload of an event: one flat object per emission. Listeners must neither change nor keep it. */
export type EventPayload<N extends EventName> =
  & { readonly [K in Exclude<KeysOf<N>, Extras> & keyof EventFields]: EventFields[K] }
  & { readonly [K in Extract<KeysOf<N>, Extras>]?: EventFields[K] }

export type EventMap = { readonly [N in EventName]: EventPayload<N> }
