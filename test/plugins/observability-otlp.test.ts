/** Traces by the standard variables, received by a small collector; and what happens without one. */
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import Fastify from 'fastify'
import t from 'tap'
import { asyncEndpoints } from '../../plugins/async-endpoints.ts'
import { jobStore } from '../../plugins/job-store.ts'
import { observability } from '../../plugins/observability.ts'
import { startOtlpReceiver, type OtlpReceiver, type OtlpRequest } from '../support/otlp-receiver.ts'

/** What came as traces; metrics may be sent to the same collector. */
const traces = ({ requests }: OtlpReceiver): OtlpRequest[] => requests.filter(({ url }) => !url.endsWith('/metrics'))

async function collector (test: Pick<typeof t, 'teardown'>, answers = true): Promise<OtlpReceiver> {
  const receiver = await startOtlpReceiver({ answers })
  test.teardown(() => receiver.stop())
  return receiver
}

function setEnv (test: Pick<typeof t, 'teardown'>, env: Record<string, string>): void {
  for (const [name, value] of Object.entries(env)) process.env[name] = value
  test.teardown(() => { for (const name of Object.keys(env)) delete process.env[name] })
}

/** One job, from request to result, and then the application closes: the spans are exported by then, or given up. */
async function oneJob (options: { serviceName?: string } = {}): Promise<void> {
  const app = Fastify()
  await app.register(jobStore)
  await app.register(observability, options)
  await app.register(asyncEndpoints)
  app.asyncEndpoint({ method: 'POST', url: '/reports', name: 'report', handler: async () => {} })
  const submitted = await app.inject({ method: 'POST', url: '/reports', payload: {} })
  await app.jobs.waitFor(submitted.json<{ id: string }>().id, { timeoutMs: 5_000 })
  await app.close()
}

t.test('http/json', async (t) => {
  const receiver = await collector(t)
  setEnv(t, { OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url, OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json', OTEL_SERVICE_NAME: 'shop', OTEL_RESOURCE_ATTRIBUTES: 'deployment.environment.name=test' })
  await oneJob()
  t.equal(traces(receiver)[0]?.url, '/v1/traces')
  t.equal(traces(receiver)[0]?.headers['content-type'], 'application/json')
  const spans = receiver.spans()
  t.same(spans.map(({ name }) => name).sort(), ['POST /reports', 'process default', 'report', 'send default'])
  t.equal(new Set(spans.map(({ traceId }) => traceId)).size, 1)
  for (const { scope, resource } of spans) {
    t.equal(scope, 'AsyncEndpoints')
    t.match(resource, { 'service.name': 'shop', 'deployment.environment.name': 'test', 'service.instance.id': String })
  }
})

t.test('http/protobuf, the default', async (t) => {
  const receiver = await collector(t)
  const { url } = receiver
  setEnv(t, { OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `${url}/own/path`, OTEL_TRACES_EXPORTER: 'otlp', OTEL_SERVICE_NAME: 'shop' })
  await oneJob({ serviceName: 'by-option' })
  t.equal(traces(receiver)[0]?.url, '/own/path')
  t.equal(traces(receiver)[0]?.headers['content-type'], 'application/x-protobuf')
  const text = Buffer.concat(traces(receiver).map(({ body }) => body)).toString('latin1')
  for (const part of ['by-option', 'POST /reports', 'send default', 'process default', 'messaging.destination.name']) t.ok(text.includes(part), part)
  t.notOk(text.includes('shop'), 'the option stands over the variable')
})

t.test('OTEL_TRACES_EXPORTER=none and OTEL_SDK_DISABLED=true send nothing', async (t) => {
  const receiver = await collector(t)
  const { url } = receiver
  setEnv(t, { OTEL_EXPORTER_OTLP_ENDPOINT: url, OTEL_TRACES_EXPORTER: 'none' })
  await oneJob()
  setEnv(t, { OTEL_TRACES_EXPORTER: 'otlp', OTEL_SDK_DISABLED: 'true' })
  await oneJob()
  t.same(traces(receiver), [])
})

t.test('a sampler by variable', async (t) => {
  const receiver = await collector(t)
  const { url } = receiver
  setEnv(t, { OTEL_EXPORTER_OTLP_ENDPOINT: url, OTEL_TRACES_SAMPLER: 'parentbased_always_off' })
  await oneJob()
  t.same(traces(receiver), [])
})

// That it is two seconds is tested with a fake clock, where the SDK is loaded.
t.test('a collector that never answers holds up no job, and the closing not for ever', async (t) => {
  const receiver = await collector(t, false)
  const { url } = receiver
  setEnv(t, { OTEL_EXPORTER_OTLP_ENDPOINT: url })
  await oneJob()
  t.ok(traces(receiver).length > 0, 'it was tried')
})

t.test('a package that is not installed: one clear warning, and the application runs', async (t) => {
  const at = (path: string): string => JSON.stringify(new URL(path, import.meta.url).href)
  const hooks = `data:text/javascript,${encodeURIComponent(`
    export const resolve = (specifier, context, next) => {
      if (specifier.startsWith('@opentelemetry/exporter-')) throw Object.assign(new Error('not here'), { code: 'ERR_MODULE_NOT_FOUND' })
      return next(specifier, context)
    }`)}`
  const script = `
    import { register } from 'node:module'
    register(${JSON.stringify(hooks)})
    const { default: Fastify } = await import('fastify')
    const { jobStore } = await import(${at('../../plugins/job-store.js')})
    const { observability } = await import(${at('../../plugins/observability.js')})
    const app = Fastify({ logger: { level: 'warn' } })
    await app.register(jobStore)
    await app.register(observability)
    await app.ready()
    await app.close()`
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script], {
    cwd: fileURLToPath(new URL('../../../', import.meta.url)), timeout: 30_000, env: { ...process.env, OTEL_TRACES_EXPORTER: 'otlp' }
  })
  const warnings = stdout.trim().split('\n').map((line) => JSON.parse(line) as { msg: string })
  t.equal(warnings.length, 1)
  t.match(warnings[0]?.msg, /@opentelemetry\/exporter-trace-otlp-proto is not installed: npm install/)
})
