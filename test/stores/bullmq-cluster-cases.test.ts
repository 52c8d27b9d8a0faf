/** The cases of every job store, on a cluster of three nodes. The prefixes of the stores are in slots of all of them. */
import type { Cluster } from 'ioredis'
import t from 'tap'
import { createContext } from '../../lib/core/context.ts'
import type { StoreHost } from '../../lib/jobs/store.ts'
import { redisStore } from '../../lib/stores/bullmq/index.ts'
import { exerciseJobStore } from '../../lib/testing/exercise-job-store.ts'
import { startCluster } from '../support/redis-cluster.ts'
import { uniquePrefix } from '../support/redis.ts'

const LEASE_MS = 1_000
t.setTimeout(240_000)

const cluster = await startCluster()
const clients: Cluster[] = []
/** Two processes have two clients; each is shared by the stores of all cases, one for each prefix. */
for (const _ of [1, 2, 3]) clients.push(await cluster.client())
const [one, two, admin] = clients
if (one === undefined || two === undefined || admin === undefined) throw new Error('there are three')
t.teardown(async () => {
  for (const client of clients) client.disconnect()
  await cluster.stop()
})

const host: StoreHost = { context: createContext(), report: () => {} }

exerciseJobStore({
  test: (name, run) => t.test(name, async () => await run()),
  capabilities: { shared: true },
  timing: { leaseMs: LEASE_MS, shortMs: 250, deadlineMs: 15_000, stallMs: 8_000 },
  newStore: ({ retention }) => {
    const prefix = uniquePrefix()
    const options = { prefix, leaseMs: LEASE_MS, stalledIntervalMs: 300, retention }
    return {
      store: redisStore({ ...options, client: one }),
      host,
      secondStore: () => redisStore({ ...options, client: two }),
      loseLease: async (id) => { await admin.set(`${prefix}:conformance:${id}:lock`, 'somebody else', 'PX', LEASE_MS) }
    }
  }
})
