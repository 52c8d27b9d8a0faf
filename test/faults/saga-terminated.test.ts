/** A worker is told to leave at every point of a saga: it hands the saga over, and that costs no attempt. */
import t from 'tap'
import { temporaryFolder } from '../support/folder.ts'
import { sharedRedis } from '../support/redis.ts'
import { inLanes, recordPoints, Stage } from '../support/saga-faults.ts'
import { judge, type Scenario } from '../support/saga-verdict.ts'

const LANES = 5

const server = await sharedRedis()
t.teardown(() => server.stop())

for (const scenario of ['completes', 'fails', 'cancelled'] satisfies Scenario[]) {
  const which = scenario === 'cancelled' ? 'is cancelled' : scenario
  t.test(`told to leave at every point of a saga that ${which}`, async (t) => {
    const stage = await Stage.open(server.url, temporaryFolder(t, 'sagas'), { leaseMs: 10_000 })
    t.teardown(() => stage.close())
    const { points } = await recordPoints(stage, scenario)
    await inLanes(points, LANES, async (point) => {
      const run = await stage.play(scenario, 'SIGTERM', point)
      try {
        t.equal(await run.exited(), 0, 'it leaves by itself')
        await run.finishElsewhere()
      } finally {
        t.same(judge(await run.end()), [], point)
      }
    })
  })
}
