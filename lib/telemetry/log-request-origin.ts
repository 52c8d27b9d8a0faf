import type { Redaction } from '../core/redact.ts'
import { cut, singleLine } from '../core/text.ts'
import type { ClaimedJob, JobOrigin } from '../jobs/job.ts'
import type { SubmitMiddleware } from '../jobs/seams.ts'
import { ORIGIN_FIELDS } from './log-events.ts'
import type { LogEnrichment } from './options/logging.ts'

/** The longest value of one part, in characters: user agents can be very long. */
const MAX_PART = 300

type Part = keyof JobOrigin

/** The parts that hold any text a client sends. */
const FREE_TEXT: ReadonlySet<Part> = new Set(['userId', 'userAgent'])

type FillOrigin = (line: Record<string, unknown>, origin: JobOrigin | undefined) => void

/** Puts the sender of a request on a line. A submission from code has none, and unknown parts are left out. */
export function originFiller (redaction: Redaction, enrich: readonly LogEnrichment[]): FillOrigin {
  const fill = enrich.map((to): [string, Part, boolean] => [to, ORIGIN_FIELDS[to], redaction.hides(to)])
  return (line, origin) => {
    if (origin === undefined) return
    for (const [to, from, hidden] of fill) {
      const value: unknown = origin[from]
      if (typeof value !== 'string' || value === '') continue
      line[to] = hidden ? redaction.mask : singleLine(value, MAX_PART, redaction.text)
    }
  }
}

/**
 * Stores the sender of the request with the job, so that the log lines of its handler can show it. Only the parts that
 * `logging.enrich` names are stored, and none that the redaction hides.
 */
export function carryOrigin (redaction: Redaction, enrich: readonly LogEnrichment[]): SubmitMiddleware {
  const carried = enrich.filter((to) => !redaction.hides(to)).map((to) => ORIGIN_FIELDS[to])
  return (scope, next) => {
    const { origin, job } = scope
    if (origin !== undefined) {
      let kept: { -readonly [K in Part]?: string } | undefined
      for (const part of carried) {
        const value = origin[part]
        // The owner and some headers are stored with the job anyway.
        if (typeof value !== 'string' || value === '' || value === travelling(part, job)) continue
        kept ??= {}
        // Ids and addresses cannot hold credentials and are not searched. All parts are cleaned again for their line.
        kept[part] = FREE_TEXT.has(part) ? singleLine(value, MAX_PART, redaction.text) : cut(value, MAX_PART)
      }
      if (kept !== undefined) job.origin = kept
    }
    return next()
  }
}

/** The sender of the request of a job. Another process, perhaps of another version, has written it into the store. */
export function originOfJob (job: Travelled & Pick<ClaimedJob, 'origin'>): JobOrigin {
  const { origin } = job
  return {
    requestId: origin?.requestId ?? travelling('requestId', job),
    userId: origin?.userId ?? travelling('userId', job),
    clientIp: origin?.clientIp,
    userAgent: origin?.userAgent ?? travelling('userAgent', job)
  }
}

type Travelled = Pick<ClaimedJob, 'owner' | 'input'>

/** The part, if it is stored with the job for another reason. */
function travelling (part: Part, { owner, input: { headers } }: Travelled): string | undefined {
  switch (part) {
    case 'userId': return owner
    case 'requestId': return headers['x-request-id']
    case 'userAgent': return headers['user-agent']
    case 'clientIp': return undefined
  }
}
