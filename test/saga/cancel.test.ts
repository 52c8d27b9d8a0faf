/** What a saga does when it is cancelled, fails or takes too long: undo, under signals of its own, whatever it was at. */
import t from 'tap'
import { readStep } from '../../lib/jobs/saga-facts.ts'
import { cancel, discard, snooze } from '../../plugins/async-endpoints.ts'
import { aborted, clockedApp, latch, never } from './clocked.ts'

t.test('a cancel finds the saga wherever it is, and what was done is undone within a second', async (t) => {
  for (const [place, ready] of [
    ['asleep', 'saga.suspended z'], ['awaiting a signal', 'saga.suspended i'], ['in a long backoff', 'saga.suspended b'], ['in a short backoff', 'step.retry_scheduled b'],
    ['running', 'step.started b']
  ] as const) {
    const undone: string[] = []
    const made = await clockedApp(t, (app) => {
      app.saga({
        name: 'a',
        steps: (s) => {
          const begun = s.step('a', { run: () => 1, compensate: ({ reason, signal, error }) => { undone.push(`a ${reason} ${signal.aborted} ${error?.code}`) } })
          if (place === 'asleep') return begun.sleep('z', 3_600_000).step('b', () => { undone.push('b ran') })
          if (place === 'awaiting a signal') return begun.signal('i').step('b', () => { undone.push('b ran') })
          if (place === 'running') return begun.step('b', { run: async ({ signal }) => { await aborted(signal) }, compensate: ({ outcome }) => { undone.push(`b ${outcome.kind}`) } })
          return begun.step('b', { run: () => { throw new Error('again') }, backoff: { type: 'fixed', delayMs: place === 'in a long backoff' ? 600_000 : 900, jitter: 0 }, compensate: () => { undone.push('b') } })
        }
      })
    })
    const id = await made.submit('a')
    await made.until(ready, () => made.story().includes(ready))
    t.equal((await made.app.jobs.cancel(id, 'not wanted')).state, 'requested', place)
    const job = await made.ended(id, 1_000)
    t.match(job, { state: 'cancelled', error: { message: 'not wanted' } }, place)
    t.same(undone, place === 'running' ? ['b unknown', 'a cancelled false FAE_JOB_CANCELLED'] : ['a cancelled false FAE_JOB_CANCELLED'], place)
    await made.close()
  }
})

t.test('a saga that has done nothing is cancelled as any job', async (t) => {
  const { submit, app, until, story, record } = await clockedApp(t, (app) => {
    app.saga({ name: 'a', steps: (s) => s.step('look', () => 1).sleep('z', 60_000) })
  })
  const id = await submit('a')
  await until('it sleeps', () => story().includes('saga.suspended z'))
  t.equal((await app.jobs.cancel(id)).state, 'cancelled')
  t.equal((await record(id)).state, 'cancelled')
})

t.test('a cancel after a crash between two tries undoes what the dead worker may have done', async (t) => {
  const undone: string[] = []
  const second = latch()
  const { submit, lasting, app, ended } = await clockedApp(t, (app) => {
    app.saga({
      name: 'a',
      retry: { backoff: { type: 'fixed', delayMs: 5_000, jitter: 0 } },
      steps: (s) => s.step('pay', {
        run: async ({ attempt }) => {
          if (attempt === 1) throw new Error('try again')
          second.open()
          await never
        },
        backoff: { delayMs: 0 },
        compensate: ({ outcome }) => { undone.push(outcome.kind) }
      })
    })
  })
  const id = await submit('a')
  await second.opened
  lasting.crash()
  await app.jobs.cancel(id)
  t.equal((await ended(id)).state, 'cancelled')
  t.same(undone, ['unknown'])
})

t.test('an undo that was begun is ended after a crash, also of a step that was stopped before its first try', async (t) => {
  const calls: string[] = []
  const { submit, lasting, ended, until } = await clockedApp(t, (app) => {
    app.saga({
      name: 'a',
      retry: { backoff: { delayMs: 0 } },
      steps: (s) => s.step('pay', {
        run: () => { calls.push('pay') },
        compensate: async ({ outcome }) => {
          calls.push(`undo ${outcome.kind}`)
          if (calls.length === 1) await never
        }
      })
    })
  })
  // The answer to the write that begins the step says that somebody has asked to cancel the job.
  lasting.onCheckpoint = ({ job: { id } }) => { void lasting.store.cancel(id, 'not wanted') }
  const id = await submit('a')
  await until('it is being undone', () => calls.length === 1)
  lasting.crash()
  const { state, facts } = await ended(id)
  t.equal(state, 'cancelled')
  t.same(calls, ['undo unknown', 'undo unknown'])
  t.match(readStep(facts, 'pay'), { s: 'z' })
})

