import t from 'tap'
import { readRedactOptions } from '../../lib/core/redact.ts'
import { cut, singleLine } from '../../lib/core/text.ts'

const LION = '🦁'
const [HIGH = '', LOW = ''] = LION.split('')

t.test('a text is cut between two characters, and half of one becomes U+FFFD', async (t) => {
  t.equal(cut('abc', 3), 'abc')
  t.equal(cut('abcd', 3), 'abc')
  t.equal(cut(`ab${LION}`, 4), `ab${LION}`)
  t.equal(cut(`ab${LION}`, 3), 'ab')
  t.equal(cut(LION, 1), '')
  t.equal(cut(`a${LOW}${HIGH}b`, 5), 'a\ufffd\ufffdb')
})

t.test('a line has no halves, wherever it is cut', async (t) => {
  t.equal(singleLine(`a\n${HIGH}b`, 10), 'a \ufffdb')
  for (let length = 1; length < 25; length++) {
    const line = singleLine(`${'x'.repeat(length)}${LION.repeat(10)}`, 10)
    t.ok(line.length <= 10 && line.endsWith('…') && line.isWellFormed(), line)
  }
})

t.test('what leaves the process through the redaction has no halves', async (t) => {
  const { text, fields } = readRedactOptions()
  t.equal(text(`a${HIGH}`), 'a\ufffd')
  t.same(fields({ a: `${LOW}x`, inner: [`b: ${HIGH}`], whole: LION }), { a: '\ufffdx', inner: ['b: \ufffd'], whole: LION })
  t.match(fields({ err: new Error(`${'x'.repeat(16_383)}${LION}${LION}`) }).err.message, /^x{16383}…$/)
})
