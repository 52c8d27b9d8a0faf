/** A worker is frozen at every point of a saga, for longer than its lease, and thawed when another has finished it. */
import { strict as assert } from 'node:assert'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { temporaryFolder } from '../support/folder.ts'
import { sharedRedis } from '../support/redis.ts'
import { inLanes, recordPoints, Stage } from '../support/saga-faults.ts'
import { deedsOfZombie, judge, type Scenario } from '../support/saga-verdict.ts'

const LANES = 5
/** A zombie gets this long to do what it should not. */
const THAWED_MS = 300

const server = await sharedRedis()
t.teardown(() => server.stop())

for (const scenario of ['completes', 'fails'] satisfies Scenario[]) {
  t.test(`frozen at every point of a saga that ${scenario}: it stores nothing, and starts nothing`, async (t) => {
    const stage = await Stage.open(server.url, temporaryFolder(t, 'sagas'))
    t.teardown(() => stage.close())
    const { points } = await recordPoints(stage, scenario)
    // After a settlement it has no lease that could run out.
    await inLanes(points.filter((point) => !point.startsWith('after it is settled')), LANES, async (point) => {
      const run = await stage.play(scenario, 'SIGSTOP', point)
      try {
        await run.frozen()
        await run.finishElsewhere()
        const finished = await stage.store.get(run.id)
        assert.ok(finished)
        const { length: finishedAt } = run.entries
        run.thaw()
        await sleep(THAWED_MS)
        t.equal(await run.release(), 0, 'it ends by itself')
        t.same(deedsOfZombie(run.entries, finishedAt), [], point)
        t.same(await stage.store.get(run.id), finished, 'the job is as the other one left it')
      } finally {
        t.same(judge(await run.end()), [], point)
      }
    })
  })
}
