import { diag, DiagConsoleLogger, DiagLogLevel } from '@opentelemetry/api'
import type { Logger } from '../core/context.ts'
import { registeredTracerProvider } from './registered-provider.ts'
import type { OtelEnvironment } from './environment.ts'

/** The symbol under which every copy of the OpenTelemetry API 1.x keeps what is registered. */
const SHARED = Symbol.for('opentelemetry.js.api.1')

interface SharedApi { readonly version?: unknown, readonly trace?: unknown, readonly diag?: unknown }

/**
 * Logs a warning at start about mistakes that would otherwise show only by missing telemetry: variables that cannot
 * be read, and a provider registered through a copy of the API that the copy used here cannot read. Sets a console
 * logger for OpenTelemetry when `OTEL_LOG_LEVEL` asks for it and none is set, as an SDK does.
 *
 * @returns a function that removes the logger again
 */
export function startDiagnostics (environment: OtelEnvironment, logger: Logger): () => void {
  const source = 'telemetry'
  for (const problem of environment.commonProblems) logger.warn({ source }, problem)
  const shared = sharedApi()
  if (shared?.trace !== undefined && registeredTracerProvider() === undefined) {
    const version = String(shared.version)
    logger.warn({ source, version }, `a tracer provider is registered through @opentelemetry/api ${version}, which the ` +
      'copy of the API used here cannot read, so that no job is traced: install a single version of @opentelemetry/api')
  }
  const { logLevel } = environment
  if (logLevel === undefined || logLevel === DiagLogLevel.NONE || shared?.diag !== undefined) return () => {}
  if (!diag.setLogger(new DiagConsoleLogger(), { logLevel, suppressOverrideMessage: true })) return () => {}
  const ours = sharedApi()?.diag
  return () => { if (sharedApi()?.diag === ours) diag.disable() }
}

function sharedApi (): SharedApi | undefined {
  const shared: unknown = Reflect.get(globalThis, SHARED)
  return typeof shared === 'object' && shared !== null ? shared : undefined
}
