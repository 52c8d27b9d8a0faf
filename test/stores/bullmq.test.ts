import { Redis } from 'ioredis'
import t from 'tap'
import { createContext } from '../../lib/core/context.ts'
import type { StoreHost } from '../../lib/jobs/store.ts'
import { redisStore } from '../../lib/stores/bullmq/index.ts'
import { exerciseJobStore } from '../../lib/testing/exercise-job-store.ts'
import { sharedRedis, uniquePrefix } from '../support/redis.ts'

const LEASE_MS = 1_000
// All cases together take half a minute on a quiet machine.
t.setTimeout(180_000)

const server = await sharedRedis()
const redis = new Redis(server.url)
t.teardown(async () => {
  redis.disconnect()
  await server.stop()
})

const host: StoreHost = { context: createContext(), report: () => {} }

// Two stores are two processes as far as the server can tell: connections, workers and subscriptions of their own.
exerciseJobStore({
  test: (name, run) => t.test(name, async () => await run()),
  capabilities: { shared: true },
  timing: { leaseMs: LEASE_MS, shortMs: 250, deadlineMs: 15_000, stallMs: 8_000 },
  newStore: ({ retention }) => {
    const options = { url: server.url, prefix: uniquePrefix(), leaseMs: LEASE_MS, stalledIntervalMs: 300, retention }
    return {
      store: redisStore(options),
      host,
      secondStore: () => redisStore(options),
      loseLease: async (id) => {
        // As if somebody else had it, until that lease runs out as well. One whose key is merely gone would be taken back.
        await redis.set(`${options.prefix}:conformance:${id}:lock`, 'somebody else', 'PX', LEASE_MS)
      }
    }
  }
})
