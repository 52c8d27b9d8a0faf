import type { FastifyReply, FastifyRequest } from 'fastify'
import t from 'tap'
import { AsyncEndpointsError, ERROR_TABLE, type ErrorCode } from '../../lib/core/errors.ts'
import { describeError, problemSlug } from '../../lib/http/problem.ts'

function describe (error: unknown, url = '/reports?token=secret', statusCode = 200): ReturnType<typeof describeError> {
  return describeError(error, { url } as FastifyRequest, { statusCode } as FastifyReply)
}

t.test('an error of ours', async (t) => {
  const { problem, code, retryAfterSeconds } = describe(new AsyncEndpointsError('FAE_JOB_NOT_FINISHED', 'wait', { retryAfterSeconds: 3, details: { status: 'queued', type: 'evil', title: 'evil' } }))
  t.strictSame(problem, {
    status: 409,
    type: 'urn:fastify-async-endpoints:problem:job-not-finished',
    title: ERROR_TABLE.FAE_JOB_NOT_FINISHED.title,
    detail: 'wait',
    instance: '/reports',
    code: 'FAE_JOB_NOT_FINISHED',
    errors: undefined
  }, 'details never take the name of a standard member')
  t.equal(code, 'FAE_JOB_NOT_FINISHED')
  t.equal(retryAfterSeconds, 3)
})

t.test('details become members', async (t) => {
  t.equal(describe(new AsyncEndpointsError('FAE_JOB_FINISHED', 'over', { details: { state: 'completed' } })).problem.state, 'completed')
})

t.test('a 5xx says nothing but its title', async (t) => {
  for (const code of Object.keys(ERROR_TABLE) as ErrorCode[]) {
    const { problem } = describe(new AsyncEndpointsError(code, 'redis://user:hunter2@10.0.0.1', { details: { host: 'hunter2' } }))
    if (problem.status >= 500) t.notMatch(JSON.stringify(problem), /hunter2|10\.0\.0/, code)
    t.equal(problem.status, ERROR_TABLE[code].statusCode)
  }
})

t.test('errors nobody expected', async (t) => {
  const circular: Record<string, unknown> = {}
  circular.self = circular
  for (const thrown of [new Error('SELECT * FROM secrets'), Object.assign(new Error('secret'), { code: 'ECONNREFUSED' }), 'a secret string', undefined, null, 42, circular, Object.create(null)]) {
    const { problem, code } = describe(thrown)
    t.strictSame(problem, { type: 'about:blank', title: 'Internal Server Error', status: 500, instance: '/reports' })
    t.equal(code, undefined)
  }
})

t.test('errors of the application keep their status, and below 500 their words', async (t) => {
  const { problem } = describe(Object.assign(new Error('log in first'), { statusCode: 401, code: 'NOT_LOGGED_IN' }))
  t.match(problem, { type: 'about:blank', title: 'Unauthorized', status: 401, detail: 'log in first', code: 'NOT_LOGGED_IN' })
  t.equal(describe(Object.assign(new Error('x'), { status: 403 })).problem.status, 403)
  t.equal(describe(new Error('x'), '/a', 404).problem.status, 404, 'set on the reply before the throw')
  t.equal(describe(Object.assign(new Error('x'), { statusCode: 200 })).problem.status, 500)
  t.equal(describe(Object.assign(new Error('secret'), { statusCode: 502 })).problem.detail, undefined)
})

t.test('Fastify\'s own errors have names of ours', async (t) => {
  const named: Array<[string, number, ErrorCode]> = [
    ['FST_ERR_CTP_BODY_TOO_LARGE', 413, 'FAE_PAYLOAD_TOO_LARGE'],
    ['FST_ERR_CTP_INVALID_MEDIA_TYPE', 415, 'FAE_UNSUPPORTED_MEDIA_TYPE'],
    ['FST_ERR_CTP_INVALID_JSON_BODY', 400, 'FAE_INVALID_REQUEST'],
    ['FST_ERR_CTP_EMPTY_JSON_BODY', 400, 'FAE_INVALID_REQUEST'],
    ['FST_UNDER_PRESSURE', 503, 'FAE_OVERLOADED']
  ]
  for (const [code, status, expected] of named) {
    const { problem } = describe(Object.assign(new Error('x'), { code, statusCode: status }))
    t.equal(problem.code, expected)
    t.equal(problem.status, status)
  }
})

t.test('validation errors point at what is wrong', async (t) => {
  const validation = [
    { keyword: 'type', instancePath: '/a~1b/0', schemaPath: '', params: {}, message: 'must be integer' },
    { keyword: 'required', instancePath: '', schemaPath: '', params: { missingProperty: 'x/y' }, message: 'must have required property \'x/y\'' },
    { keyword: 'type', instancePath: '/lone \ud800 ü', schemaPath: '', params: {} },
    null
  ]
  const { problem, code } = describe(Object.assign(new Error('body is bad'), { validation, validationContext: 'querystring', statusCode: 400, code: 'FST_ERR_VALIDATION' }))
  t.equal(code, 'FAE_INVALID_REQUEST')
  t.strictSame(problem.errors, [
    { detail: 'must be integer', pointer: '#/a~1b/0', in: 'querystring' },
    { detail: 'must have required property \'x/y\'', pointer: '#/x~1y', in: 'querystring' },
    { detail: 'is not valid', pointer: '#/lone%20%EF%BF%BD%20%C3%BC', in: 'querystring' },
    { detail: 'is not valid', pointer: '#', in: 'querystring' }
  ])
})

t.test('slugs and the length of instance', async (t) => {
  t.equal(problemSlug('FAE_QUEUE_FULL'), 'queue-full')
  t.equal(describe(new Error('x'), `/${'a'.repeat(5_000)}`).problem.instance.length, 300)
})
