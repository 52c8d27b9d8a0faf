/** Waits that hold no slot: sleeps, signals before and after their wait, long backoffs. */
import t from 'tap'
import { aborted, clockedApp, closeOn, latch } from './clocked.ts'

t.test('a sleep ends at the moment that was stored, also when the process was away', async (t) => {
  const ran: number[] = []
  const define = (app: Parameters<Parameters<typeof clockedApp>[1]>[0]): void => {
    app.saga({
      name: 'a',
      timeoutMs: 0,
      steps: (s) => s.step('a', () => { ran.push(made().clock.now()) }).sleep('z', () => { asked++; return 86_400_000 }).step('b', () => { ran.push(made().clock.now()) })
    })
  }
  let asked = 0
  const current: { app?: Awaited<ReturnType<typeof clockedApp>> } = {}
  const made = () => current.app ?? t.fail('not made') as never
  const before = current.app = await clockedApp(t, define)
  const id = await before.submit('a')
  await before.until('it sleeps', () => before.story().includes('saga.suspended z'))
  t.match(await before.record(id), { state: 'scheduled', attempts: 0 })
  await before.close()
  await before.clock.advance(43_200_000)
  const after = current.app = await clockedApp(t, define, before)
  await after.clock.advance(43_000_000)
  t.equal(ran.length, 1)
  t.match(await after.ended(id, 1_000_000), { state: 'completed' })
  const [first = 0, second = 0] = ran
  t.ok(second - first >= 86_400_000 && second - first < 86_400_500, `${second - first}`)
  t.equal(asked, 1, 'asked once')
})

t.test('sleeps of many sagas hold no slot of the only worker, and no timer each', async (t) => {
  const { submit, ended, until, story, clock } = await clockedApp(t, (app) => {
    app.saga({ name: 'a', steps: (s) => s.sleep('z', 50_000) })
    app.defineJob({ name: 'plain', handler: () => {} })
  }, undefined, { worker: { concurrency: 1 } })
  const ids: string[] = []
  for (let n = 0; n < 50; n++) ids.push(await submit('a'))
  await until('all sleep', () => story().filter((line) => line === 'saga.suspended z').length === 50)
  t.ok(clock.pending < 20, `${clock.pending} timers`)
  t.equal((await ended(await submit('plain'), 1_000)).state, 'completed')
  for (const id of ids) t.equal((await ended(id)).state, 'completed')
})

t.test('a signal counts whenever it comes: before the first claim, before its wait, during a step, in the wait', async (t) => {
  for (const moment of ['before the claim', 'during a step', 'in the wait'] as const) {
    const runs: string[] = []
    const begun = latch()
    const gate = latch()
    const made = await clockedApp(t, (app) => {
      app.saga({
        name: 'a',
        steps: (s) => s
          .step('a', async () => { runs.push('a'); begun.open(); await gate.opened })
          .sleep('z', 1_000)
          .signal('go', { parse: (value) => value as { n: number } })
          .step('b', ({ results }) => { runs.push('b'); return results.go.n })
          .returns(({ results }) => [results.go, results.b])
      })
    })
    if (moment !== 'during a step') gate.open()
    const id = await made.submit('a')
    if (moment === 'during a step') await begun.opened
    if (moment === 'in the wait') await made.until('it waits', () => made.story().includes('saga.suspended go'))
    t.same(await made.signal(id, 'go', { n: 7 }), { kind: 'stored' })
    t.same(await made.signal(id, 'go', { n: 7 }), { kind: 'repeated' })
    t.same(await made.signal(id, 'go', { n: 8 }), { kind: 'conflict' })
    gate.open()
    t.match(await made.ended(id, moment === 'in the wait' ? 200 : 2_000), { state: 'completed' }, moment)
    t.same(JSON.parse(await made.lasting.store.result(id) ?? ''), [{ n: 7 }, 7], 'the first counts')
    t.same(runs, ['a', 'b'], `${moment}: each once`)
    t.same(await made.signal(id, 'go', { n: 7 }), { kind: 'finished' })
    await made.close()
  }
})

t.test('a signal that does not come: compensate, fail and go on, continue', async (t) => {
  const undone: string[] = []
  const { submit, ended, app, signal, until, story, clock } = await clockedApp(t, (app) => {
    const undo = { run: () => 1, compensate: () => { undone.push('a') } }
    app.saga({ name: 'compensate', steps: (s) => s.step('a', undo).signal('go', { timeoutMs: 5_000 }) })
    app.saga({ name: 'fail', steps: (s) => s.step('a', undo).signal('go', { timeoutMs: 5_000, onExhausted: 'fail' }) })
    app.saga({ name: 'continue', steps: (s) => s.step('a', undo).signal('go', { timeoutMs: 5_000, onExhausted: 'continue' }).returns(({ results }) => ({ go: results.go ?? 'nothing' })) })
  })
  const before = clock.now()
  t.match(await ended(await submit('compensate')), { state: 'failed', error: { code: 'FAE_SIGNAL_TIMEOUT', message: /"go".*5000 ms/ } })
  t.ok(clock.now() - before >= 5_000)
  t.same(undone.splice(0), ['a'])

  const failed = await submit('fail')
  t.match(await ended(failed), { state: 'failed', error: { code: 'FAE_SIGNAL_TIMEOUT' } })
  t.same(undone, [])
  await clock.advance(60_000)
  await app.jobs.redrive(failed)
  await until('it waits again', () => story().filter((line) => line === 'saga.suspended go').length === 3)
  await signal(failed, 'go', true)
  t.match(await ended(failed), { state: 'completed' })

  const went = await submit('continue')
  t.match(await ended(went), { state: 'completed' })
  t.same(await app.jobs.result(went), { go: 'nothing' })
  t.same(undone, [])
})

