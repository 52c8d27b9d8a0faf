import { INSTRUMENTS, type InstrumentKey } from '../../../lib/telemetry/instruments.ts'
import { definitionOf, inRange, level, observed, perSecond, quantile, share, type Expression, type Part } from './expressions.ts'

export interface Target {
  readonly expression: Expression
  /** What a line is called: `{{label}}` is filled in. */
  readonly legend: string
  /** Points on it that lead to a trace. */
  readonly exemplars?: boolean
}

export interface Panel {
  readonly title: string
  readonly description: string
  /** As Grafana names units. */
  readonly unit: string
  readonly targets: readonly Target[]
  /** @defaultValue 'timeseries' */
  readonly type?: 'timeseries' | 'stat'
  /** Of 24. @defaultValue 8 */
  readonly width?: number
  /** Where green ends and red begins; a stat shows it as its colour. */
  readonly thresholds?: readonly [warn: number, bad: number]
  /** One on the other: for parts of a whole. */
  readonly stacked?: boolean
}

export interface Row { readonly title: string, readonly panels: readonly Panel[], readonly collapsed?: boolean }

const QUANTILES = [0.5, 0.95, 0.99] as const

function quantiles (key: InstrumentKey, part: Part = {}): Target[] {
  return QUANTILES.map((q) => ({ expression: quantile(q, key, part), legend: `p${q * 100}`, exemplars: q === 0.95 }))
}

const PROCESSED = { where: ['status=~"completed|failed"'] } as const
const FAILED = { where: ['status="failed"'] } as const

