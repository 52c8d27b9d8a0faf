import type { HistogramFamily, HistogramPoint, Labels, MetricFamily, MetricsSnapshot, NumberFamily, NumberPoint } from '../telemetry/snapshot.ts'

type Point = NumberPoint | HistogramPoint

/** The metrics of one process. */
export interface InstanceMetrics {
  readonly instance: string
  readonly snapshot: MetricsSnapshot
  /** `false`: its snapshot is old, so its gauges, which describe the present, are left out. @defaultValue true */
  readonly alive?: boolean
}

/**
 * How the gauges of all processes become one. `newest`: all processes read the same number (one of the store), so the last reading is
 * right. `sum`: each process has a share of the whole. `max`: each process has a state of its own, and the worst counts.
 */
export type GaugeRule = 'newest' | 'sum' | 'max'
export type GaugeRules = Readonly<Record<string, GaugeRule>>

/** The label that names the process of a series. */
const INSTANCE = 'instance'

/** The series of all processes, each with the label `instance`. A label of that name that a series has becomes `exported_instance`. */
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
  const merged = new Map<string, { family: MetricFamily, points: Map<string, Point> }>()
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

function combine (known: Point, point: Point, { name, kind }: MetricFamily, rules: GaugeRules): Point {
  if ('bucketCounts' in known) {
    if (!('bucketCounts' in point)) return known
    const bucketCounts = known.bucketCounts.map((count, index) => count + (point.bucketCounts[index] ?? 0))
    return { ...known, count: known.count + point.count, sum: known.sum + point.sum, bucketCounts }
  }
  if ('bucketCounts' in point) return known
  const rule = kind === 'counter' ? 'sum' : rules[name] ?? 'max'
  if (rule === 'newest') return known
  return { ...known, value: rule === 'sum' ? known.value + point.value : Math.max(known.value, point.value) }
}

/** False if the same name has another meaning in another version of the application. The first one is kept then. */
function isAlike (one: MetricFamily, other: MetricFamily): boolean {
  if (one.kind !== 'histogram' || other.kind !== 'histogram') return one.kind === other.kind
  return one.buckets.length === other.buckets.length && one.buckets.every((bound, index) => bound === other.buckets[index])
}

function append (known: MetricFamily | undefined, family: MetricFamily, relabel: (labels: Labels) => Labels): MetricFamily {
  const points = family.points.map((point: Point) => ({ ...withoutExemplars(point), labels: relabel(point.labels) }))
  return withPoints(family, known === undefined ? points : [...known.points, ...points])
}

function withPoints (family: MetricFamily, points: readonly Point[]): MetricFamily {
  if (family.kind === 'histogram') {
    const histograms = points.filter((point): point is HistogramPoint => 'bucketCounts' in point)
    return { ...family, points: histograms } satisfies HistogramFamily
  }
  return { ...family, points: points.filter((point): point is NumberPoint => !('bucketCounts' in point)) } satisfies NumberFamily
}

/** An exemplar names a trace of one process, so a sum over several has none. */
function withoutExemplars (point: Point): Point {
  if ('bucketCounts' in point) {
    const { labels, count, sum, bucketCounts } = point
    return { labels, count, sum, bucketCounts, exemplars: [] }
  }
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
