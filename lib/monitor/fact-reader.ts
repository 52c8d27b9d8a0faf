import type { LoopSample } from '../core/event-loop.ts'
import type { Instrument } from '../telemetry/instrument.ts'
import { INSTRUMENTS } from '../telemetry/instruments.ts'
import type { MetricsRegistry } from '../telemetry/registry.ts'
import type { Labels } from '../telemetry/snapshot.ts'
import { durations, ms, together, type Distribution } from './distribution.ts'
import type { Facts, HandlerFacts, QueueFacts, StoreOperationFacts } from './bottleneck-report.ts'
import { MetricsWindow, type QueueLoad } from './metrics-window.ts'

/** What the monitor needs to know of the rest of the process. */
export interface Surroundings {
  readonly jobs: () => ReadonlyArray<{ readonly name: string, readonly queue: string, readonly timeoutMs: number }>
  /** `undefined`: no worker in this process. */
  readonly worker: () => WorkerView | undefined
  /** How often waiting jobs are counted. */
  readonly countsIntervalMs: number
}

export interface WorkerView {
  readonly loads: readonly QueueLoad[]
  /** Some of the running attempts, the oldest first. */
  readonly attempts: () => ReadonlyArray<{ readonly name: string, readonly queue: string }>
}

/** Handlers, and store operations, in a report; nobody reads a longer list. */
const MAX_LISTED = 50

/** Reads the numbers of the bottleneck report from the instruments, and from the window over them. */
export class FactReader {
  readonly window: MetricsWindow
  readonly #surroundings: Surroundings
  readonly #wait: Instrument<'histogram'>
  readonly #handler: Instrument<'histogram'>
  readonly #operation: Instrument<'histogram'>
  readonly #handlerErrors: Instrument<'counter'>
  readonly #storeErrors: Instrument<'counter'>
  readonly #retries: Instrument<'counter'>
  readonly #refused: Instrument<'counter'>
  readonly #oldest: Instrument<'gauge'>
  readonly #counts: Instrument<'gauge'>
  readonly #countsAge: Instrument<'gauge'>
  readonly #stuck: Instrument<'gauge'>

