import t from 'tap'
import { iso, isoFormat } from '../../lib/core/iso-time.ts'

t.test('the remembered second is the right one', async (t) => {
  const format = isoFormat()
  for (const time of [0, 0, 1, 999, 1_000, 1_767_225_599_999, 1_767_225_600_000, 1_767_225_600_042, 999, -1, -1_000, 12.9]) {
    t.equal(format(time), new Date(time).toISOString(), String(time))
  }
})

t.test('every number has a date', async (t) => {
  t.equal(iso(Number.POSITIVE_INFINITY), '+275760-09-13T00:00:00.000Z')
  t.equal(iso(-1e300), '-271821-04-20T00:00:00.000Z')
  t.equal(iso(Number.NaN), '1970-01-01T00:00:00.000Z')
})
