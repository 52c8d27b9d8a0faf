import multipart from '@fastify/multipart'
import Fastify, { type FastifyInstance } from 'fastify'
import { serializerCompiler, validatorCompiler } from 'fastify-type-provider-zod'
import { serializerCompiler as openApiSerializer, validatorCompiler as openApiValidator } from 'fastify-zod-openapi'
import t, { type Test } from 'tap'
import { z } from 'zod'
import { asyncEndpoints, memoryStore, redisStore } from '../../plugins/async-endpoints.ts'
import { startRedis } from '../support/redis.ts'

async function application (t: Test, options: Parameters<typeof asyncEndpoints>[1] = {}, before?: (app: FastifyInstance) => unknown): Promise<FastifyInstance> {
  const app = Fastify()
  t.teardown(() => app.close())
  await before?.(app)
  await app.register(asyncEndpoints, { observability: false, health: false, ...options })
  return app
}

const ROWS = { type: 'object', required: ['rows'], properties: { rows: { type: 'integer' } } } as const

t.test('a result that does not fit fails the job at once, on both stores', async (t) => {
  const redis = await startRedis()
  t.teardown(() => redis.stop())
  for (const store of [memoryStore(), redisStore({ url: redis.url })]) {
    const app = await application(t, { store })
    let runs = 0
    app.asyncEndpoint({ url: '/r', name: 'r', retry: { attempts: 3, backoff: { type: 'fixed', delayMs: 0 } }, schema: { result: ROWS }, handler: (async () => { runs++; return {} }) as never })
    app.asyncEndpoint({ url: '/buffer', name: 'buffer', handler: async () => ({ pdf: Buffer.from('%PDF') }) })
    app.defineJob({ name: 'd', schema: { result: ROWS }, handler: async () => ({ rows: 'x' }) })
    const answer = await app.inject({ method: 'POST', url: '/r', headers: { prefer: 'wait=5' } })
    t.equal(answer.statusCode, 202)
    t.match(answer.json(), { status: 'failed', error: { code: 'FAE_RESULT_INVALID', message: 'The result does not match its schema' } })
    t.equal(runs, 1)
    t.equal((await app.inject(`${answer.headers.location}/result`)).statusCode, 409)
    const buffer = await app.inject({ method: 'POST', url: '/buffer', headers: { prefer: 'wait=5' } })
    t.match(buffer.json(), { status: 'failed', error: { code: 'FAE_RESULT_NOT_SERIALIZABLE' } })
    const { id } = await app.jobs.submit('d', {})
    t.match((await app.jobs.waitFor(id)).error, { code: 'FAE_RESULT_INVALID' })
  }
})

t.test('a result that only this process cannot write', async (t) => {
  const app = await application(t)
  let strict = false
  app.setSerializerCompiler(() => (result) => {
    if (strict) throw new Error('another schema')
    return JSON.stringify(result)
  })
  app.asyncEndpoint({ url: '/r', name: 'r', schema: { result: ROWS }, handler: async () => ({ rows: 1 }) })
  app.jobEvents.on('job.completed', () => { strict = true })
  const answer = await app.inject({ method: 'POST', url: '/r', headers: { prefer: 'wait=5' } })
  t.equal(answer.statusCode, 202, 'the job exists, and this says so')
  t.equal(answer.json().status, 'completed')
  const result = await app.inject(`${answer.headers.location}/result`)
  t.equal(result.statusCode, 500)
  t.match(result.json(), { code: 'FAE_RESULT_INVALID' })
})

t.test('a serializer that gives no text at once', async (t) => {
  const app = await application(t)
  app.setSerializerCompiler(() => (async () => { throw new Error('no') }) as never)
  app.defineJob({ name: 'd', schema: { result: ROWS }, handler: async () => ({ rows: 1 }) })
  await app.ready()
  const { id } = await app.jobs.submit('d', {})
  t.match((await app.jobs.waitFor(id)).error, { code: 'FAE_RESULT_INVALID', message: /must return a string, and not a promise/ })
})

t.test('submissions from code are held against the schema, with its defaults', async (t) => {
  const app = await application(t)
  const body = { type: 'object', required: ['n'], properties: { n: { type: 'integer' }, unit: { type: 'string', default: 'kg' } }, additionalProperties: false } as const
  app.addSchema({ $id: 'shared', ...body })
  const endpoint = app.asyncEndpoint({ url: '/e', name: 'e', schema: { body }, handler: async (job) => job.body })
  const job = app.defineJob<{ body: { n: number | string, more?: number } }>({ name: 'j', schema: { body: { $ref: 'shared#' } }, handler: async (job) => job.body })
  await app.ready()
  for (const definition of [endpoint, job]) {
    const given = { n: '4', more: 1 }
    const { id } = await app.jobs.submit(definition, given)
    t.same((await app.jobs.waitFor(id)).state, 'completed')
    t.same(await app.jobs.result(id), { n: 4, unit: 'kg' })
    t.same(given, { n: '4', more: 1 }, 'what the caller holds is as it was')
    await t.rejects(app.jobs.submit(definition, { n: 'four' } as never), { code: 'FAE_INVALID_SUBMISSION', message: /body\.n must be integer/ })
    await t.rejects(app.jobs.submit(definition), { code: 'FAE_INVALID_SUBMISSION' })
    const loose = await app.jobs.submit(definition, { n: 'four' } as never, { validate: false })
    await app.jobs.waitFor(loose.id)
    t.same(await app.jobs.result(loose.id), { n: 'four' })
  }
  // Late definitions have their schemas at once.
  t.throws(() => app.defineJob({ name: 'late', schema: { body: { type: 'nothing' } }, handler: async () => {} }), { code: 'FAE_INVALID_OPTIONS', message: /schema\.body cannot be compiled/ })
  t.throws(() => app.defineJob({ name: 'typo', schema: { bdy: {} } as never, handler: async () => {} }), { code: 'FAE_INVALID_OPTIONS' })
})