  /** @param now monotonic milliseconds */
  constructor (registry: MetricsRegistry, surroundings: Surroundings, windowMs: number, now: () => number) {
    this.#surroundings = surroundings
    this.#wait = registry.instrument(INSTRUMENTS.jobQueueDuration)
    this.#handler = registry.instrument(INSTRUMENTS.handlerDuration)
    this.#operation = registry.instrument(INSTRUMENTS.storeOperationDuration)
    this.#handlerErrors = registry.instrument(INSTRUMENTS.handlerError)
    this.#storeErrors = registry.instrument(INSTRUMENTS.storeError)
    this.#retries = registry.instrument(INSTRUMENTS.jobRetried)
    this.#refused = registry.instrument(INSTRUMENTS.requestRejected)
    this.#oldest = registry.instrument(INSTRUMENTS.jobsOldestAge)
    this.#counts = registry.instrument(INSTRUMENTS.jobCurrentCount)
    this.#countsAge = registry.instrument(INSTRUMENTS.storeCountsAge)
    this.#stuck = registry.instrument(INSTRUMENTS.jobsStuck)
    const counters = [this.#handlerErrors, this.#storeErrors, this.#retries, this.#refused]
    this.window = new MetricsWindow([this.#wait, this.#handler, this.#operation], counters, windowMs, now)
  }

  read (): Facts {
    const { window } = this
    return {
      coveredMs: Math.round(window.coveredMs),
      queues: this.#queues(),
      handlers: this.#handlers(),
      store: {
        ...this.#waiting(),
        operations: this.#operations()
      },
      eventLoop: loopFacts(window.moments().flatMap(({ loop }) => loop ?? []), window.latest?.loop),
      pressure: {
        retries: total(window.counter(this.#retries)),
        refused: this.#refusals()
      }
    }
  }

  #refusals (): Facts['pressure']['refused'] {
    const byReason = [...sums(this.window.counter(this.#refused), 'reason')]
    return byReason.map(([reason, count]) => ({ reason, count })).sort((a, b) => b.count - a.count)
  }

  #queues (): QueueFacts[] {
    const queueOf = this.#queueOf()
    const waits = grouped(this.window.histogram(this.#wait), ({ job_name: name = '' }) => queueOf.get(name))
    const loads = new Map(this.#surroundings.worker()?.loads.map((load) => [load.queue, load]))
    const oldest = new Map(this.#oldest.cells().map(({ labels, value }) => [labels.queue, value]))
    const names = new Set([...queueOf.values(), ...loads.keys()])
    return [...names].sort().map((queue) => {
      const load = loads.get(queue)
      const waited = waits.get(queue)
      const age = oldest.get(queue)
      return {
        queue,
        wait: waited === undefined ? null : durations(waited, this.#wait.buckets) ?? null,
        oldestWaitingMs: age === undefined ? null : ms(age),
        active: load?.active ?? null,
        concurrency: load?.concurrency ?? null,
        busyPercent: load === undefined ? null : this.#busy(load)
      }
    })
  }

  /**
   * The share of busy slots, as the average of all moments of the window and now: a single moment may be an exception.
   */
  #busy (now: QueueLoad): number {
    const loads = [...this.window.moments().flatMap((moment) => moment.loads), now]
    const shares = loads.flatMap(({ queue, active, concurrency }) => queue === now.queue && concurrency > 0 ? [active / concurrency] : [])
    return percent(shares.reduce((sum, share) => sum + share, 0), shares.length)
  }

  #handlers (): HandlerFacts[] {
    const queueOf = this.#queueOf()
    const calls = grouped(this.window.histogram(this.#handler), ({ job_name: name }) => name)
    const errors = this.window.counter(this.#handlerErrors)
    const all = [...calls.values()].reduce((sum, { sum: seconds }) => sum + seconds, 0)
    const handlers = [...calls].flatMap(([name, recorded]): HandlerFacts[] => {
      const duration = durations(recorded, this.#handler.buckets)
      if (duration === undefined) return []
      const own = errors.filter(([labels]) => labels.job_name === name)
      const [code] = [...sums(own, 'error_type')].sort(([, a], [, b]) => b - a)[0] ?? []
      return [{
        name,
        queue: queueOf.get(name) ?? null,
        duration,
        errors: total(own),
        errorCode: code ?? null,
        timePercent: percent(recorded.sum, all)
      }]
    })
    return handlers.sort((a, b) => b.duration.p95Ms - a.duration.p95Ms).slice(0, MAX_LISTED)
  }

  #operations (): StoreOperationFacts[] {
    const errors = sums(this.window.counter(this.#storeErrors), 'operation')
    const calls = grouped(this.window.histogram(this.#operation), ({ operation }) => operation)
    const operations = [...calls].flatMap(([operation, recorded]): StoreOperationFacts[] => {
      const duration = durations(recorded, this.#operation.buckets)
      return duration === undefined ? [] : [{ operation, duration, errors: errors.get(operation) ?? 0 }]
    })
    return operations.sort((a, b) => b.duration.p95Ms - a.duration.p95Ms).slice(0, MAX_LISTED)
  }

  /** How many jobs wait and run, from the gauges: a background task reads the counts of the store into them. */
  #waiting (): Omit<Facts['store'], 'operations'> {
    const counts = this.#counts.cells()
    const count = (status: string): number | null => {
      const own = counts.filter(({ labels }) => labels.job_status === status)
      return own.length === 0 ? null : own.reduce((sum, { value }) => sum + value, 0)
    }
    const stuck = this.#stuck.cells()
    return {
      // Before the store was counted for the first time, the gauge has an age but there are no counts.
      countsAgeMs: counts.length === 0 ? null : ms(this.#countsAge.cells()[0]?.value ?? 0),
      waitingJobs: count('queued'),
      jobsInProgress: count('in-progress'),
      stuckJobs: stuck.length === 0 ? null : stuck.reduce((sum, { value }) => sum + value, 0)
    }
  }

  /** Queues by job name. Metrics of jobs have the name as a label, but not the queue; that is in the definition. */
  #queueOf (): ReadonlyMap<string, string> {
    return new Map(this.#surroundings.jobs().map(({ name, queue }) => [name, queue]))
  }
}

function loopFacts (samples: readonly LoopSample[], latest: LoopSample | undefined): Facts['eventLoop'] {
  if (samples.length === 0) return { lagMs: null, highestLagMs: null, meanLagMs: null, worstMs: null, utilizationPercent: null }
  return {
    lagMs: latest === undefined ? null : rounded(latest.lagMs),
    highestLagMs: rounded(Math.max(...samples.map(({ lagMs }) => lagMs))),
    meanLagMs: rounded(samples.reduce((sum, { lagMs }) => sum + lagMs, 0) / samples.length),
    worstMs: rounded(Math.max(...samples.map(({ worstMs }) => worstMs))),
    utilizationPercent: percent(samples.reduce((sum, { utilization }) => sum + utilization, 0), samples.length)
  }
}

/**
 * Adds up the series with the same key. Series without a key are left out, such as the one for everything over the cap
 * of series.
 */
function grouped (
  series: ReadonlyArray<readonly [Labels, Distribution]>, keyOf: (labels: Labels) => string | undefined
): Map<string, Distribution> {
  const groups = new Map<string, Distribution[]>()
  for (const [labels, recorded] of series) {
    const key = keyOf(labels)
    if (key === undefined) continue
    const group = groups.get(key)
    if (group === undefined) groups.set(key, [recorded])
    else group.push(recorded)
  }
  return new Map([...groups].map(([key, group]) => [key, together(group)]))
}

function sums (series: ReadonlyArray<readonly [Labels, number]>, label: string): Map<string, number> {
  const found = new Map<string, number>()
  for (const [labels, n] of series) found.set(labels[label] ?? 'other', (found.get(labels[label] ?? 'other') ?? 0) + n)
  return found
}

function total (series: ReadonlyArray<readonly [Labels, number]>): number {
  return series.reduce((sum, [, n]) => sum + n, 0)
}

export function percent (part: number, whole: number): number {
  return whole <= 0 ? 0 : Math.round(1_000 * part / whole) / 10
}

function rounded (value: number): number { return Math.round(value * 100) / 100 }
