/**
 * The tables of the docs are made from the code. `UPDATE_DOCS=1` writes them anew; without it, a table that differs from the
 * code fails.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import t from 'tap'
import { ERROR_TABLE } from '../../lib/core/errors.ts'
import { HIDDEN_NAMES } from '../../lib/core/redact-names.ts'
import { CHECK_IDS, CHECKS, type Check } from '../../lib/doctor/findings.ts'
import { EVENT_CATALOGUE } from '../../lib/events/catalogue.ts'
import { exposedName } from '../../lib/exposition/names.ts'
import { ALERTS_DEFAULTS } from '../../lib/monitor/alerts/options.ts'
import { BUILT_IN_RULES } from '../../lib/monitor/alerts/rules.ts'
import { ATTR } from '../../lib/telemetry/attributes.ts'
import { INSTRUMENTS } from '../../lib/telemetry/instruments.ts'
import { LOG_EVENTS } from '../../lib/telemetry/log-events.ts'
import { ATTRIBUTE_CATALOGUE, SPAN_CATALOGUE } from '../../lib/telemetry/span-catalogue.ts'
import { ROOMS } from '../support/rooms.ts'

const DOCS = new URL('../../../docs/', import.meta.url)

const code = (text: string): string => `\`${text}\``
const codes = (names: readonly string[]): string => names.map(code).join(', ')

function table (head: readonly string[], rows: ReadonlyArray<readonly string[]>): string {
  const line = (cells: readonly string[]): string => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`
  return [line(head), `|${head.map(() => '---|').join('')}`, ...rows.map(line)].join('\n')
}

function roomRows (): string[][] {
  return Object.entries(ROOMS).map(([name, { about, begin, rooms, types = [] }]) => {
    const imports = rooms === '*' ? 'every room' : rooms.length + types.length === 0 ? 'nothing' : [...rooms.map(code), ...types.map((type) => `${code(type)} (types)`)].join(', ')
    return [code(`lib/${name}`), about, imports, code(begin)]
  })
}

const inDocs = (value: unknown): string => JSON.stringify(value).replaceAll('"', '').replace(/([:,])/g, '$1 ')

const TABLES: Readonly<Record<string, { readonly page: string, readonly text: string }>> = {
  errors: {
    page: 'http.md',
    text: table(['code', 'status', 'title'], Object.entries(ERROR_TABLE).map(([name, { statusCode, title }]) => [code(name), String(statusCode), title]))
  },
  metrics: {
    page: 'observability.md',
    text: table(['instrument', 'at `/metrics`', 'kind', 'labels', 'meaning'], Object.values(INSTRUMENTS).map(({ name, unit, kind, labels, description }) => [
      code(name), code(exposedName({ name, unit, kind }).sample), kind, codes(labels), description
    ]))
  },
  logs: {
    page: 'observability.md',
    text: table(['number', 'level', 'event', 'message'], Object.entries(LOG_EVENTS).map(([name, { id, level, message }]) => [String(id), level, code(name), message]))
  },
  spans: {
    page: 'observability.md',
    text: table(['span', 'kind', 'what it is', 'attributes'], Object.values(SPAN_CATALOGUE).map(({ name, kind, about, attributes }) => [code(name), kind, about, codes(attributes.map((key) => ATTR[key]))]))
  },
  attributes: {
    page: 'observability.md',
    text: table(['attribute', 'says'], Object.entries(ATTRIBUTE_CATALOGUE).map(([key, about]) => [code(ATTR[key as keyof typeof ATTR]), about]))
  },
  doctor: {
    page: 'doctor.md',
    text: table(['check', 'needs', 'note', 'warning', 'problem', 'why'], CHECK_IDS.map((id) => {
      const { needs, note = '', warning = '', problem = '', why }: Check = CHECKS[id]
      return [code(id), needs === undefined ? '' : { redis: 'a Redis URL', app: code('--app') }[needs], note, warning, problem, why]
    }))
  },
  'alert-rules': {
    page: 'alerts.md',
    text: table(['rule', 'option', 'default', 'type', 'severity', 'title', 'one alert per', 'fires when'], BUILT_IN_RULES.map(({ name, option, type, severity, title, per, about }) => [
      code(name), code(option), code(inDocs(ALERTS_DEFAULTS[option])), type, severity, title, per, about
    ]))
  },
  hidden: { page: 'observability.md', text: codes(HIDDEN_NAMES) },
  rooms: { page: 'architecture.md', text: table(['room', 'what it is for', 'may import', 'begin with'], roomRows()) },
  events: {
    page: 'observability.md',
    text: table(['event', 'emitted when', 'numbers', 'words'], Object.entries(EVENT_CATALOGUE).map(([name, { about, measurements, metadata }]) => [code(name), about, codes(measurements), codes(metadata)]))
  }
}

for (const [name, { page, text }] of Object.entries(TABLES)) {
  t.test(`docs/${page}: the table of ${name} says what the code says`, async (t) => {
    const url = new URL(page, DOCS)
    const markdown = readFileSync(url, 'utf8')
    const place = new RegExp(`(<!-- table: ${name} -->\n)([\\s\\S]*?)(<!-- end -->)`)
    t.match(markdown, place, 'there is a place for it')
    if (process.env['UPDATE_DOCS'] === '1') writeFileSync(url, markdown.replace(place, (_, begin: string, _old, end: string) => `${begin}${text}\n${end}`))
    else t.equal(place.exec(markdown)?.[2], `${text}\n`, 'run it with UPDATE_DOCS=1')
  })
}