t.test('a schema that cannot be compiled stops the start', async (t) => {
  const app = await application(t)
  app.defineJob({ name: 'x', schema: { result: { type: 'nothing' } }, handler: async () => {} })
  await t.rejects(async () => { await app.ready() }, { code: 'FAE_INVALID_OPTIONS', message: /job "x": schema\.result/ })
})

for (const [name, validator, serializer] of [['fastify-type-provider-zod', validatorCompiler, serializerCompiler], ['fastify-zod-openapi', openApiValidator, openApiSerializer]] as const) {
  t.test(`an application whose compilers know only Zod: ${name}`, async (t) => {
    const app = Fastify()
    t.teardown(() => app.close())
    app.setValidatorCompiler(validator as never)
    app.setSerializerCompiler(serializer as never)
    await app.register(asyncEndpoints)
    app.asyncEndpoint<{ body: { n: number } }>({ url: '/x', name: 'x', schema: { body: z.object({ n: z.coerce.number().int() }), result: z.object({ twice: z.number() }) }, handler: async (job) => ({ twice: job.body.n * 2, secret: 'x' }) })
    app.asyncEndpoint({ url: '/bad', name: 'bad', schema: { result: z.object({ twice: z.number() }) }, handler: async () => ({ twice: 'two' }) })
    app.asyncEndpoint({ url: '/set', name: 'set', schema: { body: z.object({ ids: z.array(z.string()).transform((ids) => new Set(ids)) }) }, handler: async () => 1 })
    app.asyncEndpoint({ url: '/date', name: 'date', schema: { body: z.object({ at: z.coerce.date() }) }, handler: async (job) => typeof (job.body as { at: unknown }).at })
    const job = app.defineJob<{ body: { n: number } }>({ name: 'j', schema: { body: z.object({ n: z.number().int() }) }, handler: async (job) => job.body.n })
    await app.ready()
    for (const url of ['/health', '/health/ready', '/health/live', '/metrics', '/metrics/jobs', '/metrics/bottlenecks', '/metrics?format=json']) t.equal((await app.inject(url)).statusCode, 200, url)
    const post = async (url: string, payload?: object) => await app.inject({ method: 'POST', url, ...(payload === undefined ? {} : { payload }), headers: { prefer: 'wait=5' } })
    const good = await post('/x', { n: '4' })
    t.equal(good.body, '{"twice":8}')
    for (const path of ['', '/result']) t.equal((await app.inject(`${good.headers.location}${path}`)).statusCode, 200)
    t.equal((await app.inject({ method: 'DELETE', url: good.headers.location ?? '' })).statusCode, 409)
    t.equal((await app.inject('/jobs/unknown')).statusCode, 404)
    t.equal((await app.inject({ method: 'PUT', url: '/jobs/unknown' })).statusCode, 405)
    const bad = await post('/x', { n: 'four' })
    t.equal(bad.statusCode, 400)
    t.ok(bad.json().errors.length > 0)
    t.match((await post('/bad')).json(), { status: 'failed', error: { code: 'FAE_RESULT_INVALID' } })
    t.match((await post('/set', { ids: ['a'] })).json(), { code: 'FAE_INVALID_SUBMISSION', detail: /body\.ids is a Set/ })
    t.equal((await post('/date', { at: '2026-01-01' })).json(), 'string')
    const { id } = await app.jobs.submit(job, { n: 3 })
    t.equal((await app.jobs.waitFor(id)).state, 'completed')
    await t.rejects(app.jobs.submit(job, { n: 1.5 }), { code: 'FAE_INVALID_SUBMISSION', message: /body/ })
  })
}

t.test('bodies that nobody has read, and those that JSON cannot hold', async (t) => {
  const form = '--X\r\ncontent-disposition: form-data; name="title"\r\n\r\nhello\r\n--X\r\ncontent-disposition: form-data; name="file"; filename="a.csv"\r\ncontent-type: text/csv\r\n\r\n1,2\r\n--X--\r\n'
  for (const [attachFieldsToBody, detail] of [[false, /attachFieldsToBody/], [true, /not valid|JSON/], ['keyValues', /body\.file is a Buffer/]] as const) {
    const app = await application(t, {}, async (root) => { await root.register(multipart, { attachFieldsToBody }) })
    app.asyncEndpoint({ url: '/import', name: 'import', handler: async () => 1 })
    const answer = await app.inject({ method: 'POST', url: '/import', headers: { 'content-type': 'multipart/form-data; boundary=X' }, payload: form })
    t.equal(answer.statusCode, 400, String(attachFieldsToBody))
    t.match(answer.json().detail, detail)
  }
  const app = await application(t)
  app.addContentTypeParser('text/csv', { parseAs: 'buffer' }, (_request, body, done) => { done(null, body) })
  app.addContentTypeParser('application/octet-stream', (_request, payload, done) => { done(null, payload) })
  app.asyncEndpoint({ url: '/raw', name: 'raw', handler: async (job) => job.body })
  for (const [type, detail] of [['text/csv', /body is a Buffer/], ['application/octet-stream', /body is a stream/]] as const) {
    const answer = await app.inject({ method: 'POST', url: '/raw', headers: { 'content-type': type }, payload: 'a,b' })
    t.equal(answer.statusCode, 400)
    t.match(answer.json().detail, detail)
  }
  t.equal((await app.inject({ method: 'POST', url: '/raw', headers: { 'content-type': 'text/plain', prefer: 'wait=5' }, payload: 'hello' })).body, '"hello"')
  t.same((await app.jobs.list()).jobs.length, 1, 'a refused submission stores nothing')
})
