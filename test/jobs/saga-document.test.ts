import t from 'tap'
import { openSignals, phaseOf, sagaView as viewOf, type SagaView } from '../../lib/jobs/saga-document.ts'
import type { StepFacts } from '../../lib/jobs/saga-facts.ts'
import type { StepsFacts } from '../../lib/jobs/job.ts'
import type { SagaPlan } from '../../lib/jobs/saga-plan.ts'
import { compileSaga } from '../../lib/saga/compile.ts'
import type { NoResults, SagaEnd, SagaInput, SagaSteps } from '../../lib/saga/types.ts'

const sagaView = (stored: StepsFacts | undefined, plan: SagaPlan | undefined, ended = false): SagaView | undefined => viewOf(stored, plan, ended)

type Chain = (s: SagaSteps<SagaInput, NoResults>) => SagaEnd<unknown, unknown>

const planOf = (steps: Chain) => compileSaga({
  name: 'publish', steps, timeoutMs: 0, graceMs: 0, retry: { attempts: 3 }, signalValidator: () => async (value) => value
})

const PLAN = planOf((s) => s
  .step('upload', { run: () => 1, attempts: 5 })
  .parallel('renditions', (g) => g.step('hd', { run: () => 1, attempts: 2 }).step('sd', () => 1))
  .each('mails', () => [1, 2], { run: () => 1, attempts: 4 })
  .signal('approval', {})
  .sleep('cool-down', 10)
  .returns(() => null))

const facts = (parts: Readonly<Record<string, object>>): StepsFacts => Object.fromEntries(Object.entries(parts).map(([key, value]) => [key, JSON.stringify(value)]))
const HEAD = { k: 0, t: 6, b: 1 }
const NAMES = { v: 1, n: ['upload', 'renditions/hd', 'renditions/sd', 'mails', 'approval', 'cool-down'] }
const short = (view: ReturnType<typeof sagaView>): unknown => view?.steps.map(({ group, name, state, attempt, attempts }) => `${group ?? ''}:${name} ${state} ${attempt}/${attempts}`)

t.test('a job without steps has none; a saga that has not begun has its planned ones', async (t) => {
  t.equal(sagaView(undefined, undefined), undefined)
  const view = sagaView(undefined, PLAN)
  t.equal(view?.phase, 'forward')
  t.same(short(view), [
    ':upload pending 0/5', 'renditions:hd pending 0/2', 'renditions:sd pending 0/3', ':mails pending 0/1', ':approval pending 0/1', ':cool-down pending 0/1'
  ])
  t.match(view?.steps[0], { startedAt: undefined, durationMs: undefined, error: undefined, waitsUntil: undefined })
})

t.test('the stored names say which steps there are, items of an each as well; without the definition, too', async (t) => {
  const step: StepFacts = { s: 'c', a: 2, m: 5, t: 1_000, d: 50, y: 1, i: 1, e: { code: 'E', message: 'first try' } }
  const stored = facts({
    '': { ...HEAD, k: 3 }, '=': { ...NAMES, g: { mails: 2 } }, upload: step, mails: { s: 'c', a: 1, m: 1, t: 1 }, 'mails/0': { s: 'b', a: 1, m: 4, t: 5, u: 9_000 }, approval: { s: 'w', a: 0, m: 1, t: 5 }
  })
  t.same(short(sagaView(stored, PLAN)), [
    ':upload completed 2/5', 'renditions:hd pending 0/2', 'renditions:sd pending 0/3', ':mails completed 1/1', 'mails:0 backoff 1/4', 'mails:1 pending 0/4',
    ':approval waiting 0/1', ':cool-down pending 0/1'
  ])
  t.match(sagaView(stored, PLAN)?.steps[0], { startedAt: 1_000, durationMs: 50, error: { code: 'E', message: 'first try' } })
  t.match(sagaView(stored, PLAN)?.steps[4], { waitsUntil: 9_000 })
  t.match(short(sagaView(stored, undefined)), [':upload completed 2/5', 'renditions:hd pending 0/undefined'])
  t.equal((short(sagaView(stored, undefined)) as string[]).length, 8)
  t.notMatch(JSON.stringify(sagaView(stored, PLAN)), /"y"|result/, 'never a result')
})

t.test('steps that are to run again have no beginning; every letter has its word', async (t) => {
  const all = ['p', 'r', 'b', 'w', 'c', 's', 'f', 'u', 'z', 'x']
  const stored = facts({ '': { ...HEAD, p: 'compensating' }, '=': { v: 1, n: all }, ...Object.fromEntries(all.map((s) => [s, { s, a: 0, m: 1, t: 7 }])) })
  const view = sagaView(stored, undefined)
  t.equal(view?.phase, 'compensating')
  t.same(view?.steps.map(({ state }) => state), ['pending', 'running', 'backoff', 'waiting', 'completed', 'skipped', 'failed', 'compensating', 'compensated', 'compensation-failed'])
  const ended = sagaView(stored, undefined, true)
  t.same(ended?.steps.map(({ state }) => state), ['pending', 'stopped', 'stopped', 'stopped', 'completed', 'skipped', 'failed', 'compensating', 'compensated', 'compensation-failed'])
  t.same(view?.steps.map(({ startedAt }) => startedAt), [undefined, 7, 7, 7, 7, 7, 7, 7, 7, 7])
})

t.test('the steps of an ordinary handler: those that are done, in their order, and no phase', async (t) => {
  const view = sagaView(facts({ '': { k: 2, t: 2, b: 1 }, load: { s: 'c', a: 1, m: 3, t: 20 }, 1: { s: 'c', a: 1, m: 3, t: 30 }, ask: { s: 'c', a: 1, m: 3, t: 10 }, both: { s: 'c', a: 1, m: 3, t: 20 } }), undefined)
  t.equal(view?.phase, undefined)
  t.same(view?.steps.map(({ name }) => name), ['ask', 'both', 'load', '1'])
})

t.test('garbage is no step, and makes no list without end', async (t) => {
  for (const text of ['', '{', 'null', '5', '"x"', '[]', '{"s":"?"}', '{"s":"c","a":"1"}']) {
    const view = sagaView({ '': text, '=': text, upload: text }, PLAN)
    t.match(view?.steps[0], { name: 'upload', state: 'pending' }, text)
    t.equal(phaseOf({ '': text }), 'forward')
  }
  for (const g of [{ mails: 1e9 }, { mails: -1 }, { mails: 'many' }, { mails: 1.5 }, null, 'x']) {
    t.ok((sagaView(facts({ '=': { ...NAMES, g } }), PLAN)?.steps.length ?? Infinity) <= 1_006, JSON.stringify(g))
  }
})

t.test('the open signals: those that are waited for, or come later', async (t) => {
  t.same(openSignals(undefined, PLAN), ['approval'])
  t.same(openSignals(facts({ '': HEAD, approval: { s: 'w', a: 0, m: 1, t: 1 } }), PLAN), ['approval'])
  t.same(openSignals(facts({ '': HEAD, approval: { s: 'c', a: 1, m: 1, t: 1 } }), PLAN), [])
  t.same(openSignals(facts({ '': { ...HEAD, p: 'compensating' } }), PLAN), [])
})
