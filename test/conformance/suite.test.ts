/** A suite that cannot fail proves nothing: here each rule is broken on purpose, and the suite has to notice. */
import { randomUUID } from 'node:crypto'
import t from 'tap'
import type { JobPlace } from '../../lib/jobs/job.ts'
import type { JobStore } from '../../lib/jobs/store.ts'
import { exerciseJobStore } from '../../lib/testing/exercise-job-store.ts'
import { LEASE_MS, memoryUnderTest } from './memory-under-test.ts'

type Fault = (inner: JobStore) => Partial<JobStore>

/** A store that does everything as `inner` does, except for what the fault replaces. */
function broken (inner: JobStore, fault: Fault): JobStore {
  const replaced = fault(inner)
  return new Proxy(inner, {
    get (target, key) {
      const own: unknown = Reflect.get(replaced, key)
      if (own !== undefined) return own
      const value: unknown = Reflect.get(target, key)
      return typeof value === 'function' ? value.bind(target) : value
    }
  })
}

/** Runs the cases whose names match, and gives the names of those that failed. */
async function failures (fault: Fault, only: RegExp): Promise<{ ran: number, failed: string[] }> {
  const cases: Array<{ name: string, run: () => Promise<void> }> = []
  exerciseJobStore({
    test: (name, run) => { cases.push({ name, run }) },
    newStore (settings) {
      const under = memoryUnderTest(settings)
      return { ...under, store: broken(under.store, fault) }
    },
    timing: { leaseMs: LEASE_MS, deadlineMs: 2_000 }
  })
  const matching = cases.filter(({ name }) => only.test(name))
  const failed: string[] = []
  for (const { name, run } of matching) await run().catch(() => { failed.push(name) })
  return { ran: matching.length, failed }
}

