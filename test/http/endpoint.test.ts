import Fastify, { type FastifyInstance } from 'fastify'
import t from 'tap'
import type { AnyEndpointOptions } from '../../lib/http/endpoint.ts'
import { echo, testApp } from './support.ts'

/** Options as a JavaScript caller may give them. */
function define (app: FastifyInstance, options: unknown): unknown {
  return (app.asyncEndpoint as (options: unknown) => unknown)(options)
}

t.test('bad options fail the call, with every bad key in one message, and register nothing', async (t) => {
  const { app, http } = await testApp()
  const good = { url: '/a', name: 'a', handler: echo }
  const bad: Array<[unknown, RegExp[]]> = [
    [undefined, [/options must be an object/]],
    ['a', [/options must be an object/]],
    [{}, [/url is missing/, /name is missing/]],
    [{ ...good, handler: 'x' }, [/handler must be a function/]],
    [{ ...good, timeout: 1, atempts: 2 }, [/timeout is not an option/, /atempts is not an option/]],
    [{ ...good, name: 'a b' }, [/name must be 1 to 100 letters/]],
    [{ ...good, method: 'GET' }, [/method must be "POST", "PUT", "PATCH" or "DELETE"/]],
    [{ ...good, queue: 'a:b' }, [/queue must be 1 to 64 letters/]],
    [{ ...good, retry: { attempts: 0, backof: {} } }, [/retry\.attempts must be a whole number from 1 to 1000/, /retry\.backof is not an option/]],
    [{ ...good, timeoutMs: -1, bodyLimit: 0, maxQueued: 1.5, maxWaitMs: 'x', delayMs: -1 }, [/timeoutMs/, /bodyLimit/, /maxQueued/, /maxWaitMs/, /delayMs/]],
    [{ ...good, idempotency: true }, [/idempotency/]],
    [{ ...good, owner: 'me' }, [/owner must be a function/]],
    [{ ...good, headers: ['Authorization', 'Cookie', 'a b'] }, [/Authorization carries credentials/, /Cookie carries credentials/, /"a b" is not a header name/]],
    [{ ...good, responses: { submited: () => 1 } }, [/responses\.submited is not an option/]],
    [{ ...good, routeOptions: { errorHandler: () => {}, method: 'PUT', onRequest: async () => {} } }, [/routeOptions\.errorHandler is not an option/, /routeOptions\.method is not an option/]]
  ]
  for (const [options, patterns] of bad) {
    let thrown: unknown
    try { define(app, options) } catch (error) { thrown = error }
    t.match(thrown, { code: 'FAE_INVALID_OPTIONS' }, JSON.stringify(options))
    for (const pattern of patterns) t.match((thrown as Error).message, pattern)
  }
  t.equal(http.runtime.registry.all().length, 0)
  t.equal(http.endpoints.size, 0)
  t.equal((await app.inject({ method: 'POST', url: '/a' })).statusCode, 404, 'no route was left behind')
})

t.test('a name or a route that is taken registers nothing', async (t) => {
  const { app, http } = await testApp()
  define(app, { url: '/a', name: 'a', handler: echo })
  t.throws(() => define(app, { url: '/b', name: 'a', handler: echo }), { code: 'FAE_DUPLICATE_JOB' })
  t.throws(() => define(app, { url: '/a', name: 'b', handler: echo }), { code: 'FST_ERR_DUPLICATED_ROUTE' })
  t.throws(() => define(app, { url: '/c', name: 'c', handler: echo, routeOptions: { onRequest: 'x' } }), { code: 'FST_ERR_HOOK_INVALID_HANDLER' })
  t.same(http.runtime.registry.all().map((definition) => definition.name), ['a'])
  t.same([...http.endpoints.keys()], ['a'])
  t.equal((await app.inject({ method: 'POST', url: '/b' })).statusCode, 404)
  t.equal((await app.inject({ method: 'POST', url: '/a' })).statusCode, 202)
  t.throws(() => define(app, { url: '/late', name: 'late', handler: echo }), { code: 'FST_ERR_INSTANCE_ALREADY_LISTENING' })
  t.equal(http.runtime.registry.get('late'), undefined)
})

t.test('the definition has what the endpoint said', async (t) => {
  const { app, http } = await testApp()
  const definition = app.asyncEndpoint({ url: '/a', name: 'a', queue: 'slow', retry: { attempts: 7 }, timeoutMs: 10, graceMs: 5, priority: 3, maxResultBytes: 100, handler: echo })
  t.match(definition, { name: 'a', queue: 'slow', maxAttempts: 7, timeoutMs: 10, graceMs: 5, priority: 3, maxResultBytes: 100 })
  t.equal(http.runtime.registry.get('a'), definition)
})

t.test('the caller\'s options are left as they are', async (t) => {
  const { app } = await testApp()
  const options: AnyEndpointOptions = Object.freeze({ url: '/a', name: 'a', handler: echo, schema: Object.freeze({ body: Object.freeze({ type: 'object' }), tags: Object.freeze(['x']) }), routeOptions: Object.freeze({ config: Object.freeze({ mine: true }) }) })
  define(app, options)
  t.equal((await app.inject({ method: 'POST', url: '/a', payload: {} })).statusCode, 202)
})

