/** Siblings: each runs once, whatever their order; what a failure does to the others; how many at a time. */
import t from 'tap'
import { aborted, clockedApp, latch, never } from './clocked.ts'

t.test('siblings that depend on one before them run once beside a slow one, a hundred times', async (t) => {
  const ran = new Map<string, number>()
  const count = (id: string, step: string): number => {
    const key = `${id}/${step}`
    ran.set(key, (ran.get(key) ?? 0) + 1)
    return 1
  }
  const { submit, ended } = await clockedApp(t, (app) => {
    app.saga({
      name: 'diamond',
      steps: (s) => s
        .step('a', ({ id }) => count(id, 'a'))
        .parallel('g', (g) => g
          .step('b', ({ id }) => count(id, 'b'))
          .step('c', async ({ id }) => { await new Promise((resolve) => { setImmediate(resolve) }); return count(id, 'c') }))
        .step('d', ({ id, results }) => count(id, 'd') + results.g.b + results.g.c)
        .returns(({ results }) => results.d)
    })
  })
  const ids = await Promise.all(Array.from({ length: 100 }, () => submit('diamond')))
  for (const id of ids) {
    const job = await ended(id)
    if (job.state !== 'completed') t.fail(String(job.error?.message))
  }
  t.equal(ran.size, 400)
  t.ok([...ran.values()].every((n) => n === 1))
})

const TWENTY = Array.from({ length: 20 }, (_, index) => index)

t.test('twenty siblings that end in one tick, or in any order, keep their names over a crash', async (t) => {
  const orders: ReadonlyArray<readonly [string, (index: number) => number]> = [
    ['one tick', () => 0], ['forwards', (index) => index], ['backwards', (index) => 20 - index], ['mixed', (index) => (index * 7) % 20]
  ]
  for (const [order, turns] of orders) {
    const ran: number[] = []
    const first = latch()
    const half = { on: true }
    const { submit, ended, lasting, until } = await clockedApp(t, (app) => {
      app.saga({
        name: 'twenty',
        retry: { backoff: { delayMs: 0 } },
        steps: (s) => s
          .each('list', () => TWENTY, {
            concurrency: 20,
            run: async ({ item, index }) => {
              for (let n = 0; n < turns(index); n++) await null
              if (half.on && index % 2 === 1) await never
              ran.push(index)
              if (ran.length === 10) first.open()
              return { item, square: item * item }
            }
          })
          .returns(({ results }) => results.list)
      })
    })
    const id = await submit('twenty')
    await first.opened
    await until('ten are stored', async () => Object.values((await lasting.store.get(id))?.facts ?? {}).filter((text) => text.includes('"s":"c"')).length === 11)
    half.on = false
    lasting.crash()
    const job = await ended(id)
    t.equal(job.state, 'completed', `${order}: ${job.error?.message}`)
    t.same(JSON.parse(await lasting.store.result(id) ?? ''), TWENTY.map((item) => ({ item, square: item * item })), order)
    t.same([...ran].sort((a, b) => a - b), TWENTY, `${order}: each ran to its end once`)
  }
})

t.test('abort: the others are stopped and awaited, and then undone', async (t) => {
  const story: string[] = []
  const { submit, ended } = await clockedApp(t, (app) => {
    app.saga({
      name: 'abort',
      steps: (s) => s.parallel('g', (g) => g
        .step('done', { run: () => 1, compensate: ({ outcome }) => { story.push(`undo done ${outcome.kind}`) } })
        .step('slow', {
          run: async ({ signal }) => { await aborted(signal).finally(() => { story.push('slow stopped') }) },
          compensate: ({ outcome }) => { story.push(`undo slow ${outcome.kind}`) }
        })
        .step('bad', { run: async () => { await null; throw new Error('bad') }, attempts: 1, compensate: () => { story.push('undo bad') } })
        .step('waits', { run: () => { story.push('waits tried'); throw new Error('again') }, backoff: { type: 'fixed', delayMs: 400, jitter: 0 }, compensate: () => { story.push('undo waits') } }))
    })
  })
  const job = await ended(await submit('abort'))
  t.match(job, { state: 'failed', error: { message: 'bad' } })
  t.same(story, ['waits tried', 'slow stopped', 'undo slow unknown', 'undo done completed'], 'reverse declared order; who failed cleanly is not undone, and nobody begins another try')
})

t.test('await-all: the others go on to their ends, also over a long backoff; the first error stands', async (t) => {
  const story: string[] = []
  const { submit, ended, events } = await clockedApp(t, (app) => {
    app.saga({
      name: 'all',
      steps: (s) => s.parallel('g', (g) => g
        .step('bad', { run: () => { throw new Error('first') }, attempts: 1 })
        .step('worse', { run: async () => { await null; throw new Error('second') }, attempts: 1 })
        .step('late', {
          run: ({ attempt }) => { story.push(`late ${attempt}`); if (attempt === 1) throw new Error('once'); return 1 },
          backoff: { type: 'fixed', delayMs: 5_000, jitter: 0 },
          compensate: () => { story.push('undo late') }
        }), { onError: 'await-all' })
    })
  })
  const id = await submit('all')
  const job = await ended(id)
  t.match(job, { state: 'failed', error: { message: 'first' } })
  t.same(story, ['late 1', 'late 2', 'undo late'])
  t.equal(events.filter(({ name }) => name === 'saga.suspended').length, 1, 'the backoff holds no slot')
  t.match(job.facts?.['g/worse'], /second/, 'every error is kept')
})

