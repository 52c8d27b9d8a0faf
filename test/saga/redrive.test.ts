/** Crashes, budgets and redrives: what is run again, under which idempotency key, and until when. */
import t from 'tap'
import { clockedApp, latch, never } from './clocked.ts'

t.test('the key is equal over tries and crashes, and another one after an undo and a redrive', async (t) => {
  const keys: string[] = []
  const stuck = latch()
  const { submit, ended, lasting, app } = await clockedApp(t, (app) => {
    app.saga({
      name: 'pay',
      retry: { backoff: { delayMs: 0 } },
      steps: (s) => s
        .step('charge', {
          run: async ({ idempotencyKey, attempt }) => {
            keys.push(idempotencyKey)
            if (attempt === 1) throw new Error('again')
            if (keys.length === 2) {
              stuck.open()
              await never
            }
          },
          backoff: { delayMs: 0 },
          compensate: ({ idempotencyKey }) => { keys.push(idempotencyKey) }
        })
        .step('ship', { run: () => { if (keys.length < 5) throw new Error('no') }, attempts: 1 })
    })
  })
  const id = await submit('pay')
  await stuck.opened
  lasting.crash()
  t.equal((await ended(id)).state, 'failed')
  t.same(keys, [`${id}/charge/0`, `${id}/charge/0`, `${id}/charge/0`, `${id}/charge/0/undo`])
  await app.jobs.redrive(id)
  t.equal((await ended(id)).state, 'completed')
  t.same(keys.slice(4), [`${id}/charge/1`, `${id}/charge/1`])
})

t.test('onExhausted: fail undoes nothing; a redrive goes on at the step, with its tries and a new deadline', async (t) => {
  const ran: string[] = []
  const works = { now: false }
  const { submit, ended, app, clock, record } = await clockedApp(t, (app) => {
    app.saga({
      name: 'a',
      timeoutMs: 60_000,
      steps: (s) => s
        .step('a', { run: ({ idempotencyKey }) => { ran.push(idempotencyKey.slice(37)) }, compensate: () => { ran.push('undo a') } })
        .parallel('g', (g) => g
          .step('ok', () => { ran.push('ok') })
          .step('b', {
            run: ({ attempt, idempotencyKey }) => { ran.push(`${idempotencyKey.slice(37)} ${attempt}`); if (!works.now) throw new Error('no') }, attempts: 2, backoff: { delayMs: 0 }, onExhausted: 'fail'
          }))
        .sleep('z', 30_000)
        .step('c', () => { ran.push('c') })
    })
  })
  const id = await submit('a')
  t.match(await ended(id), { state: 'failed', error: { message: 'no' } })
  t.same(ran, ['a/0', 'ok', 'g/b/0 1', 'g/b/0 2'])
  t.match(JSON.parse((await record(id)).facts?.[''] ?? ''), { x: 1 })
  t.notMatch(JSON.parse((await record(id)).facts?.[''] ?? ''), { p: String })
  await clock.advance(120_000)
  works.now = true
  await app.jobs.redrive(id)
  t.match(await ended(id), { state: 'completed', progress: { done: 5, total: 5 } })
  t.same(ran.slice(4), ['g/b/0 1', 'c'])
})

t.test('a redrive after a failed compensation undoes only what is left, and ends as before', async (t) => {
  const ran: string[] = []
  const works = { now: false }
  const { submit, ended, app, record } = await clockedApp(t, (app) => {
    app.saga({
      name: 'a',
      steps: (s) => s
        .step('a', { run: () => 'of a', compensate: { run: ({ outcome, error, attempt }) => { ran.push(`a ${attempt} ${error?.message} ${JSON.stringify(outcome)}`); if (!works.now) throw new Error('stays') }, attempts: 2, backoff: { delayMs: 0 } } })
        .step('b', { run: () => 1, compensate: () => { ran.push('b') } })
        .step('bad', { run: () => { ran.push('bad'); throw new Error('cause') }, attempts: 1 })
    })
  })
  const id = await submit('a')
  t.match(await ended(id), { state: 'failed', error: { code: 'FAE_COMPENSATION_FAILED' } })
  const undoOfA = '{"kind":"completed","result":"of a"}'
  t.same(ran.splice(0), ['bad', 'b', `a 1 cause ${undoOfA}`, `a 2 cause ${undoOfA}`])
  await app.jobs.redrive(id)
  t.match(await ended(id), { state: 'failed', error: { code: 'FAE_COMPENSATION_FAILED' } })
  t.same(ran.splice(0), [`a 1 cause ${undoOfA}`, `a 2 cause ${undoOfA}`])
  works.now = true
  await app.jobs.redrive(id)
  t.match(await ended(id), { state: 'failed', error: { message: 'cause' } })
  t.same(ran, [`a 1 cause ${undoOfA}`])
  t.match(JSON.parse((await record(id)).facts?.[''] ?? ''), { p: 'compensated' })
})

