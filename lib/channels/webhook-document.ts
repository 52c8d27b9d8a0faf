/** The body of a webhook: the envelope of Standard Webhooks with a thin document of the job. */
import { ERROR_TABLE } from '../core/errors.ts'
import type { JobRecord, StoredError } from '../jobs/job.ts'

/** A message is no longer than this, in bytes: Standard Webhooks recommends to stay below 20 kB. */
export const MAX_WEBHOOK_BYTES = 20_000

/** The message that a receiver gets. It never holds payload, owner or trace. */
export interface WebhookMessage {
  /** `job.completed`, `job.failed` or `job.cancelled`. */
  readonly type: string
  /** When the job ended, ISO 8601. */
  readonly timestamp: string
  readonly data: WebhookData
}

export interface WebhookData {
  readonly id: string
  readonly name: string
  readonly status: string
  readonly attempts: { readonly made: number, readonly max: number }
  readonly error?: { readonly code: string, readonly message: string }
  readonly correlationId: string
  /** Where the status document is, and the result. Absent for a job that was submitted where there are no routes. */
  readonly links?: { readonly self: string, readonly result?: string }
  /** Only with `include: 'result'`. */
  readonly result?: unknown
  /** `true`: the result was asked for and is too large; read it at `links.result`. */
  readonly resultOmitted?: true
}

export interface MessageParts {
  /** A job that has ended. */
  readonly job: JobRecord
  /** Where the job routes are; `undefined`: nowhere. */
  readonly linkBase: string | undefined
  /** The result as clients may see it, as JSON; `undefined`: it was not asked for, or there is none. */
  readonly result: string | undefined
}

/** The body as it is signed and sent. It depends on nothing but the job: every attempt sends the same text. */
export function webhookText ({ job, linkBase, result }: MessageParts): string {
  const thin = JSON.stringify(message(job, linkBase, {}))
  if (result === undefined) return thin
  const whole = JSON.stringify(message(job, linkBase, { result: JSON.parse(result) as unknown }))
  if (Buffer.byteLength(whole) <= MAX_WEBHOOK_BYTES) return whole
  return JSON.stringify(message(job, linkBase, { resultOmitted: true }))
}

function message (
  { id, name, state, attempts, maxAttempts, error, correlationId, finishedAt, createdAt }: JobRecord,
  linkBase: string | undefined, result: Pick<WebhookData, 'result' | 'resultOmitted'>
): WebhookMessage {
  const self = linkBase === undefined ? undefined : `${linkBase}/${id}`
  // JSON leaves out `undefined`.
  const links = self === undefined ? undefined : { self, result: state === 'completed' ? `${self}/result` : undefined }
  return {
    type: `job.${state}`,
    timestamp: new Date(finishedAt ?? createdAt).toISOString(),
    data: {
      id, name, status: state, attempts: { made: attempts, max: maxAttempts },
      error: error === undefined ? undefined : shown(error, state === 'cancelled'),
      correlationId, links, ...result
    } as WebhookData
  }
}

const CODE = /^[\w.:-]{1,100}$/

/**
 * Stricter than the status document can be: whatever `exposeErrors` says, the message of an error leaves the
 * application only if it was written for clients.
 */
function shown ({ code: stored, message: text, expose }: StoredError, whole: boolean): { code: string, message: string } {
  const code = CODE.test(stored) ? stored : 'Error'
  if (whole || expose === true) return { code, message: text }
  const title = Object.hasOwn(ERROR_TABLE, code) ? ERROR_TABLE[code as keyof typeof ERROR_TABLE].title : undefined
  return { code, message: title ?? 'The handler threw an error' }
}
