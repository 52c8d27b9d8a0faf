/** Exports that fail, exporters that cannot be ended, and what is said at start. */
import { createServer, type AddressInfo } from 'node:net'
import { once } from 'node:events'
import { diag } from '@opentelemetry/api'
import { OTLPMetricExporter } from '@opentelemetry/exporter-metrics-otlp-proto'
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto'
import t from 'tap'
import { silentLogger, type Logger } from '../../lib/core/context.ts'
import { startDiagnostics } from '../../lib/telemetry/diagnostics.ts'
import { readOtelEnvironment } from '../../lib/telemetry/environment.ts'
import { reportingExporter, takeRetries } from '../../lib/telemetry/sdk/otlp-exports.ts'

function listener (): { readonly logger: Logger, readonly lines: string[] } {
  const lines: string[] = []
  return { lines, logger: { ...silentLogger, warn: (_fields: unknown, message?: unknown) => { lines.push(String(message)) } } }
}

t.test('an export that fails is reported with its reason, and the processor learns of it too', (t) => {
  const reasons: unknown[] = []
  const codes: number[] = []
  const failing = (result: { code: number, error?: Error }): ReturnType<typeof reportingExporter> => reportingExporter({ export: (_spans, done) => { done(result) }, shutdown: async () => {} }, (error) => { reasons.push(error) })
  const reason = new Error('404')
  for (const result of [{ code: 1, error: reason }, { code: 1 }, { code: 0 }]) failing(result).export([], ({ code }) => { codes.push(code) })
  t.equal(reasons[0], reason)
  t.match(reasons[1], { message: /did not say why/ })
  t.equal(reasons.length, 2)
  t.same(codes, [1, 1, 0])
  t.end()
})

t.test('the OTLP exporters are built as expected: an export under way ends at once when it is given up', { timeout: 8_000 }, async (t) => {
  // It takes connections, and never answers.
  const server = createServer()
  t.teardown(() => { server.close() })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  for (const exporter of [new OTLPTraceExporter({ url }), new OTLPMetricExporter({ url })]) {
    const giveUp = takeRetries(exporter)
    const connected = once(server, 'connection')
    const ended = new Promise<number>((resolve) => { exporter.export({ resourceMetrics: [], scopeMetrics: [], resource: { attributes: {} }, length: 0, [Symbol.iterator]: [][Symbol.iterator], reduce: () => new Map(), forEach: () => {} } as never, ({ code }) => { resolve(code) }) })
    await connected
    giveUp()
    t.equal(await ended, 1)
  }
})

t.test('an exporter that is built otherwise is left alone', (t) => {
  for (const exporter of [{}, { _delegate: 1 }, { _delegate: { _transport: { _transport: {} } } }]) t.doesNotThrow(takeRetries(exporter))
  t.end()
})

t.test('variables that cannot be read are said once, at start', (t) => {
  const { logger, lines } = listener()
  startDiagnostics(readOtelEnvironment({ OTEL_RESOURCE_ATTRIBUTES: 'a=1,b', OTEL_LOG_LEVEL: 'loud' }), logger)
  t.match(lines, [/^OTEL_RESOURCE_ATTRIBUTES cannot be read/, /^OTEL_LOG_LEVEL must be one of/])
  t.same(readOtelEnvironment({ OTEL_RESOURCE_ATTRIBUTES: 'a=b=c' }).resource, {}, 'an = in a value has to be percent-encoded')
  t.same(readOtelEnvironment({ OTEL_RESOURCE_ATTRIBUTES: 'a=1' }).commonProblems, [])
  t.end()
})

t.test('OTEL_LOG_LEVEL: a logger of OpenTelemetry, taken away at the end, and never instead of the application\'s own', (t) => {
  const shared = (): unknown => Reflect.get(Reflect.get(globalThis, Symbol.for('opentelemetry.js.api.1')) ?? {}, 'diag')
  const environment = readOtelEnvironment({ OTEL_LOG_LEVEL: 'error' })
  const end = startDiagnostics(environment, silentLogger)
  t.not(shared(), undefined)
  end()
  t.equal(shared(), undefined)
  diag.setLogger({ verbose () {}, debug () {}, info () {}, warn () {}, error () {} })
  const theirs = shared()
  startDiagnostics(environment, silentLogger)()
  t.equal(shared(), theirs)
  diag.disable()
  t.end()
})

t.test('a provider that was registered through a copy of the API that ours cannot read', (t) => {
  const { logger, lines } = listener()
  const symbol = Symbol.for('opentelemetry.js.api.1')
  const before: unknown = Reflect.get(globalThis, symbol)
  t.teardown(() => { Reflect.set(globalThis, symbol, before) })
  Reflect.set(globalThis, symbol, { version: '1.0.0', trace: {} })
  startDiagnostics(readOtelEnvironment({}), logger)
  t.match(lines, [/through @opentelemetry\/api 1\.0\.0/])
  t.end()
})