t.test('a redrive after all was undone begins at the first step, with a new deadline and new signals', async (t) => {
  const ran: string[] = []
  const { submit, ended, app, signal, until, story, clock } = await clockedApp(t, (app) => {
    app.saga({
      name: 'a',
      timeoutMs: 10_000,
      steps: (s) => s.step('a', { run: () => { ran.push('a') }, compensate: () => { ran.push('undo') } }).signal('go').each('e', () => [1, 2], { run: ({ item }) => { ran.push(`e${item}`) } })
    })
  })
  const id = await submit('a')
  t.match(await ended(id), { state: 'failed', error: { code: 'FAE_SAGA_TIMEOUT' } })
  await clock.advance(60_000)
  await app.jobs.redrive(id)
  await until('it waits again', () => story().filter((line) => line === 'saga.suspended go').length === 2)
  t.same(await signal(id, 'go', 1), { kind: 'stored' })
  t.match(await ended(id), { state: 'completed', progress: { done: 5, total: 5 } })
  t.same(ran, ['a', 'undo', 'a', 'e1', 'e2'])
})

t.test('a crash in the second of three tries: the tries before it are not forgotten', async (t) => {
  let errors = 0
  let calls = 0
  const second = latch()
  const { submit, ended, lasting } = await clockedApp(t, (app) => {
    app.saga({
      name: 'a',
      retry: { backoff: { delayMs: 0 } },
      steps: (s) => s.step('a', {
        run: async () => {
          if (++calls === 2) {
            second.open()
            await never
          }
          errors++
          throw new Error('no')
        },
        backoff: { delayMs: 0 }
      })
    })
  })
  const id = await submit('a')
  await second.opened
  lasting.crash()
  t.match(await ended(id), { state: 'failed', error: { message: 'no' } })
  t.same([calls, errors], [4, 3], 'three errors, and the try that died')
})

t.test('a step on which one worker after the other dies is given up and undone', async (t) => {
  let deaths = 0
  let dying = latch()
  const undone: string[] = []
  const { submit, ended, lasting, until, clock } = await clockedApp(t, (app) => {
    app.saga({
      name: 'a',
      retry: { attempts: 2, backoff: { type: 'fixed', delayMs: 3_000, jitter: 0 } },
      steps: (s) => s
        .step('a', { run: () => 1, compensate: ({ outcome }) => { undone.push(`a ${outcome.kind}`) } })
        .step('killer', { run: async () => { deaths++; dying.open(); await never }, compensate: ({ outcome }) => { undone.push(`killer ${outcome.kind}`) } })
    })
  })
  const id = await submit('a')
  await dying.opened
  dying = latch()
  lasting.crash()
  const before = clock.now()
  await until('it runs again', () => deaths === 2)
  t.ok(clock.now() - before >= 3_000, 'the backoff of a crash has passed')
  lasting.crash()
  t.match(await ended(id), { state: 'failed', error: { code: 'FAE_STEP_CRASHED' } })
  t.equal(deaths, 2)
  t.same(undone, ['killer unknown', 'a completed'])
})

t.test('crashes of a step are none of the undo: it is tried after a cancel, too', async (t) => {
  let deaths = 0
  const undone: string[] = []
  const { submit, ended, lasting, until, app } = await clockedApp(t, (app) => {
    app.saga({
      name: 'a',
      retry: { attempts: 2, backoff: { delayMs: 0 } },
      steps: (s) => s.step('killer', { run: async () => { deaths++; await never }, compensate: ({ outcome }) => { undone.push(outcome.kind) } })
    })
  })
  const id = await submit('a')
  await until('it runs', () => deaths === 1)
  lasting.crash()
  await until('it runs again', () => deaths === 2)
  await app.jobs.cancel(id).catch(() => {})
  lasting.crash()
  t.match(await ended(id), { state: 'cancelled' })
  t.same(undone, ['unknown'])
})

