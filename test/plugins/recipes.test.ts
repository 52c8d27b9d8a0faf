import cors from '@fastify/cors'
import rateLimit from '@fastify/rate-limit'
import swagger from '@fastify/swagger'
import Fastify from 'fastify'
import { jsonSchemaTransform, serializerCompiler, validatorCompiler } from 'fastify-type-provider-zod'
import t from 'tap'
import { z } from 'zod'
import { asyncEndpoints, health, jobStore, observability, openApiTransform, worker } from '../../plugins/async-endpoints.ts'

const UNAUTHORIZED = Object.assign(new Error('Who are you?'), { statusCode: 401 })

t.test('probes and metrics at the root, endpoints behind a hook', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(jobStore)
  await app.register(observability)
  await app.register(worker)
  await app.register(health)
  await app.register(async (api) => {
    api.addHook('onRequest', async ({ headers }) => { if (headers.authorization !== 'Bearer alice') throw UNAUTHORIZED })
    await api.register(asyncEndpoints, { http: { owner: ({ headers }) => headers.authorization } })
    api.asyncEndpoint({ url: '/reports', name: 'report', handler: async () => 1 })
  }, { prefix: '/api' })
  await app.ready()
  for (const url of ['/health', '/health/ready', '/health/live', '/metrics']) t.equal((await app.inject(url)).statusCode, 200, url)
  const ready = (await app.inject('/health')).json()
  t.ok(ready.checks.some(({ name }: { name: string }) => name === 'worker'), 'the worker is asked')
  t.equal((await app.inject({ method: 'POST', url: '/api/reports' })).statusCode, 401)
  const headers = { authorization: 'Bearer alice' }
  const submitted = await app.inject({ method: 'POST', url: '/api/reports', headers: { ...headers, prefer: 'wait=5' } })
  t.equal(submitted.statusCode, 200)
  const location = submitted.headers.location ?? ''
  t.match(location, /^\/api\/jobs\//)
  t.equal((await app.inject({ url: location, headers })).statusCode, 200)
  t.equal((await app.inject(location)).statusCode, 401)
  // Hooks that come after the registration hold for the job routes as well.
  const late = Fastify()
  t.teardown(() => late.close())
  await late.register(asyncEndpoints, { observability: false, health: false })
  late.addHook('onRequest', async () => { throw UNAUTHORIZED })
  t.equal((await late.inject('/jobs/x')).statusCode, 401)
})

t.test('probes and metrics at the root see the worker of a context', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(jobStore)
  await app.register(observability, { metrics: { authorize: () => true } })
  await app.register(health)
  await app.register(async (api) => {
    api.addHook('onRequest', async () => { throw UNAUTHORIZED })
    await api.register(asyncEndpoints)
    api.defineJob({ name: 'endless', handler: async ({ signal }) => { await new Promise((resolve) => { signal.addEventListener('abort', resolve) }) } })
  }, { prefix: '/api' })
  await app.ready()
  const checks: Array<{ name: string }> = (await app.inject('/health')).json().checks
  t.ok(checks.some(({ name }) => name === 'worker'), 'the worker is asked')
  const started = new Promise((resolve) => { app.jobEvents.on('job.claimed', resolve) })
  const { id } = await app.jobs.submit('endless', {})
  await started
  t.match((await app.inject('/metrics/jobs')).json(), { active: [{ id, name: 'endless' }] }, 'and what it does is shown')
  await app.jobs.cancel(id)
})

t.test('CORS: the headers that scripts need, and DELETE', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  const exposed = ['Location', 'Content-Location', 'Retry-After', 'Preference-Applied', 'ETag', 'Idempotency-Replayed', 'X-Async-Job-Id', 'X-Correlation-ID', 'X-Processing-Time']
  await app.register(cors, { origin: 'https://shop.example', methods: ['GET', 'HEAD', 'POST', 'DELETE'], exposedHeaders: exposed })
  await app.register(asyncEndpoints, { observability: false, health: false })
  app.asyncEndpoint({ url: '/a', name: 'a', handler: async () => 1 })
  const origin = 'https://shop.example'
  const submitted = await app.inject({ method: 'POST', url: '/a', headers: { origin, prefer: 'wait=5', 'idempotency-key': 'k' } })
  t.equal(submitted.statusCode, 200)
  t.equal(submitted.headers['access-control-allow-origin'], origin)
  const replayed = await app.inject({ method: 'POST', url: '/a', headers: { origin, 'idempotency-key': 'k' } })
  const status = await app.inject({ url: submitted.headers.location ?? '', headers: { origin } })
  const readable = String(submitted.headers['access-control-expose-headers']).toLowerCase().split(/, */)
  const everywhere = new Set(['content-type', 'content-length', 'cache-control', 'date', 'connection', 'vary', 'access-control-allow-origin', 'access-control-expose-headers', 'x-content-type-options'])
  const sent = [submitted, replayed, status].flatMap(({ headers }) => Object.keys(headers))
  t.same(sent.filter((name) => !everywhere.has(name) && !readable.includes(name)), [], 'a script can read all of our headers')
  const preflight = await app.inject({ method: 'OPTIONS', url: submitted.headers.location ?? '', headers: { origin, 'access-control-request-method': 'DELETE' } })
  t.equal(preflight.statusCode, 204)
  t.match(preflight.headers['access-control-allow-methods'], /DELETE/)
})

