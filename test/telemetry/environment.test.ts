import { hostname } from 'node:os'
import t from 'tap'
import { readOtelEnvironment, resourceAttributes } from '../../lib/telemetry/environment.ts'

t.test('nothing set, nothing asked for', async (t) => {
  t.same(readOtelEnvironment({}), { disabled: false, exporters: [], protocol: 'http/protobuf', samplerGiven: false, limitsGiven: false, resource: {}, logLevel: undefined, commonProblems: [], problems: [], metrics: { exporters: [], protocol: 'http/protobuf', problems: [], intervalMs: undefined, timeoutMs: undefined } })
  t.same(readOtelEnvironment({ OTEL_TRACES_EXPORTER: ' ', OTEL_EXPORTER_OTLP_ENDPOINT: '' }).exporters, [], 'empty counts as not set')
})

t.test('who asks for traces, and how', async (t) => {
  const cases: ReadonlyArray<readonly [env: Record<string, string>, exporters: readonly string[], protocol: string]> = [
    [{ OTEL_TRACES_EXPORTER: 'otlp' }, ['otlp'], 'http/protobuf'],
    [{ OTEL_TRACES_EXPORTER: 'console' }, ['console'], 'http/protobuf'],
    [{ OTEL_TRACES_EXPORTER: 'OTLP, console,otlp' }, ['otlp', 'console'], 'http/protobuf'],
    [{ OTEL_TRACES_EXPORTER: 'none', OTEL_EXPORTER_OTLP_ENDPOINT: 'http://c' }, [], 'http/protobuf'],
    [{ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://c' }, ['otlp'], 'http/protobuf'],
    [{ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'http://c' }, ['otlp'], 'http/protobuf'],
    [{ OTEL_TRACES_EXPORTER: 'otlp', OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json' }, ['otlp'], 'http/json'],
    [{ OTEL_TRACES_EXPORTER: 'otlp', OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json', OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: 'http/protobuf' }, ['otlp'], 'http/protobuf']
  ]
  for (const [env, ...expected] of cases) {
    const { exporters, protocol, problems } = readOtelEnvironment(env)
    t.same([exporters, protocol, problems], [...expected, []], JSON.stringify(env))
  }
})

t.test('what cannot be done is said, and the rest is done', async (t) => {
  t.match(readOtelEnvironment({ OTEL_TRACES_EXPORTER: 'zipkin,console,constructor' }), { exporters: ['console'], problems: [/"zipkin" is not one of/, /"constructor" is not/] })
  t.match(readOtelEnvironment({ OTEL_TRACES_EXPORTER: 'otlp,console', OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc' }), { exporters: ['console'], problems: [/http\/json or http\/protobuf/] })
  t.same(readOtelEnvironment({ OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc' }).problems, [], 'nobody asked for traces')
  const off = readOtelEnvironment({ OTEL_SDK_DISABLED: 'TRUE', OTEL_TRACES_EXPORTER: 'zipkin' })
  t.same([off.disabled, off.problems], [true, []])
  t.equal(readOtelEnvironment({ OTEL_SDK_DISABLED: 'yes' }).disabled, false, 'only true is true')
})

t.test('who asks for metrics, and how', async (t) => {
  const cases: ReadonlyArray<readonly [env: Record<string, string>, exporters: readonly string[], protocol: string]> = [
    [{ OTEL_METRICS_EXPORTER: 'otlp' }, ['otlp'], 'http/protobuf'],
    [{ OTEL_METRICS_EXPORTER: 'Console,otlp' }, ['console', 'otlp'], 'http/protobuf'],
    [{ OTEL_METRICS_EXPORTER: 'none', OTEL_EXPORTER_OTLP_ENDPOINT: 'http://c' }, [], 'http/protobuf'],
    [{ OTEL_METRICS_EXPORTER: 'prometheus', OTEL_EXPORTER_OTLP_ENDPOINT: 'http://c' }, [], 'http/protobuf'],
    [{ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://c', OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json' }, ['otlp'], 'http/json'],
    [{ OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: 'http://c', OTEL_EXPORTER_OTLP_METRICS_PROTOCOL: 'http/json' }, ['otlp'], 'http/json'],
    [{ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'http://c', OTEL_TRACES_EXPORTER: 'console' }, [], 'http/protobuf']
  ]
  for (const [env, ...expected] of cases) {
    const { exporters, protocol, problems } = readOtelEnvironment(env).metrics
    t.same([exporters, protocol, problems], [...expected, []], JSON.stringify(env))
  }
  t.same(readOtelEnvironment({ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://c' }).exporters, ['otlp'], 'one endpoint, both signals')
  t.same(readOtelEnvironment({ OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: 'http://c' }).exporters, [])
  t.match(readOtelEnvironment({ OTEL_METRICS_EXPORTER: 'statsd' }).metrics.problems, [/OTEL_METRICS_EXPORTER: "statsd" is not one of otlp, console, none, prometheus/])
  t.match(readOtelEnvironment({ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://c', OTEL_EXPORTER_OTLP_METRICS_PROTOCOL: 'grpc' }), { exporters: ['otlp'], metrics: { exporters: [], problems: [/no metrics are exported/] } })
  t.same(readOtelEnvironment({ OTEL_SDK_DISABLED: 'true', OTEL_METRICS_EXPORTER: 'statsd' }).metrics.problems, [])
  for (const [text, ms] of [['5000', 5_000], ['0', undefined], ['-1', undefined], ['soon', undefined], ['1.5', undefined], ['99999999999', undefined]] as const) {
    t.match(readOtelEnvironment({ OTEL_METRIC_EXPORT_INTERVAL: text, OTEL_METRIC_EXPORT_TIMEOUT: text }).metrics, { intervalMs: ms, timeoutMs: ms }, text)
  }
})

t.test('limits of spans: whether any is set', async (t) => {
  for (const name of ['OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT', 'OTEL_SPAN_EVENT_COUNT_LIMIT', 'OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT', 'OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT', 'OTEL_LINK_ATTRIBUTE_COUNT_LIMIT']) {
    t.equal(readOtelEnvironment({ [name]: '5' }).limitsGiven, true, name)
    t.equal(readOtelEnvironment({ [name]: ' ' }).limitsGiven, false, `${name} is empty`)
  }
  t.equal(readOtelEnvironment({ OTEL_BSP_MAX_QUEUE_SIZE: '5', OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT: '5' }).limitsGiven, false)
})

t.test('resource: the option over the name variable over the attributes variable', async (t) => {
  const env = readOtelEnvironment({ OTEL_RESOURCE_ATTRIBUTES: 'service.name=a, deployment.environment.name=a%20b ,x=y%3Dz', OTEL_SERVICE_NAME: 'b', OTEL_TRACES_SAMPLER: 'always_on' })
  t.same(env.resource, { 'service.name': 'b', 'deployment.environment.name': 'a b', x: 'y=z' })
  t.equal(env.samplerGiven, true)
  t.match(resourceAttributes(env, {}, 'id'), { 'service.name': 'b', 'service.instance.id': 'id', 'host.name': hostname(), 'telemetry.sdk.language': 'nodejs' })
  t.equal(resourceAttributes(readOtelEnvironment({ OTEL_RESOURCE_ATTRIBUTES: 'host.name=node-7' }), {}, 'id')['host.name'], 'node-7')
  t.equal(resourceAttributes(env, { 'service.name': 'c' }, 'id')['service.name'], 'c')
  t.equal(resourceAttributes(readOtelEnvironment({}), {}, 'id')['service.name'], 'unknown_service:node')
  t.same(readOtelEnvironment({ OTEL_RESOURCE_ATTRIBUTES: 'a=1,broken' }).resource, {}, 'one broken pair discards them all')
  t.same(readOtelEnvironment({ OTEL_RESOURCE_ATTRIBUTES: 'a=%zz' }).resource, {})
})
