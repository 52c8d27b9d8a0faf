/** Steps that kill one worker after the other, and what a kill leaves of the count of tries. */
import t from 'tap'
import { readStep } from '../../lib/jobs/saga-facts.ts'
import type { Entry } from './fixtures/witness.ts'
import { temporaryFolder } from '../support/folder.ts'
import { sharedRedis } from '../support/redis.ts'
import { pointsOf, Stage } from '../support/saga-faults.ts'

const server = await sharedRedis()
t.teardown(() => server.stop())

/** How often a run or an undo of a step was begun. */
function begins (entries: readonly Entry[], what: 'run' | 'undo', step: string): number {
  return entries.filter((entry) => entry.kind === 'begins' && entry.what === what && entry.step === step).length
}

function undone (entries: readonly Entry[]): string[] {
  return [...new Set(entries.flatMap((entry) => entry.kind === 'effect' && entry.what === 'undo' ? [entry.step] : []))]
}

t.test('a step that kills every worker: the saga gives up, and undoes it too', async (t) => {
  const stage = await Stage.open(server.url, temporaryFolder(t, 'sagas'))
  t.teardown(() => stage.close())
  const run = await stage.play('completes', 'SIGKILL', 'in the run of publish, after its effect')
  await run.exited()
  await run.again()
  await run.again()
  await run.finishElsewhere()
  const { entries, record } = await run.end()
  t.match(record, { state: 'failed', error: { code: 'FAE_STEP_CRASHED' } })
  t.equal(begins(entries, 'run', 'publish'), 3, 'it was not begun once more')
  t.same(undone(entries), ['publish', 'renditions/uhd', 'renditions/hd', 'reserve'])
  const outcome = entries.find((entry) => entry.kind === 'outcome' && entry.step === 'publish')
  t.match(outcome, { outcome: 'unknown', reason: 'failed' })
})

t.test('an undo that kills every worker has failed: the others are undone, and a redrive undoes it', async (t) => {
  const stage = await Stage.open(server.url, temporaryFolder(t, 'sagas'))
  t.teardown(() => stage.close())
  const run = await stage.play('fails', 'SIGKILL', 'in the undo of renditions/uhd, before its effect')
  await run.exited()
  await run.again()
  await run.again()
  await run.finishElsewhere()
  const failed = await stage.store.get(run.id)
  const message = /renditions\/uhd \(FAE_STEP_CRASHED/
  t.match(failed, { state: 'failed', error: { code: 'FAE_COMPENSATION_FAILED', message } })
  t.equal(readStep(failed?.facts, 'renditions/uhd')?.s, 'x')
  t.same(undone(run.entries), ['publish', 'renditions/hd', 'reserve'])
  t.equal(begins(run.entries, 'undo', 'renditions/uhd'), 3)

  await stage.store.redrive(run.id)
  await run.untilOver()
  const { entries, record } = await run.end()
  t.match(record, { state: 'failed', error: { code: 'Error' } }, 'now it has only failed')
  t.same(undone(entries), ['publish', 'renditions/hd', 'reserve', 'renditions/uhd'])
  t.equal(begins(entries, 'undo', 'renditions/hd'), 1)
})

t.test('killed in the second of three tries: at most one more', async (t) => {
  const stage = await Stage.open(server.url, temporaryFolder(t, 'sagas'))
  t.teardown(() => stage.close())
  const run = await stage.playFailing('in the run of publish, which fails (2)')
  await run.exited()
  await run.finishElsewhere()
  const { entries, record } = await run.end()
  t.match(record, { state: 'failed', error: { code: 'Error' } })
  t.equal(begins(entries, 'run', 'publish'), 4, 'one, the one that was killed, and two')
  t.same(undone(entries), ['publish', 'renditions/uhd', 'renditions/hd', 'reserve'], 'it may have had an effect')
})

t.test('twenty siblings end in one turn, and their worker is killed around each checkpoint of that', async (t) => {
  const stage = await Stage.open(server.url, temporaryFolder(t, 'sagas'))
  t.teardown(() => stage.close())
  const undisturbed = await stage.playBatch(20)
  await undisturbed.untilOver()
  const points = pointsOf((await undisturbed.end()).entries).filter((point) => /items\/\d+=c/.test(point))
  t.ok(points.length >= 2)
  await Promise.all(points.map(async (point) => {
    const run = await stage.playBatch(20, point)
    await run.exited()
    await run.finishElsewhere()
    const { entries, record, result } = await run.end()
    t.match(record, { state: 'completed' })
    t.equal(result, JSON.stringify(Array.from({ length: 20 }, (_, n) => n * 2)))
    const fault = entries.findIndex(({ kind }) => kind === 'fault')
    const before = entries.slice(0, fault)
    for (let n = 0; n < 20; n++) {
      const path = `items/${n}`
      const stored = before.some((entry) => entry.kind === 'stored' && entry.steps[path] === 'c')
      t.equal(begins(entries, 'run', path), stored ? 1 : 2, `${point}: ${path}`)
    }
  }))
})
