import t from 'tap'
import { readRedactOptions } from '../../lib/core/redact.ts'
import { errorCodeOf, ThrownFailure, toReason, toStoredError } from '../../lib/jobs/stored-error.ts'

t.test('whatever was thrown becomes a bounded error', async (t) => {
  t.same(toStoredError(new TypeError('no')), { code: 'TypeError', message: 'no' })
  t.same(toStoredError(Object.assign(new Error('refused'), { code: 'ECONNREFUSED' })), { code: 'ECONNREFUSED', message: 'refused' })
  t.strictSame(toStoredError(Object.assign(new Error('no such customer'), { expose: true })), { code: 'Error', message: 'no such customer', expose: true })
  for (const expose of [false, 'true', 1]) t.strictSame(toStoredError(Object.assign(new Error('x'), { expose })), { code: 'Error', message: 'x' })
  t.same(toStoredError('just text'), { code: 'FAE_HANDLER_ERROR', message: 'The handler threw just text' })
  t.same(toStoredError(undefined), { code: 'FAE_HANDLER_ERROR', message: 'The handler threw a value of type undefined' })
  t.same(toStoredError(null).message, 'The handler threw a value of type null')
  t.same(toStoredError({ secret: 'hunter2' }).message, 'The handler threw a value of type object', 'an object is not printed')
})

t.test('huge messages are cut, control characters cannot forge lines', async (t) => {
  const stored = toStoredError(new Error('x'.repeat(10_000_000)))
  t.equal(stored.message.length, 1_000)
  t.equal(toStoredError(new Error('a\r\nlevel=error\u2028b\u0000c')).message, 'a level=error b c')
  t.equal(toStoredError(new Error('\u001b[31mred\u009b0m \u202eback')).message, ' [31mred 0m  back')
  const half = toStoredError(new Error(`${'x'.repeat(998)}😀 and more`)).message
  t.equal(half, `${'x'.repeat(998)}…`, 'no half characters')
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

const { text } = readRedactOptions()

t.test('what must not be shown is neither stored nor told, also when the message is cut', async (t) => {
  t.equal(toStoredError(new Error('connect redis://u:p@h failed, password=x'), text).message, 'connect redis://[FILTERED]@h failed, password=[FILTERED]')
  t.equal(toStoredError('token: abc', text).message, 'The handler threw token: [FILTERED]')
  t.equal(toStoredError(Object.assign(new Error('x'), { code: 'secret=x' }), text).code, 'secret=[FILTERED]')
  t.equal(toReason('Bearer abcdef', 'x', text), 'Bearer [FILTERED]')
  const cut = toStoredError(new Error(`${'x'.repeat(990)} redis://user:hunter2@${'h'.repeat(50)}`), text).message
  t.notMatch(cut, /user|hunter/)
  t.equal(cut.length, 1_000)
  t.notMatch(toStoredError(new Error(`redis://user:${'p'.repeat(10_000_000)}`), text).message, /user|pp/)
})

t.test('the failure of a handler: its causes and its frames', async (t) => {
  const refused = Object.assign(new Error('connect ECONNREFUSED redis://u:p@h'), { code: 'ECONNREFUSED' })
  const thrown = new Error('cannot load rows\n    at forged (evil.js:1:1)', { cause: new TypeError('no pool', { cause: refused }) })
  const failure = new ThrownFailure(thrown, text)
  t.same(failure.causes, ['TypeError: no pool', 'ECONNREFUSED: connect ECONNREFUSED redis://[FILTERED]@h'])
  t.match(failure.stack[0], /^at .*stored-error\.test/)
  t.ok(failure.stack.length <= 10)
  t.notMatch(failure.stack.join('\n'), /forged|cannot load/, 'the message is not part of it')
  t.same(new ThrownFailure(new AggregateError([new Error('a'), 'b', new RangeError('c')], 'all'), text).causes, ['Error: a', 'The handler threw b', 'RangeError: c'])
})

t.test('the failure of a hostile value: bounded, and nothing throws', async (t) => {
  const circle = new Error('a')
  circle.cause = circle
  t.same(new ThrownFailure(circle, text).causes, [])
  let chain = new Error('first')
  for (let index = 0; index < 1_000; index++) chain = new Error(`${index} ${'x'.repeat(10_000)}`, { cause: chain })
  const { causes } = new ThrownFailure(chain, text)
  t.equal(causes.length, 5)
  t.ok(causes.every((cause) => cause.length <= 300))
  const hostile = new Error('x')
  for (const key of ['cause', 'stack', 'message', 'name']) Object.defineProperty(hostile, key, { get () { throw new Error('gotcha') } })
  t.same([new ThrownFailure(hostile, text).causes, new ThrownFailure(hostile, text).stack], [[], []])
  for (const value of [undefined, null, 'x', { cause: 1 }]) t.same([new ThrownFailure(value, text).causes, new ThrownFailure(value, text).stack], [[], []])
  const odd = new Error('x')
  Object.defineProperty(odd, 'stack', { value: 5 })
  t.same(new ThrownFailure(odd, text).stack, [])
  Object.defineProperty(odd, 'stack', { value: `Error: x\n${'    at f (file:1:1)\u001b[2J\n'.repeat(1_000_000)}` })
  t.same(new ThrownFailure(odd, text).stack, Array.from({ length: 10 }, () => 'at f (file:1:1) [2J'))
})

t.test('the name of an error alone', async (t) => {
  t.equal(errorCodeOf(Object.assign(new Error('refused'), { code: 'ECONNREFUSED' })), 'ECONNREFUSED')
  t.equal(errorCodeOf(new TypeError('no')), 'TypeError')
  t.equal(errorCodeOf(Object.assign(new Error('x'), { code: 5 })), 'Error')
  for (const thrown of ['text', undefined, { code: 'E' }, new (class extends Error { get code (): string { throw new Error('even this') } })()]) t.equal(errorCodeOf(thrown), 'UNKNOWN')
})
