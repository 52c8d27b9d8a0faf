import t from 'tap'
import { finished, sagaApp } from './support.ts'

t.test('a saga runs its steps in order, hands results on, and returns', async (t) => {
  const ran: string[] = []
  const { app, story } = await sagaApp(t, (app) => {
    app.saga<{ body: { n: number }, result: { sum: number } }>({
      name: 'sum',
      steps: (s) => s
        .step('a', ({ body }) => { ran.push('a'); return body.n })
        .step('b', ({ results }) => { ran.push('b'); return { twice: results.a * 2 } })
        .parallel('both', (g) => g
          .step('x', ({ results }) => results.b.twice)
          .step('y', async () => 5))
        .step('never', { when: () => false, run: () => { ran.push('never') } })
        .each('squares', () => [1, 2, 3], { run: ({ item }) => item * item })
        .returns(({ results }) => ({ sum: results.both.x + results.both.y + results.squares.reduce((sum, n) => sum + n, 0) }))
    })
  })
  const { id, job } = await finished(app, 'sum', { n: 3 })
  t.equal(job.state, 'completed', String(job.error?.message))
  t.same(await app.jobs.result('sum', id), { sum: 6 + 5 + 14 })
  t.same(ran, ['a', 'b'])
  t.same(job.progress, { done: 9, total: 9 })
  t.matchOnly(story(), [
    'saga.started', 'step.started a', 'step.completed a', 'step.started b', 'step.completed b', 'saga.group_started both',
    'step.started both/x', 'step.started both/y', 'step.completed both/x', 'step.completed both/y', 'saga.group_completed both',
    'step.skipped never', 'saga.group_started squares', 'step.started squares/0', 'step.started squares/1', 'step.started squares/2',
    'step.completed squares/0', 'step.completed squares/1', 'step.completed squares/2', 'saga.group_completed squares', 'saga.completed'
  ])
})

t.test('a step that fails for good is followed by the undo of what was done, the newest first', async (t) => {
  const undone: unknown[] = []
  const { app, story } = await sagaApp(t, (app) => {
    app.saga({
      name: 'undo',
      steps: (s) => s
        .step('one', { run: () => ({ key: 1 }), compensate: ({ outcome, reason }) => { undone.push(['one', outcome, reason]) } })
        .step('pure', () => 2)
        .step('two', { run: () => {}, compensate: ({ outcome }) => { undone.push(['two', outcome]) } })
        .step('bad', { run: () => { throw new Error('no') }, attempts: 1, compensate: () => { undone.push('bad') } })
        .step('later', { run: () => {}, compensate: () => { undone.push('later') } })
    })
  })
  const { job } = await finished(app, 'undo')
  t.equal(job.state, 'failed')
  t.match(job.error, { code: 'Error', message: 'no' })
  t.same(undone, [['two', { kind: 'completed', result: undefined }], ['one', { kind: 'completed', result: { key: 1 } }, 'failed']])
  t.match(story().slice(-6), ['saga.compensating bad', 'step.compensating two', 'step.compensated two', 'step.compensating one', 'step.compensated one', 'saga.compensated'].slice(1))
})

t.test('an undo has a key of its own, and that of its step: what an unknown outcome left can be found', async (t) => {
  const keys: unknown[] = []
  const { app } = await sagaApp(t, (app) => {
    app.saga({
      name: 'keys',
      steps: (s) => s
        .step('one', {
          run: ({ idempotencyKey }) => { keys.push(idempotencyKey) },
          compensate: ({ stepKey, idempotencyKey }) => { keys.push(stepKey, idempotencyKey) }
        })
        .each('many', () => ['a'], {
          run: ({ idempotencyKey }) => { keys.push(idempotencyKey) },
          compensate: ({ stepKey }) => { keys.push(stepKey) }
        })
        .step('bad', { run: () => { throw new Error('no') }, attempts: 1 })
    })
  })
  const { job: { id } } = await finished(app, 'keys')
  t.strictSame(keys, [`${id}/one/0`, `${id}/many/0/0`, `${id}/many/0/0`, `${id}/one/0`, `${id}/one/0/undo`])
})

