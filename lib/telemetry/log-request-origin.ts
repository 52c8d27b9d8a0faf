import type { Redaction } from '../core/redact.ts'
import { cut, singleLine } from '../core/text.ts'
import type { ClaimedJob, JobOrigin } from '../jobs/job.ts'
import type { SubmitMiddleware } from '../jobs/seams.ts'
import { ORIGIN_FIELDS } from './log-events.ts'
import type { LogEnrichment } from './options/logging.ts'

/** Characters of one part: some browsers have much to say about themselves. */
const MAX_PART = 300

type Part = keyof JobOrigin

/** What a client may write as it likes. */
const FREE_TEXT: ReadonlySet<Part> = new Set(['userId', 'userAgent'])

/** Puts who sent a request on a line. Nothing for a submission from code, nor for a part that nobody knows. */
export function originFiller (redaction: Redaction, enrich: readonly LogEnrichment[]): (line: Record<string, unknown>, origin: JobOrigin | undefined) => void {
  const fill = enrich.map((to): [string, Part, boolean] => [to, ORIGIN_FIELDS[to], redaction.hides(to)])
  return (line, origin) => {
    if (origin === undefined) return
    for (const [to, from, hidden] of fill) {
      const value: unknown = origin[from]
      if (typeof value === 'string' && value !== '') line[to] = hidden ? redaction.mask : singleLine(value, MAX_PART, redaction.text)
    }
  }
}

/**
 * Stores who sent the request with the job, so that the log lines of its handler can show it. Only the parts named in `logging.enrich` are
 * stored, and of these nothing that the redaction hides.
 */
export function carryOrigin (redaction: Redaction, enrich: readonly LogEnrichment[]): SubmitMiddleware {
  const carried = enrich.filter((to) => !redaction.hides(to)).map((to) => ORIGIN_FIELDS[to])
  return (scope, next) => {
    const { origin, job } = scope
    if (origin !== undefined) {
      let kept: { -readonly [K in Part]?: string } | undefined
      for (const part of carried) {
        const value = origin[part]
        // The owner and some headers travel with the job anyway.
        if (typeof value !== 'string' || value === '' || value === travelling(part, job)) continue
        kept ??= {}
        // Ids and addresses are made of harmless characters and spared the search; all are cleaned again for their line.
        kept[part] = FREE_TEXT.has(part) ? singleLine(value, MAX_PART, redaction.text) : cut(value, MAX_PART)
      }
      if (kept !== undefined) job.origin = kept
    }
    return next()
  }
}

/** Who sent the request of a job. Another process, of another version perhaps, has written it into the store. */
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

/** What is stored with a job for other reasons. */
function travelling (part: Part, { owner, input: { headers } }: Travelled): string | undefined {
  switch (part) {
    case 'userId': return owner
    case 'requestId': return headers['x-request-id']
    case 'userAgent': return headers['user-agent']
    case 'clientIp': return undefined
  }
}
