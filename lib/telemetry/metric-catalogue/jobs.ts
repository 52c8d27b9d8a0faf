import { ATTEMPT_BUCKETS, JOB_BUCKETS, SIZE_BUCKETS, STORE_BUCKETS } from './buckets.ts'
import type { MetricTable } from './row.ts'

/** Why a submission may be refused, as `job.rejected` and `job.submit_failed` give the reason. */
export const REFUSAL_REASONS = [
  'closed', 'invalid-submission', 'invalid-request', 'invalid-idempotency-key', 'idempotency-key-required',
  'idempotency-key-reused', 'payload-too-large', 'job-too-large', 'unsupported-media-type', 'webhook-refused', 'too-many-submissions', 'queue-full',
  'overloaded', 'store-unavailable', 'store-full', 'job-expired'
] as const

const TERMINAL_STATES = ['completed', 'failed', 'cancelled'] as const

/** Submissions and jobs, recorded through `AsyncEndpointsMetrics`: each key is the method that records the row. */
export const JOB_METRICS = {
  /** A job was stored. Not called for a submission that was answered with an existing job. */
  jobCreated: {
    name: 'asyncendpoints.jobs.created.total',
    kind: 'counter',
    unit: '{job}',
    description: 'Total number of jobs created',
    labels: ['job_name', 'store_type'],
    exemplar: true,
    startsAtZero: { per: 'job' },
    panel: 'Submissions'
  },
  /** A job is over: `status` is `completed`, `failed` or `cancelled`. */
  jobProcessed: {
    name: 'asyncendpoints.jobs.processed.total',
    kind: 'counter',
    unit: '{job}',
    description: 'Total number of jobs processed, by the terminal state they ended in',
    labels: ['job_name', 'status', 'store_type'],
    exemplar: true,
    startsAtZero: { per: 'job', values: { status: TERMINAL_STATES } },
    panel: 'Jobs'
  },
  /** A job ended as failed. */
  jobFailed: {
    name: 'asyncendpoints.jobs.failed.total',
    kind: 'counter',
    unit: '{job}',
    description: 'Total number of job failures, by the code of the last error; attempts that are retried do not count',
    labels: ['job_name', 'error_type', 'store_type'],
    exemplar: true,
    panel: 'Jobs'
  },
  /** An attempt ended in an error and another attempt will follow. */
  jobRetried: {
    name: 'asyncendpoints.jobs.retries.total',
    kind: 'counter',
    unit: '{attempt}',
    description: 'Total number of job retries: attempts that failed and are followed by another',
    labels: ['job_name', 'store_type'],
    exemplar: true,
    startsAtZero: { per: 'job' },
    panel: 'Jobs'
  },
  /** From the moment the job may run to its claim. */
  jobQueueDuration: {
    name: 'asyncendpoints.jobs.queue.duration',
    kind: 'histogram',
    unit: 's',
    description: 'Time jobs spend in queue before processing, from the moment they may run',
    labels: ['job_name', 'store_type'],
    buckets: JOB_BUCKETS,
    exemplar: true,
    panel: 'Latency'
  },
  /** One attempt: `status` is `completed`, `failed`, `cancelled`, `snoozed`, `released` or `lease-lost`. */
  jobProcessingDuration: {
    name: 'asyncendpoints.jobs.processing.duration',
    kind: 'histogram',
    unit: 's',
    description: 'Time spent processing jobs, one observation per attempt',
    labels: ['job_name', 'status'],
    buckets: JOB_BUCKETS,
    exemplar: true,
    panel: 'Latency'
  },
  /** How long the store took to hand out a job. */
  jobClaimDuration: {
    name: 'asyncendpoints.jobs.claim.duration',
    kind: 'histogram',
    unit: 's',
    description: 'Time taken to claim jobs: how long the store took to hand one out',
    labels: ['store_type'],
    buckets: STORE_BUCKETS,
    panel: 'Workers'
  },
  /** Jobs in one state over all queues, as last read from the store in the background. */
  jobCurrentCount: {
    name: 'asyncendpoints.jobs.current.count',
    kind: 'gauge',
    unit: '{job}',
    description: 'Current number of jobs in each state, as last read from the store',
    labels: ['job_status', 'store_type'],
    acrossProcesses: 'newest',
    panel: 'Jobs'
  },
  /** Until the submission was answered: created, replayed, rejected or failed. */
  jobSubmitDuration: {
    name: 'asyncendpoints.jobs.submit.duration',
    kind: 'histogram',
    unit: 's',
    description: 'Time until a submission was answered: the job was created, an existing job was returned for its ' +
      'idempotency key, it was rejected, or the store failed to take it',
    labels: ['job_name', 'store_type', 'outcome'],
    buckets: STORE_BUCKETS,
    exemplar: true,
    panel: 'Submissions'
  },
  /** From the submission to the end of the job: what a client waits for. */
  jobEndToEndDuration: {
    name: 'asyncendpoints.jobs.end_to_end.duration',
    kind: 'histogram',
    unit: 's',
    description: 'Time from the submission of a job until it was over, by the terminal state it ended in',
    labels: ['job_name', 'status'],
    buckets: JOB_BUCKETS,
    exemplar: true,
    panel: 'Latency'
  },
  /** A job was cancelled, waiting or running. */
  jobCancelled: {
    name: 'asyncendpoints.jobs.cancelled.total',
    kind: 'counter',
    unit: '{job}',
    description: 'Total number of cancelled jobs',
    labels: ['job_name', 'store_type'],
    exemplar: true,
    startsAtZero: { per: 'job' },
    panel: 'Jobs'
  },
  /** A job was completed or failed later than the `slaMs` of its endpoint allows. */
  jobSlaMissed: {
    name: 'asyncendpoints.jobs.sla.missed.total',
    kind: 'counter',
    unit: '{job}',
    description: 'Jobs that were completed or failed later after their submission than the slaMs of their endpoint ' +
      'allows',
    labels: ['job_name', 'store_type'],
    exemplar: true,
    startsAtZero: { per: 'job with slaMs' },
    panel: 'Latency'
  },
  /** A job whose worker stopped renewing the lease was claimed by another worker. */
  jobRecovered: {
    name: 'asyncendpoints.jobs.recovered.total',
    kind: 'counter',
    unit: '{job}',
    description: 'Jobs that a worker claimed after another worker had stopped renewing their lease',
    labels: ['reason', 'store_type'],
    startsAtZero: { per: 'process', values: { reason: ['stalled'] } },
    panel: 'Jobs',
    alert: {
      name: 'AsyncEndpointsJobsRecovered',
      grows: { moreThan: 5, withinMinutes: 15 },
      forMinutes: 5,
      severity: 'warning',
      summary: 'Many jobs lose their worker in the middle of an attempt.',
      description: 'In 15 minutes {{ $value | printf "%.0f" }} jobs of {{ $labels.app }} stalled and were claimed by ' +
        'another worker. Look for worker processes that are killed (restarts, out of memory) and for handlers that ' +
        'block the event loop for longer than a lease. Each time costs the job an attempt.'
    }
  },
  /** A submission was refused. */
  requestRejected: {
    name: 'asyncendpoints.requests.rejected.total',
    kind: 'counter',
    unit: '{request}',
    description: 'Submissions that were refused, by reason',
    labels: ['reason'],
    startsAtZero: { per: 'process', values: { reason: REFUSAL_REASONS } },
    panel: 'Submissions'
  },
  /** How long the oldest waiting job of a queue could have been running; 0 when none waits. */
  jobsOldestAge: {
    name: 'asyncendpoints.jobs.oldest.age',
    kind: 'gauge',
    unit: 's',
    description: 'How long ago the oldest waiting job could have started; 0 when none waits',
    labels: ['queue', 'store_type'],
    acrossProcesses: 'newest',
    panel: 'Jobs'
  },
  /** Stalled jobs that were not claimed again yet. On Redis at most 100 of a queue are counted: the oldest ones are checked. */
  jobsStuck: {
    name: 'asyncendpoints.jobs.stuck',
    kind: 'gauge',
    unit: '{job}',
    description: 'Jobs in progress without a valid lease (stalled), which no worker has claimed again yet',
    labels: ['queue', 'store_type'],
    acrossProcesses: 'newest',
    panel: 'Jobs',
    alert: {
      name: 'AsyncEndpointsJobsStuck',
      above: { value: 0, aggregate: 'max', by: ['queue'], highestOfMinutes: 2 },
      forMinutes: 10,
      severity: 'warning',
      summary: 'Jobs are in progress, but no worker is running them.',
      description: '{{ $value }} jobs of the queue {{ $labels.queue }} of {{ $labels.app }} have lost their worker, ' +
        'and no other worker has claimed them. A running worker of that queue recovers them: check that there is one.'
    }
  },
  /** The body of a submission over HTTP, as it arrived. Only with `detailedMetrics`, and where its size is known. */
  jobPayloadSize: {
    name: 'asyncendpoints.jobs.payload.size',
    kind: 'histogram',
    unit: 'By',
    description: 'Size of the request bodies that jobs were submitted with; only with detailedMetrics',
    labels: ['job_name'],
    buckets: SIZE_BUCKETS,
    panel: 'Everything else'
  },
  /** The stored result of a completed job, if it has one. Only with `detailedMetrics`. */
  jobResultSize: {
    name: 'asyncendpoints.jobs.result.size',
    kind: 'histogram',
    unit: 'By',
    description: 'Size of the stored result of completed jobs; only with detailedMetrics',
    labels: ['job_name'],
    buckets: SIZE_BUCKETS,
    panel: 'Everything else'
  },
  /** How many attempts a job took until it was completed or failed. Only with `detailedMetrics`. */
  jobAttempts: {
    name: 'asyncendpoints.jobs.attempts',
    kind: 'histogram',
    unit: '{attempt}',
    description: 'Attempts that completed and failed jobs took; only with detailedMetrics',
    labels: ['job_name'],
    buckets: ATTEMPT_BUCKETS,
    panel: 'Everything else'
  }
} as const satisfies MetricTable
