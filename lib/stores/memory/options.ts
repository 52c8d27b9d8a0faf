import { readOptions, type OptionsSchema } from '../../core/options.ts'

export interface RetentionOptions {
  /** How long a completed or cancelled job (with its result) can be read, in milliseconds. @defaultValue 86400000 (24 h) */
  completedMs?: number
  /** How long a failed job can be read and redriven, in milliseconds. @defaultValue 604800000 (7 days) */
  failedMs?: number
  /**
   * At most this many jobs are kept of each of completed, failed and cancelled; the oldest go first. It bounds the
   * memory that finished jobs take. @defaultValue 10000
   */
  maxCount?: number
}

export interface MemoryStoreOptions {
  /** What is kept of jobs that are over. */
  retention?: RetentionOptions
  /**
   * An attempt whose lease is not renewed for this long, in milliseconds, is given up and its job run again. Renewal
   * is automatic, at a third of it, as long as its consumer is there; a blocked event loop loses nothing. @defaultValue 30000
   */
  leaseMs?: number
}

export interface MemorySettings {
  readonly retention: Readonly<Required<RetentionOptions>>
  readonly leaseMs: number
}

const DEFAULTS: MemorySettings = Object.freeze({
  retention: Object.freeze({ completedMs: 86_400_000, failedMs: 604_800_000, maxCount: 10_000 }),
  leaseMs: 30_000
})

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
        maxCount: { type: 'integer', minimum: 0 }
      }
    },
    leaseMs: { type: 'number', minimum: 1 }
  }
}

/** @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS` */
export function readMemoryOptions (given: MemoryStoreOptions | undefined): MemorySettings {
  const { retention, leaseMs } = readOptions<MemoryStoreOptions, MemorySettings>('memoryStore', schema, DEFAULTS, given)
  return Object.freeze({
    leaseMs,
    retention: Object.freeze({
      completedMs: retention.completedMs ?? DEFAULTS.retention.completedMs,
      failedMs: retention.failedMs ?? DEFAULTS.retention.failedMs,
      maxCount: retention.maxCount ?? DEFAULTS.retention.maxCount
    })
  })
}
