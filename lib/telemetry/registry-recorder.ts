import { CellCache } from './cell-cache.ts'
import { METRIC_LABELS, type LabelName } from './metric-catalogue/labels.ts'
import type { InstrumentDefinition, InstrumentKind, MetricRow, MetricTable, ZeroScope } from './metric-catalogue/row.ts'
import { metricsOf, type MetricsOf, type Recorder } from './metrics.ts'
import type { MetricsRegistry } from './registry.ts'
import type { ExemplarSource } from './snapshot.ts'

type LabelValues = Readonly<Record<string, string>>

/** The default recorder: one method for each row of a table, which finds its cell and records into it. */
export interface RegistryRecorder<T extends MetricTable> {
  readonly methods: MetricsOf<T>
  /**
   * Makes the series exist that start at 0 for this scope, for good.
   *
   * @param known the values of the labels that the scope gives, such as the name of the job
   * @param except methods that an application has replaced: it decides itself what they start with
   */
  startAtZero (
    scope: ZeroScope, known: Readonly<Partial<Record<LabelName, string>>>, except?: (method: keyof T & string) => boolean
  ): void
}

/** Registers an instrument for each row of the table, and returns what records into them. */
export function recordInto<const T extends MetricTable> (registry: MetricsRegistry, table: T): RegistryRecorder<T> {
  return {
    methods: metricsOf(table, (_method, row) => recorderOf(registry, row)),
    startAtZero: (scope, known, except = () => false) => {
      for (const [method, row] of Object.entries(table)) {
        if (row.kind !== 'counter' || row.startsAtZero?.per !== scope || except(method)) continue
        const { values = {} } = row.startsAtZero
        for (const labels of combinations(row.labels, (label) => values[label] ?? [known[label] ?? ''])) {
          registry.instrument<Definition<'counter'>>(row).keep(labels)
        }
      }
    }
  }
}

/** Every combination of the values of these labels. */
function combinations (labels: readonly LabelName[], valuesOf: (label: LabelName) => readonly string[]): LabelValues[] {
  return labels.reduce<LabelValues[]>(
    (all, label) => all.flatMap((some) => valuesOf(label).map((value) => ({ ...some, [label]: value }))), [{}])
}

/** A definition that says nothing about the names of its labels. */
type Definition<K extends InstrumentKind> = InstrumentDefinition & { readonly kind: K }
type ReadLabel = (labels: LabelValues) => string
type Readers = readonly [first: ReadLabel, second?: ReadLabel, third?: ReadLabel]

function recorderOf (registry: MetricsRegistry, row: MetricRow): Recorder {
  switch (row.kind) {
    case 'counter': return counting(CellCache.of(registry.instrument<Definition<'counter'>>(row)), readersOf(row))
    case 'gauge': return setting(CellCache.of(registry.instrument<Definition<'gauge'>>(row)), readersOf(row))
    case 'histogram': return observing(CellCache.of(registry.instrument<Definition<'histogram'>>(row)), readersOf(row))
  }
}

function readersOf ({ name, labels }: MetricRow): Readers {
  const [first, second, third, ...more] = labels.map((label) => readerOf(METRIC_LABELS[label]))
  if (first === undefined || more.length > 0) {
    throw new Error(`${name} has ${labels.length} labels; a recorded metric has one to three`)
  }
  return [first, second, third]
}

/** The reader of any label. The type of the recorder's method makes sure that the property is among its labels. */
function readerOf (label: { read (labels: LabelValues): string }): ReadLabel { return label.read }

// One function for each number of labels, and no function shared by the kinds: a job makes about fifteen recordings,
// and each further call inside of one makes it a third slower.

function counting (cells: CellCache<'counter'>, [first, second, third]: Readers): Recorder {
  if (second === undefined) {
    return (labels: LabelValues, exemplar?: ExemplarSource) => { cells.at(first(labels)).add(1, exemplar) }
  }
  if (third === undefined) {
    return (labels: LabelValues, exemplar?: ExemplarSource) => {
      cells.at2(first(labels), second(labels)).add(1, exemplar)
    }
  }
  return (labels: LabelValues, exemplar?: ExemplarSource) => {
    cells.at3(first(labels), second(labels), third(labels)).add(1, exemplar)
  }
}

function setting (cells: CellCache<'gauge'>, [first, second, third]: Readers): Recorder {
  if (second === undefined) return (value: number, labels: LabelValues) => { cells.at(first(labels)).set(value) }
  if (third === undefined) {
    return (value: number, labels: LabelValues) => { cells.at2(first(labels), second(labels)).set(value) }
  }
  return (value: number, labels: LabelValues) => { cells.at3(first(labels), second(labels), third(labels)).set(value) }
}

function observing (cells: CellCache<'histogram'>, [first, second, third]: Readers): Recorder {
  if (second === undefined) {
    return (value: number, labels: LabelValues, exemplar?: ExemplarSource) => {
      cells.at(first(labels)).observe(value, exemplar)
    }
  }
  if (third === undefined) {
    return (value: number, labels: LabelValues, exemplar?: ExemplarSource) => {
      cells.at2(first(labels), second(labels)).observe(value, exemplar)
    }
  }
  return (value: number, labels: LabelValues, exemplar?: ExemplarSource) => {
    cells.at3(first(labels), second(labels), third(labels)).observe(value, exemplar)
  }
}
