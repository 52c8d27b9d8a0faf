import t from 'tap'
import { FirstOnly } from '../../lib/core/first-only.ts'

t.test('the first of each kind, and again once it was forgotten', async (t) => {
  const failures = new FirstOnly()
  t.same(['a', 'b', 'a', 'b', 'a'].map((kind) => failures.note(kind)), [true, true, false, false, false])
  t.ok(failures.has('a'))
  t.notOk(failures.has('c'))
  failures.forget('a')
  t.same([failures.note('a'), failures.note('b')], [true, false])
  t.same([...failures].sort(), ['a', 'b'])
  failures.forgetAll()
  t.same([...failures], [])
})
