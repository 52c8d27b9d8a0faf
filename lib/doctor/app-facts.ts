import type { RouteAccess } from '../core/route-access.ts'
import type { StoreFacts } from '../stores/facts.ts'

/** What was seen of the application while it started. */
export type AppFacts =
  /** No file was given. */
  | { readonly state: 'not given' }
  | { readonly state: 'missing' }
  /** It ended by itself. */
  | { readonly state: 'ended', readonly exitCode: number | null, readonly signal: string | null }
  | { readonly state: 'timeout', readonly afterMs: number }
  | AppReady

export interface AppReady extends ProbeReport {
  readonly state: 'ready'
}

/** What the probe inside the process of the application says, at the moment when all plugins are loaded. */
export interface ProbeReport {
  /** Of a tracer provider. `unknown`: it was there before the probe could look, and so were the packages. */
  readonly sdk: 'registered' | 'none' | 'unknown'
  /** Packages that were loaded before it. */
  readonly loadedBefore: readonly string[]
  /** Fastify's option; `undefined` when this release of Fastify does not show it. */
  readonly trustProxy: 'off' | 'some' | 'all' | undefined
  readonly https: boolean
  readonly publicUrl: string | undefined
  readonly jobRoutes: RouteAccess
  readonly metrics: RouteAccess
  /** Where its jobs are kept; `undefined`: it did not say. */
  readonly store: StoreFacts | undefined
}

/** The probe writes its report to this file descriptor, and only in a child of the process that this variable names. */
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
