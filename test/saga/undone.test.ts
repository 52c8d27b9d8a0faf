/** What is undone, and how it ends: on both stores and in real time, because there it goes wrong in other libraries. */
import t from 'tap'
import { AsyncEndpointsError } from '../../plugins/async-endpoints.ts'
import { until } from '../support/redis-jobs.ts'
import { endOf, onBothStores, recordOf, untilStep } from '../support/saga-stores.ts'
import { aborted, never } from './clocked.ts'

t.setTimeout(120_000)

const fail = (): never => { throw new Error('no') }

onBothStores(t, 'the signal of an undo is a fresh one, whatever has ended the step: a cancel, its timeout, the deadline', async (t, open) => {
  const undone: string[] = []
  const app = await open((app) => {
    for (const [name, timeoutMs, stepMs] of [['cancelled', 600_000, 300_000], ['timed-out', 600_000, 200], ['deadline', 1_000, 300_000]] as const) {
      app.saga({
        name,
        timeoutMs,
        steps: (s) => s.step('waits', {
          attempts: 1,
          timeoutMs: stepMs,
          run: async ({ signal }) => { await aborted(signal) },
          compensate: async ({ signal, reason, outcome }) => {
            await new Promise((resolve) => { setTimeout(resolve, 50) })
            undone.push(`${name}: ${reason}, ${outcome.kind}, ${signal.aborted ? 'aborted' : 'fresh'}`)
          }
        })
      })
    }
  })
  const { id } = await app.jobs.submit('cancelled', {})
  await untilStep(app, id, 'waits', 'r')
  t.match(await app.jobs.cancel(id, 'not wanted'), { state: 'requested' })
  t.match(await endOf(app, id), { state: 'cancelled', phase: 'compensated', attempts: 1 })
  for (const [name, code] of [['timed-out', 'FAE_STEP_TIMEOUT'], ['deadline', 'FAE_SAGA_TIMEOUT']] as const) {
    const submitted = await app.jobs.submit(name, {})
    t.match(await endOf(app, submitted.id), { state: 'failed', code, phase: 'compensated' })
  }
  t.same(undone, ['cancelled: cancelled, unknown, fresh', 'timed-out: failed, unknown, fresh', 'deadline: timeout, unknown, fresh'])
})

onBothStores(t, 'a step that times out after its effect may be undone: its outcome is unknown, and what it returns late is ignored', async (t, open) => {
  const made = new Set<string>()
  const outcomes: string[] = []
  const app = await open((app) => app.saga({
    name: 'order',
    steps: (s) => s
      .step('charge', {
        attempts: 1,
        timeoutMs: 100,
        run: async ({ idempotencyKey, signal }) => {
          made.add(idempotencyKey)
          await aborted(signal).catch(() => {})
          return 'too late'
        },
        compensate: ({ stepKey, outcome }) => { made.delete(stepKey); outcomes.push(outcome.kind) }
      })
      .step('next', () => { outcomes.push('next ran') })
  }))
  const { id } = await app.jobs.submit('order', {})
  t.match(await endOf(app, id), { state: 'failed', code: 'FAE_STEP_TIMEOUT', phase: 'compensated' })
  t.same([outcomes, made.size], [['unknown'], 0])
})

onBothStores(t, 'a step and an undo that never end are left behind', async (t, open) => {
  const calls: string[] = []
  const app = await open((app) => app.saga({
    name: 'order',
    graceMs: 50,
    steps: (s) => s
      .step('first', { run: () => 1, compensate: () => { calls.push('undo first') } })
      .step('stuck', {
        attempts: 2,
        timeoutMs: 100,
        backoff: { type: 'fixed', delayMs: 10, jitter: 0 },
        run: async ({ attempt }) => { calls.push(`try ${attempt}`); await never },
        compensate: { attempts: 2, timeoutMs: 100, backoff: { type: 'fixed', delayMs: 10, jitter: 0 }, run: async ({ attempt }) => { calls.push(`undo ${attempt}`); await never } }
      })
  }))
  const { id } = await app.jobs.submit('order', {})
  t.match(await endOf(app, id), { state: 'failed', code: 'FAE_COMPENSATION_FAILED', phase: 'compensation-failed' })
  t.same(calls, ['try 1', 'try 2', 'undo 1', 'undo 2', 'undo first'], 'the others are undone all the same')
})

onBothStores(t, 'codes of the library that a step throws decide nothing', async (t, open) => {
  const reasons: string[] = []
  const app = await open((app) => app.saga<{ body: { code: string } }>({
    name: 'order',
    steps: (s) => s
      .step('first', { run: () => 1, compensate: ({ reason }) => { reasons.push(reason) } })
      .step('throws', { attempts: 1, run: ({ body }) => { throw new AsyncEndpointsError(body.code as 'FAE_ABORTED', 'mine') } })
  }))
  const codes = ['FAE_JOB_CANCELLED', 'FAE_SAGA_TIMEOUT', 'FAE_COMPENSATION_FAILED', 'FAE_LEASE_LOST', 'FAE_STORE_FULL', 'FAE_STORE_UNAVAILABLE', 'FAE_CHECKPOINT_UNREADABLE']
  for (const code of codes) {
    const { id } = await app.jobs.submit('order', { code })
    t.same(await endOf(app, id), { state: 'failed', code, phase: 'compensated', attempts: 1 })
  }
  t.same(reasons, codes.map(() => 'failed'))
})

