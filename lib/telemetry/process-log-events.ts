import type { LogEventTable } from './log-event.ts'
import { EXPORT, STORE, TRACE, WORKER } from './log-fields.ts'

/**
 * The log lines about workers (103xx), stores (104xx), health (105xx), performance (106xx) and telemetry itself
 * (107xx).
 */
export const PROCESS_LOG_EVENTS = {
  'worker.started': {
    id: 10301,
    level: 'info',
    message: 'worker started: it claims jobs of queue {queue}, {concurrency} at a time',
    fields: { ...WORKER, concurrency: 'concurrency' }
  },
  'worker.paused': {
    id: 10302,
    level: 'info',
    message: 'worker paused: it claims no jobs of queue {queue} until it is resumed',
    fields: WORKER
  },
  'worker.resumed': {
    id: 10303,
    level: 'info',
    message: 'worker resumed: it claims jobs of queue {queue} again',
    fields: WORKER
  },
  'worker.draining': {
    id: 10304,
    level: 'info',
    message: 'worker is draining: it claims no more jobs[ and waits up to {drainTimeoutMs} for the {active} that run]',
    fields: { workerId: 'worker_id', active: 'active', drainTimeoutMs: 'drainTimeoutMs' }
  },
  'worker.stopped': {
    id: 10305,
    level: 'info',
    message: 'worker stopped[; {released} running jobs were handed back to their queues]',
    fields: { workerId: 'worker_id', released: 'released' }
  },
  'worker.failed': {
    id: 10306,
    level: 'error',
    message: 'worker could not claim from queue {queue} ({errorCode}) and tries again[: {message}]',
    fields: { ...WORKER, errorCode: 'error_type', message: 'detail' }
  },
  'worker.restarted': {
    id: 10307,
    level: 'warn',
    message: 'worker claimed nothing from queue {queue}[ for {silentMs}] although the job store answers: its ' +
      'consumer was replaced ({reason})',
    fields: { ...WORKER, silentMs: 'silentMs', reason: 'reason' }
  },
  'worker.exhausted': {
    id: 10308,
    level: 'error',
    message: '{abandoned} handlers that ignored their abort hold every slot of queue {queue}: the worker claims ' +
      'nothing from it until one of them ends; restart this process to free the slots',
    fields: { ...WORKER, abandoned: 'abandoned' }
  },
  'worker.relieved': {
    id: 10309,
    level: 'info',
    message: 'worker claims from queue {queue} again: an abandoned handler has ended, after {exhaustedMs} ' +
      'without a free slot',
    fields: { ...WORKER, exhaustedMs: 'exhaustedMs' }
  },
  'store.connected': {
    id: 10401,
    level: 'info',
    message: 'job store ({storeType}) connected[ to {server}]',
    fields: { storeType: 'store_type', server: 'server' }
  },
  'store.disconnected': {
    id: 10402,
    level: 'warn',
    message: 'job store ({storeType})[ at {server}] cannot be reached ({errorCode})[: {message}]',
    fields: { ...STORE, server: 'server', message: 'detail' }
  },
  'store.failed': {
    id: 10403,
    level: 'error',
    message: 'job store ({storeType}) reported an error ({errorCode})[: {message}]',
    fields: { ...STORE, message: 'detail' }
  },
  'store.warned': {
    id: 10404,
    level: 'warn',
    message: 'job store ({storeType}) needs attention[: {message}]',
    fields: { ...STORE, message: 'detail' }
  },
  'store.operation_failed': {
    id: 10405,
    level: 'warn',
    message: 'operation {operation} of the job store failed after {durationMs} ({errorCode})[: {message}]',
    lighter: ['operation', 'settle', 'debug'],
    fields: { ...STORE, operation: 'operation', message: 'detail', durationMs: 'durationMs' }
  },
  'health.changed': {
    id: 10501,
    level: 'warn',
    message: 'readiness changed from {previous} to {status}: {reason}[ ({checks})]',
    lighter: ['reason', 'shutting-down', 'info'],
    fields: { status: 'status', previous: 'previous', reason: 'reason', checks: 'checks' }
  },
  'health.check_changed': {
    id: 10502,
    level: 'warn',
    message: 'health check {check} changed from {previous} to {status}[: {message}]',
    fields: { check: 'check', status: 'status', previous: 'previous', message: 'detail' }
  },
  'performance.slow_operation': {
    id: 10601,
    level: 'warn',
    message: 'operation {operation} took {durationMs}, longer than its threshold of {thresholdMs}',
    fields: { operation: 'operation', context: 'context', durationMs: 'durationMs', thresholdMs: 'thresholdMs' }
  },
  'performance.memory_spike': {
    id: 10602,
    level: 'warn',
    message: 'operation {operation} left the heap {deltaMb} MB larger',
    fields: { operation: 'operation', context: 'context', deltaMb: 'deltaMb', thresholdMb: 'thresholdMb' }
  },
  'performance.slow_query': {
    id: 10603,
    level: 'warn',
    message: 'database query {system} {operation} {target} took {durationMs}, longer than its threshold of ' +
      '{thresholdMs}',
    fields: {
      system: 'db_system', operation: 'operation', target: 'target', statement: 'statement', ...TRACE,
      durationMs: 'durationMs', thresholdMs: 'thresholdMs'
    }
  },
  'performance.event_loop_lagged': {
    id: 10604,
    level: 'warn',
    message: 'the event loop was blocked for {lagMs}[, perhaps by {jobs}]: move long computations to a worker ' +
      'thread, or give them pauses',
    fields: { jobs: 'jobs', lagMs: 'lagMs', thresholdMs: 'thresholdMs' }
  },
  'performance.bottleneck_found': {
    id: 10605,
    level: 'warn',
    message: 'the throughput is limited: {sentence}',
    fields: {
      cause: 'cause', severity: 'severity', subject: 'subject', value: 'value', threshold: 'threshold',
      unit: 'unit', sentence: 'detail'
    }
  },
  'subscriber.registered': {
    id: 10701,
    level: 'debug',
    message: 'subscriber {name} registered for {events} events',
    fields: { name: 'subscriber', events: 'events' }
  },
  'subscriber.unregistered': {
    id: 10702,
    level: 'debug',
    message: 'subscriber {name} unregistered',
    fields: { name: 'subscriber', events: 'events' }
  },
  'telemetry.export_completed': {
    id: 10711,
    level: 'debug',
    message: 'metrics exported by {exporter} in {durationMs}',
    fields: { ...EXPORT, durationMs: 'durationMs', bytes: 'bytes' }
  },
  'telemetry.export_failed': {
    id: 10712,
    level: 'warn',
    message: 'metrics could not be exported by {exporter} ({errorCode}); the export will be tried again[: {message}]',
    fields: { ...EXPORT, errorCode: 'error_type', message: 'detail', durationMs: 'durationMs' }
  },
  'telemetry.plugin_registered': {
    id: 10713,
    level: 'debug',
    message: 'metrics exporter {exporter} registered',
    fields: { exporter: 'exporter' }
  },
  'telemetry.plugin_unregistered': {
    id: 10714,
    level: 'debug',
    message: 'metrics exporter {exporter} unregistered',
    fields: { exporter: 'exporter' }
  }
} as const satisfies LogEventTable
