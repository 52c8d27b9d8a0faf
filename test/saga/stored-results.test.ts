/** What a step returned and what it threw, as the next step and another attempt see it: on both stores. */
import t from 'tap'
import { endOf, onBothStores, recordOf, signal, untilStep, untilSuspended } from '../support/saga-stores.ts'

t.setTimeout(120_000)

const KIB = 1_024

onBothStores(t, 'a result has been JSON before the next step sees it, and is the same after a suspension', async (t, open) => {
  const seen: unknown[] = []
  const look = ({ results }: { readonly results: { readonly odd: unknown } }): void => { seen.push(results.odd) }
  const app = await open((app) => app.saga({
    name: 'order',
    steps: (s) => s
      .step('odd', (): unknown => ({ at: new Date(0), gone: undefined, list: [undefined, Number.NaN], text: 'ä👍\u0000"\u2028', own: JSON.parse('{"__proto__":1}') as unknown }))
      .step('now', look)
      .signal('go')
      .step('later', look)
      .returns(({ results }) => results.odd)
  }))
  const { id } = await app.jobs.submit('order', {})
  await untilStep(app, id, 'go', 'w')
  await untilSuspended(app, id)
  await signal(app, id, 'go', 1)
  t.match(await endOf(app, id), { state: 'completed' })
  const expected = '{"at":"1970-01-01T00:00:00.000Z","list":[null,null],"text":"ä👍\\u0000\\"\u2028","own":{"__proto__":1}}'
  t.same([...seen, await app.jobs.result(id)].map((result) => JSON.stringify(result)), [expected, expected, expected])
})

onBothStores(t, '256 KiB are stored, one byte more is not: undone with the result, and not tried again', async (t, open) => {
  const calls: string[] = []
  const app = await open((app) => {
    app.saga<{ body: { bytes: number } }>({
      name: 'order',
      steps: (s) => s
        .step('large', {
          // Two bytes are the quotation marks.
          run: ({ body }) => { calls.push('large'); return 'x'.repeat(body.bytes - 2) },
          compensate: ({ outcome }) => { calls.push(`undo ${outcome.kind === 'completed' ? outcome.result.length : 'unknown'}`) }
        })
        .signal('go', { timeoutMs: 600_000 })
        .step('after', ({ results }) => { calls.push(`after ${results.large.length}`) })
    })
    app.saga({
      name: 'many',
      steps: (s) => s.each('all', () => Array.from({ length: 17 }, (_, n) => n), {
        concurrency: 1, run: () => 'x'.repeat(256 * KIB - 2), compensate: () => { calls.push('undo') }
      })
    })
  })
  const fits = await app.jobs.submit('order', { bytes: 256 * KIB })
  await untilStep(app, fits.id, 'go', 'w')
  await untilSuspended(app, fits.id)
  await signal(app, fits.id, 'go', 1)
  t.match(await endOf(app, fits.id), { state: 'completed' })
  t.same(calls.splice(0), ['large', `after ${256 * KIB - 2}`])
  const large = await app.jobs.submit('order', { bytes: 256 * KIB + 1 })
  t.match(await endOf(app, large.id), { state: 'failed', code: 'FAE_STEP_RESULT_TOO_LARGE', phase: 'compensated', attempts: 1 })
  t.same(calls.splice(0), ['large', `undo ${256 * KIB - 1}`])
  const many = await app.jobs.submit('many', {})
  t.match(await endOf(app, many.id), { state: 'failed', code: 'FAE_STEP_RESULT_TOO_LARGE', phase: 'compensated', attempts: 1 }, 'more than 4 MiB together')
  t.equal(calls.length, 16, 'the one that did not fit is undone with the others')
})

