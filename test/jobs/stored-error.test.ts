import t from 'tap'
import { toReason, toStoredError } from '../../lib/jobs/stored-error.ts'

t.test('whatever was thrown becomes a bounded error', async (t) => {
  t.same(toStoredError(new TypeError('no')), { code: 'TypeError', message: 'no' })
  t.same(toStoredError(Object.assign(new Error('refused'), { code: 'ECONNREFUSED' })), { code: 'ECONNREFUSED', message: 'refused' })
  t.same(toStoredError('just text'), { code: 'FAE_HANDLER_ERROR', message: 'The handler threw just text' })
  t.same(toStoredError(undefined), { code: 'FAE_HANDLER_ERROR', message: 'The handler threw a value of type undefined' })
  t.same(toStoredError(null).message, 'The handler threw a value of type null')
  t.same(toStoredError({ secret: 'hunter2' }).message, 'The handler threw a value of type object', 'an object is not printed')
})

t.test('huge messages are cut, control characters cannot forge lines', async (t) => {
  const stored = toStoredError(new Error('x'.repeat(10_000_000)))
  t.equal(stored.message.length, 1_000)
  t.equal(toStoredError(new Error('a\r\nlevel=error\u2028b\u0000c')).message, 'a level=error b c')
})

t.test('a throw that cannot be read is still an error', async (t) => {
  const hostile = new Error('x')
  Object.defineProperty(hostile, 'message', { get () { throw new Error('gotcha') } })
  t.same(toStoredError(hostile), { code: 'FAE_HANDLER_ERROR', message: 'The handler threw a value that cannot be read' })
})

t.test('reasons fall back when they are not text', async (t) => {
  t.equal(toReason('no longer needed\n', 'x'), 'no longer needed ')
  t.equal(toReason(undefined, 'fallback'), 'fallback')
  t.equal(toReason('  ', 'fallback'), 'fallback')
})
