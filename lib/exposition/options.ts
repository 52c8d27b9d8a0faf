import { resolve } from 'node:path'
import { unsendableHeaders } from '../core/http-sender.ts'
import { invalidOptions, readOptions, type OptionsSchema } from '../core/options.ts'
import { ALLOW_PRIVATE_SCHEMA, rangeProblems } from '../core/outbound-policy.ts'
import { operatorUrlProblem } from '../core/public-address.ts'
import { cut } from '../core/text.ts'

/** A file that is replaced, atomically, with the newest metrics. */
export interface FileTargetOptions {
  /** Path of the file. Its folder must exist. */
  path: string
  /** Any registered format. @defaultValue 'prometheus' */
  format?: string | undefined
  /** How often the file is replaced, in milliseconds. @defaultValue 60000 */
  intervalMs?: number | undefined
  /**
   * Whose metrics the file holds where several processes share a store. `host`: those of the processes on this host, so that each host
   * has a file of its own at this path. `all`: those of all processes, in one file that all hosts can write; one process writes it.
   * @defaultValue 'host'
   */
  scope?: 'host' | 'all' | undefined
}

/** A receiver of metrics by HTTP POST. */
export interface PushTargetOptions {
  /** May hold a user and a password, which become an `authorization` header. Redirects are not followed. */
  url: string
  /**
   * Allows a receiver that is not public: `true` for any private network and this machine, or your ranges, such as
   * `['10.20.0.0/16']`. Needed for every URL with an IP address or a host name without a dot. A receiver whose name has
   * a private address that is not allowed gets nothing: each attempt fails with `FAE_URL_REFUSED`.
   *
   * @defaultValue false
   */
  allowPrivate?: boolean | readonly string[] | undefined
  /** Any registered format. @defaultValue 'prometheus' */
  format?: string | undefined
  /** Further headers. */
  headers?: Readonly<Record<string, string>> | undefined
  /** How often metrics are sent, in milliseconds. @defaultValue 15000 */
  intervalMs?: number | undefined
  /** Sends sooner, once this many values have been recorded since the last time. @defaultValue no threshold */
  threshold?: number | undefined
  /** The deadline of one attempt, in milliseconds. @defaultValue 5000 */
  timeoutMs?: number | undefined
  /** How often one page is tried, with exponential backoff and `Retry-After` respected; then the next page is sent. @defaultValue 5 */
  attempts?: number | undefined
}

/** Brings metrics to a file or an HTTP receiver, besides `/metrics`. */
export interface ExportOptions {
  targets?: { file?: FileTargetOptions, push?: PushTargetOptions } | undefined
  /** How often a process shows its metrics to the other processes on its store, in milliseconds. @defaultValue 30000 */
  syncIntervalMs?: number | undefined
  /** How long the metrics of a process that has ended are still exported, in milliseconds. @defaultValue 300000 */
  retentionMs?: number | undefined
  /**
   * The metrics of an ended process are kept until every target has been served, and this much longer, even beyond `retentionMs`.
   * Without it the last values of a process could be lost between two exports, or while another process takes over the exports.
   *
   * @defaultValue 60000, and at most a fifth of `retentionMs`
   */
  safetyMarginMs?: number | undefined
  /** `true`: one series per process, with the label `instance`. `false`: sums over all processes. @defaultValue true */
  includeInstances?: boolean | undefined
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
          type: 'object', additionalProperties: false, required: ['path'], properties: { path: { type: 'string', minLength: 1 }, format: { type: 'string', minLength: 1, maxLength: 50 }, intervalMs: interval, scope: { enum: ['host', 'all'] } }
        },
        push: {
          type: 'object',
          additionalProperties: false,
          required: ['url'],
          properties: {
            url: { type: 'string', pattern: '^https?://', description: 'a URL that begins with http:// or https://' },
            allowPrivate: ALLOW_PRIVATE_SCHEMA,
            format: { type: 'string', minLength: 1, maxLength: 50 },
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
    safetyMarginMs: { type: 'number', minimum: 0, maximum: 2_147_483_647 },
    includeInstances: { type: 'boolean' }
  }
}

const EXPORT_DEFAULTS = Object.freeze({ syncIntervalMs: 30_000, retentionMs: 300_000, includeInstances: true })
const SAFETY_MARGIN_MS = 60_000
const FILE_DEFAULTS = Object.freeze({ format: 'prometheus', intervalMs: 60_000, scope: 'host' as 'host' | 'all' })
const PUSH_DEFAULTS = Object.freeze({
  format: 'prometheus',
  intervalMs: 15_000,
  timeoutMs: 5_000,
  attempts: 5,
  allowPrivate: false as boolean | readonly string[]
})

