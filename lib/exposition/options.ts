import { readOptions, type OptionsSchema } from '../core/options.ts'

/** A target whose file is written anew, and atomically, by the clock. */
export interface FileTargetOptions {
  /** Its folder must exist. */
  path: string
  /** Any registered format. @defaultValue 'prometheus' */
  format?: string
  /** @defaultValue 60000 */
  intervalMs?: number
}

/** A target that is sent to by HTTP POST. */
export interface PushTargetOptions {
  url: string
  /** Any registered format. @defaultValue 'prometheus' */
  format?: string
  headers?: Readonly<Record<string, string>>
  /** @defaultValue 15000 */
  intervalMs?: number
  /** Send sooner, when so many recordings have come together. @defaultValue no threshold */
  threshold?: number
  /** One attempt may take this long. @defaultValue 5000 */
  timeoutMs?: number
  /** Attempts at one page, with exponential backoff between them; then the next page has its turn. @defaultValue 5 */
  attempts?: number
}

/** What carries metrics out of the process besides `/metrics`. */
export interface ExportOptions {
  targets?: { file?: FileTargetOptions, push?: PushTargetOptions }
  /** How often a process shows its metrics to the others on its store. @defaultValue 30000 */
  syncIntervalMs?: number
  /** How long those of a process that is gone are still exported. @defaultValue 300000 */
  retentionMs?: number
  /** A series per process, with the label `instance`; otherwise sums over all. @defaultValue true */
  includeInstances?: boolean
}

const interval = { type: 'number', minimum: 100, maximum: 2_147_483_647 }

const exportSchema: OptionsSchema = {
  type: 'object',
  additionalProperties: false,
  properties: {
    targets: {
      type: 'object',
      additionalProperties: false,
      properties: {
        file: {
          type: 'object', additionalProperties: false, required: ['path'], properties: { path: { type: 'string', minLength: 1 }, format: { type: 'string' }, intervalMs: interval }
        },
        push: {
          type: 'object',
          additionalProperties: false,
          required: ['url'],
          properties: {
            url: { type: 'string', pattern: '^https?://' },
            format: { type: 'string' },
            headers: { type: 'object', additionalProperties: { type: 'string' } },
            intervalMs: interval,
            threshold: { type: 'integer', minimum: 1 },
            timeoutMs: { type: 'number', minimum: 1, maximum: 600_000 },
            attempts: { type: 'integer', minimum: 1, maximum: 100 }
          }
        }
      }
    },
    syncIntervalMs: interval,
    retentionMs: { type: 'number', minimum: 1_000 },
    includeInstances: { type: 'boolean' }
  }
}

const EXPORT_DEFAULTS = Object.freeze({ syncIntervalMs: 30_000, retentionMs: 300_000, includeInstances: true })

export type ReadExportOptions = Readonly<ExportOptions & typeof EXPORT_DEFAULTS>

/** @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS` */
export function readExportOptions (given: ExportOptions | undefined): ReadExportOptions {
  return readOptions('observability.export', exportSchema, EXPORT_DEFAULTS, given)
}
