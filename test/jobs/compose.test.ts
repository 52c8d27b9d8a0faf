import t from 'tap'
import { compose } from '../../lib/jobs/compose.ts'

type Chain = Parameters<typeof compose<string[], unknown>>[0]

const REFUSED = { name: 'AsyncEndpointsError', code: 'FAE_NEXT_CALLED_TWICE', statusCode: 500 }

t.test('the first is the outermost, all see the scope, and each may change the answer', async (t) => {
  const scope: string[] = []
  const chain: Chain = [
    async (scope, next) => { scope.push('a'); const answer = await next(); scope.push('/a'); return `${String(answer)}a` },
    async (scope, next) => { scope.push('b'); return `${String(await next())}b` }
  ]
  t.equal(await compose(chain, scope, () => { scope.push('last'); return 'x' }), 'xba')
  t.strictSame(scope, ['a', 'b', 'last', '/a'])
})

t.test('the answer is a promise, whatever returns or throws', async (t) => {
  const thenable: PromiseLike<string> = { then: (resolve) => Promise.resolve('from a thenable').then(resolve) }
  const error = new Error('no')
  const throws = (): never => { throw error }
  t.equal(await compose([], [], () => 'value'), 'value')
  t.equal(await compose([], [], () => thenable), 'from a thenable')
  t.equal(await compose([() => 'not async'], [], throws), 'not async')
  t.equal(await compose([async (_scope, next) => await next()], [], () => 'value'), 'value')
  await t.rejects(compose([], [], throws), error)
  await t.rejects(compose([throws], [], () => 'value'), error)
  await t.rejects(compose([async (_scope, next) => await next().catch((caught: unknown) => { throw caught })], [], throws), error, 'what is thrown at once is a rejection of next()')
})

t.test('a second next() is refused, and what is wrapped runs once', async (t) => {
  let runs = 0
  const last = async (): Promise<number> => ++runs
  const inner: Chain = [async (_scope, next) => await next()]
  await t.rejects(compose([async (_scope, next) => { await next(); return await next() }, ...inner], [], last), REFUSED, 'one after the other')
  t.equal(runs, 1)
  await t.rejects(compose([async (_scope, next) => await Promise.all([next(), next()]), ...inner], [], last), REFUSED, 'at one time')
  t.equal(runs, 2)
  await t.rejects(compose([...inner, async (_scope, next) => { await next(); return await next() }], [], last), REFUSED, 'the innermost')
  t.equal(runs, 3)
  const broken = async (): Promise<never> => { runs++; throw new Error('no') }
  await t.rejects(compose([(_scope, next) => next().catch(next)], [], broken), REFUSED, 'after a failure')
  t.equal(runs, 4)
})

t.test('every run of a chain may call next() once', async (t) => {
  const chain: Chain = [async (_scope, next) => await next()]
  t.strictSame([await compose(chain, [], () => 1), await compose(chain, [], () => 2)], [1, 2])
})

t.test('a second call that nobody waits for ends neither the work nor the process', async (t) => {
  let runs = 0
  const unhandled: unknown[] = []
  const note = (error: unknown): void => { unhandled.push(error) }
  process.on('unhandledRejection', note)
  t.teardown(() => process.off('unhandledRejection', note))
  t.equal(await compose([async (_scope, next) => { const answer = await next(); void next(); return answer }], [], () => ++runs), 1)
  // Node reports unhandled rejections when the microtasks of a turn have run.
  await new Promise((resolve) => setImmediate(resolve))
  t.strictSame([unhandled, runs], [[], 1])
})

t.test('a middleware of the application that does not wait for next() ends no process', async (t) => {
  const unhandled: unknown[] = []
  const note = (error: unknown): void => { unhandled.push(error) }
  process.on('unhandledRejection', note)
  t.teardown(() => process.off('unhandledRejection', note))
  const broken = async (): Promise<never> => { throw new Error('no') }
  t.equal(await compose<string[], unknown>([async (_scope, next) => { void next(); return 'answered' }], [], broken, true), 'answered')
  await new Promise((resolve) => setImmediate(resolve))
  t.strictSame(unhandled, [])
})

t.test('next() after the middleware of the application has ended runs nothing', async (t) => {
  let runs = 0
  const kept: Array<() => Promise<unknown>> = []
  for (const end of [() => 'early', () => { throw new Error('early') }]) {
    await compose<string[], unknown>([(_scope, next) => { kept.push(next); return end() }], [], () => ++runs, true).catch(() => {})
  }
  for (const next of kept) await t.rejects(next(), { code: 'FAE_NEXT_CALLED_LATE' })
  t.equal(runs, 0)
})
