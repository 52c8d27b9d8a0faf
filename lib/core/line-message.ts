import { shortened } from './text.ts'

/**
 * Writes the message of a log line, so that a person can read the line without its other fields: `job report/0b5e…
 * completed in 1234 ms (attempt 1 of 5)`. A template has keys of the event in braces. A part in square brackets is
 * left out if a key in it is missing or empty, if a duration in it is 0, or if its last key is 0: `[: {done} of {total}]`
 * shows a job that begins, `: 0 of 60`.
 *
 * Texts are taken from the finished line, where they are already cleaned, bounded and redacted. Numbers are taken
 * from the event.
 */
export type MessageWriter = (line: Readonly<Record<string, unknown>>, payload: Readonly<Record<string, unknown>>) => string

type Part = (line: Readonly<Record<string, unknown>>, payload: Readonly<Record<string, unknown>>) => string

/** A text from outside is cut to this length in the message. Its field has the whole text. */
const MAX_QUOTED = 500
/** From which duration on a unit is easier to read than the one below it. */
const UNITS = [
  { name: 'days', ms: 86_400_000, fromMs: 172_800_000 },
  { name: 'h', ms: 3_600_000, fromMs: 7_200_000 },
  { name: 'min', ms: 60_000, fromMs: 600_000 },
  { name: 's', ms: 1_000, fromMs: 10_000 }
] as const
const TOKEN = /\[(?<optional>[^\]]*)\]|\{(?<name>\w+)\}/g

/** @param fields the name of the line's field for each key of the event */
export function compileMessage (template: string, fields: Readonly<Record<string, string>>): MessageWriter {
  if (!/[[{]/.test(template)) return () => template
  const parts = partsOf(template, fields)
  return (line, payload) => parts.map((part) => part(line, payload)).join('')
}

function partsOf (template: string, fields: Readonly<Record<string, string>>): Part[] {
  const parts: Part[] = []
  let from = 0
  for (const match of template.matchAll(TOKEN)) {
    const { optional, name } = match.groups ?? {}
    const before = template.slice(from, match.index)
    if (before !== '') parts.push(() => before)
    if (name !== undefined) parts.push(valueOf(name, fields[name] ?? name))
    else if (optional !== undefined) parts.push(whenThere(optional, fields))
    from = match.index + match[0].length
  }
  const rest = template.slice(from)
  if (rest !== '') parts.push(() => rest)
  return parts
}

function whenThere (template: string, fields: Readonly<Record<string, string>>): Part {
  const needed = [...template.matchAll(/\{(\w+)\}/g)].map(([, name = '']) => name)
  const inner = compileMessage(template, fields)
  return (line, payload) => {
    for (const [index, name] of needed.entries()) {
      const value = payload[name]
      if (value === undefined || value === '' || (typeof value === 'number' && !Number.isFinite(value))) return ''
      if (value === 0 && (name.endsWith('Ms') || index === needed.length - 1)) return ''
    }
    return inner(line, payload)
  }
}

function valueOf (name: string, to: string): Part {
  if (name.endsWith('Ms')) return (_line, payload) => duration(payload[name])
  return (line, payload) => {
    // A text without a field on the line, or a hidden one, is not shown here either.
    const value = line[to] ?? (typeof payload[name] === 'number' ? payload[name] : undefined)
    if (typeof value === 'string') return shortened(value, MAX_QUOTED)
    return typeof value === 'number' || typeof value === 'boolean' ? String(value) : '?'
  }
}

function duration (value: unknown): string {
  if (typeof value !== 'number' || !Number.isFinite(value)) return '? ms'
  const unit = UNITS.find(({ fromMs }) => value >= fromMs)
  if (unit !== undefined) return `${Math.round(value / unit.ms * 10) / 10} ${unit.name}`
  return `${value < 10 ? Math.round(value * 10) / 10 : Math.round(value)} ms`
}
