import t from 'tap'
import { idempotencyKey, parseIdempotencyKey } from '../../lib/http/idempotency.ts'

t.test('quoted and bare keys are the same keys', async (t) => {
  t.equal(parseIdempotencyKey('"8e03978e-40d5-43e8-bc93-6894a57f9324"'), '8e03978e-40d5-43e8-bc93-6894a57f9324')
  t.equal(parseIdempotencyKey('8e03978e-40d5-43e8-bc93-6894a57f9324'), '8e03978e-40d5-43e8-bc93-6894a57f9324')
  t.equal(parseIdempotencyKey('  "a b, c"  '), 'a b, c', 'a quoted key may hold spaces and commas')
  t.equal(parseIdempotencyKey('"a\\"b\\\\c"'), 'a"b\\c')
  t.equal(parseIdempotencyKey('order/42:YWJj+w=='), 'order/42:YWJj+w==')
  t.equal(parseIdempotencyKey('x'.repeat(255)), 'x'.repeat(255))
  t.equal(parseIdempotencyKey(undefined), undefined)
})

t.test('broken keys are refused', async (t) => {
  const broken = ['', ' ', '""', '"', '"abc', 'abc"', 'a"b', 'a b', 'a, b', '"a", "b"', '"a"b', '"a\\x"', '"tab\t"', '"\u00e9"', 'caf\u00e9', 'a\\b', '(a)', `"${'x'.repeat(256)}"`, 'x'.repeat(256)]
  for (const header of broken) t.throws(() => parseIdempotencyKey(header), { code: 'FAE_INVALID_IDEMPOTENCY_KEY', statusCode: 400 }, JSON.stringify(header).slice(0, 40))
  t.throws(() => parseIdempotencyKey(['a', 'b']), { code: 'FAE_INVALID_IDEMPOTENCY_KEY' })
})

t.test('a long hostile value is refused', async (t) => {
  // With a pattern that backtracks, this would not end before the time limit of the test.
  t.throws(() => parseIdempotencyKey(`"${'\\"'.repeat(7_000)}`), { code: 'FAE_INVALID_IDEMPOTENCY_KEY' })
})

t.test('required and compatibility header', async (t) => {
  t.throws(() => idempotencyKey({}, 'required'), { code: 'FAE_IDEMPOTENCY_KEY_REQUIRED' })
  t.equal(idempotencyKey({}, 'optional'), undefined)
  t.equal(idempotencyKey({ 'x-async-request-id': 'old' }, 'required'), 'old')
  t.equal(idempotencyKey({ 'idempotency-key': 'new', 'x-async-request-id': 'old' }, 'optional'), 'new')
})