onBothStores(t, 'the error of a step is stored as it was thrown, and is the same for an undo in another attempt', async (t, open) => {
  class Odd extends Error {
    readonly code = 'E_ODD'
    override name = 'Odd'
  }
  const seen: unknown[] = []
  const app = await open((app) => app.saga({
    name: 'order',
    steps: (s) => s
      .step('first', {
        run: () => 1,
        compensate: {
          backoff: { type: 'fixed', delayMs: 1_200, jitter: 0 },
          run: ({ error, attempt }) => {
            seen.push(error)
            if (attempt === 1) throw new Error('later')
          }
        }
      })
      .step('bad', { attempts: 1, run: () => { throw new Odd('very "odd" ä👍') } })
  }))
  const { id } = await app.jobs.submit('order', {})
  t.match(await endOf(app, id), { state: 'failed', code: 'E_ODD', phase: 'compensated' })
  t.equal(seen.length, 2)
  t.same(seen[0], seen[1], 'live, and read again')
  t.same((await recordOf(app, id)).error, seen[0])
  t.match(seen[0], { code: 'E_ODD', message: 'very "odd" ä👍' })
})

onBothStores(t, 'steps with the names of members of objects, and with numbers: none is taken for another, also after a suspension', async (t, open) => {
  const names = ['constructor', 'then', 'toString', 'valueOf', '7', '07', 'A.b-c_d', 'x'.repeat(64)]
  type Loose = Record<'step' | 'signal' | 'returns', (...given: unknown[]) => Loose>
  const app = await open((app) => {
    const steps = (s: Loose): Loose => names
      .reduce((chain, name) => chain.step(name, () => `of ${name}`), s)
      .signal('hasOwnProperty')
      .returns(({ results }: { results: unknown }) => results)
    Reflect.apply(app.saga as (...given: unknown[]) => unknown, app, [{ name: 'order', steps }])
  })
  const { id } = await app.jobs.submit('order', {})
  await untilStep(app, id, 'hasOwnProperty', 'w')
  await untilSuspended(app, id)
  await app.jobs.signal(id, 'hasOwnProperty', true)
  t.match(await endOf(app, id), { state: 'completed', attempts: 1 })
  t.same(await app.jobs.result(id), { ...Object.fromEntries(names.map((name) => [name, `of ${name}`])), hasOwnProperty: true })
})

onBothStores(t, 'ten thousand signals to one saga: the first counts, the others wake nothing, and none is taken once it has ended', async (t, open) => {
  let resumed = 0
  const app = await open((app) => app.saga({
    name: 'order',
    steps: (s) => s.signal('go', { timeoutMs: 600_000 }).step('counts', () => { resumed++ }).signal('stop', { timeoutMs: 600_000 }).returns(({ results }) => results.go)
  }))
  const { id } = await app.jobs.submit('order', {})
  await untilStep(app, id, 'go', 'w')
  await untilSuspended(app, id)
  const kinds = new Map<string, number>()
  for (let n = 0; n < 10; n++) {
    await Promise.all(Array.from({ length: 1_000 }, async (_, m) => {
      const { state } = await app.jobs.signal(id, 'go', m % 500).then(({ state }) => ({ state }), (error: { code: string }) => ({ state: error.code }))
      kinds.set(state, (kinds.get(state) ?? 0) + 1)
    }))
  }
  t.equal(kinds.get('stored'), 1)
  t.equal([...kinds.values()].reduce((sum, count) => sum + count, 0), 10_000)
  t.match(Object.fromEntries(kinds), { repeated: 19, FAE_SIGNAL_CONFLICT: 9_980 })
  await untilStep(app, id, 'stop', 'w')
  await app.jobs.signal(id, 'stop', null)
  t.match(await endOf(app, id), { state: 'completed', attempts: 1 })
  t.equal(resumed, 1)
  await t.rejects(app.jobs.signal(id, 'go', 0), { code: 'FAE_JOB_FINISHED' }, 'also with the value that it had')
  await t.rejects(app.jobs.signal(id, 'stop', 'again'), { code: 'FAE_JOB_FINISHED' })
})
