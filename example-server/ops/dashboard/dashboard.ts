import { exposedName } from '../../../lib/exposition/prometheus-names.ts'
import type { Panel } from './chosen-panels.ts'
import { rowOf, TARGET_LABELS } from './expressions.ts'
import { rows, type Row } from './panels.ts'

const COLUMNS = 24
const HEIGHT = { timeseries: 8, stat: 4 } as const
const DATASOURCE = { type: 'prometheus', uid: '${datasource}' } as const // eslint-disable-line no-template-curly-in-string -- Grafana's

/** The dashboard in Grafana's classic JSON, which every version from 10 on imports and provisions. */
export function dashboard (): object {
  return {
    uid: 'async-endpoints',
    title: 'Async endpoints',
    description: 'Jobs, workers and their store. Made from the metric catalogue: change example-server/ops/dashboard ' +
      'and run `npm run dashboard`.',
    tags: ['async-endpoints'],
    schemaVersion: 42,
    version: 1,
    editable: false,
    graphTooltip: 1,
    timezone: 'browser',
    refresh: '30s',
    time: { from: 'now-1h', to: 'now' },
    links: [],
    annotations: { list: [alertsAsAnnotations()] },
    templating: { list: variables() },
    panels: panels()
  }
}

/** A red line in every graph when an alert begins to fire. */
function alertsAsAnnotations (): object {
  return {
    name: 'Alerts',
    enable: true,
    datasource: DATASOURCE,
    iconColor: 'red',
    expr: 'ALERTS{alertname=~"AsyncEndpoints.*", alertstate="firing", app=~"$app"}',
    titleFormat: '{{alertname}}',
    textFormat: '{{severity}} {{queue}} {{job_name}} {{instance}}',
    step: '60s'
  }
}

function variables (): object[] {
  const always = exposedName(rowOf('storeCountsAge')).sample
  const perJob = exposedName(rowOf('jobProcessed')).sample
  const matchers = (count: number): string =>
    TARGET_LABELS.slice(0, count).map((label) => `${label}=~"$${label}"`).join(', ')
  const of = (label: string, text: string, series: string): object => ({
    name: label,
    label: text,
    type: 'query',
    datasource: DATASOURCE,
    query: { query: `label_values(${series}, ${label})`, refId: label },
    definition: `label_values(${series}, ${label})`,
    refresh: 2,
    sort: 1,
    multi: true,
    includeAll: true,
    // Also series without the label.
    allValue: '.*',
    current: { selected: true, text: ['All'], value: ['$__all'] }
  })
  return [
    { name: 'datasource', label: 'Data source', type: 'datasource', query: 'prometheus', refresh: 1, current: {}, hide: 0 },
    ...TARGET_LABELS.map((label, index) => {
      const text = ['Application', 'Scrape job', 'Process'][index] ?? label
      return of(label, text, `${always}{${matchers(index)}}`)
    }),
    of('job_name', 'Job', `${perJob}{${matchers(TARGET_LABELS.length)}}`)
  ]
}

function panels (): object[] {
  let id = 0
  let y = 0
  return rows().flatMap((row) => {
    const { title, collapsed = false } = row
    const header = { id: ++id, type: 'row', title, collapsed, gridPos: { x: 0, y: y++, w: COLUMNS, h: 1 } }
    const placed = place(row, y).map(({ panel, at }) => panelJson(panel, ++id, at))
    y = Math.max(y, ...placed.map(({ gridPos }) => gridPos.y + gridPos.h))
    // Grafana keeps the panels of a closed row inside it.
    return collapsed ? [{ ...header, panels: placed }] : [{ ...header, panels: [] }, ...placed]
  })
}

interface Place { readonly x: number, readonly y: number, readonly w: number, readonly h: number }

function place ({ panels }: Row, top: number): Array<{ panel: Panel, at: Place }> {
  let x = 0
  let y = top
  return panels.map((panel) => {
    const { width: w = 8, type = 'timeseries' } = panel
    if (x + w > COLUMNS) {
      x = 0
      y += HEIGHT[type]
    }
    const at = { x, y, w, h: HEIGHT[type] }
    x += w
    return { panel, at }
  })
}

interface PanelJson { readonly gridPos: Place, readonly [field: string]: unknown }

function panelJson (panel: Panel, id: number, gridPos: Place): PanelJson {
  const { title, description, unit, targets, type = 'timeseries', thresholds, stacked = false } = panel
  const steps = [
    { color: 'green', value: null },
    ...(thresholds === undefined ? [] : [{ color: 'orange', value: thresholds[0] }, { color: 'red', value: thresholds[1] }])
  ]
  const custom = type === 'stat' ? {} : { custom: linesOf(thresholds !== undefined, stacked) }
  return {
    id,
    type,
    title,
    description,
    datasource: DATASOURCE,
    gridPos,
    fieldConfig: { defaults: { unit, min: 0, thresholds: { mode: 'absolute', steps }, ...custom }, overrides: [] },
    options: type === 'stat' ? statOptions(thresholds !== undefined) : SERIES_OPTIONS,
    targets: targets.map(({ expression, legend, exemplars = false }, index) => ({
      refId: String.fromCharCode(65 + index),
      datasource: DATASOURCE,
      editorMode: 'code',
      expr: expression.expr,
      legendFormat: legend,
      range: true,
      instant: false,
      exemplar: exemplars
    }))
  }
}

const SERIES_OPTIONS = {
  legend: { displayMode: 'list', placement: 'bottom', showLegend: true },
  tooltip: { mode: 'multi', sort: 'desc' }
}

function statOptions (coloured: boolean): object {
  return {
    reduceOptions: { calcs: ['lastNotNull'], fields: '', values: false },
    colorMode: coloured ? 'background' : 'none',
    graphMode: 'area',
    textMode: 'auto'
  }
}

function linesOf (limits: boolean, stacked: boolean): object {
  return {
    drawStyle: 'line',
    lineWidth: 1,
    fillOpacity: stacked ? 30 : 0,
    showPoints: 'never',
    spanNulls: false,
    stacking: { mode: stacked ? 'normal' : 'none', group: 'A' },
    thresholdsStyle: { mode: limits ? 'dashed' : 'off' }
  }
}

/** As the file in grafana/dashboards has it. */
export function dashboardText (): string { return `${JSON.stringify(dashboard(), null, 2)}\n` }
