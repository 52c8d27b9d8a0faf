/** A worker is told to leave at every point of a saga: it hands the saga over, and that costs no attempt. */
import t from 'tap'
import { sharedRedis } from '../support/redis.ts'
import { leaveAtEveryPoint } from '../support/saga-faults.ts'

const server = await sharedRedis()
t.teardown(() => server.stop())

t.test('told to leave at every point of a saga that completes', async (t) => {
  await leaveAtEveryPoint(t, server.url, 'completes')
})

t.test('told to leave at every point of a saga that is cancelled while it waits', async (t) => {
  await leaveAtEveryPoint(t, server.url, 'cancelled')
})