/** A file is written well within this. */
const FILE_TIMEOUT_MS = 1_000
const LOCK_MARGIN_MS = 1_000

export type ResolvedFileTargetOptions = Readonly<FileTargetOptions & Required<Pick<FileTargetOptions, keyof typeof FILE_DEFAULTS>>>
export type ResolvedPushTargetOptions = Readonly<PushTargetOptions & Required<Pick<PushTargetOptions, keyof typeof PUSH_DEFAULTS>>>

export interface ResolvedExportOptions {
  /** Its path is absolute: the working directory may change later. */
  readonly file: ResolvedFileTargetOptions | undefined
  readonly push: ResolvedPushTargetOptions | undefined
  readonly syncIntervalMs: number
  /** With the safety margin. */
  readonly retentionMs: number
  readonly includeInstances: boolean
}

/**
 * Formats that are not built in may be registered later, so they are not judged here.
 *
 * @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS`
 */
export function readExportOptions (given: ExportOptions | undefined): ResolvedExportOptions {
  const where = 'observability.export'
  const { targets = {}, syncIntervalMs, retentionMs, safetyMarginMs = Math.min(SAFETY_MARGIN_MS, retentionMs / 5), includeInstances } = readOptions<ExportOptions, typeof EXPORT_DEFAULTS>(where, exportSchema, EXPORT_DEFAULTS, given)
  const problems: string[] = []
  if (targets.file === undefined && targets.push === undefined) {
    const idle = (['syncIntervalMs', 'retentionMs', 'safetyMarginMs', 'includeInstances'] as const).filter((name) => given?.[name] !== undefined)
    problems.push(...idle.map((name) => `${name} has no effect without targets.file or targets.push; add a target, or leave it out`))
  }
  // One turn that is late must not make a living process invisible.
  if (retentionMs < 2 * syncIntervalMs) problems.push('retentionMs must be at least twice syncIntervalMs')
  if (targets.push !== undefined) problems.push(...pushProblems(targets.push))
  if (problems.length > 0) throw invalidOptions(where, problems)
  const file = targets.file === undefined ? undefined : Object.freeze({ ...FILE_DEFAULTS, ...present(targets.file), path: resolve(targets.file.path) })
  const push = targets.push === undefined ? undefined : Object.freeze({ ...PUSH_DEFAULTS, ...present(targets.push), url: targets.push.url })
  return Object.freeze({
    file,
    push,
    syncIntervalMs,
    // A process may have shown its metrics up to `syncIntervalMs` before it died. They are kept until another process has taken over the lock and had its turn.
    retentionMs: Math.max(retentionMs, ...[file, push].flatMap((target) => target === undefined ? [] : syncIntervalMs + lockMs(target) + target.intervalMs + safetyMarginMs)),
    includeInstances
  })
}

/** How long the lock of a target lasts: it outlives one turn and one attempt, so that a living process keeps it. */
export function lockMs (target: ResolvedFileTargetOptions | ResolvedPushTargetOptions): number {
  const { intervalMs } = target
  const attemptMs = 'timeoutMs' in target ? target.timeoutMs : FILE_TIMEOUT_MS
  return Math.max(intervalMs * 1.5, intervalMs + attemptMs + LOCK_MARGIN_MS)
}

/** None of them shows the URL or the value of a header: both may hold secrets. */
function pushProblems ({ url, headers = {}, allowPrivate = false }: PushTargetOptions): string[] {
  const problems = rangeProblems('targets.push.allowPrivate', allowPrivate)
  const found = problems.length === 0 ? urlProblem(url, allowPrivate) : undefined
  if (found !== undefined) problems.push(found)
  problems.push(...unsendableHeaders(headers).map((name) => `targets.push.headers: ${JSON.stringify(cut(name, 50))} cannot be sent`))
  return problems
}

function urlProblem (text: string, allowPrivate: boolean | readonly string[]): string | undefined {
  if (!URL.canParse(text)) return 'targets.push.url is not a URL'
  const url = new URL(text)
  url.username = url.password = ''
  const problem = operatorUrlProblem(url, allowPrivate)
  return problem === undefined ? undefined : `targets.push.url: ${problem}`
}

function present<T extends object> (given: T): Partial<T> {
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) as Partial<T>
}
