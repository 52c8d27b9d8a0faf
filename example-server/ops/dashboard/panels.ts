import { INSTRUMENTS } from '../../../lib/telemetry/instruments.ts'
import { PANEL_ROWS, type MetricRow, type MetricTable, type PanelRow } from '../../../lib/telemetry/metric-catalogue/row.ts'
import { CHOSEN, type Panel } from './chosen-panels.ts'
import { level, observed, perSecond, quantile } from './expressions.ts'

export interface Row { readonly title: PanelRow, readonly panels: readonly Panel[], readonly collapsed?: boolean }

/**
 * The rows of the dashboard. Every metric is shown: one that no panel above shows gets a panel of its kind at the end
 * of the row that the catalogue names for it.
 */
export function rows (table: MetricTable = INSTRUMENTS): Row[] {
  const panels = Object.values(CHOSEN).flat()
  const shown = new Set(panels.flatMap(({ targets }) => targets).flatMap(({ expression }) => expression.of))
  const others = Object.values(table).filter(({ name }) => !shown.has(name))
  return PANEL_ROWS.map((title) => ({
    title,
    panels: [...CHOSEN[title] ?? [], ...others.filter(({ panel }) => panel === title).map(panelOf)],
    ...(title === 'Everything else' ? { collapsed: true } : {})
  }))
}

const UNITS: Readonly<Record<string, string>> = { s: 's', By: 'bytes', '%': 'percent' }

function panelOf (row: MetricRow): Panel {
  const { name, kind, unit, description, labels } = row
  const title = name.replace(/^asyncendpoints\./, '')
  const common = { title, description, unit: kind === 'counter' ? 'ops' : UNITS[unit] ?? 'short' }
  const legend = labels.map((label) => `{{${label}}}`).join(' ')
  switch (kind) {
    case 'counter': return { ...common, targets: [{ expression: perSecond(row, { by: labels }), legend }] }
    // By process: that is right for what the store says and for what a process has of its own.
    case 'gauge': {
      const expression = level('max', row, { by: ['instance', ...labels] })
      return { ...common, targets: [{ expression, legend: `{{instance}} ${legend}`.trim() }] }
    }
    case 'histogram': {
      const counts = { expression: observed(row, { by: labels }), legend: `${legend} per second`.trim() }
      return { ...common, targets: [{ expression: quantile(0.95, row, { by: labels }), legend: `p95 ${legend}`.trim() }, counts] }
    }
  }
}
