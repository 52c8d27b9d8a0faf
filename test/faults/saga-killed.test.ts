/** A worker is killed at every point of a saga, one process for each point; another worker finishes it. */
import t from 'tap'
import { temporaryFolder } from '../support/folder.ts'
import { sharedRedis } from '../support/redis.ts'
import { inLanes, recordPoints, Stage } from '../support/saga-faults.ts'
import { judge, type Scenario } from '../support/saga-verdict.ts'

const LANES = 5

const server = await sharedRedis()
t.teardown(() => server.stop())
let killed = 0

for (const scenario of ['completes', 'fails', 'cancelled'] satisfies Scenario[]) {
  t.test(`killed at every point of a saga that ${scenario === 'cancelled' ? 'is cancelled' : scenario}`, async (t) => {
    const stage = await Stage.open(server.url, temporaryFolder(t, 'sagas'))
    t.teardown(() => stage.close())
    const { points, ended } = await recordPoints(stage, scenario)
    t.same(judge(ended), [], 'undisturbed')
    t.equal(new Set(points).size, points.length)
    await inLanes(points, LANES, async (point) => {
      const run = await stage.play(scenario, 'SIGKILL', point)
      try {
        await run.exited()
        await run.finishElsewhere()
      } finally {
        t.same(judge(await run.end()), [], point)
      }
    })
    killed += points.length
  })
}

t.test('that were not few', async (t) => {
  t.ok(killed >= 60, `${killed} points`)
})
