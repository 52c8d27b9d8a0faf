/** A worker is killed at every point of a saga, one process for each point; another worker finishes it. */
import t from 'tap'
import { sharedRedis } from '../support/redis.ts'
import { killAtEveryPoint } from '../support/saga-faults.ts'

const server = await sharedRedis()
t.teardown(() => server.stop())

t.test('killed at every point of a saga that completes', async (t) => {
  const points = await killAtEveryPoint(t, server.url, 'completes')
  t.ok(points >= 25, `${points} points`)
})

t.test('killed at every point of a saga that is cancelled while it waits', async (t) => {
  const points = await killAtEveryPoint(t, server.url, 'cancelled')
  t.ok(points >= 20, `${points} points`)
})
