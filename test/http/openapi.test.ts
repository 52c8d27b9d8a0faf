import swagger from '@fastify/swagger'
import t from 'tap'
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
  t.same(entries(at(submit, 'responses')).map(([status]) => status), ['200', '202', '400', '413', '415', '422', '429', '503'])
  t.same(at(submit, 'responses', '200', 'content', 'application/json', 'schema', 'properties'), { rows: { type: 'integer' } })
  t.same(at(submit, 'responses', '202', 'content', 'application/json', 'schema', 'required'), ['id', 'name', 'status', 'createdAt', 'links'])
  t.match(at(submit, 'description'), /Idempotency-Key` \(required\)/)
  t.match(at(paths, '/b', 'post'), { tags: ['mine'], summary: 'My summary', operationId: 'mine', responses: { 202: { description: 'Mine' }, 402: { description: 'Pay first' } } })
  t.same(parameters(at(paths, '/jobs/{id}', 'get'), 'header').sort(), ['if-none-match', 'prefer', 'x-correlation-id'])
})

t.test('under another path, the operation ids of the job routes are others', async (t) => {
  const { app } = await testApp({ http: { path: '/tasks', openapi: { tags: ['work'] } }, prefix: '/v1', before: async (root) => { await root.register(swagger, { openapi: {} }) } })
  await app.ready()
  const get = at(app.swagger(), 'paths', '/v1/tasks/{id}', 'get')
  t.match(get, { operationId: 'getJob_v1_tasks', tags: ['work'] })
})
