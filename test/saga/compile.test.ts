/** What is wrong with the definition of a saga is said when it is defined: all of it, in one message. */
import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { isAsyncEndpointsError } from '../../lib/core/errors.ts'
import { compileSaga, type SagaSource } from '../../lib/saga/compile.ts'
import { asyncEndpoints, memoryStore, type AsyncEndpointsOptions, type JobStore } from '../../plugins/async-endpoints.ts'

/** The chain as plain JavaScript sees it. */
type Loose = Record<'step' | 'parallel' | 'each' | 'sleep' | 'signal' | 'returns', (...given: unknown[]) => Loose>

const run = (): void => {}
const RULE = 'must be 1 to 64 letters, digits, "_", "." or "-", the first a letter or digit'

function source (steps: unknown, more: Partial<SagaSource> = {}): SagaSource {
  return { name: 'a', steps, timeoutMs: 1_000, graceMs: 10, retry: { attempts: 3 }, signalValidator: () => async (value) => value, ...more }
}

/** @returns every problem of the steps */
function problemsOf (steps: (s: Loose) => unknown): unknown {
  return problemsIn(() => compileSaga(source(steps)))
}

function problemsIn (work: () => unknown): unknown {
  try {
    work()
  } catch (error) {
    if (isAsyncEndpointsError(error, 'FAE_INVALID_OPTIONS')) return error.details?.problems
    return error
  }
  return []
}

t.test('names are keys, labels and members: what could be confused is refused', async (t) => {
  for (const name of ['', 'a b', '{a}', '{{a}}', 'a:1', 'a/b', 'a\\b', '.a', '-a', '_a', '🚀', 'é', 'a\n', '\u0000', 'x'.repeat(65), '__proto__', '=', 5, null, undefined, {}, Symbol.iterator]) {
    const shown = typeof name === 'symbol' ? 'Symbol(Symbol.iterator)' : JSON.stringify(name) ?? 'undefined'
    t.same(problemsOf((s) => s.step(name, run)), [`the name ${shown} in the saga ${RULE}`], shown)
    t.same(problemsOf((s) => s.parallel('g', (g: Loose) => g.step(name, run))), [`the name ${shown} in parallel "g" ${RULE}`], `${shown} in a group`)
    for (const add of [
      (s: Loose) => s.parallel(name, (g: Loose) => g.step('a', run)),
      (s: Loose) => s.each(name, () => [], { run }),
      (s: Loose) => s.sleep(name, 1),
      (s: Loose) => s.signal(name)
    ]) t.same(problemsOf(add), [`the name ${shown} in the saga ${RULE}`])
  }
  for (const name of ['a', '7', 'A.b-c_d', 'x'.repeat(64), 'constructor', 'then', 'toString']) t.same(problemsOf((s) => s.step(name, run)), [], name)
})

t.test('a name is there once', async (t) => {
  t.same(problemsOf((s) => s.step('a', run).sleep('a', 1).signal('b').each('b', () => [], { run }).step('a', run)), [
    'the name "a" is used twice in the saga', 'the name "b" is used twice in the saga'
  ])
  t.same(problemsOf((s) => s.parallel('g', (g: Loose) => g.step('a', run).step('b', run).step('a', run))), ['the name "a" is used twice in parallel "g"'])
  t.same(problemsOf((s) => s.step('g', run).parallel('g', (g: Loose) => g.step('a', run))), ['the name "g" is used twice in the saga'])
  t.same(problemsOf((s) => s.step('a', run).parallel('g', (g: Loose) => g.step('a', run)).parallel('h', (g: Loose) => g.step('a', run))), [], 'siblings have names of their own')
})

