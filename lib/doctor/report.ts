import { singleLine } from '../core/text.ts'
import { SCOPE_VERSION } from '../telemetry/version.ts'
import { CHECK_GROUPS, CHECKS, SEVERITIES, type Finding, type Severity } from './findings.ts'

const MAX_TEXT = 1_000
/** The widths of the first two columns: the severity and the title of the check. */
const LABEL = 13
const TITLE = 20

export interface Summary {
  /** The worst severity that was found. */
  readonly status: Severity
  readonly exitCode: 0 | 1
  readonly counts: Readonly<Record<Severity | 'notChecked', number>>
}

export function summarize (findings: readonly Finding[], strict: boolean): Summary {
  const counts = { ok: 0, note: 0, warning: 0, problem: 0, notChecked: 0 }
  for (const { checked, severity } of findings) counts[checked ? severity : 'notChecked']++
  const status = SEVERITIES.findLast((severity) => counts[severity] > 0) ?? 'ok'
  return { status, exitCode: status === 'problem' || (strict && status === 'warning') ? 1 : 0, counts }
}

/** The report for machines: one JSON document with stable keys. */
export function jsonReport (findings: readonly Finding[], strict: boolean): string {
  const shown = findings.map(({ check, severity, checked, what, why, fix }) => ({
    check, group: CHECKS[check].group, title: CHECKS[check].title, severity, checked, what: clean(what), why, fix: fix === undefined ? null : clean(fix)
  }))
  return `${JSON.stringify({ version: SCOPE_VERSION, node: process.version, ...summarize(findings, strict), findings: shown }, null, 2)}\n`
}

/** The report for people. */
export function textReport (findings: readonly Finding[], strict: boolean): string {
  const lines = [`fastify-async-endpoints ${SCOPE_VERSION}, Node.js ${process.version}`]
  for (const group of new Set(findings.map(({ check }) => CHECKS[check].group))) {
    lines.push('', CHECK_GROUPS[group])
    for (const finding of findings.filter(({ check }) => CHECKS[check].group === group)) lines.push(...linesOf(finding))
  }
  const { counts } = summarize(findings, strict)
  const parts = [
    count(counts.problem, 'problem'), count(counts.warning, 'warning'), count(counts.note, 'note'), `${counts.ok} ok`, `${counts.notChecked} not checked`
  ]
  return `${[...lines, '', parts.join(', ')].join('\n')}\n`
}

function linesOf ({ check, severity, checked, what, why, fix }: Finding): string[] {
  const indent = ' '.repeat(2 + LABEL)
  const said = checked ? what : what.replace(/^not checked: /, '')
  const lines = [`  ${(checked ? severity : 'not checked').padEnd(LABEL)}${CHECKS[check].title.padEnd(TITLE)}${clean(said)}`]
  if (checked && severity !== 'ok') lines.push(`${indent}why: ${why}`)
  if (fix !== undefined) lines.push(`${indent}fix: ${clean(fix)}`)
  return lines
}

/**
 * Removes control characters: names of folders and answers of servers come from outside, and must not steer the
 * terminal.
 */
function clean (text: string): string {
  return singleLine(text, MAX_TEXT)
}

function count (number: number, word: string): string {
  return `${number} ${word}${number === 1 ? '' : 's'}`
}
