/** As `saga-killed.test.ts`, of a saga whose last step fails for good: also before, in and after every undo. */
import t from 'tap'
import { sharedRedis } from '../support/redis.ts'
import { killAtEveryPoint } from '../support/saga-faults.ts'

const server = await sharedRedis()
t.teardown(() => server.stop())

t.test('killed at every point of a saga that fails, and of its compensation', async (t) => {
  const points = await killAtEveryPoint(t, server.url, 'fails')
  t.ok(points >= 30, `${points} points`)
})