t.test('what `steps` does is checked', async (t) => {
  t.same(problemsIn(() => compileSaga(source(undefined))), ['steps must be a function: (s) => s.step(…)'])
  t.same(problemsIn(() => compileSaga(source({ step: run }))), ['steps must be a function: (s) => s.step(…)'])
  t.same(problemsOf((s) => s), ['it has no steps'])
  t.same(problemsOf(() => { throw new Error('oh no') }), ['steps threw: oh no', 'it has no steps'])
  const chain = 'steps must return its chain: (s) => s.step(…), or { return s.step(…) }'
  t.same(problemsOf((s) => { s.step('a', run) }), [chain])
  t.same(problemsOf((s) => [s.step('a', run)]), [chain])
  t.same(problemsOf(async (s) => s.step('a', run)), [chain])
  t.same(problemsOf((s) => s.step('a', run).returns(run).step('b', run).sleep('c', 1)), ['step "b" comes after returns(), which ends the chain', 'sleep "c" comes after returns(), which ends the chain'])
  t.same(problemsOf((s) => s.step('a', run).returns(run).returns(run)), ['returns() is called twice'])
  t.same(problemsOf((s) => s.step('a', run).returns('b')), ['returns() takes a function'])
})

t.test('a group has steps, and only steps', async (t) => {
  t.same(problemsOf((s) => s.parallel('g', (g: Loose) => g)), ['parallel "g" has no steps'])
  t.same(problemsOf((s) => s.parallel('g')), ['parallel "g" takes a function: (g) => g.step(…)', 'parallel "g" has no steps'])
  t.same(problemsOf((s) => s.parallel('g', () => { throw new Error('no') })), ['parallel "g" threw: no', 'parallel "g" has no steps'])
  const only = 'is in the group "g", which can have only steps'
  t.same(problemsOf((s) => s.parallel('g', (g: Loose) => g.step('a', run).parallel('h', (h: Loose) => h.step('b', run)).each('e', () => [], { run }).sleep('s', 1).signal('i').returns(run))), [
    `parallel "h" ${only}`, `each "e" ${only}`, `sleep "s" ${only}`, `signal "i" ${only}`, `returns "() => { }" ${only}`
  ])
})

t.test('bad settings of a step', async (t) => {
  const of = (options: unknown): unknown => problemsOf((s) => s.step('a', options))
  t.match(of({ compensate: run }), [/^step "a": .*run/])
  t.match(of({ run, attempts: 0 }), [/^step "a": attempts .*1/])
  t.match(of({ run, attempts: 1.5 }), [/^step "a": attempts/])
  t.match(of({ run, timeoutMs: -1 }), [/^step "a": timeoutMs/])
  t.match(of({ run, timeoutMs: '5s' }), [/^step "a": timeoutMs/])
  t.match(of({ run, onExhausted: 'retry' }), [/^step "a": onExhausted/])
  t.match(of({ run, when: true }), [/^step "a": when/])
  t.match(of({ run: 'work' }), [/^step "a": run/])
  t.match(of({ run, backoff: { type: 'random' } }), [/^step "a": backoff/])
  t.match(of({ run, attemps: 3 }), [/^step "a": .*attemps/])
  t.match(of({ run, compensate: { attempts: 2 } }), [/^step "a": compensate/])
  t.match(of({ run, compensate: { run, attempts: 0 } }), [/^step "a": compensate/])
  t.match(of({ run, compensate: { run, retries: 3 } }), [/^step "a": compensate/])
  t.match(of({ run, compensate: 'undo' }), [/^step "a": compensate/])
  t.match(of(undefined), [/^step "a": .*run/])
  for (const odd of [null, 5, 'run', true]) t.same(of(odd), ['step "a": its options must be an object'])
  t.match(of([run]), [/^step "a": options must be an object, not an array/])
  t.match(problemsOf((s) => s.parallel('g', (g: Loose) => g.step('a', { run, attempts: 0 }))), [/^step "g\/a": attempts/])
})