t.test('no more run at the same time than `concurrency` says', async (t) => {
  let running = 0
  let most = 0
  const work = async (): Promise<void> => {
    most = Math.max(most, ++running)
    await new Promise((resolve) => { setImmediate(resolve) })
    running--
  }
  const { submit, ended } = await clockedApp(t, (app) => {
    app.saga({ name: 'three', steps: (s) => s.each('e', () => TWENTY, { run: work, concurrency: 3 }) })
    app.saga({ name: 'two', steps: (s) => s.parallel('g', (g) => g.step('a', work).step('b', work).step('c', work).step('d', work), { concurrency: 2 }) })
  })
  for (const [name, limit] of [['three', 3], ['two', 2]] as const) {
    most = 0
    t.equal((await ended(await submit(name))).state, 'completed')
    t.equal(most, limit, name)
  }
})

t.test('a condition that throws: its siblings do not begin', async (t) => {
  const ran: string[] = []
  const { submit, ended } = await clockedApp(t, (app) => {
    app.saga({
      name: 'when',
      steps: (s) => s
        .step('a', { run: () => 1, compensate: () => { ran.push('undo a') } })
        .parallel('g', (g) => g
          .step('b', { run: () => { ran.push('b') }, compensate: () => { ran.push('undo b') } })
          .step('c', { when: () => { throw new Error('no idea') }, run: () => { ran.push('c') } }))
    })
  })
  const job = await ended(await submit('when'))
  t.match(job, { state: 'failed', error: { message: 'no idea' } })
  t.same(ran, ['undo a'])
})

t.test('a condition is asked once, and its answer outlives a crash', async (t) => {
  const asked: string[] = []
  const gate = { closed: true }
  const { submit, ended, lasting, until } = await clockedApp(t, (app) => {
    app.saga({
      name: 'once',
      retry: { backoff: { delayMs: 0 } },
      steps: (s) => s
        .step('no', { when: () => { asked.push('no'); return false }, run: () => 1 })
        .step('yes', { when: () => { asked.push('yes'); return true }, run: async () => { asked.push('run'); if (gate.closed) await never; return 2 } })
        .returns(({ results }) => ({ no: results.no ?? 'skipped', yes: results.yes }))
    })
  })
  const id = await submit('once')
  await until('it runs', () => asked.includes('run'))
  gate.closed = false
  lasting.crash()
  t.equal((await ended(id)).state, 'completed')
  t.same(asked, ['no', 'yes', 'run', 'run'])
  t.same(JSON.parse(await lasting.store.result(id) ?? ''), { no: 'skipped', yes: 2 })
})

t.test('the list of an `each`: empty, too long, no list, throwing, of maps', async (t) => {
  const undone: string[] = []
  const lists: Record<string, () => readonly unknown[]> = {
    empty: () => [],
    hundred: () => Array.from({ length: 100 }, () => 1),
    long: () => Array.from({ length: 101 }, () => 1),
    text: () => 'abc' as unknown as readonly unknown[],
    throws: () => { throw new Error('no list') },
    maps: () => [new Map([[1, 2]])],
    large: () => ['x'.repeat(300_000)]
  }
  const { submit, ended, lasting } = await clockedApp(t, (app) => {
    for (const [name, list] of Object.entries(lists)) {
      app.saga({
        name,
        steps: (s) => s
          .step('a', { run: () => 1, compensate: () => { undone.push(name) } })
          .each('e', list, { run: () => 1 })
          .returns(({ results }) => results.e.length)
      })
    }
  })
  const end = async (name: string): Promise<string | undefined> => {
    const id = await submit(name)
    const job = await ended(id)
    return job.state === 'completed' ? await lasting.store.result(id) : job.error?.code
  }
  t.same(await Promise.all(Object.keys(lists).map(end)), [
    '0', '100', 'FAE_STEP_RESULT_TOO_LARGE', 'FAE_STEP_RESULT_NOT_SERIALIZABLE', 'Error', 'FAE_STEP_RESULT_NOT_SERIALIZABLE', 'FAE_STEP_RESULT_TOO_LARGE'
  ])
  t.same(undone.sort(), ['large', 'long', 'maps', 'text', 'throws'])
})

t.test('items are undone with what they were for', async (t) => {
  const undone: unknown[] = []
  const { submit, ended } = await clockedApp(t, (app) => {
    app.saga({
      name: 'items',
      steps: (s) => s
        .each('e', () => ['a', 'b', 'c'], { run: ({ item }) => item.toUpperCase(), concurrency: 1, compensate: ({ item, index, outcome }) => { undone.push([item, index, outcome]) } })
        .step('bad', { run: () => { throw new Error('no') }, attempts: 1 })
    })
  })
  t.equal((await ended(await submit('items'))).state, 'failed')
  t.same(undone, [['c', 2, { kind: 'completed', result: 'C' }], ['b', 1, { kind: 'completed', result: 'B' }], ['a', 0, { kind: 'completed', result: 'A' }]])
})
