import type { HistogramFamily, HistogramPoint, Labels, MetricFamily, MetricsSnapshot, NumberFamily, NumberPoint } from '../telemetry/snapshot.ts'

/** The metrics of one process. */
export interface InstanceMetrics {
  readonly instance: string
  readonly snapshot: MetricsSnapshot
  /** `false`: it has not been heard of lately, so what it says about the present does not count. @defaultValue true */
  readonly alive?: boolean
}

/**
 * What one gauge for all processes means. `newest`: all tell the same thing (a number of the store), so who was read last is
 * right. `sum`: each tells its own share. `max`: each tells its own state, and the worst counts.
 */
export type GaugeRule = 'newest' | 'sum' | 'max'
export type GaugeRules = Readonly<Record<string, GaugeRule>>

/** The label that tells whose series it is. */
const INSTANCE = 'instance'

/** Everybody's series side by side, each with the label `instance`; one that has such a label keeps it as `exported_instance`. */
export function sideBySide (all: readonly InstanceMetrics[], takenAt: number): MetricsSnapshot {
  const merged = new Map<string, MetricFamily>()
  for (const { instance, snapshot, alive = true } of all) {
    for (const family of snapshot.families) {
      if (family.kind === 'gauge' && !alive) continue
      const known = merged.get(family.name)
      if (known !== undefined && !isAlike(known, family)) continue
      merged.set(family.name, append(known, family, (labels) => labelled(labels, instance)))
    }
  }
  return { startedAt: startOf(all, takenAt), takenAt, families: [...merged.values()] }
}

/**
 * One series for all: counters and histograms summed up, gauges by their rule, `max` where there is none.
 *
 * @param all the newest first
 */
export function summedUp (all: readonly InstanceMetrics[], rules: GaugeRules, takenAt: number): MetricsSnapshot {
  const merged = new Map<string, { family: MetricFamily, points: Map<string, NumberPoint | HistogramPoint> }>()
  for (const { snapshot, alive = true } of all) {
    for (const family of snapshot.families) {
      if (family.kind === 'gauge' && !alive) continue
      let entry = merged.get(family.name)
      if (entry === undefined) merged.set(family.name, entry = { family, points: new Map() })
      if (!isAlike(entry.family, family)) continue
      for (const point of family.points) {
        const key = keyOf(point.labels)
        const known = entry.points.get(key)
        entry.points.set(key, known === undefined ? withoutExemplars(point) : combine(known, point, family, rules))
      }
    }
  }
  const families = [...merged.values()].map(({ family, points }) => withPoints(family, [...points.values()]))
  return { startedAt: startOf(all, takenAt), takenAt, families }
}

function combine (known: NumberPoint | HistogramPoint, point: NumberPoint | HistogramPoint, { name, kind }: MetricFamily, rules: GaugeRules): NumberPoint | HistogramPoint {
  if ('bucketCounts' in known) {
    if (!('bucketCounts' in point)) return known
    return { ...known, count: known.count + point.count, sum: known.sum + point.sum, bucketCounts: known.bucketCounts.map((count, index) => count + (point.bucketCounts[index] ?? 0)) }
  }
  if ('bucketCounts' in point) return known
  const rule = kind === 'counter' ? 'sum' : rules[name] ?? 'max'
  if (rule === 'newest') return known
  return { ...known, value: rule === 'sum' ? known.value + point.value : Math.max(known.value, point.value) }
}

/** Another version of the application may give a name another meaning: the first stands. */
function isAlike (one: MetricFamily, other: MetricFamily): boolean {
  if (one.kind !== 'histogram' || other.kind !== 'histogram') return one.kind === other.kind
  return one.buckets.length === other.buckets.length && one.buckets.every((bound, index) => bound === other.buckets[index])
}

function append (known: MetricFamily | undefined, family: MetricFamily, relabel: (labels: Labels) => Labels): MetricFamily {
  const points = family.points.map((point: NumberPoint | HistogramPoint) => ({ ...withoutExemplars(point), labels: relabel(point.labels) }))
  return withPoints(family, known === undefined ? points : [...known.points, ...points])
}

function withPoints (family: MetricFamily, points: ReadonlyArray<NumberPoint | HistogramPoint>): MetricFamily {
  if (family.kind === 'histogram') return { ...family, points: points.filter((point): point is HistogramPoint => 'bucketCounts' in point) } satisfies HistogramFamily
  return { ...family, points: points.filter((point): point is NumberPoint => !('bucketCounts' in point)) } satisfies NumberFamily
}

/** They lead to the traces of one process; sums of many have no such one. */
function withoutExemplars<P extends NumberPoint | HistogramPoint> (point: P): NumberPoint | HistogramPoint {
  if ('bucketCounts' in point) return { labels: point.labels, count: point.count, sum: point.sum, bucketCounts: point.bucketCounts, exemplars: [] }
  return { labels: point.labels, value: point.value, exemplar: undefined }
}

function labelled (labels: Labels, instance: string): Labels {
  const { [INSTANCE]: own, ...rest } = labels
  return { ...rest, ...(own === undefined ? {} : { exported_instance: own }), [INSTANCE]: instance }
}

function keyOf (labels: Labels): string {
  return JSON.stringify(Object.entries(labels).sort(([a], [b]) => a < b ? -1 : 1))
}

function startOf (all: readonly InstanceMetrics[], takenAt: number): number {
  return Math.min(takenAt, ...all.map(({ snapshot }) => snapshot.startedAt))
}
