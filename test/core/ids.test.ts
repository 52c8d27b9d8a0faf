import t from 'tap'
import { randomHex128, randomUuid } from '../../lib/core/ids.ts'

t.test('ids have their form, and thousands of them are all different', async (t) => {
  const seen = new Set<string>()
  const badUuid: string[] = []
  const badHex: string[] = []
  for (let index = 0; index < 5_000; index++) {
    const uuid = randomUuid()
    const hex = randomHex128()
    if (!/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.test(uuid)) badUuid.push(uuid)
    if (!/^[0-9a-f]{32}$/.test(hex)) badHex.push(hex)
    seen.add(uuid).add(hex)
  }
  t.same(badUuid, [])
  t.same(badHex, [])
  t.equal(seen.size, 10_000)
})

t.test('every digit that is random takes every value', async (t) => {
  const values = Array.from({ length: 36 }, () => new Set<string>())
  for (let index = 0; index < 2_000; index++) [...randomUuid()].forEach((digit, place) => values[place]?.add(digit))
  const sizes = values.map((set) => set.size)
  t.same(sizes, [16, 16, 16, 16, 16, 16, 16, 16, 1, 16, 16, 16, 16, 1, 1, 16, 16, 16, 1, 4, 16, 16, 16, 1, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16])
})