t.test('the deadline is as a cancel, and the undo has its own time', async (t) => {
  for (const wait of ['step', 'sleep', 'signal', 'condition', 'returns'] as const) {
    const undone: string[] = []
    const made = await clockedApp(t, (app) => {
      app.saga({
        name: 'a',
        timeoutMs: 10_000,
        steps: (s) => {
          const begun = s.step('a', { run: () => 1, compensate: async ({ reason, signal }) => { undone.push(`${reason} ${signal.aborted}`) } })
          if (wait === 'sleep') return begun.sleep('z', 20_000)
          if (wait === 'signal') return begun.signal('i')
          if (wait === 'condition') return begun.step('b', { when: () => never as unknown as boolean, run: () => 1 })
          if (wait === 'returns') return begun.returns((): unknown => never)
          return begun.step('b', async ({ signal }) => { await aborted(signal) })
        }
      })
    })
    const id = await made.submit('a')
    const job = await made.ended(id, 12_000)
    t.match(job, { state: 'failed', error: { code: 'FAE_SAGA_TIMEOUT' } }, wait)
    t.same(undone, ['timeout false'], wait)
    await made.close()
  }
})

t.test('a step that never ends is left behind, tried again, and its effect is unknown', async (t) => {
  const undone: string[] = []
  let calls = 0
  const { submit, ended, story } = await clockedApp(t, (app) => {
    app.saga({
      name: 'a',
      steps: (s) => s.step('stuck', {
        run: async () => { calls++; await never },
        attempts: 2,
        timeoutMs: 1_000,
        compensate: ({ outcome, error }) => { undone.push(`${outcome.kind} ${error?.code}`) }
      })
    })
  })
  t.match(await ended(await submit('a')), { state: 'failed', error: { code: 'FAE_STEP_TIMEOUT' } })
  t.equal(calls, 2)
  t.same(undone, ['unknown FAE_STEP_TIMEOUT'])
  t.equal(story().filter((line) => line === 'step.abandoned stuck').length, 2)
})

t.test('what a step returns after its timeout is ignored', async (t) => {
  const outcomes: string[] = []
  const { submit, ended } = await clockedApp(t, (app) => {
    app.saga({
      name: 'a',
      steps: (s) => s.step('late', {
        run: async ({ signal }) => { await aborted(signal).catch(() => {}); return 'too late' },
        attempts: 1,
        timeoutMs: 500,
        compensate: ({ outcome }) => { outcomes.push(outcome.kind) }
      })
    })
  })
  t.match(await ended(await submit('a')), { state: 'failed', error: { code: 'FAE_STEP_TIMEOUT' } })
  t.same(outcomes, ['unknown'], 'it may have had an effect before')
})

t.test('two undos fail and one never ends: each is tried, each is named, the others run', async (t) => {
  const tried: string[] = []
  const { submit, ended, events, record } = await clockedApp(t, (app) => {
    app.saga({
      name: 'a',
      steps: (s) => s
        .step('one', { run: () => 1, compensate: { run: () => { tried.push('one'); throw new Error('one stays') }, attempts: 2 } })
        .step('two', { run: () => 2, compensate: () => { tried.push('two') } })
        .step('three', { run: () => 3, compensate: { run: async () => { tried.push('three'); await never }, attempts: 1, timeoutMs: 1_000 } })
        .step('four', { run: () => 4, compensate: { run: () => { tried.push('four'); throw new Error('four stays') }, attempts: 1 } })
        .step('bad', { run: () => { throw new Error('the cause') }, attempts: 1 })
    })
  })
  const id = await submit('a')
  const job = await ended(id)
  t.same(tried, ['four', 'three', 'two', 'one', 'one'])
  t.match(job, { state: 'failed', error: { code: 'FAE_COMPENSATION_FAILED' } })
  for (const text of ['3 steps could not be undone', 'one (Error: one stays)', 'three (FAE_STEP_TIMEOUT', 'four (Error: four stays)', 'Error: the cause']) t.match(job.error?.message, text)
  t.match(JSON.parse((await record(id)).facts?.[''] ?? ''), { p: 'compensation-failed' })
  t.match(events.filter(({ name }) => name === 'saga.compensation_failed').map(({ event }) => event), [{ steps: 'one, three, four' }])
})

