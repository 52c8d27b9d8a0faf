import { hostname } from 'node:os'
import { DiagLogLevel } from '@opentelemetry/api'
import { MAX_TIMER_MS } from '../core/context.ts'
import { cut } from '../core/text.ts'

/** The standard `OTEL_*` variables that concern what this library does itself. The SDK reads all others. */
export type TraceExporterName = 'otlp' | 'console'
export type MetricExporterName = TraceExporterName
export type OtlpProtocol = 'http/json' | 'http/protobuf'

export interface OtelEnvironment {
  /** `OTEL_SDK_DISABLED` */
  readonly disabled: boolean
  /** What `OTEL_TRACES_EXPORTER` names, or OTLP when an endpoint is set; empty when neither is set. */
  readonly exporters: readonly TraceExporterName[]
  readonly protocol: OtlpProtocol
  /** `OTEL_TRACES_SAMPLER` is set: the SDK reads it, and the sampler of this library is not used. */
  readonly samplerGiven: boolean
  /**
   * A limit of spans is set (`OTEL_SPAN_…_LIMIT`, `OTEL_ATTRIBUTE_…_LIMIT` and so on): the SDK reads it and makes the
   * spans.
   */
  readonly limitsGiven: boolean
  /** `OTEL_RESOURCE_ATTRIBUTES`; `OTEL_SERVICE_NAME` replaces the service name in them. */
  readonly resource: Readonly<Record<string, string>>
  /** Sentences about unusable values that concern all signals. */
  readonly commonProblems: readonly string[]
  /** `OTEL_LOG_LEVEL`; `undefined`: not set. */
  readonly logLevel: DiagLogLevel | undefined
  /** Sentences about unusable values for traces. */
  readonly problems: readonly string[]
  readonly metrics: MetricsEnvironment
}

export interface MetricsEnvironment {
  /** What `OTEL_METRICS_EXPORTER` names, or OTLP when an endpoint is set; empty when neither is set. */
  readonly exporters: readonly MetricExporterName[]
  readonly protocol: OtlpProtocol
  /** `OTEL_METRIC_EXPORT_INTERVAL`, milliseconds. */
  readonly intervalMs: number | undefined
  /** `OTEL_METRIC_EXPORT_TIMEOUT`, milliseconds. */
  readonly timeoutMs: number | undefined
  /** Sentences about unusable values for metrics. */
  readonly problems: readonly string[]
}

type Variables = Readonly<Record<string, string | undefined>>

type ExporterTable = Readonly<Record<string, readonly TraceExporterName[]>>
type Signal = 'TRACES' | 'METRICS'

const TRACE_EXPORTERS: ExporterTable = { otlp: ['otlp'], console: ['console'], none: [] }
// `prometheus` needs no exporter: `/metrics` is the page that it would serve on a port of its own.
const METRIC_EXPORTERS: ExporterTable = { ...TRACE_EXPORTERS, prometheus: [] }

const SPAN_LIMIT = /^OTEL_(?:SPAN|ATTRIBUTE|EVENT|LINK)_.*LIMIT$/

/** Reads the variables. Never throws, whatever they hold. */
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
    metrics: {
      ...metrics,
      intervalMs: readMs(env, 'OTEL_METRIC_EXPORT_INTERVAL'),
      timeoutMs: readMs(env, 'OTEL_METRIC_EXPORT_TIMEOUT')
    }
  }
}

interface SignalVariables { exporters: TraceExporterName[], protocol: OtlpProtocol, problems: readonly string[] }

