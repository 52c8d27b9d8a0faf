import t from 'tap'
import type { AuthorizeContext, AuthorizeFunction } from '../../lib/http/authorize.ts'
import type { OwnerFunction } from '../../lib/http/owner.ts'
import { echo, testApp, type TestApp } from './support.ts'

const UNKNOWN = '0b5e9f6e-6a4e-4d0c-9f7e-2f5b0f0c8a11'
const byUser: OwnerFunction = (request) => request.headers['x-user'] as string | undefined
const as = (user: string): { headers: Record<string, string> } => ({ headers: { 'x-user': user } })

async function authorized (authorize: AuthorizeFunction, owner?: OwnerFunction): Promise<TestApp & { submit: (user?: string) => Promise<string> }> {
  const test = await testApp({ http: { authorize, owner } })
  test.app.asyncEndpoint({ url: '/a', name: 'a', handler: echo })
  await test.app.ready()
  return {
    ...test,
    submit: async (user) => (await test.app.jobs.submit('a', {}, user === undefined ? {} : { owner: user })).id
  }
}

t.test('it is asked about every action, with the job if there is one', async (t) => {
  const asked: AuthorizeContext[] = []
  const { app, submit, store } = await authorized((_, context) => { asked.push(context); return true }, byUser)
  const id = await submit('alice')
  const actions = async (at: string): Promise<unknown[]> => {
    asked.length = 0
    for (const [method, url] of [['GET', ''], ['HEAD', ''], ['GET', '/result'], ['POST', '/redrive'], ['POST', '/retry'], ['POST', '/signals/go'], ['POST', '/cancel'], ['DELETE', '']] as const) {
      await app.inject({ method, url: `/jobs/${at}${url}`, ...as('alice') })
    }
    return asked.map(({ action, job }) => `${action} ${String(job?.id)}`)
  }
  const expected = (at: unknown, ...asked: string[]): string[] => asked.map((action) => `${action} ${String(at)}`)
  // For the status document also about what it could link to.
  t.same(await actions(id), expected(id, 'read', 'cancel', 'read', 'cancel', 'read', 'redrive', 'redrive', 'signal', 'cancel', 'cancel'))
  t.same(await actions(UNKNOWN), expected(undefined, 'read', 'read', 'read', 'redrive', 'redrive', 'signal', 'cancel', 'cancel'))
  t.ok(store.jobs.has(id))
})

t.test('false: as if there were no such job', async (t) => {
  const { app, submit } = await authorized((_, { action }) => action === 'read', byUser)
  const id = await submit('alice')
  t.equal((await app.inject({ url: `/jobs/${id}`, ...as('alice') })).statusCode, 200)
  const refused = await app.inject({ method: 'DELETE', url: `/jobs/${id}`, ...as('alice') })
  const unknown = await app.inject({ method: 'DELETE', url: `/jobs/${UNKNOWN}`, ...as('alice') })
  t.equal(refused.statusCode, 404)
  t.equal(refused.body, unknown.body.replaceAll(UNKNOWN, id))
  t.equal((await app.inject({ url: `/jobs/${id}`, ...as('bob') })).statusCode, 404, 'the owner function decides, too')
})

t.test('without an owner function it decides alone', async (t) => {
  const { app, submit } = await authorized((request, { job }) => request.headers['x-user'] === 'admin' || job?.owner === request.headers['x-user'])
  const id = await submit('alice')
  const status = async (user: string): Promise<number> => (await app.inject({ url: `/jobs/${id}`, ...as(user) })).statusCode
  t.same([await status('alice'), await status('admin'), await status('bob')], [200, 200, 404])
})

t.test('an owner: the request acts for this one', async (t) => {
  const { app, submit } = await authorized((request, { job }) => request.headers['x-user'] === 'admin' ? { owner: job?.owner } : true, byUser)
  const [alices, nobodys] = [await submit('alice'), await submit()]
  const status = async (id: string, user: string): Promise<number> => (await app.inject({ url: `/jobs/${id}`, ...as(user) })).statusCode
  t.same([await status(alices, 'alice'), await status(alices, 'admin'), await status(alices, 'bob')], [200, 200, 404])
  t.same([await status(nobodys, 'admin'), await status(nobodys, 'bob')], [200, 404])
  t.equal(await status(UNKNOWN, 'admin'), 404)
})

t.test('what it throws is the answer, with its own status', async (t) => {
  const { app, submit } = await authorized((request) => {
    if (request.headers['x-user'] === undefined) throw Object.assign(new Error('sign in first'), { statusCode: 401, headers: { 'www-authenticate': 'Bearer' } })
    if (request.headers['x-user'] === 'mallory') throw new Error('password hunter2')
    return Object(undefined) as boolean
  })
  const id = await submit()
  for (const at of [id, UNKNOWN]) {
    t.match(await app.inject(`/jobs/${at}`), { statusCode: 401, headers: { 'content-type': /^application\/problem\+json/, 'www-authenticate': 'Bearer' } })
    const broken = await app.inject({ url: `/jobs/${at}`, ...as('mallory') })
    t.equal(broken.statusCode, 500)
    t.notMatch(broken.body, /hunter2/)
  }
  t.equal((await app.inject('/jobs')).statusCode, 401)
  t.equal((await app.inject('/jobs/' + 'x'.repeat(200))).statusCode, 401, 'for an id that none can have, too')
})

t.test('what it returns must be one of three things', async (t) => {
  for (const wrong of [undefined, null, 'alice', 1, { owner: 1 }]) {
    const { app, submit } = await authorized(() => wrong as unknown as boolean)
    t.equal((await app.inject(`/jobs/${await submit()}`)).statusCode, 500, JSON.stringify(wrong))
    t.equal((await app.inject('/jobs')).statusCode, 500)
  }
})
