/**
 * Every metric label, once: its name on the series, the property that carries its value in the calls of
 * `AsyncEndpointsMetrics`, and what it says. The values of a label must be few: never a job id, an owner, a URL or a
 * message, because each value is a series that every scrape transfers and every database stores.
 */

export interface MetricLabel<P extends string = string> {
  /** The property of the `labels` argument. */
  readonly property: P
  /**
   * Reads the property. It is a function of its own for each label, because an access by a name in a variable costs
   * three times as much, several times per job.
   */
  read (labels: { readonly [K in P]: string }): string
  /** What the label says, for the docs. */
  readonly about: string
}

function label<const P extends string> (
  property: P, read: (labels: { readonly [K in P]: string }) => string, about: string
): MetricLabel<P> {
  return { property, read, about }
}

export const METRIC_LABELS = {
  job_name: label('jobName', ({ jobName }) => jobName, 'The name of the job.'),
  store_type: label('storeType', ({ storeType }) => storeType,
    '`memory`, `bullmq`, or what a store of your own calls itself.'),
  queue: label('queue', ({ queue }) => queue, 'The name of the queue.'),
  status: label('status', ({ status }) => status,
    'How a job ended (`completed`, `failed`, `cancelled`); for an attempt also `snoozed`, `released`, `lease-lost`.'),
  job_status: label('jobStatus', ({ jobStatus }) => jobStatus, 'The state that the counted jobs are in.'),
  error_type: label('errorType', ({ errorType }) => errorType, 'The code of the error, or the name of its class.'),
  outcome: label('outcome', ({ outcome }) => outcome,
    'How a submission ended (`created`, `replayed`, `rejected`, `failed`), a try of a step (`completed`, `failed`), a ' +
    'compensation (`compensated`, `failed`), a webhook (`delivered`, `failed`), or an export (`completed`, `failed`, `replaced`).'),
  step: label('step', ({ step }) => step,
    'The step of a saga, as `group/name` in a group; the steps of an `each` have its name.'),
  reason: label('reason', ({ reason }) => reason, 'Why it happened, one of a few words.'),
  handler_type: label('handlerType', ({ handlerType }) => handlerType,
    'What kind of handler ran: `function`, or one that the library makes.'),
  operation: label('operation', ({ operation }) => operation, 'The operation of the store, or the monitored operation.'),
  worker_id: label('workerId', ({ workerId }) => workerId, 'The worker: `host:pid:random`.'),
  channel_type: label('channelType', ({ channelType }) => channelType,
    'What jobs pass through in a process: `worker`; or how a client listens to jobs: `sse`, `websocket`.'),
  rule: label('rule', ({ rule }) => rule, 'The name of the alert rule.'),
  severity: label('severity', ({ severity }) => severity, 'How bad the alert is.'),
  sender: label('sender', ({ sender }) => sender, 'The name of the alert sender.'),
  target: label('target', ({ target }) => target, 'The target of `observability.export`: `file` or `push`.'),
  metric: label('metric', ({ metric }) => metric, 'The name of another metric.'),
  source: label('source', ({ source }) => source, 'The part of telemetry, such as `tracing.export`.'),
  db_system_name: label('dbSystemName', ({ dbSystemName }) => dbSystemName, 'The database product.'),
  db_operation_name: label('dbOperationName', ({ dbOperationName }) => dbOperationName,
    'The operation on the database, such as `SELECT`.'),
  db_collection_name: label('dbCollectionName', ({ dbCollectionName }) => dbCollectionName, 'The table or collection.')
} as const

export type LabelName = keyof typeof METRIC_LABELS

/** The property that carries a label's value: `jobName` for `job_name`. */
export type LabelProperty<N extends LabelName> = (typeof METRIC_LABELS)[N]['property']
