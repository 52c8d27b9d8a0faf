import { hostname } from 'node:os'
import { DiagLogLevel } from '@opentelemetry/api'
import { MAX_TIMER_MS } from '../core/context.ts'
import { cut } from '../core/text.ts'

/** The standard `OTEL_*` variables, as far as they concern what this library does itself. Everything else is read by the SDK. */
export type TraceExporterName = 'otlp' | 'console'
export type MetricExporterName = TraceExporterName
export type OtlpProtocol = 'http/json' | 'http/protobuf'

export interface OtelEnvironment {
  /** `OTEL_SDK_DISABLED` */
  readonly disabled: boolean
  /** What `OTEL_TRACES_EXPORTER` names, or OTLP when an endpoint is set; empty: nothing is asked for. */
  readonly exporters: readonly TraceExporterName[]
  readonly protocol: OtlpProtocol
  /** `OTEL_TRACES_SAMPLER` is set: the SDK reads it, and our own sampler stays out. */
  readonly samplerGiven: boolean
  /** A limit of spans is set (`OTEL_SPAN_…_LIMIT`, `OTEL_ATTRIBUTE_…_LIMIT` and the like): the SDK reads it, and makes the spans. */
  readonly limitsGiven: boolean
  /** `OTEL_RESOURCE_ATTRIBUTES`, under `OTEL_SERVICE_NAME`. */
  readonly resource: Readonly<Record<string, string>>
  /** Sentences about values that concern all signals and cannot be used. */
  readonly commonProblems: readonly string[]
  /** `OTEL_LOG_LEVEL`; `undefined`: not set. */
  readonly logLevel: DiagLogLevel | undefined
  /** Sentences about values that cannot be used. */
  readonly problems: readonly string[]
  readonly metrics: MetricsEnvironment
}

export interface MetricsEnvironment {
  /** What `OTEL_METRICS_EXPORTER` names, or OTLP when an endpoint is set; empty: nothing is asked for. */
  readonly exporters: readonly MetricExporterName[]
  readonly protocol: OtlpProtocol
  /** `OTEL_METRIC_EXPORT_INTERVAL`, milliseconds. */
  readonly intervalMs: number | undefined
  /** `OTEL_METRIC_EXPORT_TIMEOUT`, milliseconds. */
  readonly timeoutMs: number | undefined
  /** As for traces. */
  readonly problems: readonly string[]
}

type Variables = Readonly<Record<string, string | undefined>>

type ExporterTable = Readonly<Record<string, readonly TraceExporterName[]>>
type Signal = 'TRACES' | 'METRICS'

const TRACE_EXPORTERS: ExporterTable = { otlp: ['otlp'], console: ['console'], none: [] }
// `/metrics` is the page that an exporter for Prometheus would serve on a port of its own: nothing is left to be done.
const METRIC_EXPORTERS: ExporterTable = { ...TRACE_EXPORTERS, prometheus: [] }

const SPAN_LIMIT = /^OTEL_(?:SPAN|ATTRIBUTE|EVENT|LINK)_.*LIMIT$/

/** Reads the variables; never throws, whatever they hold. */
export function readOtelEnvironment (env: Variables = process.env): OtelEnvironment {
  const commonProblems: string[] = []
  const disabled = value(env, 'OTEL_SDK_DISABLED')?.toLowerCase() === 'true'
  const traces = readSignal(env, 'TRACES', TRACE_EXPORTERS, disabled)
  const metrics = readSignal(env, 'METRICS', METRIC_EXPORTERS, disabled)
  return {
    disabled,
    ...traces,
    samplerGiven: value(env, 'OTEL_TRACES_SAMPLER') !== undefined,
    limitsGiven: Object.keys(env).some((name) => SPAN_LIMIT.test(name) && value(env, name) !== undefined),
    resource: readResource(env, commonProblems),
    logLevel: readLogLevel(env, commonProblems),
    commonProblems,
    metrics: { ...metrics, intervalMs: readMs(env, 'OTEL_METRIC_EXPORT_INTERVAL'), timeoutMs: readMs(env, 'OTEL_METRIC_EXPORT_TIMEOUT') }
  }
}

function readSignal (env: Variables, signal: Signal, table: ExporterTable, disabled: boolean): { exporters: TraceExporterName[], protocol: OtlpProtocol, problems: readonly string[] } {
  const problems: string[] = []
  const exporters = readExporters(env, signal, table, problems)
  const protocol = readProtocol(env, signal)
  if (protocol === undefined) problems.push(`OTEL_EXPORTER_OTLP_PROTOCOL must be http/json or http/protobuf here; no ${signal.toLowerCase()} are exported by OTLP`)
  return {
    exporters: protocol === undefined ? exporters.filter((name) => name !== 'otlp') : exporters,
    protocol: protocol ?? 'http/protobuf',
    // Nobody asked for this signal: what the variables say about it is of no interest.
    problems: disabled || (exporters.length === 0 && value(env, `OTEL_${signal}_EXPORTER`) === undefined) ? [] : problems
  }
}

