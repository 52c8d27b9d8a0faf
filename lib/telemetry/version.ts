/** Meter and tracer of the library, as every back end shows them. A test keeps the version equal to package.json. */
export const SCOPE_NAME = 'AsyncEndpoints'
export const SCOPE_VERSION = '0.1.0'

/** The scope as OpenTelemetry's exporters to Prometheus write it. */
export const SCOPE_LABELS = Object.freeze({ otel_scope_name: SCOPE_NAME, otel_scope_version: SCOPE_VERSION })