/** What a person on call looks at, in that order. */
const CHOSEN: readonly Row[] = [
  {
    title: 'At a glance',
    panels: [
      { title: 'Oldest waiting job', description: 'How long the job that waits longest could have been running.', unit: 's', type: 'stat', width: 4, thresholds: [60, 300], targets: [{ expression: level('max', 'jobsOldestAge'), legend: 'oldest' }] },
      { title: 'Failure ratio', description: 'Of the jobs that ended by themselves, those that failed for good. Cancelled ones do not count.', unit: 'percentunit', type: 'stat', width: 4, thresholds: [0.01, 0.1], targets: [{ expression: share(inRange('jobsProcessed', FAILED), inRange('jobsProcessed', PROCESSED)), legend: 'failed' }] },
      { title: 'Stuck jobs', description: 'In progress, but the worker did not renew their lease in time.', unit: 'short', type: 'stat', width: 4, thresholds: [1, 5], targets: [{ expression: level('max', 'jobsStuck'), legend: 'stuck' }] },
      { title: 'Under way', description: 'Attempts that run at this moment, in all processes.', unit: 'short', type: 'stat', width: 4, targets: [{ expression: level('sum', 'jobsActive'), legend: 'active' }] },
      { title: 'Places taken', description: 'Attempts under way of those that the workers could run at the same time.', unit: 'percent', type: 'stat', width: 4, thresholds: [75, 90], targets: [{ expression: level('avg', 'backgroundChannelUtilization'), legend: 'taken' }] },
      { title: 'Age of the counts', description: 'How old the gauges are that are read from the store. When it grows, the store cannot be read and they are not to be trusted.', unit: 's', type: 'stat', width: 4, thresholds: [30, 60], targets: [{ expression: level('max', 'storeCountsAge'), legend: 'age' }] }
    ]
  },
  {
    title: 'Jobs',
    panels: [
      { title: 'Throughput by outcome', description: 'Jobs that were over, a second, by how they ended.', unit: 'ops', stacked: true, targets: [{ expression: perSecond('jobsProcessed', { by: ['status'] }), legend: '{{status}}' }] },
      { title: 'Failure ratio by job', description: 'Of the jobs of one name that ended by themselves, those that failed for good.', unit: 'percentunit', thresholds: [0.01, 0.1], targets: [{ expression: share(perSecond('jobsProcessed', { ...FAILED, by: ['job_name'] }), perSecond('jobsProcessed', { ...PROCESSED, by: ['job_name'] })), legend: '{{job_name}}' }] },
      { title: 'Failed jobs by error', description: 'The code of the last error of jobs that failed for good, and retries of those that may still succeed.', unit: 'ops', targets: [{ expression: perSecond('jobsFailed', { by: ['job_name', 'error_type'] }), legend: '{{job_name}} {{error_type}}' }, { expression: perSecond('jobsRetries', { by: ['job_name'] }), legend: '{{job_name}} retried' }] },
      { title: 'Jobs by state', description: 'As the store has them. The same in every process on one store, so the largest is shown.', unit: 'short', targets: [{ expression: level('max', 'jobsCurrentCount', { by: ['job_status'] }), legend: '{{job_status}}' }] },
      { title: 'Oldest waiting job by queue', description: 'How long the job that waits longest could have been running. Scale workers by this.', unit: 's', thresholds: [60, 300], targets: [{ expression: level('max', 'jobsOldestAge', { by: ['queue'] }), legend: '{{queue}}' }] },
      { title: 'Stuck, recovered, cancelled', description: 'Jobs without a worker now; jobs taken over from a lost worker, and cancelled ones, a second.', unit: 'short', targets: [{ expression: level('max', 'jobsStuck', { by: ['queue'] }), legend: 'stuck in {{queue}}' }, { expression: perSecond('jobsRecovered', { by: ['reason'] }), legend: 'recovered ({{reason}})' }, { expression: perSecond('jobsCancelled'), legend: 'cancelled' }] }
    ]
  },
  {
    title: 'Latency',
    panels: [
      { title: 'Queue wait', description: 'From the moment a job may run until a worker takes it. Points lead to a trace.', unit: 's', targets: quantiles('jobsQueueDuration') },
      { title: 'Processing by job (p95)', description: 'One observation per attempt. Points lead to a trace.', unit: 's', targets: [{ expression: quantile(0.95, 'jobsProcessingDuration', { by: ['job_name'] }), legend: '{{job_name}}', exemplars: true }] },
      { title: 'End to end by job (p95)', description: 'From the submission until the job was over, waiting, retries and delays included. Points lead to a trace.', unit: 's', targets: [{ expression: quantile(0.95, 'jobsEndToEnd', { by: ['job_name'] }), legend: '{{job_name}}', exemplars: true }] },
      { title: 'Later than promised', description: 'Jobs a second that ended later than the slaMs of their endpoint.', unit: 'ops', targets: [{ expression: perSecond('jobsSlaMissed', { by: ['job_name'] }), legend: '{{job_name}}' }] }
    ]
  },
  {
    title: 'Workers',
    panels: [
      { title: 'Places taken', description: 'Attempts under way of those that each process could run at the same time. A process without a worker is not shown.', unit: 'percent', width: 6, thresholds: [75, 90], targets: [{ expression: level('avg', 'backgroundChannelUtilization', { by: ['instance'] }), legend: '{{instance}}' }] },
      { title: 'Attempts under way', description: 'By process.', unit: 'short', width: 6, stacked: true, targets: [{ expression: level('sum', 'jobsActive', { by: ['instance'] }), legend: '{{instance}}' }] },
      { title: 'Attempts finished', description: 'A second, by process; one that stands still while others work is not consuming.', unit: 'ops', width: 6, targets: [{ expression: perSecond('backgroundProcessingRate', { by: ['instance'] }), legend: '{{instance}}' }] },
      { title: 'Consumers made anew', description: 'A second, by process and queue. Each one claimed nothing although the store answered, or never came to its first look.', unit: 'ops', width: 6, targets: [{ expression: perSecond('workerRestarts', { by: ['instance', 'queue', 'reason'] }), legend: '{{instance}} {{queue}} ({{reason}})' }] },
      { title: 'Abandoned handlers', description: 'Handlers that ignored their abort and run on, by process. Each keeps a place.', unit: 'short', width: 6, targets: [{ expression: level('sum', 'handlersAbandoned', { by: ['instance'] }), legend: '{{instance}}' }] },
      { title: 'Handlers (p95)', description: 'Time in the handler itself.', unit: 's', width: 6, targets: [{ expression: quantile(0.95, 'handlersExecutionDuration', { by: ['job_name'] }), legend: '{{job_name}}', exemplars: true }] },
      { title: 'Handler errors', description: 'Attempts whose handler threw, a second, by the code of the error.', unit: 'ops', width: 6, targets: [{ expression: perSecond('handlersErrorRate', { by: ['job_name', 'error_type'] }), legend: '{{job_name}} {{error_type}}' }] },
      { title: 'Idle and claiming (p95)', description: 'How long a free place waited for a job, and how long it took to claim one.', unit: 's', width: 6, targets: [{ expression: quantile(0.95, 'backgroundIdleTime'), legend: 'idle' }, { expression: quantile(0.95, 'jobsClaimDuration'), legend: 'claim' }] },
      { title: 'Event loop lag', description: 'By process. One that is late cannot renew leases in time, and loses jobs.', unit: 's', width: 6, thresholds: [0.1, 1], targets: [{ expression: level('max', 'eventLoopLag', { by: ['instance'] }), legend: '{{instance}}' }] }
    ]
  },
  {
    title: 'Submissions',
    panels: [
      { title: 'Submissions', description: 'Jobs that the store confirmed, a second.', unit: 'ops', targets: [{ expression: perSecond('jobsCreated', { by: ['job_name'] }), legend: '{{job_name}}' }] },
      { title: 'Refused submissions', description: 'A second, by reason. 429: queue-full. 503: overloaded, store-unavailable, store-full, closed. The others are mistakes of clients.', unit: 'ops', targets: [{ expression: perSecond('requestsRejected', { by: ['reason'] }), legend: '{{reason}}' }] },
      { title: 'Time to accept', description: 'Until the store confirmed a submitted job. Points lead to a trace.', unit: 's', targets: quantiles('jobsSubmitDuration', { where: ['outcome="created"'] }) }
    ]
  },
  {
    title: 'Store',
    panels: [
      { title: 'Operations', description: 'A second, by operation.', unit: 'ops', targets: [{ expression: perSecond('storeOperations', { by: ['operation'] }), legend: '{{operation}}' }] },
      { title: 'Latency by operation (p95)', description: 'A round trip to the store.', unit: 's', targets: [{ expression: quantile(0.95, 'storeOperationDuration', { by: ['operation'] }), legend: '{{operation}}' }] },
      { title: 'Errors', description: 'A second, by operation and code.', unit: 'ops', targets: [{ expression: perSecond('storeErrors', { by: ['operation', 'error_type'] }), legend: '{{operation}} {{error_type}}' }] }
    ]
  },
  {
    title: 'Alerts of the application',
    panels: [
      { title: 'Firing', description: 'What the option alerts has found, told by the process that evaluates it.', unit: 'short', targets: [{ expression: level('max', 'alertsFiring', { by: ['rule', 'severity'] }), legend: '{{rule}} {{severity}}' }] },
      { title: 'Raised', description: 'A second, by rule; reminders do not count.', unit: 'ops', targets: [{ expression: perSecond('alertsRaised', { by: ['rule', 'severity'] }), legend: '{{rule}} {{severity}}' }] },
      { title: 'Notices not sent', description: 'A second, by sender; each try counts.', unit: 'ops', targets: [{ expression: perSecond('alertSendFailures', { by: ['sender'] }), legend: '{{sender}}' }] }
    ]
  },
  {
    title: 'Telemetry itself',
    panels: [
      { title: 'Exports', description: 'Pages of metrics for the targets of observability.export, a second, by how they ended.', unit: 'ops', targets: [{ expression: perSecond('exports', { by: ['target', 'outcome'] }), legend: '{{target}} {{outcome}}' }] },
      { title: 'Failures', description: 'Listeners, recorders, exporters and span processors that threw, a second. No job is affected.', unit: 'ops', targets: [{ expression: perSecond('telemetryFailures', { by: ['source'] }), legend: '{{source}}' }] },
      { title: 'Series dropped', description: 'Label sets that went to the overflow series because their metric had reached its cap.', unit: 'ops', targets: [{ expression: perSecond('seriesDropped', { by: ['metric'] }), legend: '{{metric}}' }] }
    ]
  }
]

