/** What the operators' files say, read as their programs read them. */
import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { parseAllDocuments } from 'yaml'
import { exposedName } from '../../../lib/exposition/prometheus-names.ts'
import { INSTRUMENTS, type InstrumentDefinition } from '../../../lib/telemetry/instruments.ts'

export const OPS = fileURLToPath(new URL('../../../../example-server/ops/', import.meta.url))

export const text = (path: string): string => readFileSync(OPS + path, 'utf8')
export const filesIn = (path: string): string[] => readdirSync(OPS + path).sort().map((name) => `${path}/${name}`)

/** Every document of a file. @throws for what is not YAML, a key that is there twice among it */
export function yaml<T> (path: string): T[] {
  return parseAllDocuments(text(path), { merge: true, strict: true, uniqueKeys: true }).map((document) => {
    const problem = [...document.errors, ...document.warnings][0]
    if (problem !== undefined) throw problem
    return document.toJS() as T
  })
}

export interface Rule {
  readonly record?: string
  readonly alert?: string
  readonly expr: string
  readonly for?: string
  readonly labels?: Readonly<Record<string, string>>
  readonly annotations?: Readonly<Record<string, string>>
}
interface RuleFile { readonly groups: ReadonlyArray<{ readonly name: string, readonly rules: readonly Rule[] }> }

export const rulesOf = (path: string): Rule[] => yaml<RuleFile>(path).flatMap(({ groups }) => groups).flatMap(({ rules }) => rules)
export const recordingRules = (): Rule[] => rulesOf('prometheus/rules/recording.yml')
export const alertRules = (): Rule[] => [...rulesOf('prometheus/rules/alerts.yml'), ...rulesOf('prometheus/rules/metrics.yml')]

export interface DashboardPanel {
  readonly type: string
  readonly title: string
  readonly description?: string
  readonly panels?: readonly DashboardPanel[]
  readonly gridPos: { readonly x: number, readonly y: number, readonly w: number, readonly h: number }
  readonly datasource?: unknown
  readonly fieldConfig?: { readonly defaults: { readonly unit: string } }
  readonly targets?: ReadonlyArray<{ readonly expr: string, readonly exemplar: boolean, readonly datasource: unknown }>
}
export interface Dashboard {
  readonly uid: string
  readonly editable: boolean
  readonly panels: readonly DashboardPanel[]
  readonly templating: { readonly list: ReadonlyArray<{ readonly name: string, readonly query: string | { readonly query: string } }> }
  readonly annotations: { readonly list: ReadonlyArray<{ readonly expr: string }> }
}

export const DASHBOARD = 'grafana/dashboards/async-endpoints.json'
export const dashboardFile = (): Dashboard => JSON.parse(text(DASHBOARD)) as Dashboard

/** All that show something; not the rows. */
export function panelsOf ({ panels }: Pick<Dashboard, 'panels'>): DashboardPanel[] {
  return panels.flatMap((panel) => panel.type === 'row' ? [...panel.panels ?? []] : [panel])
}

/** Every expression of the dashboard, of its variables too, with the variables filled in as for "all". */
export function dashboardExpressions (dashboard: Dashboard): string[] {
  const queries = dashboard.templating.list.flatMap(({ query }) => typeof query === 'string' ? [] : [/^label_values\((.*), \w+\)$/.exec(query.query)?.[1] ?? ''])
  return [...panelsOf(dashboard).flatMap(({ targets = [] }) => targets.map(({ expr }) => expr)), ...queries, ...dashboard.annotations.list.map(({ expr }) => expr)].map(filledIn)
}

export function filledIn (expr: string): string {
  return expr.replaceAll('$__rate_interval', '1m').replaceAll('$__range', '1h').replace(/\$\w+/g, '.*')
}

export interface Selector { readonly name: string, readonly labels: readonly string[] }

const WORDS = new Set(['by', 'without', 'on', 'ignoring', 'group_left', 'group_right', 'and', 'or', 'unless', 'bool', 'offset'])

/** The series that a PromQL expression asks for: names, and the labels that their matchers name. */
export function selectorsOf (expr: string): Selector[] {
  const bare = expr
    .replace(/"(?:[^"\\]|\\.)*"/g, '""')
    .replace(/\[[^\]]*\]/g, '')
    .replace(/\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)/g, ' ')
  return [...bare.matchAll(/(?<![\w:.])([a-zA-Z_:][\w:]*)\s*(\{[^}]*\})?(?!\s*\(|[\w:])/g)]
    .filter(([, name = '']) => !WORDS.has(name))
    .map(([, name = '', matchers = '']) => ({ name, labels: [...matchers.matchAll(/(\w+)\s*(?:=~|!~|!=|=)/g)].map(([, label = '']) => label) }))
}

const TARGET = ['app', 'job', 'instance']

/** What Prometheus may be asked for: every sample of every instrument with its labels, and what Prometheus makes itself. */
export function knownSeries (): ReadonlyMap<string, readonly string[]> {
  const ours = Object.values<InstrumentDefinition>(INSTRUMENTS).flatMap((instrument): Array<[string, string[]]> => {
    const { sample } = exposedName(instrument)
    const labels = [...instrument.labels, ...TARGET]
    if (instrument.kind !== 'histogram') return [[sample, labels]]
    return [[`${sample}_bucket`, [...labels, 'le']], [`${sample}_sum`, labels], [`${sample}_count`, labels]]
  })
  const recorded = recordingRules().map(({ record = '' }): [string, string[]] => [record, ['app', 'job_name', 'queue', 'reason']])
  return new Map([...ours, ...recorded, ['up', TARGET], ['ALERTS', ['alertname', 'alertstate', ...TARGET]]])
}

/** Everything an expression asks for that nobody has. */
export function unknownIn (expr: string, known = knownSeries()): string[] {
  return selectorsOf(expr).flatMap(({ name, labels }) => {
    const has = known.get(name)
    if (has === undefined) return [`${name} is no metric`]
    return labels.filter((label) => !has.includes(label)).map((label) => `${name} has no label ${label}`)
  })
}
