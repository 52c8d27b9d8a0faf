import t from 'tap'
import { findAllowed } from '../../lib/http/find-job.ts'
import { grantOf } from '../../lib/http/capability.ts'
import { echo, testApp } from './support.ts'

const keys = [{ id: 'k1', secret: 's'.repeat(32) }]

t.test('a channel for several jobs: one link for all ids, or one for each, in order', async (t) => {
  const { app, http } = await testApp({ http: { links: { keys } } })
  app.asyncEndpoint({ url: '/a', name: 'a', handler: echo })
  await app.ready()
  const [a, b] = [(await app.jobs.submit('a', {})).id, (await app.jobs.submit('a', {})).id]
  const sigA = http.signer?.signFor(a, 'read', 60_000) ?? ''
  const sigB = http.signer?.signFor(b, 'read', 30_000) ?? ''
  type Request = Parameters<typeof findAllowed>[1]
  const request = (sig: unknown): Request => ({ query: { sig }, headers: {}, ip: '127.0.0.1' }) as unknown as Request
  const find = (asked: Request): ReturnType<typeof findAllowed> => findAllowed(http, asked, 'read', [{ id: a }, { id: b }])
  const ids = async (asked: Request): Promise<unknown[]> => (await find(asked)).map((found) => found?.job.id)
  t.same(await ids(request([sigA, sigB])), [a, b])
  t.same(await ids(request([sigB, sigA])), [undefined, undefined], 'a link opens its own job only')
  t.same(await ids(request(sigB)), [undefined, b])
  t.same(await ids(request(undefined)), [undefined, undefined])
  t.same(await ids(request(['', sigB])), [undefined, b])

  const both = request([sigA, sigB])
  const [first, second] = await find(both)
  t.same([first?.until, second?.until], [grantOf(both, a)?.until, grantOf(both, b)?.until], 'each link has an end of its own')
  t.ok((first?.until ?? 0) > (second?.until ?? 0))
})