/** Every instrument is on the dashboard: those that no row above shows get a panel of their kind in a last row, closed at first. */
export function rows (): Row[] {
  const shown = new Set(CHOSEN.flatMap(({ panels }) => panels).flatMap(({ targets }) => targets).flatMap(({ expression }) => expression.of))
  const others = (Object.keys(INSTRUMENTS) as InstrumentKey[]).filter((key) => !shown.has(key))
  return [...CHOSEN, ...(others.length === 0 ? [] : [{ title: 'Everything else', panels: others.map(panelOf), collapsed: true }])]
}

const UNITS: Readonly<Record<string, string>> = { s: 's', By: 'bytes', '%': 'percent' }

function panelOf (key: InstrumentKey): Panel {
  const { name, kind, unit, description, labels } = definitionOf(key)
  const common = { title: name.replace(/^asyncendpoints\./, ''), description, unit: kind === 'counter' ? 'ops' : UNITS[unit] ?? 'short' }
  const legend = labels.map((label) => `{{${label}}}`).join(' ')
  switch (kind) {
    case 'counter': return { ...common, targets: [{ expression: perSecond(key, { by: labels }), legend }] }
    // By process: whether it is the store's or the process's own, this is right.
    case 'gauge': return { ...common, targets: [{ expression: level('max', key, { by: ['instance', ...labels] }), legend: `{{instance}} ${legend}`.trim() }] }
    case 'histogram': return { ...common, targets: [{ expression: quantile(0.95, key, { by: labels }), legend: `p95 ${legend}`.trim() }, { expression: observed(key, { by: labels }), legend: `${legend} a second`.trim() }] }
  }
}