t.test('a rate limit of the whole application never refuses probes and metrics', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(rateLimit, { max: 2, timeWindow: 60_000 })
  await app.register(asyncEndpoints)
  app.asyncEndpoint({ url: '/a', name: 'a', handler: async () => 1 })
  for (let time = 0; time < 4; time++) {
    for (const url of ['/health', '/health/ready', '/health/live', '/metrics', '/metrics/jobs', '/metrics/bottlenecks']) t.equal((await app.inject(url)).statusCode, 200, url)
  }
  const answers = []
  for (let time = 0; time < 3; time++) answers.push(await app.inject({ method: 'POST', url: '/a' }))
  t.same(answers.map(({ statusCode }) => statusCode), [202, 202, 429])
  t.match(answers[2]?.headers['content-type'], /^application\/problem\+json/)
  t.ok(answers[2]?.headers['retry-after'])
})

t.test('how our routes stand in the OpenAPI document is said by options', async (t) => {
  const pathsOf = async (options: Parameters<typeof asyncEndpoints>[1]): Promise<Record<string, Record<string, { tags?: string[], security?: unknown }>>> => {
    const app = Fastify()
    t.teardown(() => app.close())
    await app.register(swagger, { openapi: { components: { securitySchemes: { bearer: { type: 'http', scheme: 'bearer' } } } } })
    await app.register(asyncEndpoints, options)
    app.asyncEndpoint({ url: '/a', name: 'a', handler: async () => 1 })
    app.asyncEndpoint({ url: '/b', name: 'b', schema: { tags: ['mine'], security: [] }, handler: async () => 1 })
    await app.ready()
    return app.swagger().paths as never
  }
  const all = await pathsOf({})
  t.same(Object.keys(all).sort(), ['/a', '/b', '/health', '/health/live', '/health/ready', '/jobs/events', '/jobs/{id}', '/jobs/{id}/cancel', '/jobs/{id}/redrive', '/jobs/{id}/result', '/jobs/{id}/signals/{name}', '/metrics/bottlenecks', '/metrics/jobs'])
  t.same(all['/jobs/{id}']?.get?.tags, ['jobs'])
  t.equal(all['/jobs/{id}']?.get?.security, undefined)
  const hidden = await pathsOf({ http: { openapi: { hide: true, tags: ['work'] } }, health: { openapi: { hide: true } }, observability: { metrics: { openapi: { hide: true } } } })
  t.same(Object.keys(hidden), ['/a', '/b'])
  t.same(hidden['/a']?.post?.tags, ['work'])
  const security = [{ bearer: [] }]
  const guarded = await pathsOf({ http: { openapi: { security } }, health: { openapi: { security, tags: ['ops'] } }, observability: { metrics: { openapi: { security } } } })
  for (const url of ['/jobs/{id}', '/health/ready', '/metrics/jobs']) t.same(guarded[url]?.get?.security, security, url)
  t.same(guarded['/health']?.get?.tags, ['ops'])
  t.same(guarded['/a']?.post?.security, security)
  t.same(guarded['/b']?.post?.security, [], 'an endpoint\'s own decides')
  t.same(guarded['/b']?.post?.tags, ['mine'])
  await t.rejects(pathsOf({ http: { openapi: { tag: ['x'] } as never } }), { code: 'FAE_INVALID_OPTIONS' })
})

t.test('an OpenAPI document of an application that speaks Zod', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  app.setValidatorCompiler(validatorCompiler)
  app.setSerializerCompiler(serializerCompiler)
  await app.register(swagger, { openapi: {}, transform: openApiTransform(jsonSchemaTransform) })
  await app.register(asyncEndpoints)
  app.asyncEndpoint({ url: '/a', name: 'a', schema: { body: z.object({ n: z.number().int() }), querystring: z.object({ q: z.string() }), result: z.object({ rows: z.number() }), response: { 402: z.object({ price: z.number() }) } }, handler: async () => ({ rows: 1 }) })
  app.route({ method: 'GET', url: '/own', schema: { response: { 200: z.object({ own: z.boolean() }) } }, handler: async () => ({ own: true }) })
  await app.ready()
  const paths = app.swagger().paths as never as Record<string, Record<string, { parameters: Array<{ name: string, in: string }>, requestBody: { content: Record<string, { schema: object }> }, responses: Record<string, { content: Record<string, { schema: { properties: object } }> }> }>>
  t.ok('/jobs/{id}' in paths && '/health' in paths && '/metrics/jobs' in paths)
  const submit = paths['/a']?.post
  t.match(submit?.requestBody.content['application/json']?.schema, { properties: { n: { type: 'integer' } } })
  t.same(submit?.parameters.filter((parameter) => parameter.in === 'query').map(({ name }) => name), ['q'])
  t.match(submit?.responses['200']?.content['application/json']?.schema.properties, { rows: { type: 'number' } })
  t.match(submit?.responses['202']?.content['application/json']?.schema.properties, { id: {}, links: {} })
  t.match(submit?.responses['402']?.content['application/json']?.schema.properties, { price: { type: 'number' } })
  t.match(paths['/own']?.get?.responses['200']?.content['application/json']?.schema.properties, { own: { type: 'boolean' } })
})

t.test('the answer of /metrics/jobs has the members that its schema names', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(swagger, { openapi: {} })
  await app.register(asyncEndpoints, { observability: { metrics: { authorize: () => true } } })
  await app.ready()
  const operation = (app.swagger().paths as never as Record<string, { get: { responses: Record<string, { content: Record<string, { schema: { required: string[], properties: object } }> }> } }>)['/metrics/jobs']?.get
  const schema = operation?.responses['200']?.content['application/json']?.schema
  const body = (await app.inject('/metrics/jobs')).json()
  t.same(Object.keys(body).sort(), Object.keys(schema?.properties ?? {}).sort())
  for (const name of schema?.required ?? []) t.ok(name in body, name)
})