const FAULTS: ReadonlyArray<{ what: string, caughtBy: RegExp, fault: Fault }> = [
  { what: 'a job cannot be read at once', caughtBy: /read straight after/, fault: () => ({ get: async () => undefined }) },
  {
    what: 'an idempotency key is ignored',
    caughtBy: /100 creates at once/,
    fault: (inner) => ({ create: (job) => inner.create({ ...job, idempotency: undefined }) })
  },
  {
    what: 'fingerprints are not compared',
    caughtBy: /100 creates at once/,
    fault: (inner) => ({
      async create (job) {
        const answer = await inner.create(job)
        return answer.created ? answer : { ...answer, sameRequest: true }
      }
    })
  },
  {
    what: 'keys are never forgotten',
    caughtBy: /time to live/,
    fault: (inner) => ({ create: (job) => inner.create(job.idempotency === undefined ? job : { ...job, idempotency: { ...job.idempotency, ttlMs: 1e12 } }) })
  },
  {
    what: 'keys are forgotten at once',
    caughtBy: /still held when its job is over/,
    fault: (inner) => ({ create: (job) => inner.create(job.idempotency === undefined ? job : { ...job, idempotency: { ...job.idempotency, ttlMs: 0 } }) })
  },
  {
    what: 'an odd id throws something of its own',
    caughtBy: /an unknown id/,
    fault: (inner) => ({ get: async (id) => id.includes(':') ? Reflect.apply(Object.keys, undefined, [undefined]) as never : await inner.get(id) })
  },
  { what: 'priorities are ignored', caughtBy: /no priority runs before/, fault: (inner) => ({ create: (job) => inner.create({ ...job, priority: 0 }) }) },
  { what: 'delays are ignored', caughtBy: /delayed job is scheduled/, fault: (inner) => ({ create: (job) => inner.create({ ...job, runAt: job.createdAt }) }) },
  { what: 'one attempt too many', caughtBy: /never exceeds it/, fault: (inner) => ({ consume: (options) => inner.consume({ ...options, concurrency: options.concurrency + 1 }) }) },
  { what: 'concurrency is not used', caughtBy: /fills its concurrency/, fault: (inner) => ({ consume: (options) => inner.consume({ ...options, concurrency: 1 }) }) },
  {
    what: 'settled is called twice',
    caughtBy: /hears exactly once/,
    fault: (inner) => ({
      consume: (options) => inner.consume({
        ...options,
        attempt (claim) {
          const attempt = options.attempt(claim)
          return { run: () => attempt.run(), abort: (reason) => attempt.abort(reason), settled (verdict) { attempt.settled(verdict); attempt.settled(verdict) } }
        }
      })
    })
  },
  {
    what: 'a cancel does not reach the attempt',
    caughtBy: /running job that is cancelled/,
    fault: (inner) => ({
      consume: (options) => inner.consume({
        ...options,
        attempt (claim) {
          const attempt = options.attempt(claim)
          return { run: () => attempt.run(), abort () {}, settled: (verdict) => attempt.settled(verdict) }
        }
      })
    })
  },
  {
    what: 'the result is parsed and written again',
    caughtBy: /text that was given/,
    fault: (inner) => ({
      async result (id) {
        const text = await inner.result(id)
        return text === undefined ? undefined : JSON.stringify(JSON.parse(text))
      }
    })
  },
  {
    what: 'cancelled jobs are counted as failed',
    caughtBy: /counts are given for each state/,
    fault: (inner) => ({
      async counts (queue) {
        const counts = await inner.counts(queue)
        return { ...counts, states: { ...counts.states, failed: counts.states.failed + counts.states.cancelled, cancelled: 0 } }
      }
    })
  },
  {
    what: 'the oldest queued job is not told',
    caughtBy: /counts are given for each state/,
    fault: (inner) => ({ counts: async (queue) => ({ ...await inner.counts(queue), oldestQueuedAt: undefined }) })
  },
  {
    what: 'what could not be undone is forgotten when the job has failed',
    caughtBy: /could not undo their steps are counted/,
    fault: (inner) => ({
      async counts (queue) {
        const { sagas, ...counts } = await inner.counts(queue)
        return { ...counts, sagas: sagas && { ...sagas, notUndone: 0, notUndoneIds: [] } }
      }
    })
  },
  { what: 'a cancel is only said', caughtBy: /queued job that is cancelled/, fault: (inner) => ({ cancel: async (id) => { const job = await inner.get(id); return job && { kind: 'cancelled', already: false, job: { ...job, state: 'cancelled' } } } }) },
  { what: 'jobs in progress are removed', caughtBy: /leaves one in progress alone/, fault: (inner) => ({ remove: async (id) => await inner.remove(id) === undefined ? undefined : 'removed' }) },
  { what: 'progress is always accepted', caughtBy: /progress is stored|consumer has gone/, fault: (inner) => ({ progress: async (claim, progress) => { await inner.progress(claim, progress); return true } }) },
  { what: 'a redrive does nothing', caughtBy: /can be redriven/, fault: (inner) => ({ redrive: async (id) => { const job = await inner.get(id); return job && { kind: 'redriven', job } } }) },
  { what: 'a list ignores its filters', caughtBy: /narrowed by/, fault: (inner) => ({ list: ({ cursor, limit }) => inner.list({ cursor, limit }) }) },
  {
    what: 'a page repeats the last job of the page before',
    caughtBy: /paging gives everything once/,
    fault (inner) {
      let last: Awaited<ReturnType<JobStore['list']>>['jobs'] = []
      return {
        async list (query) {
          const page = await inner.list(query)
          const jobs = [...(query.cursor === undefined ? [] : last), ...page.jobs].slice(0, query.limit)
          last = page.jobs.slice(-1)
          return { ...page, jobs }
        }
      }
    }
  },
  {
    what: 'a cursor is a number of jobs to pass over',
    caughtBy: /paging skips nothing/,
    fault: (inner) => ({
      async list ({ cursor, limit, ...query }) {
        const all = []
        let next: string | undefined
        do {
          const page = await inner.list({ ...query, limit: 100, cursor: next })
          all.push(...page.jobs)
          next = page.cursor
        } while (next !== undefined)
        const from = Number(cursor) || 0
        const jobs = all.slice(from, from + limit)
        return from + limit < all.length ? { jobs, cursor: String(from + limit) } : { jobs }
      }
    })
  },
  {
    what: 'nobody hears of changes',
    caughtBy: /hears of every change/,
    fault: () => ({ listen: () => ({ follow: async () => {}, unfollow () {}, close () {} }) })
  },
  {
    what: 'a job is heard of some time after it was followed',
    caughtBy: /heard from then on/,
    fault: (inner) => ({
      listen: (listener) => {
        const feed = inner.listen(listener)
        const follow = async (place: JobPlace): Promise<void> => { setTimeout(() => { void feed.follow(place) }, 20) }
        return { follow, unfollow: (place) => { feed.unfollow(place) }, close: () => { feed.close() } }
      }
    })
  },
  {
    what: 'a payload travels with updates',
    caughtBy: /hears of every change/,
    fault: (inner) => ({
      listen: (listener) => inner.listen({ changed: (update) => listener.changed(Object.assign({ input: {} }, update)), missed () {} })
    })
  },
  {
    what: 'a job cannot be left',
    caughtBy: /does not follow/,
    fault: (inner) => ({ listen: (listener) => ({ ...inner.listen(listener), unfollow () {} }) })
  },
  {
    what: 'a record has an old version',
    caughtBy: /version of a job grows/,
    fault: (inner) => ({
      get: async (id) => {
        const job = await inner.get(id)
        return job === undefined ? undefined : { ...job, version: 7 }
      }
    })
  },
  {
    what: 'progress is published with the version of what comes next',
    caughtBy: /never newer than/,
    fault: (inner) => ({
      listen: (listener) => inner.listen({
        changed: (update) => listener.changed({ ...update, version: (update.version ?? 0) + 1 }), missed () {}
      })
    })
  },
  {
    what: 'many jobs are read in another order',
    caughtBy: /many jobs are read at once/,
    fault: (inner) => ({ getMany: async (jobs) => await inner.getMany([...jobs].reverse()) })
  },
  {
    what: 'a stall is not told in the claim',
    caughtBy: /consumer has gone|postpone/,
    fault: (inner) => ({ consume: (options) => inner.consume({ ...options, attempt: (claim) => options.attempt({ ...claim, stalled: false }) }) })
  },
  { what: 'a stall is told to nobody', caughtBy: /consumer has gone/, fault: (inner) => ({ consume: (options) => inner.consume({ ...options, onStalled () {} }) }) },
  { what: 'a pause is ignored', caughtBy: /paused consumer claims nothing/, fault: (inner) => ({ consume: (options) => { const consumer = inner.consume(options); consumer.pause = () => {}; return consumer } }) },
  { what: 'a drain does not wait', caughtBy: /drain gives up at its deadline/, fault: (inner) => ({ consume: (options) => { const consumer = inner.consume(options); consumer.drain = async () => true; return consumer } }) },
  { what: 'a drained consumer goes on', caughtBy: /claims nothing more/, fault: (inner) => ({ consume: (options) => { const consumer = inner.consume(options); const { drain } = consumer; consumer.drain = (ms) => { inner.consume(options); return Reflect.apply(drain, consumer, [ms]) }; return consumer } }) },
  { what: 'a closed store goes on', caughtBy: /closed store refuses/, fault: () => ({ close: async () => {} }) },
  { what: 'a submission on trial makes a job', caughtBy: /on trial/, fault: (inner) => ({ probe: async () => { await inner.create({ id: randomUUID(), name: 'probe', queue: 'conformance', input: { body: 1, params: {}, query: {}, headers: {} }, owner: undefined, correlationId: 'c', trace: undefined, priority: 0, createdAt: 0, runAt: 0, maxAttempts: 1, idempotency: undefined }) } }) },
  { what: 'a resize is ignored', caughtBy: /can be resized/, fault: (inner) => ({ consume: (options) => Object.assign(inner.consume(options), { resize () {} }) }) },
  { what: 'input is lost with a failure', caughtBy: /what was submitted is dropped/, fault: (inner) => ({ input: async (id) => (await inner.get(id))?.state === 'failed' ? undefined : await inner.input(id) }) },
  { what: 'input outlives its job', caughtBy: /what was submitted is dropped/, fault: (inner) => ({ input: async (id) => await inner.input(id) ?? { body: 1, params: {}, query: {}, headers: {} } }) },
  {
    what: 'a key is forgotten with its job',
    caughtBy: /outlives its job/,
    fault: (inner) => ({
      async create (job) {
        const answer = await inner.create(job)
        return answer.created || answer.job !== undefined ? answer : await inner.create({ ...job, idempotency: undefined })
      }
    })
  },
  { what: 'owners are not told apart', caughtBy: /push out/, fault: (inner) => ({ create: (job) => inner.create({ ...job, owner: 'all' }) }) },
  {
    what: 'results have no weight',
    caughtBy: /maxBytes/,
    fault: (inner) => {
      const results = new Map<string, string>()
      return {
        result: async (id) => await inner.result(id) ?? results.get(id),
        consume: (options) => inner.consume({
          ...options,
          attempt: (claim) => {
            const attempt = options.attempt(claim)
            return {
              run: async () => {
                const settlement = await attempt.run()
                if (settlement.kind === 'completed' && settlement.result !== undefined) results.set(claim.job.id, settlement.result)
                return settlement
              },
              abort: (reason) => { attempt.abort(reason) },
              settled: (verdict) => { attempt.settled(verdict) }
            }
          }
        })
      }
    }
  },
  { what: 'errors have no code', caughtBy: /closed store refuses/, fault: () => ({ ping: async () => { throw new Error('down') } }) }
]

t.test('the suite passes a store in which nothing was replaced', async (t) => {
  t.same((await failures(() => ({}), /./)).failed, [])
})

for (const { what, caughtBy, fault } of FAULTS) {
  t.test(`the suite notices: ${what}`, async (t) => {
    const { ran, failed } = await failures(fault, caughtBy)
    t.ok(ran > 0, 'there is a case for it')
    t.ok(failed.length > 0, `a case fails (${failed.join('; ')})`)
  })
}

t.test('a capability that a store lacks is left out, nothing else', async (t) => {
  const names = (capabilities?: { retention?: boolean, list?: boolean }): string[] => {
    const seen: string[] = []
    exerciseJobStore({ test: (name) => { seen.push(name) }, newStore: memoryUnderTest, capabilities })
    return seen
  }
  const all = names()
  t.equal(new Set(all).size, all.length, 'every case has a name of its own')
  const without = names({ retention: false, list: false })
  const left = all.filter((name) => !without.includes(name))
  t.ok(left.length > 0 && left.every((name) => /forgotten by|list|paging|cursor|outlives its job|push out|maxBytes/.test(name)), left.join('; '))
})