t.test('bad settings of groups, lists, sleeps and signals', async (t) => {
  const group = (options: unknown): unknown => problemsOf((s) => s.parallel('g', (g: Loose) => g.step('a', run), options))
  t.match(group({ onError: 'ignore' }), [/^parallel "g": onError/])
  t.match(group({ concurrency: 0 }), [/^parallel "g": concurrency/])
  t.match(group({ concurency: 2 }), [/^parallel "g": .*concurency/])
  t.match(group(7), [/^parallel "g": its options/])

  const each = (list: unknown, options: unknown): unknown => problemsOf((s) => s.each('e', list, options))
  t.same(each([1], { run }), ['each "e": the list must be a function'])
  t.match(each(() => [], { run, maxItems: 1_001 }), [/^each "e": maxItems/])
  t.match(each(() => [], { run, onExhausted: 'continue' }), [/^each "e": onExhausted/])
  t.match(each(() => [], { run, when: run }), [/^each "e": .*when/])
  t.match(each(() => [], {}), [/^each "e": .*run/])

  for (const ms of [-1, Number.NaN, Infinity, '5', undefined, 31_536_000_001]) {
    t.same(problemsOf((s) => s.sleep('z', ms)), ['sleep "z" takes a number of milliseconds, 0 to 31536000000, or a function'], String(ms))
  }
  t.same(problemsOf((s) => s.sleep('z', 0).sleep('y', run)), [])

  const signal = (options: unknown): unknown => problemsOf((s) => s.signal('i', options))
  t.match(signal({ timeoutMs: -5 }), [/^signal "i": timeoutMs/])
  t.match(signal({ parse: 'json' }), [/^signal "i": parse/])
  t.match(signal({ onExhausted: 'ignore' }), [/^signal "i": onExhausted/])
  t.match(signal({ timeout: 5 }), [/^signal "i": .*timeout/])
  t.same(signal(undefined), [])
})

t.test('1,000 steps are the most', async (t) => {
  const many = (n: number) => (s: Loose): Loose => {
    let chain = s.parallel('g', (g: Loose) => g.step('a', run).step('b', run))
    for (let i = 2; i < n; i++) chain = chain.step(`s${i}`, run)
    return chain
  }
  t.same(problemsOf(many(1_000)), [])
  t.same(problemsOf(many(1_001)), ['it has 1001 steps; 1000 are the most, put more work into each or use each()'])
})

t.test('what is not given', async (t) => {
  const plan = compileSaga(source((s: Loose) => s
    .step('a', { run, compensate: run })
    .parallel('g', (g: Loose) => g.step('b', { run, compensate: { run, attempts: 2 } }).step('c', run))
    .each('e', () => [], { run })
    .signal('i')
    .sleep('z', 5)))
  t.match(plan, { version: 1, versionWaitMs: 600_000, maxStepResultBytes: 262_144, maxResultsBytes: 4_194_304, maxCrashes: 3, returns: undefined, upgrade: undefined })
  t.match(plan.nodes, [
    { kind: 'step', path: 'a', order: 1, group: undefined, attempts: 3, timeoutMs: 300_000, onExhausted: 'compensate', undo: { attempts: 5, timeoutMs: 30_000 } },
    { kind: 'parallel', path: 'g', order: 2, onError: 'abort', concurrency: 2, steps: [{ path: 'g/b', name: 'b', group: 'g', order: 2, undo: { attempts: 2, timeoutMs: 30_000 } }, { path: 'g/c', order: 3 }] },
    { kind: 'each', path: 'e', order: 4, maxItems: 100, onError: 'abort', concurrency: 10, step: { path: 'e', group: 'e' } },
    { kind: 'signal', path: 'i', order: 5, timeoutMs: 0, onExhausted: 'compensate' },
    { kind: 'sleep', path: 'z', order: 6, ms: 5 }
  ])
  const [step] = plan.nodes
  if (step?.kind !== 'step') return t.fail('no step')
  const context = { attempt: 1, maxAttempts: 3, error: undefined }
  const [forward, undo] = [step.backoff(context), step.undo.backoff(context)]
  t.ok(forward > 799 && forward <= 1_000, String(forward))
  t.ok(undo > 399 && undo <= 500, String(undo))
  t.ok(Object.isFrozen(plan) && Object.isFrozen(plan.nodes) && Object.isFrozen(step))
})