function readSignal (env: Variables, signal: Signal, table: ExporterTable, disabled: boolean): SignalVariables {
  const problems: string[] = []
  const exporters = readExporters(env, signal, table, problems)
  const protocol = readProtocol(env, signal)
  const unused = disabled || (exporters.length === 0 && value(env, `OTEL_${signal}_EXPORTER`) === undefined)
  if (protocol === undefined) {
    const lost = signal.toLowerCase()
    problems.push(`OTEL_EXPORTER_OTLP_PROTOCOL must be http/json or http/protobuf here; no ${lost} are exported by OTLP`)
  }
  return {
    exporters: protocol === undefined ? exporters.filter((name) => name !== 'otlp') : exporters,
    protocol: protocol ?? 'http/protobuf',
    // Where the signal is not exported, mistakes in its variables do not matter.
    problems: unused ? [] : problems
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
    if (known === undefined) {
      problems.push(`${variable}: ${JSON.stringify(cut(name, 40))} is not one of ${Object.keys(table).join(', ')}`)
    }
    for (const exporter of known ?? []) exporters.add(exporter)
  }
  return [...exporters]
}

function readProtocol (env: Variables, signal: Signal): OtlpProtocol | undefined {
  const own = value(env, `OTEL_EXPORTER_OTLP_${signal}_PROTOCOL`)
  const protocol = own ?? value(env, 'OTEL_EXPORTER_OTLP_PROTOCOL') ?? 'http/protobuf'
  return protocol === 'http/json' || protocol === 'http/protobuf' ? protocol : undefined
}

/** By the specification an unusable number counts as not set. */
function readMs (env: Variables, name: string): number | undefined {
  const ms = Number(value(env, name))
  return Number.isInteger(ms) && ms > 0 && ms <= MAX_TIMER_MS ? ms : undefined
}

const LOG_LEVELS: Readonly<Record<string, DiagLogLevel>> = {
  none: DiagLogLevel.NONE,
  error: DiagLogLevel.ERROR,
  warn: DiagLogLevel.WARN,
  info: DiagLogLevel.INFO,
  debug: DiagLogLevel.DEBUG,
  verbose: DiagLogLevel.VERBOSE,
  all: DiagLogLevel.ALL
}

function readLogLevel (env: Variables, problems: string[]): DiagLogLevel | undefined {
  const named = value(env, 'OTEL_LOG_LEVEL')?.toLowerCase()
  if (named === undefined) return undefined
  const level = Object.hasOwn(LOG_LEVELS, named) ? LOG_LEVELS[named] : undefined
  if (level === undefined) {
    const known = Object.keys(LOG_LEVELS).join(', ')
    problems.push(`OTEL_LOG_LEVEL must be one of ${known}; OpenTelemetry logs nothing about itself`)
  }
  return level
}

/** Reads `key=value,…`, values percent-encoded. By the specification one broken pair discards all of them. */
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
    problems.push('OTEL_RESOURCE_ATTRIBUTES cannot be read and is left out: it must be key=value pairs with commas ' +
      'between them, and %, = and commas in values percent-encoded')
    for (const key of Object.keys(attributes)) delete attributes[key]
  }
  const name = value(env, 'OTEL_SERVICE_NAME')
  if (name !== undefined) attributes['service.name'] = name
  return attributes
}

interface ServiceAttributes {
  readonly 'service.name'?: string | undefined
  readonly 'service.version'?: string | undefined
}

/** An empty variable counts as not set. */
function value (env: Variables, name: string): string | undefined {
  const text = env[name]?.trim()
  return text === undefined || text === '' ? undefined : text
}

/**
 * The source of the telemetry: on every span of the private provider, and as `target_info` at `/metrics`.
 *
 * @param given by options; they replace those of the environment
 * @param instanceId unique per process and Fastify instance
 */
export function resourceAttributes (
  environment: OtelEnvironment, given: ServiceAttributes, instanceId: string
): Readonly<Record<string, string>> {
  const named = Object.entries(given).filter((entry): entry is [string, string] => entry[1] !== undefined)
  return Object.freeze({
    'service.name': 'unknown_service:node',
    'service.instance.id': instanceId,
    'host.name': hostname(),
    'telemetry.sdk.language': 'nodejs',
    ...environment.resource,
    ...Object.fromEntries(named)
  })
}
