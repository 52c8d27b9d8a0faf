/** Results: what a step is given is what was stored, and how large it may be. */
import t from 'tap'
import { AsyncEndpointsError } from '../../lib/core/errors.ts'
import { readHead } from '../../lib/jobs/saga-facts.ts'
import { FakeClock } from '../../lib/testing/index.ts'
import { discard } from '../../plugins/async-endpoints.ts'
import { clockedApp, LastingStore, latch, never } from './clocked.ts'

t.test('a result has been JSON before the next step sees it, in the first run as after a crash', async (t) => {
  for (const crash of [false, true]) {
    const seen: unknown[] = []
    const gate = { closed: crash }
    const begun = latch()
    const { submit, ended, lasting } = await clockedApp(t, (app) => {
      app.saga({
        name: 'a',
        retry: { backoff: { delayMs: 0 } },
        steps: (s) => s
          // Plain JavaScript, that no compiler has checked.
          .step('a', (): unknown => ({ at: new Date(0), none: undefined, list: [1, { deep: true }] }))
          .step('wait', async () => { begun.open(); if (gate.closed) await never })
          .step('b', ({ results }) => { seen.push(results.a) })
      })
    })
    const id = await submit('a')
    await begun.opened
    if (crash) {
      gate.closed = false
      lasting.crash()
    }
    t.equal((await ended(id)).state, 'completed')
    t.same(seen, [{ at: '1970-01-01T00:00:00.000Z', list: [1, { deep: true }] }])
  }
})

t.test('a step can change neither the results nor what others see of them', async (t) => {
  const seen: unknown[] = []
  const { submit, ended } = await clockedApp(t, (app) => {
    app.saga({
      name: 'a',
      steps: (s) => s
        .step('a', { run: () => ({ list: [1] }), compensate: ({ outcome }) => { seen.push(outcome) } })
        .step('b', ({ results }) => {
          results.a.list.push(2)
          const loose = results as Record<string, unknown>
          for (const change of [() => { loose['a'] = 5 }, () => { delete loose['a'] }, () => { Object.defineProperty(loose, 'c', { value: 1 }) }]) {
            try { change() } catch { seen.push('refused') }
          }
          return { keys: Object.keys(results), has: ['a' in results, 'b' in results, 'toString' in results], copy: JSON.stringify(results) }
        })
        .step('c', ({ results }) => { seen.push(results.a, results.b) })
        .step('bad', { run: () => { throw discard('end') } })
    })
  })
  await ended(await submit('a'))
  t.same(seen, [
    'refused', 'refused', 'refused', { list: [1] }, { keys: ['a'], has: [true, false, false], copy: '{"a":{"list":[1,2]}}' },
    { kind: 'completed', result: { list: [1] } }
  ])
})

t.test('returns() may give all results, also of steps with the names of members of objects', async (t) => {
  const { submit, ended, lasting } = await clockedApp(t, (app) => {
    app.saga({
      name: 'a',
      steps: (s) => s
        .step('constructor', () => 1)
        .step('toString', () => 2)
        .parallel('g', (g) => g.step('hasOwnProperty', () => 3).step('skipped', { when: () => false, run: () => 4 }))
        .returns(({ results }) => ({ ...results }))
    })
    app.saga({ name: 'b', steps: (s) => s.step('a', () => 1).step('b', () => 2).returns(({ results }) => results) })
  })
  const a = await submit('a')
  t.match(await ended(a), { state: 'completed' })
  t.same(JSON.parse(await lasting.store.result(a) ?? ''), { constructor: 1, toString: 2, g: { hasOwnProperty: 3 } })
  const b = await submit('b')
  t.match(await ended(b), { state: 'completed' })
  t.same(JSON.parse(await lasting.store.result(b) ?? ''), { a: 1, b: 2 })
})

