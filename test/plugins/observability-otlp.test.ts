/** Traces by the standard variables, received by a small collector; and what happens without one. */
import { once } from 'node:events'
import { execFile } from 'node:child_process'
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import Fastify from 'fastify'
import t from 'tap'
import { asyncEndpoints } from '../../plugins/async-endpoints.ts'
import { jobStore } from '../../plugins/job-store.ts'
import { observability } from '../../plugins/observability.ts'

interface Received { readonly url: string | undefined, readonly headers: IncomingHttpHeaders, readonly body: Buffer }

interface OtlpBody {
  resourceSpans: Array<{
    resource: { attributes: Array<{ key: string, value: { stringValue?: string } }> }
    scopeSpans: Array<{ scope: { name: string }, spans: Array<{ name: string, traceId: string, spanId: string, parentSpanId?: string }> }>
  }>
}

/** Accepts whatever is posted; with `answer: false` it never answers. */
async function collector (test: Pick<typeof t, 'teardown'>, answer = true): Promise<{ url: string, received: Received[] }> {
  const received: Received[] = []
  const server: Server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      received.push({ url: request.url, headers: request.headers, body: Buffer.concat(chunks) })
      if (answer) response.writeHead(200, { 'content-type': request.headers['content-type'] ?? '' }).end()
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  test.teardown(async () => {
    server.closeAllConnections()
    server.close()
    await once(server, 'close')
  })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, received }
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
  const { url, received } = await collector(t)
  setEnv(t, { OTEL_EXPORTER_OTLP_ENDPOINT: url, OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json', OTEL_SERVICE_NAME: 'shop', OTEL_RESOURCE_ATTRIBUTES: 'deployment.environment.name=test' })
  await oneJob()
  t.equal(received[0]?.url, '/v1/traces')
  t.equal(received[0]?.headers['content-type'], 'application/json')
  const bodies = received.map(({ body }) => JSON.parse(body.toString()) as OtlpBody).flatMap(({ resourceSpans }) => resourceSpans)
  const attributes = Object.fromEntries(bodies[0]?.resource.attributes.map(({ key, value }) => [key, value.stringValue]) ?? [])
  t.match(attributes, { 'service.name': 'shop', 'deployment.environment.name': 'test', 'service.instance.id': String })
  const scopes = bodies.flatMap(({ scopeSpans }) => scopeSpans)
  t.same([...new Set(scopes.map(({ scope }) => scope.name))], ['AsyncEndpoints'])
  const spans = scopes.flatMap(({ spans }) => spans)
  t.same(spans.map(({ name }) => name).sort(), ['POST /reports', 'process default', 'report', 'send default'])
  t.equal(new Set(spans.map(({ traceId }) => traceId)).size, 1)
})

t.test('http/protobuf, the default', async (t) => {
  const { url, received } = await collector(t)
  setEnv(t, { OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `${url}/own/path`, OTEL_TRACES_EXPORTER: 'otlp', OTEL_SERVICE_NAME: 'shop' })
  await oneJob({ serviceName: 'by-option' })
  t.equal(received[0]?.url, '/own/path')
  t.equal(received[0]?.headers['content-type'], 'application/x-protobuf')
  const text = Buffer.concat(received.map(({ body }) => body)).toString('latin1')
  for (const part of ['by-option', 'POST /reports', 'send default', 'process default', 'messaging.destination.name']) t.ok(text.includes(part), part)
  t.notOk(text.includes('shop'), 'the option stands over the variable')
})

t.test('OTEL_TRACES_EXPORTER=none and OTEL_SDK_DISABLED=true send nothing', async (t) => {
  const { url, received } = await collector(t)
  setEnv(t, { OTEL_EXPORTER_OTLP_ENDPOINT: url, OTEL_TRACES_EXPORTER: 'none' })
  await oneJob()
  setEnv(t, { OTEL_TRACES_EXPORTER: 'otlp', OTEL_SDK_DISABLED: 'true' })
  await oneJob()
  t.same(received, [])
})

t.test('a sampler by variable', async (t) => {
  const { url, received } = await collector(t)
  setEnv(t, { OTEL_EXPORTER_OTLP_ENDPOINT: url, OTEL_TRACES_SAMPLER: 'parentbased_always_off' })
  await oneJob()
  t.same(received, [])
})

// That it is two seconds is tested with a fake clock, where the SDK is loaded.
t.test('a collector that never answers holds up no job, and the closing not for ever', async (t) => {
  const { url, received } = await collector(t, false)
  setEnv(t, { OTEL_EXPORTER_OTLP_ENDPOINT: url })
  await oneJob()
  t.ok(received.length > 0, 'it was tried')
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
