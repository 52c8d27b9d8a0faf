import t from 'tap'
import { readRetryAfter } from '../../lib/core/retry-after.ts'

const NOW = Date.UTC(1994, 10, 6, 8, 49, 37)

t.test('seconds and the three forms of a date', async (t) => {
  t.equal(readRetryAfter('3', NOW), 3_000)
  t.equal(readRetryAfter(' 0 ', NOW), 0)
  t.equal(readRetryAfter('Sun, 06 Nov 1994 08:49:41 GMT', NOW), 4_000)
  t.equal(readRetryAfter('Sunday, 06-Nov-94 08:49:41 GMT', NOW), 4_000)
  t.equal(readRetryAfter('Sun Nov  6 08:49:41 1994', NOW), 4_000, 'in GMT, whatever the time zone of this process is')
})

t.test('what is over is no wait, what is too far is cut, what cannot be read is not there', async (t) => {
  t.equal(readRetryAfter('Sun, 06 Nov 1994 08:00:00 GMT', NOW), 0)
  t.equal(readRetryAfter('86400', NOW), 600_000)
  t.equal(readRetryAfter('Sun, 06 Nov 2094 08:49:37 GMT', NOW), 600_000)
  for (const value of [null, '', '-5', '1.5', 'soon', 'Sun, some day', '0x10']) t.equal(readRetryAfter(value, NOW), undefined, String(value))
})