t.test('256 KiB are the most of one result, 4 MiB of all; what is larger is undone with the result, and not tried again', async (t) => {
  const undone: string[] = []
  let runs = 0
  const { submit, ended, story } = await clockedApp(t, (app) => {
    app.saga<{ body: { bytes: number[] } }>({
      name: 'a',
      steps: (s) => s
        .step('before', { run: () => 1, compensate: () => { undone.push('before') } })
        .each('e', ({ body }) => body.bytes, {
          concurrency: 1,
          // Two bytes are the quotation marks.
          run: ({ item }) => { runs++; return 'x'.repeat(item - 2) },
          compensate: ({ outcome }) => { undone.push(outcome.kind === 'completed' ? String(outcome.result.length) : 'unknown') }
        })
        .step('after', () => 1)
    })
    app.saga({ name: 'own', maxStepResultBytes: 10, maxResultsBytes: 15, steps: (s) => s.step('a', () => 'x'.repeat(8)).step('b', () => 'äö').returns(() => 'x'.repeat(100)) })
    app.saga({ name: 'bytes', maxStepResultBytes: 10, steps: (s) => s.step('a', () => 'äöüäö') })
  })
  t.match(await ended(await submit('a', { bytes: [262_144] })), { state: 'completed' })
  t.match(await ended(await submit('a', { bytes: [262_145] })), { state: 'failed', error: { code: 'FAE_STEP_RESULT_TOO_LARGE', message: /262145 bytes, maxStepResultBytes is 262144; store it elsewhere/ } })
  t.same(undone.splice(0), ['262143', 'before'])
  t.equal(runs, 2, 'no other try')
  t.equal(story().filter((line) => line === 'step.started after').length, 1, 'nothing begins after it')

  const sixteen = Array.from({ length: 16 }, () => 262_144)
  t.match(await ended(await submit('a', { bytes: sixteen })), { state: 'failed', error: { code: 'FAE_STEP_RESULT_TOO_LARGE', message: /maxResultsBytes is 4194304/ } }, '16 x 256 KiB, and the list')
  t.equal(undone.length, 17)
  t.match(await ended(await submit('a', { bytes: sixteen.slice(1) })), { state: 'completed' })

  t.match(await ended(await submit('own')), { state: 'failed', error: { code: 'FAE_STEP_RESULT_TOO_LARGE', message: /With the 6 bytes of step "b" the results have 16 bytes/ } })
  t.match(await ended(await submit('bytes')), { state: 'failed', error: { code: 'FAE_STEP_RESULT_TOO_LARGE', message: /12 bytes/ } }, 'bytes, and not characters')
})

t.test('what JSON cannot hold is undone with the result, and not tried again', async (t) => {
  const circular: Record<string, unknown> = {}
  circular['self'] = circular
  const values: Record<string, unknown> = { circular, big: 1n, map: { m: new Map([[1, 1]]) }, fn: () => 1, symbol: Symbol('a') }
  const undone: string[] = []
  let runs = 0
  const { submit, ended } = await clockedApp(t, (app) => {
    for (const [name, value] of Object.entries(values)) {
      app.saga({ name, steps: (s) => s.step('a', { run: (): unknown => { runs++; return value }, compensate: ({ outcome }) => { undone.push(outcome.kind === 'completed' && outcome.result === value ? 'same' : outcome.kind) } }) })
    }
  })
  for (const name of Object.keys(values)) {
    t.match(await ended(await submit(name)), { state: 'failed', error: { code: 'FAE_STEP_RESULT_NOT_SERIALIZABLE' } }, name)
  }
  t.equal(runs, Object.keys(values).length)
  t.ok(undone.length === runs && undone.every((kind) => kind === 'same'), undone.join())
})

t.test('no step begins on one that could not be stored: a full store leads to the undo, with the result', async (t) => {
  const undone: string[] = []
  let runs = 0
  const lasting = new LastingStore({ maxBytes: 100_000 })
  const { submit, ended } = await clockedApp(t, (app) => {
    app.saga({
      name: 'single',
      steps: (s) => s
        .step('large', { run: () => { runs++; return 'x'.repeat(200_000) }, compensate: ({ outcome }) => { undone.push(outcome.kind === 'completed' ? String(outcome.result.length) : 'unknown') } })
        .step('next', () => { undone.push('next ran') })
    })
    app.saga({
      name: 'group',
      steps: (s) => s
        .parallel('g', (g) => g
          .step('large', { run: () => { runs++; return 'x'.repeat(200_000) }, compensate: ({ outcome }) => { undone.push(outcome.kind) } })
          .step('small', { run: async () => { await null; return 1 }, compensate: () => { undone.push('small') } }))
        .step('next', () => { undone.push('next ran') })
    })
  }, { clock: new FakeClock(), lasting })
  t.match(await ended(await submit('single')), { state: 'failed', error: { code: /FAE_STORE_FULL|FAE_JOB_TOO_LARGE/ } })
  t.same(undone.splice(0), ['200000'])
  t.equal(runs, 1)
  t.match(await ended(await submit('group')), { state: 'failed', error: { code: /FAE_STORE_FULL|FAE_JOB_TOO_LARGE/ } })
  t.same(undone, ['small', 'completed'])
  t.equal(runs, 2)
})

