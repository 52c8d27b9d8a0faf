import t from 'tap'
import { readRedactOptions } from '../../lib/core/redact.ts'
import { compileCapture, FORBIDDEN_HEADERS, headerListProblems } from '../../lib/http/captured-headers.ts'

t.test('only the allow-list is kept', async (t) => {
  const capture = compileCapture(['X-Tenant', 'x-tenant'], readRedactOptions())
  t.same(capture({ 'accept-language': 'de', 'user-agent': 'curl', 'x-request-id': 'r1', 'x-tenant': 't1', authorization: 'Bearer secret', cookie: 'sid=1', host: 'example.com' }), {
    'accept-language': 'de', 'user-agent': 'curl', 'x-request-id': 'r1', 'x-tenant': 't1'
  })
  t.same(capture({ authorization: 'Bearer secret' }), {})
  t.same(capture({ 'x-tenant': ['a', 'b'] }), {}, 'a list is not a text')
})

t.test('of a header that is hidden it is kept that it was sent', async (t) => {
  const capture = compileCapture(['x-tenant', 'X-Refresh-Token', 'x-mail'], readRedactOptions({ keys: ['X-Mail', 'User_Agent'] }))
  t.same(capture({ 'x-tenant': 't1', 'x-refresh-token': 'secret', 'x-mail': 'a@b.c', 'user-agent': 'curl' }), {
    'x-tenant': 't1', 'x-refresh-token': '[FILTERED]', 'x-mail': '[FILTERED]', 'user-agent': '[FILTERED]'
  })
  t.same(capture({}), {})
})

t.test('credentials and nonsense cannot be asked for', async (t) => {
  t.same(headerListProblems('headers', ['x-tenant', 'X-Ok']), [])
  const problems = headerListProblems('headers', [...FORBIDDEN_HEADERS, 'Authorization', 'a b', '', 'x:y', 'x\r\ny'])
  t.equal(problems.length, FORBIDDEN_HEADERS.size + 5)
  t.match(problems.join('\n'), /Authorization carries credentials/)
})