t.test('a sibling that waits for its next try is not tried again when another has failed for good', async (t) => {
  const tries = { patient: 0, undone: 0 }
  const { app } = await sagaApp(t, (app) => {
    app.saga({
      name: 'pause',
      steps: (s) => s.parallel('group', (group) => group
        .step('patient', {
          attempts: 2,
          backoff: { type: 'fixed', delayMs: 200, jitter: 0 },
          run: () => { tries.patient++; throw new Error('not yet') },
          compensate: () => { tries.undone++ }
        })
        .step('hasty', { attempts: 2, backoff: { type: 'fixed', delayMs: 100, jitter: 0 }, run: () => { throw new Error('never') } }))
    })
  })
  const { job } = await finished(app, 'pause')
  t.match(job, { state: 'failed', error: { message: 'never' } })
  t.strictSame(tries, { patient: 1, undone: 0 })
})

t.test('a sleep and a signal hold no slot, and a signal wakes the saga', async (t) => {
  const { app, story } = await sagaApp(t, (app) => {
    app.saga({
      name: 'wait',
      steps: (s) => s.step('a', () => 1).sleep('pause', 50).signal('go', { parse: (value) => Number(value) }).step('b', ({ results }) => results.go).returns(({ results }) => results.b)
    })
  })
  const { id } = await app.jobs.submit('wait' as never)
  for (let n = 0; n < 200 && story().filter((line) => line === 'saga.suspended go').length === 0; n++) await new Promise((resolve) => { setTimeout(resolve, 10) })
  t.equal((await app.jobs.get(id))?.state, 'scheduled')
  const { runtimeOf } = await import('../../lib/events/runtime.ts')
  t.same(await runtimeOf(app).store.steps?.signal(id, 'go', '7'), { kind: 'stored' })
  const job = await app.jobs.waitFor(id)
  t.equal(job.state, 'completed', String(job.error?.message))
  t.equal(await app.jobs.result(id), 7)
})

t.test('cancel while it waits undoes what was done', async (t) => {
  const undone: string[] = []
  const { app, story } = await sagaApp(t, (app) => {
    app.saga({ name: 'wait', steps: (s) => s.step('a', { run: () => 1, compensate: ({ reason }) => { undone.push(reason) } }).signal('go') })
  })
  const { id } = await app.jobs.submit('wait' as never)
  for (let n = 0; n < 200 && !story().includes('saga.suspended go'); n++) await new Promise((resolve) => { setTimeout(resolve, 10) })
  t.equal((await app.jobs.cancel(id, 'not wanted')).state, 'requested')
  const job = await app.jobs.waitFor(id)
  t.equal(job.state, 'cancelled')
  t.match(job.error, { message: 'not wanted' })
  t.same(undone, ['cancelled'])
})

t.test('the functions of a step can be taken out of its object, also in an undo', async (t) => {
  const made: unknown[] = []
  const { app } = await sagaApp(t, (app) => {
    app.defineJob({ name: 'child', handler: () => 'of a step' })
    app.saga({
      name: 'parent',
      steps: (s) => s
        .step('submit', {
          run: async ({ submit, span, throwIfAborted }) => {
            throwIfAborted()
            return await span('ask', async () => (await submit('child' as never)).id)
          },
          compensate: async ({ submit, throwIfAborted }) => {
            throwIfAborted()
            made.push((await submit('child' as never)).id)
          }
        })
        .step('each', ({ results }) => { made.push(results.submit) })
        .each('items', () => [1], { attempts: 1, run: async ({ submit }) => { made.push((await submit('child' as never)).id); throw new Error('no') } })
    })
  })
  const { job } = await finished(app, 'parent')
  t.match(job, { state: 'failed', error: { message: 'no' } })
  t.equal(new Set(made).size, 3, 'each with a key of its own')
  for (const id of made) t.match(await app.jobs.waitFor(id as string), { name: 'child', state: 'completed' })
})
