import { diag, DiagConsoleLogger, DiagLogLevel } from '@opentelemetry/api'
import type { Logger } from '../core/context.ts'
import { registeredTracerProvider } from './registered-provider.ts'
import type { OtelEnvironment } from './environment.ts'

/** Under which every copy of the OpenTelemetry API 1.x keeps what is registered. */
const SHARED = Symbol.for('opentelemetry.js.api.1')

interface SharedApi { readonly version?: unknown, readonly trace?: unknown, readonly diag?: unknown }

/**
 * Says at start what would otherwise show only by telemetry that does not arrive: variables that cannot be read, and a provider that
 * was registered through a copy of the API that ours cannot use. Switches on what `OTEL_LOG_LEVEL` asks for, where nobody has set a
 * logger: an SDK does the same.
 *
 * @returns takes the logger away again
 */
export function startDiagnostics (environment: OtelEnvironment, logger: Logger): () => void {
  const source = 'telemetry'
  for (const problem of environment.commonProblems) logger.warn({ source }, problem)
  const shared = sharedApi()
  if (shared?.trace !== undefined && registeredTracerProvider() === undefined) {
    logger.warn({ source, version: String(shared.version) }, `a tracer provider is registered through @opentelemetry/api ${String(shared.version)}, which the copy of the API used here cannot read: install one version of @opentelemetry/api`)
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
