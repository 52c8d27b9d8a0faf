import { invalidOptions } from '../core/options.ts'
import type { EventBus } from './bus.ts'
import { EVENT_NAMES, type EventMap, type EventName } from './catalogue.ts'
import { sampled, TROUBLE } from './sampling.ts'

/** Where events can go. Middleware opens the spans; the sink `traces` adds what happens to a job as span events. */
export const SINKS = ['traces', 'metrics', 'log'] as const
export type SinkName = typeof SINKS[number]

/** One row of the router: which sinks receive an event. */
export interface EventRoute {
  sinks?: readonly SinkName[] | undefined
  /**
   * Share of the events that reach the sinks `traces` and `log`, 0 to 1. The events of one job are kept or dropped
   * together. Metrics always count every event.
   *
   * @defaultValue `eventSampleRate`; 1 for events that report trouble
   */
  sampleRate?: number | undefined
  /** `false`: no sink receives the event. @defaultValue true */
  enabled?: boolean | undefined
}

export type EventRoutes = { readonly [N in EventName]?: EventRoute | undefined }

/** A sink: one function for each event that it handles. */
export type Sink = { readonly [N in EventName]?: (event: EventMap[N], name: N) => void }

/**
 * Events without a log line by default: those that occur for every claim, handler call, round trip or export, where
 * only sums are of interest; and those of alerts and open routes, whose lines are written elsewhere.
 */
const WITHOUT_LINE: ReadonlySet<EventName> = new Set<EventName>([
  'store.operated', 'worker.idled', 'handler.started', 'handler.completed', 'job.claimed', 'saga.steps_ready', 'telemetry.cache_synced', 'telemetry.export_requested',
  'alert.raised', 'alert.reminded', 'alert.resolved', 'alert.send_failed', 'access.jobs_left_open', 'access.metrics_left_open'
])

/** By default every event goes to traces and metrics, and to the log unless it is listed in `WITHOUT_LINE`. */
export const DEFAULT_ROUTES: { readonly [N in EventName]: Readonly<Required<EventRoute>> } = Object.freeze(
  Object.fromEntries(EVENT_NAMES.map((name) => [name, Object.freeze({ sinks: sinksOf(name), sampleRate: 1, enabled: true })]))
) as { readonly [N in EventName]: Readonly<Required<EventRoute>> }

function sinksOf (name: EventName): readonly SinkName[] {
  if (WITHOUT_LINE.has(name)) return ['traces', 'metrics']
  return ['traces', 'metrics', 'log']
}

/**
 * Subscribes the sinks to the bus as the table says. An event that no sink receives is not subscribed to, and costs
 * nothing.
 *
 * @param sampleRate for rows without a rate of their own; events that report trouble are always kept
 * @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS` for unknown events or sinks
 * @returns a function that disconnects the sinks
 */
export function connectSinks (bus: EventBus, sinks: Partial<Record<SinkName, Sink>>, routes: EventRoutes = {}, sampleRate = 1, random: () => number = Math.random): () => void {
  checkRoutes(routes)
  const stops: Array<() => void> = []
  for (const name of EVENT_NAMES) {
    const route = { ...DEFAULT_ROUTES[name], sampleRate: TROUBLE.has(name) ? 1 : sampleRate, ...routes[name] }
    if (!route.enabled) continue
    for (const sinkName of route.sinks) {
      const listener = sinks[sinkName]?.[name] as ((event: unknown, name: EventName) => void) | undefined
      if (listener === undefined) continue
      if (sinkName === 'metrics' || !(route.sampleRate < 1)) stops.push(bus.on(name, listener as never))
      else {
        const keeps = sampled(route.sampleRate, random)
        stops.push(bus.on(name, (event) => { if (keeps(event)) listener(event, name) }))
      }
    }
  }
  return () => { for (const stop of stops) stop() }
}

const ROUTE_KEYS = ['sinks', 'sampleRate', 'enabled']

/**
 * @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS` for unknown events, sinks or keys, and for rates outside 0 to 1
 */
export function checkRoutes (routes: EventRoutes): void {
  const problems: string[] = []
  for (const [name, route] of Object.entries(routes) as Array<[string, EventRoute | undefined]>) {
    if (!(EVENT_NAMES as readonly string[]).includes(name)) problems.push(`${name} is not an event (app.jobEvents.catalogue lists them)`)
    if (typeof route !== 'object' || route === null) {
      problems.push(`${name} must be an object`)
      continue
    }
    for (const key of Object.keys(route)) {
      if (!ROUTE_KEYS.includes(key)) problems.push(`${name}.${key} is not an option (known: ${ROUTE_KEYS.join(', ')})`)
    }
    if (route.enabled !== undefined && typeof route.enabled !== 'boolean') problems.push(`${name}.enabled must be true or false`)
    if (route.sinks !== undefined && !Array.isArray(route.sinks)) {
      problems.push(`${name}.sinks must be an array`)
      continue
    }
    for (const sink of route.sinks ?? []) {
      if (!(SINKS as readonly string[]).includes(sink)) problems.push(`${name}.sinks: ${String(sink)} is not one of ${SINKS.join(', ')}`)
    }
    const rate = route.sampleRate
    if (rate !== undefined && !(typeof rate === 'number' && rate >= 0 && rate <= 1)) problems.push(`${name}.sampleRate must be a number from 0 to 1`)
  }
  if (problems.length > 0) throw invalidOptions('events', problems)
}