t.test('prefix, hooks and decorators of the context it was called in apply', async (t) => {
  const order: string[] = []
  const inner = async (child: FastifyInstance): Promise<void> => {
    child.addHook('preHandler', async () => { order.push('child') })
    child.addSchema({ $id: 'shared', type: 'object', required: ['n'], properties: { n: { type: 'integer' } } })
    child.asyncEndpoint({
      url: '/inner/:kind',
      name: 'inner',
      schema: { body: { $ref: 'shared#' }, result: { $ref: 'shared#' } },
      handler: echo,
      routeOptions: { onRequest: async () => { order.push('route onRequest') }, preHandler: [async () => { order.push('route preHandler') }] }
    })
  }
  const { app, store } = await testApp({
    prefix: '/v1',
    setup: async (outer) => {
      await outer.register(inner, { prefix: '/teams' })
      outer.asyncEndpoint({ url: '/outer', name: 'outer', handler: echo })
    }
  })
  const submitted = await app.inject({ method: 'POST', url: '/v1/teams/inner/x', payload: { n: 1 } })
  t.equal(submitted.statusCode, 202)
  t.equal(submitted.headers.location, `/v1/jobs/${submitted.json().id}`)
  t.same(order, ['route onRequest', 'child', 'route preHandler'])
  t.equal((await app.inject({ method: 'POST', url: '/v1/outer' })).statusCode, 202)
  t.equal(order.length, 3, 'a hook of the child does not run outside')
  t.equal((await app.inject({ method: 'POST', url: '/v1/teams/inner/x', payload: {} })).json().errors[0].pointer, '#/n')
  store.complete(submitted.json().id, { n: 5, secret: 1 })
  t.strictSame((await app.inject(`/v1/jobs/${submitted.json().id}/result`)).json(), { n: 5 }, 'a shared schema of the child writes the result')
})

t.test('two instances in one process share nothing', async (t) => {
  const [one, two] = [await testApp(), await testApp()]
  one.app.asyncEndpoint({ url: '/a', name: 'same', handler: echo })
  two.app.asyncEndpoint({ url: '/a', name: 'same', handler: echo })
  const { id } = (await one.app.inject({ method: 'POST', url: '/a' })).json()
  t.equal((await one.app.inject(`/jobs/${id}`)).statusCode, 200)
  t.equal((await two.app.inject(`/jobs/${id}`)).statusCode, 404)
  await one.app.close()
  t.equal((await two.app.inject({ method: 'POST', url: '/a' })).statusCode, 202)
})

t.test('a serializer of the route writes the result', async (t) => {
  const { app, store } = await testApp()
  app.asyncEndpoint({ url: '/a', name: 'a', schema: { result: { mine: true } }, handler: echo, routeOptions: { serializerCompiler: ({ schema }) => (data) => JSON.stringify({ by: schema, data }) } })
  const { id } = (await app.inject({ method: 'POST', url: '/a' })).json()
  store.complete(id, 1)
  t.strictSame((await app.inject(`/jobs/${id}/result`)).json(), { by: { mine: true }, data: 1 })
})

t.test('a schema language of the application\'s own (as Zod) validates and writes, and our documents stay ours', async (t) => {
  interface Own { readonly parse: (data: unknown) => { error?: Error, value?: unknown } }
  const integer: Own = { parse: (data) => Number.isInteger((data as { n?: unknown } | null)?.n) ? { value: { n: (data as { n: number }).n } } : { error: new Error('n must be an integer') } }
  const { app, store } = await testApp({
    before: (root) => {
      root.setValidatorCompiler<Own>(({ schema }) => (data) => schema.parse(data))
      root.setSerializerCompiler<Own>(({ schema }) => (data) => JSON.stringify(schema.parse(data).value))
    }
  })
  app.asyncEndpoint({ url: '/a', name: 'a', schema: { body: integer, result: integer }, handler: echo })
  t.equal((await app.inject({ method: 'POST', url: '/a', payload: { n: 'x' } })).statusCode, 400)
  const response = await app.inject({ method: 'POST', url: '/a', payload: { n: 1, more: 2 } })
  t.equal(response.statusCode, 202)
  t.same(store.created[0]?.input.body, { n: 1 })
  const { self } = response.json().links
  t.equal((await app.inject(self)).json().status, 'queued')
  store.complete(response.json().id, { n: 1, secret: 2 })
  t.strictSame((await app.inject(`${self}/result`)).json(), { n: 1 })
  t.equal((await app.inject(`${self}x`)).json().code, 'FAE_JOB_NOT_FOUND')
})

t.test('an application without exposeHeadRoutes still has HEAD on the job routes', async (t) => {
  const { app } = await testApp({ fastify: { exposeHeadRoutes: false } })
  app.asyncEndpoint({ url: '/a', name: 'a', handler: echo })
  const { id } = (await app.inject({ method: 'POST', url: '/a' })).json()
  t.equal((await app.inject({ method: 'HEAD', url: `/jobs/${id}` })).statusCode, 200)
})

t.test('an application without our plugin has no asyncEndpoint', async (t) => {
  t.equal(Fastify().hasDecorator('asyncEndpoint'), false)
})
