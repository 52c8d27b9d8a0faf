import swagger from '@fastify/swagger'
import Fastify, { type FastifyInstance } from 'fastify'
import t from 'tap'
import { asyncEndpoints, memoryStore } from '../../plugins/async-endpoints.ts'
import { echo, testApp } from './support.ts'

/** What stands at a path inside a document of many shapes. */
function at (value: unknown, ...path: string[]): unknown {
  return path.reduce<unknown>((inner, key) => typeof inner === 'object' && inner !== null ? Reflect.get(inner, key) : undefined, value)
}

function entries (value: unknown): Array<[string, unknown]> {
  return Object.entries(value ?? {})
}

/** The names of the parameters of an operation in `path`, `header`, … */
function parameters (operation: unknown, where: string): unknown[] {
  const all = at(operation, 'parameters')
  return Array.isArray(all) ? all.filter((parameter) => at(parameter, 'in') === where).map((parameter) => at(parameter, 'name')) : []
}

t.test('every route is in the OpenAPI document, with what it answers', async (t) => {
  const { app } = await testApp({ before: async (root) => { await root.register(swagger, { openapi: { openapi: '3.1.0', info: { title: 'test', version: '1' } } }) } })
  app.asyncEndpoint({
    url: '/reports/:kind',
    name: 'generate-report',
    idempotency: 'required',
    schema: {
      body: { type: 'object', properties: { year: { type: 'integer' } } },
      params: { type: 'object', properties: { kind: { type: 'string' } } },
      result: { type: 'object', properties: { rows: { type: 'integer' } } }
    },
    handler: echo
  })
  app.asyncEndpoint({
    url: '/b',
    name: 'b',
    schema: { tags: ['mine'], summary: 'My summary', operationId: 'mine', response: { 202: { description: 'Mine', type: 'object' }, 402: { description: 'Pay first', type: 'null' } } },
    handler: echo
  })
  await app.ready()
  const paths = at(app.swagger(), 'paths')
  t.same(entries(paths).map(([path]) => path).sort(), ['/b', '/jobs/events', '/jobs/{id}', '/jobs/{id}/cancel', '/jobs/{id}/redrive', '/jobs/{id}/result', '/jobs/{id}/signals/{name}', '/reports/{kind}'])

  const operations = entries(paths).flatMap(([path, methods]) => entries(methods).map(([method, operation]): [string, unknown] => [`${method} ${path}`, operation]))
  const ids = operations.map(([, operation]) => at(operation, 'operationId'))
  t.equal(new Set(ids).size, ids.length, 'operation ids are unique')
  for (const [name, operation] of operations) {
    t.match(operation, { summary: String, tags: [String], operationId: String }, name)
    for (const [status, response] of entries(at(operation, 'responses'))) {
      t.match(response, { description: String }, `${name} ${status}`)
      t.not(at(response, 'description'), 'Default Response')
      if (Number(status) >= 400 && status !== '402') t.ok(at(response, 'content', 'application/problem+json', 'schema'), `${name} ${status}`)
    }
    t.same(parameters(operation, 'path'), [...name.matchAll(/\{(\w+)\}/g)].map(([, parameter]) => parameter), name)
  }

  const submit = at(paths, '/reports/{kind}', 'post')
  t.same(entries(at(submit, 'responses')).map(([status]) => status), ['200', '202', '204', '400', '410', '413', '415', '422', '429', '503'])
  t.same(at(submit, 'responses', '200', 'content', 'application/json', 'schema', 'properties'), { rows: { type: 'integer' } })
  t.same(at(submit, 'responses', '202', 'content', 'application/json', 'schema', 'required'), ['id', 'name', 'status', 'createdAt', 'links'])
  t.match(at(submit, 'description'), /Idempotency-Key` \(required\)/)
  t.match(at(paths, '/b', 'post'), { tags: ['mine'], summary: 'My summary', operationId: 'mine', responses: { 202: { description: 'Mine' }, 402: { description: 'Pay first' } } })
  t.same(parameters(at(paths, '/jobs/{id}', 'get'), 'header').sort(), ['if-none-match', 'last-event-id', 'prefer', 'x-correlation-id'])
})

t.test('under another path, the operation ids of the job routes are others', async (t) => {
  const { app } = await testApp({ http: { path: '/tasks', openapi: { tags: ['work'] } }, prefix: '/v1', before: async (root) => { await root.register(swagger, { openapi: {} }) } })
  await app.ready()
  const get = at(app.swagger(), 'paths', '/v1/tasks/{id}', 'get')
  t.match(get, { operationId: 'getJob_v1_tasks', tags: ['work'] })
})

t.test('streams and sockets are answers of their routes, where the application has them', async (t) => {
  const before = async (root: FastifyInstance): Promise<void> => { await root.register(swagger, { openapi: {} }) }
  const keys = [{ id: 'k', secret: 's'.repeat(32) }]
  const { app } = await testApp({ http: { links: { keys } }, before })
  await app.ready()
  const paths = at(app.swagger(), 'paths')
  const [one, several] = ['/jobs/{id}', '/jobs/events'].map((path) => at(paths, path, 'get'))
  for (const operation of [one, several]) {
    const responses = at(operation, 'responses')
    t.ok(at(responses, '200', 'content', 'text/event-stream', 'schema'))
    t.match(at(responses, '204'), { description: /heard the end/ })
    t.ok(parameters(operation, 'header').includes('last-event-id'))
    t.ok(parameters(operation, 'query').includes('last_event_id'))
    t.ok(parameters(operation, 'query').includes('sig'))
  }
  t.ok(at(one, 'responses', '200', 'content', 'application/json', 'schema'))
  for (const [path, method] of [['/jobs/{id}/result', 'get'], ['/jobs/{id}', 'delete'], ['/jobs/{id}/cancel', 'post']] as const) {
    t.same(parameters(at(paths, path, method), 'query'), ['sig'], path)
  }
  t.same(parameters(at(paths, '/jobs/{id}/redrive', 'post'), 'query'), [], 'a link allows no redrive')

  const { app: silent } = await testApp({ listening: { sse: false }, before })
  await silent.ready()
  const get = at(silent.swagger(), 'paths', '/jobs/{id}', 'get')
  t.same(entries(at(get, 'responses')).map(([status]) => status), ['200', '304', '400', '404', '503'])
  t.same(entries(at(get, 'responses', '200', 'content')).map(([type]) => type), ['application/json'])
  t.same(parameters(get, 'query'), [])

  const whole = Fastify()
  t.teardown(() => whole.close())
  await before(whole)
  await whole.register(asyncEndpoints, { store: memoryStore(), worker: false, observability: false, health: false, listening: { webSocket: true } })
  await whole.ready()
  const socket = at(whole.swagger(), 'paths', '/jobs/socket', 'get')
  t.same(entries(at(socket, 'responses')).map(([status]) => status), ['101', '400', '403', '426', '429', '503'])
})
