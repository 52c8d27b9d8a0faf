import t from 'tap'
import { compileCapture, FORBIDDEN_HEADERS, headerListProblems } from '../../lib/http/captured-headers.ts'

t.test('only the allow-list is kept', async (t) => {
  const capture = compileCapture(['X-Tenant', 'x-tenant'])
  t.same(capture({ 'accept-language': 'de', 'user-agent': 'curl', 'x-request-id': 'r1', 'x-tenant': 't1', authorization: 'Bearer secret', cookie: 'sid=1', host: 'example.com' }), {
    'accept-language': 'de', 'user-agent': 'curl', 'x-request-id': 'r1', 'x-tenant': 't1'
  })
  t.same(capture({ authorization: 'Bearer secret' }), {})
  t.same(capture({ 'x-tenant': ['a', 'b'] }), {}, 'a list is not a text')
})

t.test('credentials and nonsense cannot be asked for', async (t) => {
  t.same(headerListProblems('headers', ['x-tenant', 'X-Ok']), [])
  const problems = headerListProblems('headers', [...FORBIDDEN_HEADERS, 'Authorization', 'a b', '', 'x:y', 'x\r\ny'])
  t.equal(problems.length, FORBIDDEN_HEADERS.size + 5)
  t.match(problems.join('\n'), /Authorization carries credentials/)
})