t.test('a store that is full for a while, also for small facts: the saga waits for room, and goes on', async (t) => {
  const ran: string[] = []
  const { submit, ended, lasting, clock } = await clockedApp(t, (app) => {
    app.saga({
      name: 'a',
      retry: { attempts: 2, backoff: { type: 'fixed', delayMs: 1_000, jitter: 0 } },
      steps: (s) => s
        .step('a', { run: () => { ran.push('a') }, compensate: () => { ran.push('undo a') } })
        .step('b', { run: () => { ran.push('b') }, compensate: ({ outcome }) => { ran.push(`undo b ${outcome.kind}`) } })
        .step('c', { run: () => { ran.push('c') } })
    })
  })
  let writes = 0
  const until = clock.now() + 10_000
  // The first two are stored: "b" has begun.
  lasting.onCheckpoint = () => { if (++writes > 2 && clock.now() < until) throw new AsyncEndpointsError('FAE_STORE_FULL', 'The store is full') }
  const job = await ended(await submit('a'))
  t.match(job, { state: 'completed', attempts: 1 })
  t.ok(clock.now() >= until)
  t.same(ran, ['a', 'b', 'c'])
})

t.test('a store without any room left does not keep a saga from undoing its steps', async (t) => {
  const undone: string[] = []
  const lasting = new LastingStore({ maxBytes: 50_000 })
  const fill = async (): Promise<void> => {
    // Until not even the smallest job fits.
    await t.rejects((async () => { for (let n = 0; n < 1_000; n++) await submitter('filler') })(), { code: 'FAE_STORE_FULL' })
  }
  const { app, submit, ended } = await clockedApp(t, (app) => {
    // Results may take an eighth more than submissions do.
    app.defineJob({ name: 'filler', handler: () => {} })
    app.saga({
      name: 'a',
      steps: (s) => s
        .step('first', { run: () => 1, compensate: ({ outcome }) => { undone.push(`first ${outcome.kind}`) } })
        .step('large', { run: async () => { await fill(); return 'x'.repeat(10_000) }, compensate: ({ outcome }) => { undone.push(`large ${outcome.kind}`) } })
        .step('next', () => { undone.push('next ran') })
    })
  }, { clock: new FakeClock(), lasting })
  const submitter = async (name: string): Promise<void> => { await app.jobs.submit(name as never, {} as never, { delayMs: 3_600_000 }) }
  const job = await ended(await submit('a'))
  t.match(job, { state: 'failed', attempts: 1, error: { code: 'FAE_STORE_FULL' } })
  t.equal(readHead(job.facts)?.p, 'compensated')
  t.same(undone, ['large completed', 'first completed'])
})

t.test('a small checkpoint that a full server refuses is sent again, until there is room', async (t) => {
  const undone: string[] = []
  let refusals = 0
  const { submit, ended, lasting } = await clockedApp(t, (app) => {
    app.saga({
      name: 'a',
      steps: (s) => s
        .step('first', { run: () => 1, compensate: () => { undone.push('first') } })
        .step('bad', { attempts: 1, run: () => { throw new Error('cause') } })
    })
  })
  lasting.onCheckpoint = (_, checkpoint) => {
    if ('compensatingSince' in checkpoint && typeof checkpoint.compensatingSince === 'number' && ++refusals <= 3) throw new AsyncEndpointsError('FAE_STORE_FULL', 'no memory left')
  }
  t.match(await ended(await submit('a')), { state: 'failed', attempts: 1, error: { message: 'cause' } })
  t.same([refusals, undone], [4, ['first']])
})

t.test('a saga of 1,000 steps: each runs once, and its last checkpoint is as small as its first', async (t) => {
  const sizes: number[] = []
  let runs = 0
  const { submit, ended, lasting, record } = await clockedApp(t, (app) => {
    app.saga({
      name: 'long',
      steps: (s) => {
        let chain = s.step('s0', () => ++runs)
        for (let n = 1; n < 1_000; n++) chain = chain.step(`s${n}` as 's1', () => ++runs) as unknown as typeof chain
        return chain
      }
    })
  })
  lasting.onCheckpoint = (_, checkpoint) => { sizes.push(JSON.stringify(checkpoint).length) }
  const id = await submit('long')
  t.match(await ended(id, 600_000), { state: 'completed' })
  t.equal(runs, 1_000)
  t.equal(sizes.length, 1_000, 'one write a step; the last goes with the settlement')
  const [second = 0, last = Infinity] = [sizes[1], sizes.at(-1)]
  t.ok(last < second + 40, `${second} and ${last} characters`)
  t.same((await record(id)).progress, { done: 1_000, total: 1_000 })
})
