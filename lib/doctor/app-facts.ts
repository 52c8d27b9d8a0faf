import type { RouteAccess } from '../core/route-access.ts'
import type { StoreFacts } from '../stores/facts.ts'

/** What the doctor saw of the application while it started. */
export type AppFacts =
  /** The command line names no file. */
  | { readonly state: 'not-given' }
  | { readonly state: 'missing' }
  /** The process ended before the server was ready. */
  | { readonly state: 'ended', readonly exitCode: number | null, readonly signal: string | null }
  | { readonly state: 'timeout', readonly afterMs: number }
  | AppReady

export interface AppReady extends ProbeReport {
  readonly state: 'ready'
}

/** The report of the probe inside the application's process, written when all plugins are loaded. */
export interface ProbeReport {
  /**
   * Whether a tracer provider was registered. `unknown`: both it and the packages were there before the probe started.
   */
  readonly sdk: 'registered' | 'none' | 'unknown'
  /** The packages that were loaded before the tracer provider was registered. */
  readonly loadedBefore: readonly string[]
  /** Fastify's option; `undefined` when this release of Fastify does not show it. */
  readonly trustProxy: 'off' | 'some' | 'all' | undefined
  readonly https: boolean
  readonly publicUrl: string | undefined
  readonly jobRoutes: RouteAccess
  readonly metrics: RouteAccess
  /** Where the application keeps its jobs; `undefined`: it does not show it. */
  readonly store: StoreFacts | undefined
}

/**
 * The probe writes its report to this file descriptor. It runs only in a direct child of the process that the
 * variable names.
 */
export const REPORT_FD = 3
export const PARENT_VARIABLE = 'FAE_DOCTOR_PARENT'

export function isProbeReport (value: unknown): value is ProbeReport {
  const report = Object(value) as Partial<Record<keyof ProbeReport, unknown>>
  return typeof report.sdk === 'string' && Array.isArray(report.loadedBefore) && typeof report.https === 'boolean'
}

export function isStoreFacts (value: unknown): value is StoreFacts {
  const { type, redis } = Object(value) as Partial<Record<keyof StoreFacts, unknown>>
  if (typeof type !== 'string') return false
  const { connection, prefix } = Object(redis) as { connection?: unknown, prefix?: unknown }
  return redis === undefined || (typeof connection === 'object' && connection !== null && typeof prefix === 'string')
}
