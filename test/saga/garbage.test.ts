/** Stored steps that another program wrote over: the saga ends with a code and is not claimed again and again. */
import t, { type Test } from 'tap'
import { clockedApp, type ClockedApp } from './clocked.ts'

interface Spoilt { readonly second: ClockedApp, readonly id: string, readonly undone: unknown[], readonly used: number }

/** Runs a saga whose second attempt reads this text under this key. */
async function afterSpoiling (t: Test, part: 'facts' | 'values' | 'signals', key: string, text: string): Promise<Spoilt> {
  const undone: unknown[] = []
  const made = { used: 0 }
  const define: Parameters<typeof clockedApp>[1] = (app) => {
    app.saga({
      name: 'it',
      url: '/it',
      steps: (s) => s
        .step('a', { run: () => ({ key: 'k' }), compensate: ({ outcome }) => { undone.push(outcome) } })
        .signal('go')
        .step('b', { attempts: 2, backoff: { type: 'fixed', delayMs: 10 }, run: ({ results }) => { made.used += results.a.key.length } })
    })
  }
  const first = await clockedApp(t, define)
  const id = await first.submit('it')
  await first.until('it waits', () => first.story().includes('saga.suspended go'))
  await first.close()
  first.lasting.onJournal = (journal) => ({ ...journal, [part]: { ...journal[part], [key]: text } })
  const second = await clockedApp(t, define, first)
  await second.signal(id, 'go', true)
  await second.ended(id)
  return { second, id, undone, used: made.used }
}

for (const [what, key, text] of [
  ['the head is no JSON', '', '{"k":1'],
  ['the head lacks its numbers', '', '{"k":1}'],
  ['the names are no list', '=', '{"v":1,"n":"a"}'],
  ['a step is null', 'a', 'null'],
  ['a step has a state that there is not', 'a', '{"s":"?","a":1,"m":3,"t":0}'],
  ['a step has a text where a number belongs', 'a', '{"s":"c","a":"1","m":3,"t":0}'],
  ['a step has an error that is none', 'a', '{"s":"c","a":1,"m":3,"t":0,"e":5}'],
  ['a step has lost its beginning', 'a', '\u0000']
] as const) {
  t.test(`${what}: the saga fails with FAE_CHECKPOINT_UNREADABLE, and undoes nothing that it cannot know of`, async (t) => {
    const { second, id, undone } = await afterSpoiling(t, 'facts', key, text)
    const { state, error } = await second.record(id)
    t.equal(state, 'failed')
    t.equal(error?.code, 'FAE_CHECKPOINT_UNREADABLE')
    if (key === 'a') t.match(error?.message, /step "a"/)
    t.strictSame(undone, [])
    t.equal((await second.app.inject(`/jobs/${id}`)).statusCode, 200, 'the status document can be read')
    t.match((await second.app.jobs.counts('default'))[0]?.sagas, { notUndone: 1, notUndoneIds: [id] }, 'people are called')
    await second.app.jobs.redrive(id)
    t.equal((await second.ended(id)).error?.code, 'FAE_CHECKPOINT_UNREADABLE', 'a redrive says the same')
  })
}

t.test('a result that is no JSON fails the step that reads it, and its own undo', async (t) => {
  const { second, id, undone, used } = await afterSpoiling(t, 'values', 'a', '{"key"')
  const { state, error } = await second.record(id)
  t.equal(state, 'failed')
  t.equal(error?.code, 'FAE_COMPENSATION_FAILED')
  t.match(error?.message, /FAE_CHECKPOINT_UNREADABLE/)
  t.strictSame(undone, [])
  t.equal(used, 0)
})

t.test('a signal that is no JSON ends the saga in its first attempt, and what was done is undone', async (t) => {
  const { second, id, undone, used } = await afterSpoiling(t, 'signals', 'go', 'yes')
  t.match(await second.record(id), { state: 'failed', attempts: 1, error: { code: 'FAE_CHECKPOINT_UNREADABLE', message: /"go" is not JSON/ } })
  t.match(undone, [{ kind: 'completed' }])
  t.equal(used, 0)
})
