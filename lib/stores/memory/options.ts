/** The options of `memoryStore()`: what they mean, their defaults, and how they are checked. */
import { processMemory } from '../../core/process-memory.ts'
import { readOptions, type OptionsSchema } from '../../core/options.ts'

export interface RetentionOptions {
  /**
   * How long a completed or cancelled job (with its result) can be read, in milliseconds.
   * @defaultValue 86400000 (24 h)
   */
  completedMs?: number | undefined
  /** How long a failed job can be read and redriven, in milliseconds. @defaultValue 604800000 (7 days) */
  failedMs?: number | undefined
  /**
   * At most this many jobs are kept of each of completed, failed and cancelled. When there are more, the owner who has
   * the most loses its oldest; jobs without an owner count as those of one. @defaultValue 10000
   */
  maxCount?: number | undefined
  /**
   * At most this many jobs of one owner are kept of each of completed, failed and cancelled; its oldest go first.
   * @defaultValue 1000
   */
  maxPerOwner?: number | undefined
  /**
   * Bytes that finished jobs may take: results, the inputs of failed jobs, and about half a kilobyte for each job. When
   * they take more, the owner whose jobs take the most loses its oldest. The job that ended last stays, however large.
   * @defaultValue half of `maxBytes`
   */
  maxBytes?: number | undefined
  /**
   * At most this many idempotency keys of one owner are remembered; its oldest go first. Jobs without an owner share
   * ten times as many.
   * @defaultValue 10000
   */
  maxKeysPerOwner?: number | undefined
}

export interface MemoryStoreOptions {
  /** What is kept of jobs that are over. */
  retention?: RetentionOptions | undefined
  /**
   * How many bytes everything in the store may take, jobs that wait and run included. A submission that does not fit
   * pushes finished jobs out, and is refused with `FAE_STORE_FULL` when that is not enough. Without a limit, clients
   * with large bodies could end the process. An input counts by its length as JSON, and once more while its job runs.
   * @defaultValue a quarter of V8's heap limit
   */
  maxBytes?: number | undefined
  /**
   * How long an attempt may go on without a renewal of its lease, in milliseconds. After that it is given up, and its
   * job runs again. The store renews leases by itself, at a third of this time, as long as the consumer is there. A
   * blocked event loop loses nothing.
   * @defaultValue 30000
   */
  leaseMs?: number | undefined
}

export interface ResolvedMemoryStoreOptions {
  readonly retention: Readonly<Required<RetentionOptions>>
  readonly leaseMs: number
  readonly maxBytes: number
}

const RETENTION = Object.freeze({ completedMs: 86_400_000, failedMs: 604_800_000, maxCount: 10_000, maxPerOwner: 1_000, maxKeysPerOwner: 10_000 })
const DEFAULTS = Object.freeze({ retention: RETENTION as RetentionOptions, leaseMs: 30_000 })
/** Of V8's heap limit: the rest is the application's, and what handlers make of their input. */
const HEAP_SHARE = 1 / 4

const schema: OptionsSchema = {
  type: 'object',
  additionalProperties: false,
  properties: {
    retention: {
      type: 'object',
      additionalProperties: false,
      properties: {
        completedMs: { type: 'number', minimum: 0 },
        failedMs: { type: 'number', minimum: 0 },
        maxCount: { type: 'integer', minimum: 0 },
        maxPerOwner: { type: 'integer', minimum: 0 },
        maxBytes: { type: 'integer', minimum: 0 },
        maxKeysPerOwner: { type: 'integer', minimum: 1 }
      }
    },
    leaseMs: { type: 'number', minimum: 1 },
    maxBytes: { type: 'integer', minimum: 1 }
  }
}

/** @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS` */
export function readMemoryOptions (given: MemoryStoreOptions | undefined): ResolvedMemoryStoreOptions {
  const { retention, leaseMs, maxBytes = heapShare() } = readOptions<MemoryStoreOptions, typeof DEFAULTS>('memoryStore', schema, DEFAULTS, given)
  return Object.freeze({
    leaseMs,
    maxBytes,
    retention: Object.freeze({
      completedMs: retention.completedMs ?? RETENTION.completedMs,
      failedMs: retention.failedMs ?? RETENTION.failedMs,
      maxCount: retention.maxCount ?? RETENTION.maxCount,
      maxPerOwner: retention.maxPerOwner ?? RETENTION.maxPerOwner,
      maxBytes: retention.maxBytes ?? Math.floor(maxBytes / 2),
      maxKeysPerOwner: retention.maxKeysPerOwner ?? RETENTION.maxKeysPerOwner
    })
  })
}

function heapShare (): number { return Math.floor(processMemory.heap().limitBytes * HEAP_SHARE) }
