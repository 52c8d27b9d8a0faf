import type { Part } from './arguments.ts'

export type Status = 'ok' | 'failed' | 'not-checked'

export interface Check {
  /** For programs; never changes. */
  readonly name: string
  readonly status: Status
  /** What was found, or why it was not looked at. */
  readonly detail: string
  /** What is wrong, one by one. */
  readonly problems?: readonly string[]
  /** What to do about it. */
  readonly hint?: string
  /** Figures. */
  readonly data?: Readonly<Record<string, number>>
}

export interface Report {
  readonly ok: boolean
  readonly target: string
  readonly startedAt: string
  readonly durationMs: number
  readonly checks: readonly Check[]
}

const MAX_PROBLEMS = 10

/** What was found, as it is found. */
export class Findings {
  readonly checks: Check[] = []
  readonly #required: readonly Part[]
  readonly #report: (check: Check) => void

  constructor (required: readonly Part[], report: (check: Check) => void) {
    this.#required = required
    this.#report = report
  }

  add (check: Check): void {
    this.checks.push(check)
    this.#report(check)
  }

  /** @param good what is said when there are no problems */
  judge (name: string, problems: readonly string[], good: string, hint: string, data?: Check['data']): void {
    if (problems.length === 0) this.add({ name, status: 'ok', detail: good, data })
    else this.add({ name, status: 'failed', detail: `${problems.length} ${problems.length === 1 ? 'problem' : 'problems'}`, problems: problems.slice(0, MAX_PROBLEMS), hint, data })
  }

  /** Never silently. A part that is required fails instead. */
  skip (name: string, part: Part, why: string, hint: string): void {
    if (this.#required.includes(part)) this.add({ name, status: 'failed', detail: `not checked, but --require ${part} was given: ${why}`, hint })
    else this.add({ name, status: 'not-checked', detail: why, hint })
  }

  /** Runs a check; what it throws is a problem of its subject. */
  async attempt (name: string, hint: string, check: () => Promise<void>): Promise<void> {
    try {
      await check()
    } catch (error) {
      this.judge(name, [messageOf(error)], '', hint)
    }
  }

  get ok (): boolean { return this.checks.every(({ status }) => status !== 'failed') }
}

const SIGNS: Readonly<Record<Status, string>> = { ok: '✓', failed: '✗', 'not-checked': '–' }

/** One check, for people. */
export function lineOf ({ name, status, detail, problems = [], hint }: Check): string {
  const lines = [` ${SIGNS[status]} ${name}: ${status === 'not-checked' ? 'not checked: ' : ''}${detail}`, ...problems.map((problem) => `     ${problem}`)]
  if (hint !== undefined) lines.push(`     → ${hint}`)
  return `${lines.join('\n')}\n`
}

export function summaryOf ({ ok, checks, durationMs }: Report): string {
  const count = (status: Status): number => checks.filter((check) => check.status === status).length
  const unchecked = count('not-checked')
  return `\n${ok ? 'Everything that was checked holds' : 'Something does not hold'}: ${count('ok')} ✓, ${count('failed')} ✗${unchecked > 0 ? `, ${unchecked} not checked` : ''}, in ${(durationMs / 1_000).toFixed(1)} s\n`
}

export function messageOf (error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  // fetch hides what happened in the cause.
  return error.cause instanceof Error && error.cause.message !== '' ? `${error.message}: ${error.cause.message}` : error.message
}
