import t from 'tap'
import { SubmissionLimit } from '../../lib/http/submission-limit.ts'
import { echo, testApp } from './support.ts'

t.test('a minute at once, then evenly', async (t) => {
  let now = 5_000
  const limit = new SubmissionLimit(60, () => now)
  const accepted = (client: string, tries: number): number => {
    let count = 0
    for (let n = 0; n < tries; n++) {
      try {
        limit.count(client)
        count++
      } catch (error) {
        t.match(error, { code: 'FAE_TOO_MANY_SUBMISSIONS', statusCode: 429, retryAfterSeconds: 1 })
      }
    }
    return count
  }
  t.equal(accepted('a', 100), 60)
  t.equal(accepted('b', 1), 1, 'another client')
  now += 999
  t.equal(accepted('a', 1), 0)
  now += 1
  t.equal(accepted('a', 2), 1)
  now += 10_000
  t.equal(accepted('a', 100), 10)
  now += 3_600_000
  t.equal(accepted('a', 100), 60, 'no more than a minute, however long it was quiet')
})

t.test('says when the next one is accepted', async (t) => {
  let now = 0
  const limit = new SubmissionLimit(3, () => now)
  for (let n = 0; n < 3; n++) limit.count('a')
  t.throws(() => { limit.count('a') }, { code: 'FAE_TOO_MANY_SUBMISSIONS', retryAfterSeconds: 20 })
  now += 20_000
  limit.count('a')
  t.equal(limit.clients, 1)
})

t.test('its memory is bounded', async (t) => {
  const limit = new SubmissionLimit(1, () => 0)
  for (let n = 0; n < 25_000; n++) limit.count(`ip:${n}`)
  t.equal(limit.clients, 10_000)
  t.throws(() => { limit.count('ip:24999') }, { code: 'FAE_TOO_MANY_SUBMISSIONS' }, 'those that were active last are remembered')
})

t.test('over HTTP: by owner, else by address; counted as other refusals', async (t) => {
  const { app, events, store } = await testApp({ http: { maxSubmissionsPerMinute: 2, owner: (request) => request.headers['x-user'] as string | undefined } })
  app.asyncEndpoint({ url: '/a', name: 'a', handler: echo })
  app.asyncEndpoint({ url: '/b', name: 'b', handler: echo })
  const submit = async (url: string, user?: string): Promise<number> => (await app.inject({ method: 'POST', url, headers: user === undefined ? {} : { 'x-user': user } })).statusCode
  t.same([await submit('/a', 'alice'), await submit('/b', 'alice'), await submit('/a', 'alice'), await submit('/b', 'alice')], [202, 202, 429, 429], 'over all endpoints')
  t.same([await submit('/a', 'bob'), await submit('/a'), await submit('/a'), await submit('/a')], [202, 202, 202, 429])
  const refused = await app.inject({ method: 'POST', url: '/a', headers: { 'x-user': 'alice' } })
  t.match(refused, { statusCode: 429, headers: { 'retry-after': '30', 'cache-control': 'no-store', 'content-type': /^application\/problem\+json/ } })
  t.match(refused.json(), { code: 'FAE_TOO_MANY_SUBMISSIONS', type: /too-many-submissions$/ })
  t.match(events.findLast(({ name }) => name === 'job.rejected'), { event: { jobName: 'a', reason: 'too-many-submissions' } })
  t.equal(store.created.length, 5)
  await t.rejects(testApp({ http: { maxSubmissionsPerMinute: 0 } }), { code: 'FAE_INVALID_OPTIONS', message: /maxSubmissionsPerMinute/ })
})
