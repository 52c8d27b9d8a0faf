import t from 'tap'
import { AsyncEndpointsError, ERROR_TABLE } from '../../lib/core/errors.ts'
import { shownError, type ExposeErrors } from '../../lib/http/shown-error.ts'
import type { StoredError } from '../../lib/jobs/job.ts'
import { testClaim } from '../worker/support.ts'
import { echo, testApp } from './support.ts'

const SECRET = 'insert into users values (\'alice@corp.test\')'

function shown (error: StoredError | undefined, expose: ExposeErrors = 'marked', state: 'failed' | 'cancelled' = 'failed'): unknown {
  return shownError(testClaim({ state, error }).job, expose)
}

t.test('the code and a fixed text, unless the message was written for the client', async (t) => {
  t.equal(shown(undefined), undefined)
  t.strictSame(shown({ code: '23505', message: SECRET }), { code: '23505', message: 'The handler threw an error' })
  t.strictSame(shown({ code: 'FAE_RESULT_TOO_LARGE', message: SECRET }), { code: 'FAE_RESULT_TOO_LARGE', message: ERROR_TABLE.FAE_RESULT_TOO_LARGE.title })
  t.strictSame(shown({ code: 'FAE_DISCARDED', message: SECRET }), { code: 'FAE_DISCARDED', message: ERROR_TABLE.FAE_DISCARDED.title }, 'a code alone marks nothing: anybody can set one')
  t.strictSame(shown({ code: 'toString', message: SECRET }), { code: 'toString', message: 'The handler threw an error' })
  t.strictSame(shown({ code: 'E_NONE', message: 'there is no such customer', expose: true }), { code: 'E_NONE', message: 'there is no such customer' })
  t.strictSame(shown({ code: 'FAE_JOB_CANCELLED', message: 'no longer wanted' }, 'marked', 'cancelled'), { code: 'FAE_JOB_CANCELLED', message: 'no longer wanted' })
  t.strictSame(shown({ code: SECRET, message: 'x' }), { code: 'Error', message: 'The handler threw an error' }, 'a sentence is no code')
})

t.test('all, and a function', async (t) => {
  const error = { code: 'E_X', message: 'full text' }
  const hidden = { code: 'E_X', message: 'The handler threw an error' }
  t.strictSame(shown(error, 'all'), error)
  t.strictSame(shown(error, ({ code }, { name }) => code === 'E_X' && name === 'job'), error)
  t.strictSame(shown(error, () => false), hidden)
  t.strictSame(shown(error, () => { throw new Error('x') }), hidden)
  t.strictSame(shown(error, (() => 'yes') as unknown as () => boolean), hidden)
})

t.test('everywhere a client reads it: status, result, a waited submission, and what factories are given', async (t) => {
  const documents: string[] = []
  const { app, store } = await testApp({ http: { responses: { status: ({ document }) => { documents.push(JSON.stringify(document)); return undefined } } } })
  app.asyncEndpoint({ url: '/a', name: 'a', handler: echo })
  app.asyncEndpoint({ url: '/open', name: 'open', exposeErrors: 'all', handler: echo })
  const run = async (url: string): Promise<{ texts: string[], id: string }> => {
    const posted = app.inject({ method: 'POST', url, headers: { prefer: 'wait=5' } })
    // It reads the job again once it listens to it.
    await store.called('getMany', store.count('getMany') + 1)
    const id = store.created.at(-1)?.id ?? ''
    store.change(id, { state: 'failed', finishedAt: Date.now(), error: { code: 'E_DB', message: SECRET } })
    const answers = [await posted, await app.inject(`/jobs/${id}`), await app.inject(`/jobs/${id}/result`)]
    t.strictSame(answers.map(({ statusCode }) => statusCode), [202, 200, 409])
    t.match(answers[2]?.json(), { code: 'FAE_JOB_FAILED', error: { code: 'E_DB' } })
    return { texts: answers.map(({ body }) => body), id }
  }
  const closed = await run('/a')
  for (const text of [...closed.texts, ...documents]) {
    t.notMatch(text, 'alice')
    t.match(text, 'The handler threw an error')
  }
  t.equal((await app.jobs.get(closed.id))?.error?.message, SECRET, 'from code all of it')
  const open = await run('/open')
  for (const text of open.texts) t.match(text, 'alice')
})

t.test('problems of hooks: what was thrown for the client keeps its words', async (t) => {
  const { app } = await testApp()
  const cases: ReadonlyArray<readonly [thrown: object, status: number, detail: string | undefined]> = [
    [Object.assign(new Error('log in first'), { statusCode: 401 }), 401, 'log in first'],
    [Object.assign(new Error(SECRET), { statusCode: 403, expose: false }), 403, undefined],
    [Object.assign(new Error('back at noon'), { statusCode: 503, expose: true }), 503, 'back at noon'],
    [Object.assign(new Error(SECRET), { statusCode: 502 }), 502, undefined],
    [new AsyncEndpointsError('FAE_STORE_UNAVAILABLE', SECRET), 503, undefined]
  ]
  cases.forEach(([thrown], index) => {
    app.asyncEndpoint({ url: `/${index}`, name: `e${index}`, routeOptions: { preHandler: async () => { throw thrown } }, handler: echo })
  })
  app.asyncEndpoint({ url: '/late', name: 'late', routeOptions: { preHandler: async (_request, reply) => { reply.code(401); throw new Error(SECRET) } }, handler: echo })
  for (const [index, [, status, detail]] of cases.entries()) {
    const response = await app.inject({ method: 'POST', url: `/${index}` })
    t.equal(response.statusCode, status)
    t.equal(response.json().detail, detail)
  }
  const late = await app.inject({ method: 'POST', url: '/late' })
  t.equal(late.statusCode, 401)
  t.equal(late.json().detail, undefined, 'the status of the reply does not make a public error of any that follows')
})

t.test('a bad option is refused', async (t) => {
  await t.rejects(testApp({ http: { exposeErrors: 'some' as 'all' } }), { code: 'FAE_INVALID_OPTIONS' })
})
