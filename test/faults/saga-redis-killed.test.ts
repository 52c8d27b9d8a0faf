/** Redis is killed at every point of a saga, and comes back: the same attempt goes on. */
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { temporaryFolder } from '../support/folder.ts'
import { startRedis, type RedisServer } from '../support/redis.ts'
import { inLanes, recordPoints, someOf, Stage } from '../support/saga-faults.ts'
import { judge, type Scenario } from '../support/saga-verdict.ts'

const LANES = 4
const AWAY_MS = 250

interface Lane { readonly server: RedisServer, readonly stage: Stage }

for (const scenario of ['completes', 'fails'] satisfies Scenario[]) {
  const title = `away for a moment, at every point of a saga that ${scenario}: no step runs again, and no attempt is spent`
  t.test(title, async (t) => {
    const lanes: Lane[] = []
    const folder = temporaryFolder(t, 'sagas')
    for (let n = 0; n < LANES; n++) {
      const server = await startRedis({ durable: true })
      t.teardown(() => server.stop())
      const stage = await Stage.open(server.url, folder, { leaseMs: 30_000 })
      t.teardown(() => stage.close())
      lanes.push({ server, stage })
    }
    const [first] = lanes
    if (first === undefined) throw new Error('there is no server')
    const { points } = await recordPoints(first.stage, scenario)
    await inLanes(someOf(points), LANES, async (point, n) => {
      const lane = lanes[n]
      if (lane === undefined) throw new Error(`there is no lane ${n}`)
      const { server, stage } = lane
      const run = await stage.play(scenario, 'ask', point)
      try {
        await run.asks()
        await server.kill()
        run.answer()
        await sleep(AWAY_MS)
        await server.restart()
        await run.untilOver()
      } finally {
        t.same(judge(await run.end()), [], `${scenario}, ${point}`)
      }
    })
  })
}
