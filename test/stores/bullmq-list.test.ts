/** Paging on Redis where the order alone does not tell one job from another, and where the jobs that a cursor names are gone. */
import t, { type Test } from 'tap'
import type { JobStore, ListQuery } from '../../lib/jobs/store.ts'
import { newJob, openStore, play, QUEUE, until } from '../support/redis-jobs.ts'
import { sharedRedis, uniquePrefix } from '../support/redis.ts'

const server = await sharedRedis()
t.teardown(() => server.stop())

async function open (t: Test): Promise<JobStore> {
  const store = await openStore({ url: server.url, prefix: uniquePrefix() })
  t.teardown(() => store.close(2_000))
  return store
}

async function everyPage (store: JobStore, query: ListQuery, act: (ids: string[]) => Promise<unknown> = async () => {}): Promise<string[]> {
  const found: string[] = []
  let cursor: string | undefined
  do {
    const page = await store.list({ ...query, cursor })
    const ids = page.jobs.map(({ id }) => id)
    found.push(...ids)
    cursor = page.cursor
    await act(ids)
  } while (cursor !== undefined)
  return found
}

t.test('jobs of one moment are told apart by their ids', async (t) => {
  const store = await open(t)
  const createdAt = Date.now()
  const jobs = Array.from({ length: 230 }, () => newJob({ createdAt, runAt: createdAt + 3_600_000 }))
  await Promise.all(jobs.map((job) => store.create(job)))
  const expected = jobs.map(({ id }) => id).sort()
  t.same((await everyPage(store, { state: 'scheduled', limit: 30 })).sort(), expected, 'each once')
  t.same((await everyPage(store, { state: 'scheduled', limit: 30 }, async (ids) => { for (const id of ids) await store.cancel(id, 'x') })).sort(), expected, 'also while they leave')
  t.same((await everyPage(store, { state: 'cancelled', limit: 30 })).sort(), expected)
})

t.test('a list of waiting jobs is read on from the jobs that are left, or from its end', async (t) => {
  const store = await open(t)
  const jobs = Array.from({ length: 60 }, () => newJob())
  for (const job of jobs) await store.create(job)
  const ids = jobs.map(({ id }) => id)
  const first = await store.list({ state: 'queued', limit: 20 })
  t.same(first.jobs.map(({ id }) => id), ids.slice(0, 20), 'the next to be run first')
  // A worker takes the first thirty: more than the page had.
  const { consumer, attempt } = play(store, { concurrency: 30 })
  await attempt(30)
  consumer.pause()
  await until('thirty are taken', async () => (await store.counts(QUEUE)).states.queued === 30)
  const rest = await store.list({ state: 'queued', limit: 100, cursor: first.cursor })
  t.same(rest.jobs.map(({ id }) => id), ids.slice(30), 'nothing that still waits is skipped')
  // All but one of the last five go.
  const page = await store.list({ state: 'queued', limit: 5 })
  t.same(page.jobs.map(({ id }) => id), ids.slice(30, 35))
  for (const id of ids.slice(31, 35)) await store.remove(id)
  t.same((await store.list({ state: 'queued', limit: 100, cursor: page.cursor })).jobs.map(({ id }) => id), ids.slice(35), 'one of the last five is enough to find the place')
})
