import { createContext, silentLogger, type Logger } from '../../lib/core/context.ts'
import { readRedactOptions } from '../../lib/core/redact.ts'
import { EventBus } from '../../lib/events/bus.ts'
import { EVENT_NAMES, type EventName } from '../../lib/events/catalogue.ts'
import type { LoopSample } from '../../lib/core/event-loop.ts'
import type { WorkerView } from '../../lib/monitor/fact-reader.ts'
import { Monitor, type MonitorParts } from '../../lib/monitor/monitor.ts'
import { readPerformanceOptions, type PerformanceOptions } from '../../lib/monitor/options.ts'
import { RECORDED_METRICS } from '../../lib/telemetry/instruments.ts'
import { recordInto } from '../../lib/telemetry/registry-recorder.ts'
import { MetricsRegistry } from '../../lib/telemetry/registry.ts'
import type { HistogramPoint } from '../../lib/telemetry/snapshot.ts'
import type { FinishedSpan } from '../../lib/telemetry/sdk/span-watch.ts'
import { FakeClock } from '../../lib/testing/fake-clock.ts'

/** A monitor whose surroundings a test can move: time, event loop, heap, worker. */
export function monitored (options: PerformanceOptions = {}, parts: Partial<MonitorParts> = {}) {
  const clock = new FakeClock()
  const warnings: string[] = []
  const logger: Logger = { ...silentLogger, warn: (_fields, message) => { warnings.push(String(message)) } }
  const bus = new EventBus(logger)
  const events: Array<{ readonly name: EventName, readonly event: object }> = []
  for (const name of EVENT_NAMES) {
    if (name.startsWith('performance.') || name === 'telemetry.listener_failed') bus.on(name, (event) => { events.push({ name, event }) })
  }
  const registry = new MetricsRegistry({ now: () => clock.now() })
  const world: { loop: LoopSample | undefined, heap: number, worker: WorkerView | undefined, running: boolean, watched: number } = {
    loop: { meanMs: 0, lagMs: 1, worstMs: 2, utilization: 0.1 }, heap: 0, worker: undefined, running: false, watched: 0
  }
  const monitor = new Monitor({
    context: createContext({ clock, logger }),
    bus,
    redaction: readRedactOptions({}),
    registry,
    options: readPerformanceOptions(options),
    bottlenecks: options.bottlenecks !== false,
    surroundings: { jobs: () => [{ name: 'report', queue: 'default', timeoutMs: 30_000 }, { name: 'mail', queue: 'mails', timeoutMs: 0 }], worker: () => world.worker, countsIntervalMs: 10_000 },
    watchSpans: () => {
      world.watched++
      return { missed: false, stop: () => { world.watched-- } }
    },
    quietly: (work) => work(),
    loop: { start: () => { world.running = true }, sample: () => world.loop, stop: () => { world.running = false } },
    heapUsed: () => world.heap,
    ...parts
  })
  const told = (name: EventName): object[] => events.filter((entry) => entry.name === name).map(({ event }) => event)
  const points = (name: string): HistogramPoint[] => {
    const family = registry.families().find((entry) => entry.name === name)
    return family?.kind === 'histogram' ? [...family.points] : []
  }
  const gauge = (name: string): number | undefined => {
    const family = registry.families().find((entry) => entry.name === name)
    return family === undefined || family.kind === 'histogram' ? undefined : family.points[0]?.value
  }
  return { monitor, clock, bus, registry, metrics: recordInto(registry, RECORDED_METRICS).methods, world, events, told, warnings, points, gauge }
}

export const TRACE = '0af7651916cd43dd8448eb211c80319c'
export const SPAN = 'b7ad6b7169203331'

/** A finished span as an instrumented client leaves it. */
export function span (attributes: Record<string, unknown>, durationMs = 2_000): FinishedSpan {
  return { attributes, duration: [Math.floor(durationMs / 1_000), (durationMs % 1_000) * 1e6], spanContext: () => ({ traceId: TRACE, spanId: SPAN }) }
}
