import type { InstrumentKey } from '../../../lib/telemetry/instruments.ts'
import type { PanelRow } from '../../../lib/telemetry/metric-catalogue/row.ts'
import { inRange, level, perSecond, quantile, share, type Expression, type Part } from './expressions.ts'

export interface Target {
  readonly expression: Expression
  /** The name of a line: `{{label}}` stands for the value of a label. */
  readonly legend: string
  /** Draw exemplars on it: points that lead to a trace. */
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
  /** Columns of 24. @defaultValue 8 */
  readonly width?: number
  /** Where green ends and where red begins; a stat shows it as its colour. */
  readonly thresholds?: readonly [warn: number, bad: number]
  /** Draw the lines on top of each other: for parts of a whole. */
  readonly stacked?: boolean
}

const QUANTILES = [0.5, 0.95, 0.99] as const

function quantiles (key: InstrumentKey, part: Part = {}): Target[] {
  return QUANTILES.map((q) => ({ expression: quantile(q, key, part), legend: `p${q * 100}`, exemplars: q === 0.95 }))
}

const PROCESSED = { where: ['status=~"completed|failed"'] } as const
const FAILED = { where: ['status="failed"'] } as const

/** The panels that a person on call looks at, row by row in the order of {@link PANEL_ROWS}. */
export const CHOSEN: Readonly<Partial<Record<PanelRow, readonly Panel[]>>> = {
  'At a glance': [
    {
      title: 'Oldest waiting job',
      description: 'How long ago the oldest waiting job could have started.',
      unit: 's',
      type: 'stat',
      width: 4,
      thresholds: [60, 300],
      targets: [{ expression: level('max', 'jobsOldestAge'), legend: 'oldest' }]
    },
    {
      title: 'Failure ratio',
      description: 'Share of the jobs that failed after all attempts. Cancelled jobs do not count.',
      unit: 'percentunit',
      type: 'stat',
      width: 4,
      thresholds: [0.01, 0.1],
      targets: [
        { expression: share(inRange('jobProcessed', FAILED), inRange('jobProcessed', PROCESSED)), legend: 'failed' }
      ]
    },
    {
      title: 'Stuck jobs',
      description: 'Jobs in progress without a valid lease (stalled), which no worker has claimed again yet.',
      unit: 'short',
      type: 'stat',
      width: 4,
      thresholds: [1, 5],
      targets: [{ expression: level('max', 'jobsStuck'), legend: 'stuck' }]
    },
    {
      title: 'Running attempts',
      description: 'Attempts that run now, in all processes.',
      unit: 'short',
      type: 'stat',
      width: 4,
      targets: [{ expression: level('sum', 'jobsActive'), legend: 'active' }]
    },
    {
      title: 'Slots taken',
      description: 'Share of the worker slots (concurrency) that run an attempt.',
      unit: 'percent',
      type: 'stat',
      width: 4,
      thresholds: [75, 90],
      targets: [{ expression: level('avg', 'channelUtilization'), legend: 'taken' }]
    },
    {
      title: 'Age of the counts',
      description: 'How long ago the gauges were last read from the store. When it grows, the store cannot be read, ' +
        'and the counts, the oldest age and the jobs without a lease are not to be trusted.',
      unit: 's',
      type: 'stat',
      width: 4,
      thresholds: [30, 60],
      targets: [{ expression: level('max', 'storeCountsAge'), legend: 'age' }]
    }
  ],
  Jobs: [
    {
      title: 'Throughput by outcome',
      description: 'Jobs that ended per second, by how they ended.',
      unit: 'ops',
      stacked: true,
      targets: [{ expression: perSecond('jobProcessed', { by: ['status'] }), legend: '{{status}}' }]
    },
    {
      title: 'Failure ratio by job',
      description: 'For each job name, the share of jobs that failed after all attempts.',
      unit: 'percentunit',
      thresholds: [0.01, 0.1],
      targets: [
        {
          expression: share(perSecond('jobProcessed', { ...FAILED, by: ['job_name'] }), perSecond('jobProcessed', { ...PROCESSED, by: ['job_name'] })),
          legend: '{{job_name}}'
        }
      ]
    },
    {
      title: 'Failed jobs by error',
      description: 'Failed jobs per second by the code of their last error, and retries of jobs that may still ' +
        'succeed.',
      unit: 'ops',
      targets: [
        {
          expression: perSecond('jobFailed', { by: ['job_name', 'error_type'] }),
          legend: '{{job_name}} {{error_type}}'
        },
        { expression: perSecond('jobRetried', { by: ['job_name'] }), legend: '{{job_name}} retried' }
      ]
    },
    {
      title: 'Jobs by state',
      description: 'As read from the store. Every process on one store reads the same, so the largest value is shown.',
      unit: 'short',
      targets: [{ expression: level('max', 'jobCurrentCount', { by: ['job_status'] }), legend: '{{job_status}}' }]
    },
    {
      title: 'Oldest waiting job by queue',
      description: 'How long ago the oldest waiting job could have started. Scale the workers by this.',
      unit: 's',
      thresholds: [60, 300],
      targets: [{ expression: level('max', 'jobsOldestAge', { by: ['queue'] }), legend: '{{queue}}' }]
    },
    {
      title: 'Stuck, recovered, cancelled',
      description: 'Jobs whose worker is lost now; recovered and cancelled jobs per second.',
      unit: 'short',
      targets: [
        { expression: level('max', 'jobsStuck', { by: ['queue'] }), legend: 'stuck in {{queue}}' },
        { expression: perSecond('jobRecovered', { by: ['reason'] }), legend: 'recovered ({{reason}})' },
        { expression: perSecond('jobCancelled'), legend: 'cancelled' }
      ]
    }
  ],
  Latency: [
    {
      title: 'Queue wait',
      description: 'From the moment a job may run until a worker claims it. Points lead to a trace.',
      unit: 's',
      targets: quantiles('jobQueueDuration')
    },
    {
      title: 'Processing by job (p95)',
      description: 'Duration of attempts. Points lead to a trace.',
      unit: 's',
      targets: [
        {
          expression: quantile(0.95, 'jobProcessingDuration', { by: ['job_name'] }),
          legend: '{{job_name}}',
          exemplars: true
        }
      ]
    },
    {
      title: 'End to end by job (p95)',
      description: 'From the submission until the job was over, waiting, retries and delays included. Points ' +
        'lead to a trace.',
      unit: 's',
      targets: [
        {
          expression: quantile(0.95, 'jobEndToEndDuration', { by: ['job_name'] }),
          legend: '{{job_name}}',
          exemplars: true
        }
      ]
    },
    {
      title: 'Later than slaMs',
      description: 'Jobs per second that ended later than the slaMs of their endpoint allows.',
      unit: 'ops',
      targets: [{ expression: perSecond('jobSlaMissed', { by: ['job_name'] }), legend: '{{job_name}}' }]
    }
  ],
  Workers: [
    {
      title: 'Slots taken',
      description: 'Share of the slots of each process that run an attempt. A process without a worker is not shown.',
      unit: 'percent',
      width: 6,
      thresholds: [75, 90],
      targets: [{ expression: level('avg', 'channelUtilization', { by: ['instance'] }), legend: '{{instance}}' }]
    },
    {
      title: 'Running attempts by process',
      description: 'Attempts that run now, by process.',
      unit: 'short',
      width: 6,
      stacked: true,
      targets: [{ expression: level('sum', 'jobsActive', { by: ['instance'] }), legend: '{{instance}}' }]
    },
    {
      title: 'Attempts finished',
      description: 'Attempts finished per second, by process. A process at 0 while others work has stopped claiming ' +
        'jobs.',
      unit: 'ops',
      width: 6,
      targets: [{ expression: perSecond('workerProcessed', { by: ['instance'] }), legend: '{{instance}}' }]
    },
    {
      title: 'Consumers replaced',
      description: 'Per second, by process and queue. Each consumer claimed nothing although the store answered, or ' +
        'never began to claim.',
      unit: 'ops',
      width: 6,
      targets: [
        {
          expression: perSecond('workerRestarted', { by: ['instance', 'queue', 'reason'] }),
          legend: '{{instance}} {{queue}} ({{reason}})'
        }
      ]
    },
    {
      title: 'Abandoned handlers',
      description: 'Handlers that ignored their abort and still run, by process. Each keeps a slot.',
      unit: 'short',
      width: 6,
      targets: [{ expression: level('sum', 'handlersAbandoned', { by: ['instance'] }), legend: '{{instance}}' }]
    },
    {
      title: 'Handlers (p95)',
      description: 'Time spent in the handler itself.',
      unit: 's',
      width: 6,
      targets: [
        {
          expression: quantile(0.95, 'handlerDuration', { by: ['job_name'] }),
          legend: '{{job_name}}',
          exemplars: true
        }
      ]
    },
    {
      title: 'Handler errors',
      description: 'Attempts per second whose handler threw, by the code of the error.',
      unit: 'ops',
      width: 6,
      targets: [
        {
          expression: perSecond('handlerError', { by: ['job_name', 'error_type'] }),
          legend: '{{job_name}} {{error_type}}'
        }
      ]
    },
    {
      title: 'Idle and claiming (p95)',
      description: 'How long a free slot waited for a job, and how long the claim took.',
      unit: 's',
      width: 6,
      targets: [
        { expression: quantile(0.95, 'workerIdle'), legend: 'idle' },
        { expression: quantile(0.95, 'jobClaimDuration'), legend: 'claim' }
      ]
    },
    {
      title: 'Event loop lag',
      description: 'By process. A process with a late event loop cannot renew leases in time and loses its jobs.',
      unit: 's',
      width: 6,
      thresholds: [0.1, 1],
      targets: [{ expression: level('max', 'eventLoopLag', { by: ['instance'] }), legend: '{{instance}}' }]
    }
  ],
  Submissions: [
    {
      title: 'Submissions',
      description: 'Jobs per second that the store accepted.',
      unit: 'ops',
      targets: [{ expression: perSecond('jobCreated', { by: ['job_name'] }), legend: '{{job_name}}' }]
    },
    {
      title: 'Refused submissions',
      description: 'Refusals per second, by reason. 429: queue-full. 503: overloaded, store-unavailable, store-full, ' +
        'closed. The other reasons are mistakes of clients.',
      unit: 'ops',
      targets: [{ expression: perSecond('requestRejected', { by: ['reason'] }), legend: '{{reason}}' }]
    },
    {
      title: 'Time to accept',
      description: 'Time until the store accepted a submitted job. Points lead to a trace.',
      unit: 's',
      targets: quantiles('jobSubmitDuration', { where: ['outcome="created"'] })
    }
  ],
  Store: [
    {
      title: 'Operations',
      description: 'Operations per second.',
      unit: 'ops',
      targets: [{ expression: perSecond('storeOperation', { by: ['operation'] }), legend: '{{operation}}' }]
    },
    {
      title: 'Latency by operation (p95)',
      description: 'A round trip to the store.',
      unit: 's',
      targets: [
        { expression: quantile(0.95, 'storeOperationDuration', { by: ['operation'] }), legend: '{{operation}}' }
      ]
    },
    {
      title: 'Errors',
      description: 'Failed operations per second, by operation and error code.',
      unit: 'ops',
      targets: [
        {
          expression: perSecond('storeError', { by: ['operation', 'error_type'] }),
          legend: '{{operation}} {{error_type}}'
        }
      ]
    }
  ],
  'Alerts of the application': [
    {
      title: 'Firing',
      description: 'Alerts that fire now, from the process that evaluates the rules of the option alerts.',
      unit: 'short',
      targets: [
        { expression: level('max', 'alertsFiring', { by: ['rule', 'severity'] }), legend: '{{rule}} {{severity}}' }
      ]
    },
    {
      title: 'Raised',
      description: 'Alerts raised per second, by rule. Reminders do not count.',
      unit: 'ops',
      targets: [
        { expression: perSecond('alertRaised', { by: ['rule', 'severity'] }), legend: '{{rule}} {{severity}}' }
      ]
    },
    {
      title: 'Alerts not sent',
      description: 'Failures to send an alert per second, by sender. Each try counts.',
      unit: 'ops',
      targets: [{ expression: perSecond('alertSendFailed', { by: ['sender'] }), legend: '{{sender}}' }]
    }
  ],
  'Telemetry itself': [
    {
      title: 'Exports',
      description: 'Exports to the targets of observability.export per second, by how they ended.',
      unit: 'ops',
      targets: [
        { expression: perSecond('exports', { by: ['target', 'outcome'] }), legend: '{{target}} {{outcome}}' }
      ]
    },
    {
      title: 'Failures',
      description: 'Failures per second of listeners, recorders, exporters and span processors. No job is affected.',
      unit: 'ops',
      targets: [{ expression: perSecond('telemetryFailures', { by: ['source'] }), legend: '{{source}}' }]
    },
    {
      title: 'Series dropped',
      description: 'Recordings per second that went to the overflow series because their metric had reached ' +
        'maxSeriesPerMetric.',
      unit: 'ops',
      targets: [{ expression: perSecond('seriesDropped', { by: ['metric'] }), legend: '{{metric}}' }]
    }
  ]
}