t.test('a cancel whose undo fails is no `cancelled`', async (t) => {
  const { submit, ended, app, until, story } = await clockedApp(t, (app) => {
    app.saga({ name: 'a', steps: (s) => s.step('a', { run: () => 1, compensate: { run: () => { throw new Error('no') }, attempts: 1 } }).signal('i') })
  })
  const id = await submit('a')
  await until('it waits', () => story().includes('saga.suspended i'))
  await app.jobs.cancel(id)
  t.match(await ended(id), { state: 'failed', error: { code: 'FAE_COMPENSATION_FAILED', message: /FAE_JOB_CANCELLED/ } })
})

t.test('a second cancel does not disturb the undo, also in its backoff', async (t) => {
  const tried: number[] = []
  const { submit, ended, app, until, story } = await clockedApp(t, (app) => {
    app.saga({
      name: 'a',
      steps: (s) => s
        .step('a', {
          run: () => 1,
          compensate: {
            run: ({ attempt, signal }) => { tried.push(attempt); if (attempt < 3) throw new Error('again'); signal.throwIfAborted() }, backoff: { type: 'fixed', delayMs: 5_000, jitter: 0 }
          }
        })
        .step('bad', { run: () => { throw new Error('no') }, attempts: 1 })
    })
  })
  const id = await submit('a')
  await until('it waits', () => story().includes('saga.suspended a'))
  await app.jobs.cancel(id)
  t.match(await ended(id), { state: 'failed', error: { message: 'no' } }, 'it had failed before')
  t.same(tried, [1, 2, 3])
})

t.test('codes of the library that a step throws change nothing', async (t) => {
  const codes = ['FAE_JOB_CANCELLED', 'FAE_SAGA_TIMEOUT', 'FAE_COMPENSATION_FAILED', 'FAE_LEASE_LOST', 'FAE_ABORTED', 'FAE_SAGA_CHANGED', 'FAE_STORE_FULL', 'FAE_JOB_TOO_LARGE', 'FAE_STORE_UNAVAILABLE', 'FAE_CHECKPOINT_UNREADABLE']
  const reasons: string[] = []
  const { AsyncEndpointsError } = await import('../../plugins/async-endpoints.ts')
  const { submit, ended, record } = await clockedApp(t, (app) => {
    app.saga<{ body: { code: string } }>({
      name: 'a',
      steps: (s) => s
        .step('a', { run: () => 1, compensate: ({ reason }) => { reasons.push(reason) } })
        .step('b', { run: ({ body }) => { throw new AsyncEndpointsError(body.code as 'FAE_ABORTED', 'mine') }, attempts: 1 })
    })
  })
  for (const code of codes) {
    const id = await submit('a', { code })
    t.match(await ended(id), { state: 'failed', error: { code, message: 'mine' } }, code)
    t.match(JSON.parse((await record(id)).facts?.[''] ?? ''), { p: 'compensated' }, code)
  }
  t.same(reasons, codes.map(() => 'failed'))
})

t.test('what a step says instead of a result', async (t) => {
  const ran: string[] = []
  const { submit, ended } = await clockedApp(t, (app) => {
    const undo = { run: () => 1, compensate: () => { ran.push('undo') } }
    app.saga({ name: 'discards', steps: (s) => s.step('a', undo).step('b', { run: () => { ran.push('b'); throw discard('never') }, compensate: () => { ran.push('undo b') } }) })
    app.saga({ name: 'cancels', steps: (s) => s.step('a', undo).step('b', { run: () => { ran.push('b'); throw cancel('not wanted') }, onExhausted: 'continue' }) })
    app.saga({
      name: 'snoozes',
      steps: (s) => s.step('a', undo).step('b', { run: ({ attempt }) => { ran.push(`b ${attempt}`); if (ran.length < 4) throw snooze(ran.length === 1 ? 60_000 : 0) }, attempts: 1 })
    })
  })
  t.match(await ended(await submit('discards')), { state: 'failed', error: { code: 'FAE_DISCARDED', message: 'never' } })
  t.same(ran.splice(0), ['b', 'undo'])
  t.match(await ended(await submit('cancels')), { state: 'cancelled', error: { message: 'not wanted' } })
  t.same(ran.splice(0), ['b', 'undo'])
  t.match(await ended(await submit('snoozes'), 120_000), { state: 'completed' })
  t.same(ran, ['b 1', 'b 1', 'b 1', 'b 1'], 'a snooze spends no try')
})

t.test('a step that snoozes again and again can be cancelled', async (t) => {
  const { submit, ended, app, until, story } = await clockedApp(t, (app) => {
    app.saga({ name: 'a', steps: (s) => s.step('a', { run: () => { throw snooze(0) }, compensate: () => {} }) })
  })
  const id = await submit('a')
  await until('it runs', () => story().includes('step.started a'))
  await app.jobs.cancel(id)
  t.equal((await ended(id, 2_000)).state, 'cancelled')
})

