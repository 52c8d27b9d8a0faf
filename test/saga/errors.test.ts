/** Steps that a saga may do without, errors as they are stored, and stored texts that cannot be read. */
import t from 'tap'
import { clockedApp } from './clocked.ts'

t.test('onExhausted: continue goes on without the result, and counts the step as done', async (t) => {
  const undone: string[] = []
  const { submit, ended, app, record } = await clockedApp(t, (app) => {
    app.saga<{ body: { fail: boolean } }>({
      name: 'a',
      steps: (s) => s
        .step('notify', { run: () => { throw new Error('no mail') }, attempts: 2, backoff: { delayMs: 0 }, onExhausted: 'continue', compensate: () => { undone.push('notify') } })
        .parallel('g', (g) => g.step('x', { run: () => { throw new Error('no') }, attempts: 1, onExhausted: 'continue' }).step('y', () => 1))
        .step('last', { run: ({ body }) => { if (body.fail) throw new Error('end') }, attempts: 1 })
        .returns(({ results }) => ({ notify: results.notify ?? 'none', x: results.g.x ?? 'none', y: results.g.y }))
    })
  })
  const id = await submit('a', { fail: false })
  t.match(await ended(id), { state: 'completed', progress: { done: 4, total: 4 } })
  t.same(await app.jobs.result(id), { notify: 'none', x: 'none', y: 1 })
  t.match(JSON.parse((await record(id)).facts?.['notify'] ?? ''), { s: 'f', g: 1, a: 2, e: { message: 'no mail' } })
  t.match(await ended(await submit('a', { fail: true })), { state: 'failed', error: { message: 'end' } })
  t.same(undone, [], 'a clean error had no effect')
})

t.test('the error of a step is stored as it was thrown, after a suspension too', async (t) => {
  const seen: unknown[] = []
  class Odd extends Error {
    readonly code = 'E_ODD'
    override name = 'Odd'
  }
  const { submit, ended, events } = await clockedApp(t, (app) => {
    app.saga({
      name: 'a',
      steps: (s) => s
        .step('a', { run: () => 1, compensate: { run: ({ error, attempt }) => { seen.push(error); if (attempt === 1) throw new Error('later') }, backoff: { type: 'fixed', delayMs: 5_000, jitter: 0 } } })
        .step('b', { run: () => { throw new Odd('very odd') }, attempts: 1 })
    })
  })
  const job = await ended(await submit('a'))
  t.match(job, { state: 'failed', error: { code: 'E_ODD', message: 'very odd' } })
  t.equal(seen.length, 2)
  t.same(seen[0], seen[1], 'live, and read again')
  t.match(seen[0], { code: 'E_ODD', message: 'very odd' })
  t.match(events.find(({ name }) => name === 'step.failed')?.event, { errorCode: 'E_ODD', errorMessage: 'very odd' })
})

t.test('garbage in a stored text is a coded failure, and no loop', async (t) => {
  for (const [what, garbage] of Object.entries<Record<string, string>>({
    head: { '': 'no JSON' }, 'a head of another form': { '': '{"k":"many"}' }, names: { '=': '[]' }, step: { a: '{"s":"?"}' }, 'a step that is a number': { a: '5' }, 'a moment that is none': { a: '{"s":"c","a":1,"m":1,"t":null}' }
  })) {
    const ran: string[] = []
    const made = await clockedApp(t, (app) => {
      app.saga({ name: 'a', steps: (s) => s.step('a', () => { ran.push('a'); return 1 }).signal('go').step('b', ({ results }) => { ran.push(`b ${results.a}`) }) })
    })
    const id = await made.submit('a')
    const journal = made.lasting.journal
    made.lasting.journal = async (job) => {
      const stored = await journal(job)
      return stored === undefined ? undefined : { ...stored, facts: { ...stored.facts, ...garbage } }
    }
    await made.until('it waits', () => made.story().includes('saga.suspended go'))
    await made.signal(id, 'go', 1)
    t.match(await made.ended(id), { state: 'failed', error: { code: 'FAE_CHECKPOINT_UNREADABLE' } }, what)
    t.same(ran, ['a'])
    await made.app.jobs.redrive(id)
    t.match(await made.ended(id), { state: 'failed', error: { code: 'FAE_CHECKPOINT_UNREADABLE' } }, `${what}, redriven`)
    await made.close()
  }
})

t.test('a stored result that is no JSON fails the step that reads it', async (t) => {
  const undone: string[] = []
  const made = await clockedApp(t, (app) => {
    app.saga({ name: 'a', steps: (s) => s.step('a', { run: () => 1, compensate: () => { undone.push('a') } }).signal('go').step('b', { run: ({ results }) => results.a, attempts: 1 }) })
  })
  const id = await made.submit('a')
  const journal = made.lasting.journal
  made.lasting.journal = async (job) => {
    const stored = await journal(job)
    return stored === undefined ? undefined : { ...stored, values: { ...stored.values, a: '{half' } }
  }
  await made.until('it waits', () => made.story().includes('saga.suspended go'))
  await made.signal(id, 'go', 1)
  t.match(await made.ended(id), { state: 'failed', error: { code: 'FAE_COMPENSATION_FAILED', message: /1 step could not be undone: a \(FAE_CHECKPOINT_UNREADABLE/ } })
  t.same(undone, [], 'an undo is not called with a result that is not the one of its step')
})
