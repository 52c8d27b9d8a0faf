import t from 'tap'
import { ChurnMap } from '../../lib/core/churn-map.ts'

t.test('it does what a map does', async (t) => {
  const map = new ChurnMap<string, { n: number }>()
  t.equal(map.get('a'), undefined)
  t.equal(map.delete('a'), false)
  const [one, two, three] = [{ n: 1 }, { n: 2 }, { n: 3 }]
  map.set('a', one)
  map.set('b', two)
  map.set('a', three)
  t.equal(map.size, 2)
  t.equal(map.get('a'), three)
  t.same([map.has('a'), map.has('c')], [true, false])
  t.same(map.values(), [three, two])
  t.equal(map.delete('a'), true)
  t.equal(map.delete('a'), false)
  t.same([map.size, map.has('a'), map.get('a'), map.values()], [1, false, undefined, [two]])
  map.set('a', one)
  t.equal(map.get('a'), one, 'it can come back')
})

t.test('what is looked at does not move', async (t) => {
  const map = new ChurnMap<number, object>()
  for (let key = 0; key < 10; key++) map.set(key, { key })
  for (const value of map.values()) {
    map.delete((value as { key: number }).key)
    map.set(100 + (value as { key: number }).key, value)
  }
  t.equal(map.size, 10)
})
