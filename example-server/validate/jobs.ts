import { CannotRun } from './arguments.ts'
import { messageOf } from './report.ts'

const ANSWER_MS = 30_000

/** Jobs of one kind, and everything that they must leave behind. */
export interface Kind {
  readonly what: string
  readonly path: string
  readonly job: string
  readonly body: Readonly<Record<string, number>>
  readonly ends: 'completed' | 'failed'
  readonly attempts: number
}

/** The example server tries a `demo-sleep` three times. */
export const KINDS: readonly Kind[] = [
  { what: 'jobs that succeed', path: '/demo/sleep', job: 'demo-sleep', body: { ms: 5 }, ends: 'completed', attempts: 1 },
  { what: 'jobs that succeed at the second attempt', path: '/demo/sleep', job: 'demo-sleep', body: { ms: 5, failTimes: 1 }, ends: 'completed', attempts: 2 },
  { what: 'jobs that fail at every attempt', path: '/demo/sleep', job: 'demo-sleep', body: { ms: 5, failTimes: 3 }, ends: 'failed', attempts: 3 },
  { what: 'reports', path: '/reports', job: 'generate-report', body: { year: 2026, rows: 300 }, ends: 'completed', attempts: 1 },
  { what: 'exports, in a queue of their own', path: '/exports', job: 'export-sales', body: { year: 2026, rows: 300 }, ends: 'completed', attempts: 1 }
]

export interface Ended {
  readonly kind: Kind
  readonly id: string
  /** `undefined`: not over in time. */
  readonly status: string | undefined
  readonly attempts: number
  readonly traceId: string | undefined
  /** From before the submission until after the answer that it is over. */
  readonly tookMs: number
}

/** @throws {CannotRun} when nobody listens there, or somebody else */
export async function reach (url: string): Promise<void> {
  let status: number
  try {
    status = (await fetch(`${url}/health/live`, { signal: AbortSignal.timeout(ANSWER_MS) })).status
  } catch (error) {
    throw new CannotRun(`${url} cannot be reached: ${messageOf(error)}. Is the server running, and is the address right?`)
  }
  if (status === 404) throw new CannotRun(`${url} answers, but has no /health/live: it is not the example server`)
}

/** Submits a job and waits for its end. @throws when it is not accepted */
export async function run (url: string, kind: Kind, timeoutMs: number): Promise<Ended> {
  const begun = performance.now()
  // A trace of its own, whatever share of the others is sampled.
  const traceparent = `00-${hex(16)}-${hex(8)}-01`
  const submitted = await fetch(url + kind.path, {
    method: 'POST',
    headers: { 'content-type': 'application/json', traceparent },
    body: JSON.stringify(kind.body),
    signal: AbortSignal.timeout(ANSWER_MS)
  })
  if (submitted.status !== 202) throw new Error(`POST ${kind.path} was answered ${submitted.status} instead of 202: ${(await submitted.text()).slice(0, 300)}`)
  const { id } = await submitted.json() as { id: string }
  for (;;) {
    const left = timeoutMs - (performance.now() - begun)
    const wait = Math.min(10, Math.max(1, Math.ceil(left / 1_000)))
    const answer = await fetch(`${url}/jobs/${id}`, { headers: { prefer: `wait=${wait}` }, signal: AbortSignal.timeout(ANSWER_MS) })
    if (!answer.ok) throw new Error(`GET /jobs/${id} was answered ${answer.status} straight after its submission`)
    const { status, attempts, traceId } = await answer.json() as { status: string, attempts: { made: number }, traceId?: string }
    const over = ['completed', 'failed', 'cancelled'].includes(status)
    if (over || left <= 0) return { kind, id, status: over ? status : undefined, attempts: attempts.made, traceId, tookMs: performance.now() - begun }
  }
}

/** What is wrong with how jobs ended. */
export function misfits (jobs: readonly Ended[]): string[] {
  return jobs.flatMap(({ kind: { job, ends, attempts: expected }, id, status, attempts }) => {
    if (status === undefined) return [`${job} ${id} is not over`]
    if (status !== ends) return [`${job} ${id} is ${status} instead of ${ends}`]
    return attempts === expected ? [] : [`${job} ${id} took ${attempts} attempts instead of ${expected}`]
  })
}

function hex (bytes: number): string {
  return Buffer.from(crypto.getRandomValues(new Uint8Array(bytes))).toString('hex')
}