// ---- app.saga() ----

async function appWith (t: Test, options: AsyncEndpointsOptions = {}): Promise<FastifyInstance> {
  const app = Fastify()
  await app.register(asyncEndpoints, { observability: false, health: false, ...options })
  t.teardown(() => app.close())
  return app
}

const define = (app: FastifyInstance, options: unknown): unknown => Reflect.apply(app.saga as (...given: unknown[]) => unknown, app, [options])

t.test('one message has the options and the steps, and nothing is registered', async (t) => {
  const app = await appWith(t)
  const problems = problemsIn(() => define(app, {
    name: 'bad saga',
    version: 1.5,
    timeoutMs: -1,
    versionWaitMs: 'long',
    upgrade: true,
    maxStepResultBytes: 0,
    retry: { attempts: 0, backoff: 'fast' },
    handler: run,
    colour: 'red',
    url: '/bad',
    steps: (s: Loose) => s.step('a b', { run, attempts: 0 }).parallel('g', (g: Loose) => g)
  }))
  const text = Array.isArray(problems) ? problems.join('\n') : String(problems)
  for (const word of ['name', 'version ', 'timeoutMs', 'versionWaitMs', 'upgrade', 'maxStepResultBytes', 'retry.attempts', 'retry.backoff', 'handler', 'colour', 'a b', 'step "a b": attempts', 'parallel "g" has no steps']) {
    t.match(text, word)
  }
  t.equal((await app.inject({ method: 'POST', url: '/bad' })).statusCode, 404)

  for (const odd of [undefined, null, 5, 'saga']) t.match(problemsIn(() => define(app, odd)), ['options must be an object'], String(odd))
  t.same(problemsIn(() => define(app, {})), ['name is missing', 'steps must be a function: (s) => s.step(…)'])
  t.same(problemsIn(() => define(app, { name: 'a', method: 'PUT', bodyLimit: 5, steps: (s: Loose) => s.step('a', run) })), [
    'method has no effect without a url', 'bodyLimit has no effect without a url'
  ])
})

t.test('a second job of the name is refused, and has no route', async (t) => {
  const app = await appWith(t)
  app.saga({ name: 'twice', steps: (s) => s.step('a', () => 1) })
  t.throws(() => app.saga({ name: 'twice', url: '/twice', steps: (s) => s.step('a', () => 1) }), { code: 'FAE_DUPLICATE_JOB' })
  t.throws(() => app.defineJob({ name: 'twice', handler: run }), { code: 'FAE_DUPLICATE_JOB' })
  t.equal((await app.inject({ method: 'POST', url: '/twice' })).statusCode, 404)
})

t.test('a store that keeps no steps has no sagas', async (t) => {
  const whole = memoryStore()
  const without = new Proxy(whole, {
    get: (store: JobStore, name: keyof JobStore) => {
      if (name === 'steps') return undefined
      const member: unknown = store[name]
      return typeof member === 'function' ? member.bind(store) : member
    }
  })
  const app = await appWith(t, { store: without })
  t.throws(() => app.saga({ name: 'a', url: '/a', steps: (s) => s.step('a', () => 1) }), { code: 'FAE_STORE_UNSUPPORTED', message: /keeps no steps/ })
  t.equal((await app.inject({ method: 'POST', url: '/a' })).statusCode, 404)
  t.doesNotThrow(() => app.defineJob({ name: 'a', handler: run }), 'the name is free')
})

t.test('the schema of a signal is compiled when the application is ready', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close().catch(() => {}))
  await app.register(asyncEndpoints, { observability: false, health: false })
  app.saga({ name: 'review', steps: (s) => s.signal('approval', { schema: { type: 'objekt' } }) })
  await t.rejects(async () => { await app.ready() }, { message: /review, signal approval/ })
})