function readExporters (env: Variables, signal: Signal, table: ExporterTable, problems: string[]): TraceExporterName[] {
  const variable = `OTEL_${signal}_EXPORTER`
  const named = value(env, variable)
  if (named === undefined) {
    const endpoint = value(env, `OTEL_EXPORTER_OTLP_${signal}_ENDPOINT`) ?? value(env, 'OTEL_EXPORTER_OTLP_ENDPOINT')
    return endpoint === undefined ? [] : ['otlp']
  }
  const exporters = new Set<TraceExporterName>()
  for (const name of named.split(',').map((part) => part.trim().toLowerCase()).filter(Boolean)) {
    const known = Object.hasOwn(table, name) ? table[name] : undefined
    if (known === undefined) problems.push(`${variable}: ${JSON.stringify(cut(name, 40))} is not one of ${Object.keys(table).join(', ')}`)
    for (const exporter of known ?? []) exporters.add(exporter)
  }
  return [...exporters]
}

function readProtocol (env: Variables, signal: Signal): OtlpProtocol | undefined {
  const protocol = value(env, `OTEL_EXPORTER_OTLP_${signal}_PROTOCOL`) ?? value(env, 'OTEL_EXPORTER_OTLP_PROTOCOL') ?? 'http/protobuf'
  return protocol === 'http/json' || protocol === 'http/protobuf' ? protocol : undefined
}

/** By the specification a number that cannot be used counts as not set. */
function readMs (env: Variables, name: string): number | undefined {
  const ms = Number(value(env, name))
  return Number.isInteger(ms) && ms > 0 && ms <= MAX_TIMER_MS ? ms : undefined
}

const LOG_LEVELS: Readonly<Record<string, DiagLogLevel>> = {
  none: DiagLogLevel.NONE, error: DiagLogLevel.ERROR, warn: DiagLogLevel.WARN, info: DiagLogLevel.INFO, debug: DiagLogLevel.DEBUG, verbose: DiagLogLevel.VERBOSE, all: DiagLogLevel.ALL
}

function readLogLevel (env: Variables, problems: string[]): DiagLogLevel | undefined {
  const named = value(env, 'OTEL_LOG_LEVEL')?.toLowerCase()
  if (named === undefined) return undefined
  const level = Object.hasOwn(LOG_LEVELS, named) ? LOG_LEVELS[named] : undefined
  if (level === undefined) problems.push(`OTEL_LOG_LEVEL must be one of ${Object.keys(LOG_LEVELS).join(', ')}; OpenTelemetry says nothing about itself`)
  return level
}

/** `key=value,…`, values percent-encoded; by the specification one broken pair discards them all. */
function readResource (env: Variables, problems: string[]): Record<string, string> {
  const attributes: Record<string, string> = {}
  const pairs = value(env, 'OTEL_RESOURCE_ATTRIBUTES')?.split(',').map((pair) => pair.trim()).filter(Boolean) ?? []
  try {
    for (const pair of pairs) {
      const at = pair.indexOf('=')
      if (at < 1 || pair.includes('=', at + 1)) throw new Error('not a pair')
      attributes[decodeURIComponent(pair.slice(0, at).trim())] = decodeURIComponent(pair.slice(at + 1).trim())
    }
  } catch {
    problems.push('OTEL_RESOURCE_ATTRIBUTES cannot be read and is left out: it must be key=value pairs with commas between them, and %, = and commas in values percent-encoded')
    for (const key of Object.keys(attributes)) delete attributes[key]
  }
  const name = value(env, 'OTEL_SERVICE_NAME')
  if (name !== undefined) attributes['service.name'] = name
  return attributes
}

/** An empty variable counts as not set. */
function value (env: Variables, name: string): string | undefined {
  const text = env[name]?.trim()
  return text === undefined || text === '' ? undefined : text
}

/**
 * Who produces the telemetry: on every span of the private provider, and as `target_info` at `/metrics`.
 *
 * @param given by options: stands over the environment
 * @param instanceId unique per process and Fastify instance
 */
export function resourceAttributes (environment: OtelEnvironment, given: { readonly 'service.name'?: string | undefined, readonly 'service.version'?: string | undefined }, instanceId: string): Readonly<Record<string, string>> {
  return Object.freeze({
    'service.name': 'unknown_service:node',
    'service.instance.id': instanceId,
    'host.name': hostname(),
    'telemetry.sdk.language': 'nodejs',
    ...environment.resource,
    ...Object.fromEntries(Object.entries(given).filter((entry): entry is [string, string] => entry[1] !== undefined))
  })
}
