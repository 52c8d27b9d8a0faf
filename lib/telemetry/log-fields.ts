/** Parts of events that many log lines share, and the fields that they become. */
const CORRELATION = { correlationId: 'correlation_id' } as const
export const JOB = { jobId: 'job_id', jobName: 'job_name', queue: 'queue', ...CORRELATION } as const
export const SUBMISSION = { jobName: 'job_name', queue: 'queue', ...CORRELATION } as const
export const RUN = { ...JOB, workerId: 'worker_id' } as const
export const TRACE = { traceId: 'trace_id', spanId: 'span_id' } as const
export const ATTEMPT = { attempt: 'attempt', maxAttempts: 'max_attempts' } as const
export const ERROR = { errorCode: 'error_type', errorMessage: 'error_message' } as const
/** Who sent the request: the parts that `logging.enrich` names. */
export const ORIGIN = { origin: 'origin' } as const
export const WORKER = { workerId: 'worker_id', queue: 'queue' } as const
export const EXPORT = { exporter: 'exporter', format: 'format', target: 'target' } as const
export const STORE = { storeType: 'store_type', errorCode: 'error_type' } as const
