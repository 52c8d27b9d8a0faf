import type { OtelEnvironment } from '../telemetry/environment.ts'
import type { AppFacts } from './app-facts.ts'
import { found, notChecked, type Finding } from './findings.ts'
import type { PackageFacts } from './package-facts.ts'
import { inRange } from './range.ts'

/** The first major version in which carrying a trace context costs nothing. */
const RECOMMENDED_NODE = 24

/** @param redis whether the application runs on Redis */
export function checkPackages (facts: PackageFacts, redis: boolean): Finding[] {
  return [
    checkNode(facts),
    checkPeer(facts, 'packages.fastify', 'fastify', true),
    checkPeer(facts, 'packages.bullmq', 'bullmq', redis),
    checkPeer(facts, 'packages.ioredis', 'ioredis', redis),
    checkApi(facts)
  ]
}

function checkNode ({ node, engines }: PackageFacts): Finding {
  const what = `Node.js ${node}`
  if (!inRange(node, engines)) return found('packages.node', 'problem', `${what} is outside ${engines}`, `Install Node.js ${RECOMMENDED_NODE}`)
  return inRange(node, `>=${RECOMMENDED_NODE}`) ? found('packages.node', 'ok', what) : found('packages.node', 'note', what, `Install Node.js ${RECOMMENDED_NODE} when you can`)
}

function checkPeer ({ peers, installed }: PackageFacts, id: 'packages.fastify' | 'packages.bullmq' | 'packages.ioredis', name: string, needed: boolean): Finding {
  const version = installed[name]
  const range = peers[name] ?? ''
  const fix = `npm install '${name}@${range}'`
  if (version === undefined) return needed ? found(id, 'problem', `${name} is not installed`, fix) : found(id, 'ok', `${name} is not installed; only redisStore() needs it`)
  if (!inRange(version, range)) return found(id, 'problem', `${name} ${version} is outside ${range}`, fix)
  return found(id, 'ok', `${name} ${version}`)
}

function checkApi ({ peers, installed, apiCopies, complete }: PackageFacts): Finding {
  const id = 'otel.api'
  const name = '@opentelemetry/api'
  const range = peers[name] ?? ''
  const version = installed[name]
  const install = `npm install '${name}@${range}'`
  if (version === undefined) return found(id, 'problem', `${name} is not installed`, install)
  if (!inRange(version, range)) return found(id, 'problem', `${name} ${version} is outside ${range}`, install)
  const limits = complete ? '' : '; not all folders were searched'
  if (apiCopies.length < 2) return found(id, 'ok', `one copy, ${version}${limits}`)
  const versions = new Set(apiCopies.map((copy) => copy.version))
  const list = apiCopies.map((copy) => `${copy.version} in ${copy.path}`).slice(0, 6).join(', ')
  const what = `${apiCopies.length} copies: ${list}${apiCopies.length > 6 ? ' and more' : ''}${limits}`
  const fix = `npm dedupe; npm ls ${name}; if that does not help: "overrides": { "${name}": "$${name}" } in package.json`
  if (versions.size === 1) return found(id, 'note', what, fix)
  const majors = new Set([...versions].map((text) => text.split('.')[0]))
  return majors.size > 1 ? found(id, 'problem', what, fix) : found(id, 'warning', what, fix)
}

/** The packages by signal and protocol, as `lib/telemetry/sdk` loads them. */
const EXPORTERS = {
  traces: { 'http/json': '@opentelemetry/exporter-trace-otlp-http', 'http/protobuf': '@opentelemetry/exporter-trace-otlp-proto' },
  metrics: { 'http/json': '@opentelemetry/exporter-metrics-otlp-http', 'http/protobuf': '@opentelemetry/exporter-metrics-otlp-proto' }
} as const

export const EXPORTER_PACKAGES: readonly string[] = Object.values(EXPORTERS).flatMap((byProtocol) => Object.values(byProtocol))

export function checkExporters (
  environment: OtelEnvironment, { installed, peers }: PackageFacts, app: AppFacts
): Finding[] {
  const id = 'otel.exporters'
  if (environment.disabled) return [found(id, 'ok', 'OTEL_SDK_DISABLED is true: nothing is exported')]
  const findings: Finding[] = [...environment.problems, ...environment.metrics.problems]
    .map((problem) => found(id, 'note', problem, 'Correct the variable; or ignore this note if an SDK of your own reads it'))
  const wanted = [
    ...(environment.exporters.includes('otlp') ? [EXPORTERS.traces[environment.protocol]] : []),
    ...(environment.metrics.exporters.includes('otlp') ? [EXPORTERS.metrics[environment.metrics.protocol]] : [])
  ]
  if (wanted.length === 0) return findings.length > 0 ? findings : [found(id, 'ok', 'the environment variables do not ask for an OTLP export')]
  if (app.state === 'ready' && app.sdk === 'registered') {
    return [...findings, notChecked(id, 'the application has registered an SDK of its own, which has its own exporters')]
  }
  const missing = wanted.filter((name) => installed[name] === undefined)
  if (missing.length === 0) return [...findings, found(id, 'ok', wanted.join(' and '))]
  const what = `the environment variables ask for an OTLP export, but ${missing.join(' and ')} ${missing.length > 1 ? 'are' : 'is'} not installed`
  return [...findings, found(id, 'warning', what, `npm install ${missing.map((name) => `'${name}@${peers[name] ?? 'latest'}'`).join(' ')}`)]
}
