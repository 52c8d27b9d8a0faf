/** A deploy changes the steps of a saga that has begun: it goes on, is converted, waits, or is undone by name. Never in silence. */
import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import type { JobRecord, SagaHistory } from '../../plugins/async-endpoints.ts'
import { clockedApp, type ClockedApp } from './clocked.ts'

type Loose = Record<'step' | 'parallel' | 'signal' | 'sleep' | 'returns' | 'each', (...given: unknown[]) => Loose>

interface Version {
  readonly version: number
  readonly steps: (s: Loose, ran: string[]) => Loose
  readonly upgrade?: (stored: SagaHistory) => unknown
  readonly timeoutMs?: number
  readonly versionWaitMs?: number
}

const step = (name: string, ran: string[]) => ({ run: () => { ran.push(name); return `of ${name}` }, compensate: () => { ran.push(`undo ${name}`) } })
/** Steps, and a signal before the one that is called `*`. */
const list = (...names: string[]) => (s: Loose, ran: string[]): Loose => names.reduce((chain, name) => name === '*' ? chain.signal('go') : chain.step(name, step(name, ran)), s)

function define (ran: string[], { version, steps, upgrade, timeoutMs, versionWaitMs = 60_000 }: Version) {
  return (app: FastifyInstance): void => {
    Reflect.apply(app.saga as (...given: unknown[]) => unknown, app, [{ name: 'a', version, versionWaitMs, timeoutMs, upgrade, steps: (s: Loose) => steps(s, ran) }])
  }
}

/** Runs a saga with the old definition until it waits for the signal, and goes on with the new one. */
async function deploy (t: Test, old: Version, next: Version): Promise<ClockedApp & { readonly id: string, readonly ran: string[] }> {
  const ran: string[] = []
  const before = await clockedApp(t, define(ran, old))
  const id = await before.submit('a')
  await before.until('it waits', () => before.story().includes('saga.suspended go'))
  await before.close()
  const after = await clockedApp(t, define(ran, next), before)
  ran.length = 0
  await after.signal(id, 'go', 'yes')
  return { ...after, id, ran }
}

async function ending (t: Test, old: Version, next: Version): Promise<{ readonly job: JobRecord, readonly ran: string[], readonly made: ClockedApp, readonly tookMs: number }> {
  const made = await deploy(t, old, next)
  const from = made.clock.now()
  const job = await made.ended(made.id, 200_000)
  const tookMs = made.clock.now() - from
  await made.close()
  return { job, ran: made.ran, made, tookMs }
}

const OLD = { version: 1, steps: list('a', 'b', '*', 'c', 'd') }

t.test('what was begun is the beginning of the new list: it goes on with the new steps', async (t) => {
  for (const [what, names, ran] of [
    ['nothing changed but the version', ['a', 'b', '*', 'c', 'd'], ['c', 'd']],
    ['a step is added after the position', ['a', 'b', '*', 'c', 'new', 'd'], ['c', 'new', 'd']],
    ['one is removed', ['a', 'b', '*', 'd'], ['d']],
    ['one is renamed', ['a', 'b', '*', 'c2', 'd'], ['c2', 'd']],
    ['two change their places', ['a', 'b', '*', 'd', 'c'], ['d', 'c']],
    ['none is left', ['a', 'b', '*'], []]
  ] as const) {
    const end = await ending(t, OLD, { version: 2, steps: list(...names) })
    t.match(end.job, { state: 'completed', progress: { done: names.length, total: names.length } }, what)
    t.same(end.ran, ran, what)
    t.match(end.made.story(), ['saga.definition_changed'], what)
  }
})

t.test('same version and same names: nothing is reported', async (t) => {
  const end = await ending(t, OLD, OLD)
  t.equal(end.job.state, 'completed')
  t.notOk(end.made.story().includes('saga.definition_changed'))
})

