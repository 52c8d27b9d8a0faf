/** The name and version of the meter and the tracer. A test keeps the version equal to package.json. */
export const SCOPE_NAME = 'AsyncEndpoints'
export const SCOPE_VERSION = '0.1.0'

/** The scope as labels, named as in OpenTelemetry's exporters to Prometheus. */
export const SCOPE_LABELS = Object.freeze({ otel_scope_name: SCOPE_NAME, otel_scope_version: SCOPE_VERSION })
