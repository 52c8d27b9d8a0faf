import t from 'tap'
import { accessEndsAt, findReadable } from '../../lib/http/find-job.ts'
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
  type Request = Parameters<typeof findReadable>[1]
  const request = (sig: unknown): Request => ({ query: { sig }, headers: {}, ip: '127.0.0.1' }) as unknown as Request
  const ids = async (asked: Request): Promise<unknown[]> => (await findReadable(http, asked, [a, b])).map((job) => job?.id)
  t.same(await ids(request([sigA, sigB])), [a, b])
  t.same(await ids(request([sigB, sigA])), [undefined, undefined], 'a link opens its own job only')
  t.same(await ids(request(sigB)), [undefined, b])
  t.same(await ids(request(undefined)), [undefined, undefined])
  t.same(await ids(request(['', sigB])), [undefined, b])

  const both = request([sigA, sigB])
  t.equal(accessEndsAt(both), undefined)
  await ids(both)
  t.equal(accessEndsAt(both), grantOf(both, b)?.until, 'the first link that ends')
  t.ok((accessEndsAt(both) ?? 0) > Date.now())
})
