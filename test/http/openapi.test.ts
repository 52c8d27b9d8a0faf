import swagger from '@fastify/swagger'
import t from 'tap'
import { echo, testApp } from './support.ts'

type Json = Record<string, any> // eslint-disable-line @typescript-eslint/no-explicit-any -- a document of many shapes, looked into by hand

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
  app.asyncEndpoint({ url: '/b', name: 'b', schema: { tags: ['mine'], summary: 'My summary', operationId: 'mine', response: { 202: { description: 'Mine', type: 'object' }, 402: { description: 'Pay first', type: 'null' } } }, handler: echo })
  await app.ready()
  const document = app.swagger() as Json
  t.same(Object.keys(document.paths).sort(), ['/b', '/jobs/{id}', '/jobs/{id}/cancel', '/jobs/{id}/result', '/jobs/{id}/retry', '/reports/{kind}'])

  const operations: Array<[string, Json]> = Object.entries(document.paths as Json).flatMap(([path, methods]) => Object.entries(methods as Json).map(([method, operation]): [string, Json] => [`${method} ${path}`, operation as Json]))
  const ids = operations.map(([, operation]) => operation.operationId)
  t.equal(new Set(ids).size, ids.length, 'operation ids are unique')
  for (const [name, operation] of operations) {
    t.ok(operation.summary, name)
    t.ok(operation.tags?.length > 0, name)
    t.ok(operation.operationId, name)
    for (const [status, response] of Object.entries(operation.responses as Json)) {
      t.ok((response as Json).description, `${name} ${status}`)
      t.notSame((response as Json).description, 'Default Response')
      if (Number(status) >= 400 && status !== '402') t.ok((response as Json).content['application/problem+json'].schema, `${name} ${status}`)
    }
    const placeholders = [...name.matchAll(/\{(\w+)\}/g)].map(([, parameter]) => parameter)
    t.same((operation.parameters ?? []).filter((parameter: Json) => parameter.in === 'path').map((parameter: Json) => parameter.name), placeholders, name)
  }

  const submit = document.paths['/reports/{kind}'].post
  t.same(Object.keys(submit.responses), ['200', '202', '400', '413', '415', '422', '429', '503'])
  t.same(submit.responses['200'].content['application/json'].schema.properties, { rows: { type: 'integer' } })
  t.same(submit.responses['202'].content['application/json'].schema.required, ['id', 'name', 'status', 'createdAt', 'links'])
  t.match(submit.description, /Idempotency-Key` \(required\)/)
  t.match(document.paths['/b'].post, { tags: ['mine'], summary: 'My summary', operationId: 'mine', responses: { 202: { description: 'Mine' }, 402: { description: 'Pay first' } } })
  t.same(document.paths['/jobs/{id}'].get.parameters.filter((parameter: Json) => parameter.in === 'header').map((parameter: Json) => parameter.name).sort(), ['if-none-match', 'prefer'])
})

t.test('under another path, the operation ids of the job routes are others', async (t) => {
  const { app } = await testApp({ http: { jobsPath: '/tasks', tags: ['work'] }, prefix: '/v1', before: async (root) => { await root.register(swagger, { openapi: {} }) } })
  await app.ready()
  const { get } = (app.swagger() as Json).paths['/v1/tasks/{id}']
  t.equal(get.operationId, 'getJob_v1_tasks')
  t.same(get.tags, ['work'])
})