t.test('what the schema or `parse` of a signal refuses is the fault of its sender, and the saga goes on waiting', async (t) => {
  const { submit, until, story, app, ended } = await clockedApp(t, (app) => {
    app.saga({
      name: 'a',
      steps: (s) => s
        .signal('go', {
          schema: { type: 'object', required: ['n'], properties: { n: { type: 'integer' } } },
          parse: (value) => { if ((value as { n: number }).n > 9) throw new Error('too much'); return { twice: (value as { n: number }).n * 2 } }
        })
        .returns(({ results }) => results.go)
    })
  })
  const id = await submit('a')
  await until('it waits', () => story().includes('saga.suspended go'))
  for (const [value, message] of [['x', /go/], [{}, /n/], [{ n: 'many' }, /n/], [{ n: 10 }, /too much/]] as const) {
    await t.rejects(app.jobs.signal(id, 'go', value), { code: 'FAE_INVALID_SUBMISSION', message }, JSON.stringify(value))
  }
  await t.rejects(app.jobs.signal(id, 'stop', 1), { code: 'FAE_SIGNAL_UNKNOWN' })
  await app.jobs.signal(id, 'go', { n: 4 })
  t.match(await ended(id), { state: 'completed' })
  t.same(await app.jobs.result(id), { twice: 8 })
})

t.test('ten thousand signals to one saga: the first counts, and it is not woken by the others', async (t) => {
  const { submit, until, story, signal, ended } = await clockedApp(t, (app) => {
    app.saga({ name: 'a', steps: (s) => s.signal('go').signal('stop') })
  })
  const id = await submit('a')
  await until('it waits', () => story().includes('saga.suspended go'))
  const kinds = new Map<string, number>()
  for (let n = 0; n < 10_000; n++) {
    const { kind } = await signal(id, 'go', n % 5_000) as { kind: string }
    kinds.set(kind, (kinds.get(kind) ?? 0) + 1)
  }
  t.same(Object.fromEntries(kinds), { stored: 1, repeated: 1, conflict: 9_998 })
  await until('it waits for the next', () => story().includes('saga.suspended stop'))
  t.equal(story().filter((line) => line === 'saga.resumed').length, 1)
  await signal(id, 'stop', null)
  t.match(await ended(id), { state: 'completed' })
})

t.test('a worker that stops hands the saga back: no try is spent, forwards or in an undo', async (t) => {
  const tries: string[] = []
  const gate = { closed: true }
  const begun: Record<string, ReturnType<typeof latch>> = { run: latch(), undo: latch() }
  const define = (app: Parameters<Parameters<typeof clockedApp>[1]>[0]): void => {
    app.saga({
      name: 'a',
      steps: (s) => s
        .step('a', {
          run: async ({ attempt, signal }) => { tries.push(`run ${attempt}`); begun['run']?.open(); if (gate.closed) await aborted(signal) },
          compensate: async ({ attempt, signal }) => { tries.push(`undo ${attempt}`); begun['undo']?.open(); if (gate.closed) await aborted(signal) }
        })
        .step('bad', { run: () => { throw new Error('no') }, attempts: 1 })
    })
  }
  const first = await clockedApp(t, define)
  const id = await first.submit('a')
  await begun['run']?.opened
  await closeOn(first.clock, first.app)
  t.match(await first.record(id), { state: 'queued', attempts: 0 })
  gate.closed = false
  const second = await clockedApp(t, define, first)
  t.match(await second.ended(id), { state: 'failed', error: { message: 'no' } })
  t.same(tries, ['run 1', 'run 1', 'undo 1'])

  gate.closed = true
  tries.length = 0
  begun['run'] = latch()
  begun['undo'] = latch()
  const other = await second.submit('a')
  await begun['run'].opened
  await second.app.jobs.cancel(other)
  await begun['undo'].opened
  await closeOn(second.clock, second.app)
  t.match(await second.record(other), { state: 'queued', attempts: 0 })
  gate.closed = false
  const third = await clockedApp(t, define, second)
  t.match(await third.ended(other), { state: 'cancelled' })
  t.same(tries, ['run 1', 'undo 1', 'undo 1'])
})