t.test('an undo on which one worker after the other dies is given up, and the others run', async (t) => {
  let deaths = 0
  const undone: string[] = []
  const { submit, ended, lasting, until } = await clockedApp(t, (app) => {
    app.saga({
      name: 'a',
      retry: { attempts: 2, backoff: { delayMs: 0 } },
      steps: (s) => s
        .step('a', { run: () => 1, compensate: () => { undone.push('a') } })
        .step('killer', { run: () => 1, compensate: async () => { deaths++; await never } })
        .step('b', { run: () => 1, compensate: () => { undone.push('b') } })
        .step('bad', { run: () => { throw new Error('no') }, attempts: 1 })
    })
  })
  const id = await submit('a')
  for (const n of [1, 2]) {
    await until('it runs', () => deaths === n)
    lasting.crash()
  }
  t.match(await ended(id), { state: 'failed', error: { code: 'FAE_COMPENSATION_FAILED', message: /killer \(FAE_STEP_CRASHED/ } })
  t.equal(deaths, 2)
  t.same(undone, ['b', 'a'], 'each once')
})

t.test('a crash right before or after any checkpoint of the failure and of the undos loses nothing', async (t) => {
  for (const [when, point] of [1, 2, 3, 4, 5, 6, 7].flatMap((n) => [['onCheckpoint', n], ['onStored', n]] as const)) {
    const ran: string[] = []
    let writes = 0
    const made = await clockedApp(t, (app) => {
      app.saga({
        name: 'a',
        retry: { attempts: 5, backoff: { delayMs: 0 } },
        steps: (s) => s
          .step('a', { run: () => { ran.push('a') }, compensate: () => { ran.push('undo a') } })
          .step('b', { run: () => { ran.push('b') }, compensate: () => { ran.push('undo b') } })
          .step('bad', { run: () => { ran.push('bad'); throw new Error('cause') }, attempts: 1 })
      })
    })
    made.lasting[when] = () => { if (++writes === point) made.lasting.crash() }
    t.match(await made.ended(await made.submit('a')), { state: 'failed', error: { message: 'cause' } }, `${when} ${point}`)
    const times = (name: string): number => ran.filter((entry) => entry === name).length
    for (const name of ['a', 'b', 'bad', 'undo a', 'undo b']) t.ok(times(name) === 1 || times(name) === 2, `${when} ${point}: ${name} ran ${times(name)} times`)
    t.ok(ran.lastIndexOf('undo b') < ran.lastIndexOf('undo a'), `${when} ${point}: ${ran.join()}`)
    t.ok(ran.length <= 6, `${when} ${point}: at most one of them twice: ${ran.join()}`)
    await made.close()
  }
})

t.test('jobs that a step submits: a try that runs again gets the same one, siblings get their own', async (t) => {
  const children: string[] = []
  const { submit, ended } = await clockedApp(t, (app) => {
    const child = app.defineJob<{ body: { n: number } }>({ name: 'child', handler: () => {} })
    app.saga({
      name: 'a',
      steps: (s) => s
        .step('a', {
          run: async (step) => {
            const first = await step.submit(child, { n: 1 })
            const second = await step.submit(child, { n: 2 })
            children.push(first.id, second.id)
            if (step.attempt === 1) throw new Error('again')
          },
          backoff: { delayMs: 0 }
        })
        .parallel('g', (g) => g
          .step('x', async (step) => { children.push((await step.submit(child, { n: 1 })).id) })
          .step('y', async (step) => { children.push((await step.submit(child, { n: 1 })).id) }))
    })
  })
  t.match(await ended(await submit('a')), { state: 'completed' })
  t.same(children.slice(0, 2), children.slice(2, 4))
  t.equal(new Set(children).size, 4)
})

t.test('an undo that succeeds after it had failed leaves no error of its step, and a redrive the progress', async (t) => {
  const works = { now: false }
  const { submit, ended, app, record } = await clockedApp(t, (app) => {
    app.saga({
      name: 'a',
      steps: (s) => s
        .step('a', { run: () => 1, compensate: { run: () => { if (!works.now) throw new Error('no') }, attempts: 1 } })
        .step('b', { run: () => { throw new Error('the cause') }, attempts: 1 })
    })
  })
  const id = await submit('a')
  t.match(await ended(id), { error: { code: 'FAE_COMPENSATION_FAILED' }, progress: { done: 1, total: 2 } })
  t.match(JSON.parse((await record(id)).facts?.['a'] ?? ''), { s: 'x', e: { message: 'no' } })
  works.now = true
  await app.jobs.redrive(id)
  t.match(await ended(id), { state: 'failed', error: { message: 'the cause' }, progress: { done: 1, total: 2 } })
  const undone = JSON.parse((await record(id)).facts?.['a'] ?? '') as Record<string, unknown>
  t.match(undone, { s: 'z' })
  t.notOk('e' in undone, 'the refused undo is over')
})
