/** A worker is killed at every point of an ordinary handler with durable steps; another one finishes the job. */
import t from 'tap'
import { PARTS } from './fixtures/crash-saga.ts'
import { temporaryFolder } from '../support/folder.ts'
import { sharedRedis } from '../support/redis.ts'
import { inLanes, pointsOf, Stage } from '../support/saga-faults.ts'
import { interrupted, placesOf } from '../support/saga-verdict.ts'

const LANES = 4

const server = await sharedRedis()
t.teardown(() => server.stop())

t.test('what a step has returned is not computed again', async (t) => {
  const stage = await Stage.open(server.url, temporaryFolder(t, 'steps'))
  t.teardown(() => stage.close())
  const undisturbed = await stage.playLoader()
  await undisturbed.untilOver()
  const points = pointsOf((await undisturbed.end()).entries)
  t.match(points, ['in step a', 'before the checkpoint a=c', 'after the checkpoint a=c'])
  await inLanes(points, LANES, async (point) => {
    const run = await stage.playLoader(point)
    await run.exited()
    await run.finishElsewhere()
    const { entries, record, result } = await run.end()
    t.match(record, { state: 'completed' }, point)
    t.equal(result, JSON.stringify(PARTS.map((step) => `${run.id}/${step}/0`)))
    for (const step of PARTS) {
      const times = interrupted('run', step, entries) ? 2 : 1
      t.equal(placesOf(entries, 'begins', 'run', step).length, times, `${point}: step ${step}`)
    }
  })
})