t.test('what an undo says instead of being done', async (t) => {
  const tried: number[] = []
  const { submit, ended, clock } = await clockedApp(t, (app) => {
    const bad = { run: () => { throw new Error('no') }, attempts: 1 }
    app.saga({ name: 'snoozes', steps: (s) => s.step('a', { run: () => 1, compensate: ({ attempt }) => { tried.push(attempt); return tried.length < 3 ? snooze(10_000) : undefined } }).step('bad', bad) })
    app.saga({ name: 'discards', steps: (s) => s.step('a', { run: () => 1, compensate: ({ attempt }) => { tried.push(attempt); throw discard('cannot be undone') } }).step('bad', bad) })
  })
  const before = clock.now()
  t.match(await ended(await submit('snoozes')), { state: 'failed', error: { message: 'no' } })
  t.ok(clock.now() - before >= 20_000)
  t.same(tried.splice(0), [1, 1, 1])
  t.match(await ended(await submit('discards')), { state: 'failed', error: { code: 'FAE_COMPENSATION_FAILED', message: /FAE_DISCARDED: cannot be undone/ } })
  t.same(tried, [1])
})

t.test('a cancel and the deadline end the wait for what a function of the definition promises', async (t) => {
  const asked: string[] = []
  // As the query of a query builder: not a Promise, and awaited all the same.
  const query = { then: () => {} }
  for (const [kind, promise] of [['promise', never], ['thenable', query]] as const) {
    const { submit, ended, app, until } = await clockedApp(t, (app) => {
      const begun = { run: () => 1, compensate: () => { asked.push('undone') } }
      // The types allow no promise; plain JavaScript may give one.
      const ask = (): never => {
        asked.push('asked')
        return promise as never
      }
      app.saga({ name: 'when', steps: (s) => s.step('a', begun).step('b', { when: ask, run: () => 1 }) })
      app.saga({ name: 'list', steps: (s) => s.step('a', begun).each('b', ask, { run: () => 1 }) })
      app.saga({ name: 'sleep', steps: (s) => s.step('a', begun).sleep('b', ask) })
      app.saga({ name: 'returns', steps: (s) => s.step('a', begun).returns(ask) })
      app.saga({ name: 'late', timeoutMs: 5_000, steps: (s) => s.step('a', begun).returns(ask) })
    })
    for (const name of ['when', 'list', 'sleep', 'returns']) {
      const id = await submit(name)
      await until('it is asked', () => asked.length === 1)
      await app.jobs.cancel(id)
      t.equal((await ended(id, 1_000)).state, 'cancelled', `${name}: ${kind}`)
      t.same(asked.splice(0), ['asked', 'undone'], `${name}: ${kind}`)
    }
    t.match(await ended(await submit('late'), 6_000), { state: 'failed', error: { code: 'FAE_SAGA_TIMEOUT' } }, kind)
    t.same(asked.splice(0), ['asked', 'undone'], kind)
  }
})

t.test('functions of the definition that throw, or give what cannot be used', async (t) => {
  const undone: string[] = []
  const { submit, ended } = await clockedApp(t, (app) => {
    const undo = { run: () => 1, compensate: () => { undone.push('a') } }
    const fail = (): never => { throw new Error('oh') }
    app.saga({ name: 'when', steps: (s) => s.step('a', undo).step('b', { when: fail, run: () => 1, onExhausted: 'continue' }) })
    app.saga({ name: 'returns', steps: (s) => s.step('a', undo).returns(fail) })
    app.saga({ name: 'sleep', steps: (s) => s.step('a', undo).sleep('z', fail) })
    app.saga({ name: 'infinite', steps: (s) => s.step('a', undo).sleep('z', () => Infinity) })
    app.saga({ name: 'nan', steps: (s) => s.step('a', undo).sleep('z', () => Number.NaN) })
    app.saga({ name: 'map', steps: (s) => s.step('a', undo).returns((): unknown => new Map([[1, 2]])) })
    app.saga({ name: 'outcome', steps: (s) => s.step('a', undo).returns((): unknown => snooze(5)) })
  })
  for (const [name, code] of Object.entries({
    when: 'Error', returns: 'Error', sleep: 'Error', infinite: 'FAE_INVALID_OPTIONS', nan: 'FAE_INVALID_OPTIONS', map: 'FAE_RESULT_NOT_SERIALIZABLE', outcome: 'FAE_RESULT_NOT_SERIALIZABLE'
  })) {
    t.match(await ended(await submit(name)), { state: 'failed', error: { code } }, name)
    t.same(undone.splice(0), ['a'], name)
  }
})