onBothStores(t, 'two undos fail: the third runs, both are named with the cause, and a redrive runs only these two', async (t, open) => {
  const calls: string[] = []
  let broken = true
  const undo = (name: string, fails: boolean) => ({
    run: () => name,
    compensate: {
      attempts: 1,
      run: ({ outcome }: { readonly outcome: unknown }): void => {
        calls.push(`${name} ${JSON.stringify(outcome)}`)
        if (fails && broken) throw new Error(`${name} stays`)
      }
    }
  })
  const app = await open((app) => app.saga({
    name: 'order',
    steps: (s) => s.step('a', undo('a', true)).step('b', undo('b', false)).step('c', undo('c', true)).step('bad', { run: fail, attempts: 1 })
  }))
  const { id } = await app.jobs.submit('order', {})
  t.match(await endOf(app, id), { state: 'failed', code: 'FAE_COMPENSATION_FAILED', phase: 'compensation-failed' })
  const { error } = await recordOf(app, id)
  for (const text of ['2 steps could not be undone', 'a (Error: a stays)', 'c (Error: c stays)', 'Error: no']) t.match(error?.message, text)
  const of = (name: string): string => `${name} {"kind":"completed","result":"${name}"}`
  t.same(calls.splice(0), [of('c'), of('b'), of('a')])
  broken = false
  await app.jobs.redrive(id)
  t.match(await endOf(app, id), { state: 'failed', code: 'Error', phase: 'compensated' }, 'it ends as it would have ended')
  t.same(calls, [of('c'), of('a')])
})

onBothStores(t, 'a redrive after retries and after the deadline: new tries, a new deadline, other keys after an undo', async (t, open) => {
  const calls: string[] = []
  let broken = true
  const app = await open((app) => app.saga<{ body: { mode: 'fail' | 'compensate' } }>({
    name: 'order',
    timeoutMs: 1_500,
    steps: (s) => s
      .step('first', { run: ({ idempotencyKey }) => { calls.push(idempotencyKey.slice(37)) }, compensate: () => { calls.push('undo first') } })
      .step('flaky', {
        attempts: 2,
        backoff: { type: 'fixed', delayMs: 10, jitter: 0 },
        onExhausted: 'fail',
        when: ({ body }) => body.mode === 'fail',
        run: ({ attempt }) => { calls.push(`flaky ${attempt}`); if (broken) throw new Error('not yet') }
      })
      .step('strict', { attempts: 1, run: () => { if (broken) throw new Error('not yet') } })
  }))
  const [kept, undone] = [await app.jobs.submit('order', { mode: 'fail' }), await app.jobs.submit('order', { mode: 'compensate' })]
  t.match(await endOf(app, kept.id), { state: 'failed', code: 'Error', phase: undefined })
  t.match(await endOf(app, undone.id), { state: 'failed', code: 'Error', phase: 'compensated' })
  t.same(calls.splice(0).sort(), ['first/0', 'first/0', 'flaky 1', 'flaky 2', 'undo first'])
  const { createdAt } = await recordOf(app, undone.id)
  await until('their deadlines are over', () => Date.now() > createdAt + 3_000)
  broken = false
  for (const [{ id }, ran] of [[kept, ['flaky 1']], [undone, ['first/1']]] as const) {
    await app.jobs.redrive(id)
    t.match(await endOf(app, id), { state: 'completed' })
    t.same(calls.splice(0), ran)
  }
})

onBothStores(t, 'a sibling fails: the others are stopped and awaited before anything is undone', async (t, open) => {
  const calls: string[] = []
  const app = await open((app) => app.saga({
    name: 'order',
    steps: (s) => s.parallel('group', (g) => g
      .step('done', { run: () => { calls.push('done') }, compensate: () => { calls.push('undo done') } })
      .step('slow', {
        run: async ({ signal }) => {
          await aborted(signal).catch(() => {})
          await new Promise((resolve) => { setTimeout(resolve, 100) })
          calls.push('slow has stopped')
          throw new Error('stopped')
        },
        compensate: ({ outcome }) => { calls.push(`undo slow: ${outcome.kind}`) }
      })
      .step('bad', {
        attempts: 1,
        run: async () => { await new Promise((resolve) => { setTimeout(resolve, 50) }); fail() }
      }))
  }))
  const { id } = await app.jobs.submit('order', {})
  t.match(await endOf(app, id), { state: 'failed', code: 'Error', phase: 'compensated' })
  t.same(calls, ['done', 'slow has stopped', 'undo slow: unknown', 'undo done'])
})

onBothStores(t, 'functions of the definition that throw, or give what cannot be used, lead to the undo', async (t, open) => {
  const undone: string[] = []
  const app = await open((app) => {
    const undo = { run: () => 1, compensate: ({ id }: { readonly id: string }): void => { undone.push(id) } }
    app.saga({ name: 'when', steps: (s) => s.step('a', undo).step('b', { when: fail, run: () => 1, onExhausted: 'continue' }) })
    app.saga({ name: 'list', steps: (s) => s.step('a', undo).each('b', fail, { run: () => 1 }) })
    app.saga({ name: 'sleep', steps: (s) => s.step('a', undo).sleep('z', fail) })
    app.saga({ name: 'nan', steps: (s) => s.step('a', undo).sleep('z', () => Number.NaN) })
    app.saga({ name: 'returns', steps: (s) => s.step('a', undo).returns(fail) })
    app.saga({ name: 'map', steps: (s) => s.step('a', undo).returns((): unknown => new Map([[1, 2]])) })
  })
  for (const [name, code] of Object.entries({
    when: 'Error', list: 'Error', sleep: 'Error', nan: 'FAE_INVALID_OPTIONS', returns: 'Error', map: 'FAE_RESULT_NOT_SERIALIZABLE'
  })) {
    const { id } = await app.jobs.submit(name, {})
    t.same(await endOf(app, id), { state: 'failed', code, phase: 'compensated', attempts: 1 }, name)
    t.same(undone.splice(0), [id], name)
  }
})
