/** As `saga-terminated.test.ts`, of a saga whose last step fails for good: also before, in and after every undo. */
import t from 'tap'
import { sharedRedis } from '../support/redis.ts'
import { leaveAtEveryPoint } from '../support/saga-faults.ts'

const server = await sharedRedis()
t.teardown(() => server.stop())

t.test('told to leave at every point of a saga that fails, and of its compensation', async (t) => {
  await leaveAtEveryPoint(t, server.url, 'fails')
})