t.test('what was begun is not the beginning: the saga waits for the older definition, then fails and is undone by name', async (t) => {
  for (const [what, names, undone, code] of [
    ['a step is added before the position', ['new', 'a', 'b', '*', 'c'], ['undo b', 'undo a'], 'FAE_SAGA_CHANGED'],
    ['one is removed', ['b', '*', 'c'], ['undo b'], 'FAE_COMPENSATION_FAILED'],
    ['one is renamed', ['a2', 'b', '*', 'c'], ['undo b'], 'FAE_COMPENSATION_FAILED'],
    ['two change their places', ['b', 'a', '*', 'c'], ['undo b', 'undo a'], 'FAE_SAGA_CHANGED'],
    ['the wait is gone', ['a', 'b', 'c'], ['undo b', 'undo a'], 'FAE_SAGA_CHANGED']
  ] as const) {
    const { job, ran, made, tookMs } = await ending(t, OLD, { version: 2, steps: list(...names) })
    t.match(job, { state: 'failed', error: { code, message: /version 1.*step \d was "/ } }, what)
    t.same(ran, undone, what)
    t.ok(tookMs >= 60_000 && tookMs < 61_000, `${what}: ends after versionWaitMs, ${tookMs} ms`)
    t.equal(job.attempts, 1, 'handing it back spends no attempt')
    t.equal(made.events.filter(({ name }) => name === 'saga.definition_changed').length, 2, what)
  }
})

t.test('a worker with the older definition goes on while the saga is handed back', async (t) => {
  const made = await deploy(t, OLD, { version: 2, steps: list('new', 'a', 'b', '*') })
  await made.until('it is handed back', () => made.story().includes('saga.definition_changed'))
  await made.close()
  const older = await clockedApp(t, define(made.ran, OLD), made)
  t.match(await older.ended(made.id), { state: 'completed' })
  t.same(made.ran, ['c', 'd'])
  await older.close()
})

t.test('while it is handed back, a cancel and the deadline count', async (t) => {
  const bad = { version: 2, steps: list('new', 'a', 'b', '*'), timeoutMs: 20_000 }
  const made = await deploy(t, { ...OLD, timeoutMs: 20_000 }, bad)
  const from = made.clock.now()
  t.match(await made.ended(made.id), { state: 'failed', error: { code: 'FAE_SAGA_TIMEOUT' } })
  t.ok(made.clock.now() - from <= 20_100, 'not after versionWaitMs')
  t.same(made.ran, ['undo b', 'undo a'])
  t.ok(made.events.filter(({ name }) => name === 'saga.suspended').length < 10, 'it does not spin')
  await made.close()

  const other = await deploy(t, OLD, { ...bad, timeoutMs: 600_000 })
  await other.until('it is handed back', () => other.story().includes('saga.definition_changed'))
  await other.app.jobs.cancel(other.id)
  t.match(await other.ended(other.id, 1_000), { state: 'cancelled' })
  t.same(other.ran, ['undo b', 'undo a'])
  await other.close()
})

t.test('upgrade() says which steps are done under their new names', async (t) => {
  const seen: unknown[] = []
  const steps = (s: Loose, ran: string[]): Loose => list('first', 'second', '*', 'bad')(s, ran)
  const upgrade = (stored: SagaHistory): SagaHistory => {
    seen.push(stored)
    return { version: 2, steps: [{ name: 'first', state: 'completed' }, { name: 'second', state: 'skipped' }], results: { first: { of: stored.results['a'] } } }
  }
  const made = await deploy(t, OLD, {
    version: 2,
    upgrade,
    steps: (s, ran) => s
      .step('first', { ...step('first', ran), compensate: ({ outcome }: { outcome: { result: unknown } }) => { ran.push(`undo first ${JSON.stringify(outcome.result)}`) } })
      .step('second', step('second', ran))
      .signal('go')
      .step('bad', { run: () => { throw new Error('no') }, attempts: 1 })
  })
  t.match(await made.ended(made.id), { state: 'failed', error: { message: 'no' } }, 'old steps that are converted are not undone, and do not count as failed')
  t.match(seen, [{ version: 1, steps: [{ name: 'a', state: 'completed' }, { name: 'b', state: 'completed' }, { name: 'go', state: 'waiting' }, { name: 'c', state: 'pending' }, { name: 'd', state: 'pending' }], results: { a: 'of a', b: 'of b' } }])
  t.same(made.ran, ['undo first {"of":"of a"}'])
  await made.close()

  const fine = await ending(t, OLD, { version: 2, upgrade, steps })
  t.match(fine.job, { state: 'completed', progress: { done: 4, total: 4 } })
  t.same(fine.ran, ['bad'])
})

t.test('after upgrade() steps are undone in the order of the new list, also when an earlier one has a new name', async (t) => {
  const upgrade = ({ steps, results }: SagaHistory): SagaHistory => {
    const done = steps.filter(({ state }) => state === 'completed').map(({ name, state }) => ({ name: name === 'a' ? 'first' : name, state }))
    return { version: 2, steps: [...done, { name: 'scan', state: 'skipped' }], results: { ...results, first: results['a'] } }
  }
  const bad = { attempts: 1, run: () => { throw new Error('no') } }
  const { job, ran } = await ending(t, OLD, { version: 2, upgrade, steps: (s, ran) => list('first', 'scan', 'b', '*')(s, ran).step('bad', bad) })
  t.match(job, { state: 'failed', error: { message: 'no' }, progress: { done: 4, total: 5 } })
  t.same(ran, ['undo b', 'undo first'])
})

t.test('upgrade() that throws, or gives what does not fit, fails the saga at once; undefined means that it cannot', async (t) => {
  const steps = list('a', 'new', '*')
  for (const [what, upgrade, message] of [
    ['throws', () => { throw new Error('cannot') }, /upgrade\(\) of the saga failed: cannot/],
    ['an unknown step', () => ({ version: 2, steps: [{ name: 'nowhere', state: 'completed' }], results: {} }), /nowhere/],
    ['no list', () => ({ version: 2 }), /upgrade\(\)/],
    ['a promise', async () => undefined, /upgrade\(\)/],
    ['a result that JSON cannot hold', () => ({ version: 2, steps: [{ name: 'a', state: 'completed' }, { name: 'new', state: 'completed' }], results: { new: 1n } }), /upgrade\(\)/]
  ] as const) {
    const { job, tookMs, ran } = await ending(t, OLD, { version: 2, steps, upgrade })
    t.match(job.error?.message, message, what)
    t.match(job.state, 'failed')
    t.ok(tookMs < 1_000, what)
    t.same(ran, ['undo a'], `${what}: undone by name; of "b" nobody knows how`)
  }
  const { tookMs, job } = await ending(t, OLD, { version: 2, steps, upgrade: () => undefined })
  t.ok(tookMs >= 60_000, 'it waits as without one')
  t.equal(job.state, 'failed')
})

t.test('upgrade() whose results cannot be kept converts nothing: steps that it drops are not forgotten', async (t) => {
  const circular: Record<string, unknown> = {}
  circular['self'] = circular
  const done = (result: unknown) => () => ({ version: 2, steps: [{ name: 'new', state: 'completed' }], results: { new: result } })
  for (const [what, upgrade, message] of [
    ['bigint', done(1n), /BigInt/],
    ['circular', done(circular), /circular/],
    ['a map', done(new Map([[1, 2]])), /JSON cannot hold/],
    ['too large', done('x'.repeat(262_143)), /maxStepResultBytes/],
    ['no results', () => ({ version: 2, steps: [{ name: 'new', state: 'completed' }] }), /upgrade\(\)/],
    ['a state that does not exist', () => ({ version: 2, steps: [{ name: 'new', state: 'done' }], results: {} }), /a state that does not exist: done/]
  ] as const) {
    // "a" is there no more: nothing may have noted that it is not wanted.
    const { job, ran } = await ending(t, OLD, { version: 2, steps: list('new', 'b', '*'), upgrade })
    t.match(job, { state: 'failed', error: { code: 'FAE_COMPENSATION_FAILED', message } }, what)
    t.match(job.error?.message, /a \(FAE_SAGA_CHANGED/, what)
    t.same(ran, ['undo b'], what)
  }
})

t.test('a group that failed with `fail` is redriven with a corrected definition', async (t) => {
  const ran: string[] = []
  const group = (works: boolean) => (s: Loose): Loose => s.parallel('g', (g: Loose) => g
    .step('bad', { run: () => { ran.push('bad'); if (!works) throw new Error('no') }, attempts: 1, onExhausted: 'fail' })
    .step('good', () => { ran.push('good') }), { onError: 'await-all' })
  const before = await clockedApp(t, define(ran, { version: 1, steps: group(false) }))
  const id = await before.submit('a')
  t.match(await before.ended(id), { state: 'failed' })
  await before.close()
  const after = await clockedApp(t, define(ran, { version: 2, steps: (s) => group(true)(s).step('more', () => { ran.push('more') }) }), before)
  await after.app.jobs.redrive(id)
  t.match(await after.ended(id), { state: 'completed' })
  t.same(ran, ['bad', 'good', 'bad', 'more'])
  await after.close()
})

t.test('after a full compensation a redrive takes the new definition as it is', async (t) => {
  const ran: string[] = []
  const before = await clockedApp(t, define(ran, { version: 1, steps: (s) => list('a', 'b')(s, ran).step('bad', { run: () => { throw new Error('no') }, attempts: 1 }) }))
  const id = await before.submit('a')
  t.match(await before.ended(id), { state: 'failed' })
  await before.close()
  ran.length = 0
  const after = await clockedApp(t, define(ran, { version: 2, steps: list('x', 'b') }), before)
  await after.app.jobs.redrive(id)
  t.match(await after.ended(id), { state: 'completed', progress: { done: 2, total: 2 } })
  t.same(ran, ['x', 'b'])
  await after.close()
})
