import { strict as assert } from 'node:assert'
import type { IdempotencyClaim } from '../../jobs/job.ts'
import { COMPLETED, refused, type ConformanceCase } from './world.ts'

/** Ids that a careless store would take for a key, a path, a pattern or a property. */
export const ODD_IDS: readonly string[] = [
  '', ' ', '0', '-1', '123', 'completed', 'wait', 'id', 'meta', 'events', 'a:b', 'a:b:c', '*', '{a}', '../etc', '%00', '\u0000', '\n',
  '__proto__', 'constructor', 'toString', 'hasOwnProperty', 'ü', '💥', 'x'.repeat(5_000), '00000000-0000-4000-8000-000000000000'
]

function key (name: string, fingerprint: string, ttlMs: number): IdempotencyClaim {
  return { key: Buffer.from(name).toString('hex').padEnd(64, '0'), fingerprint, ttlMs }
}

const HOUR = 3_600_000

export const submissionCases: readonly ConformanceCase[] = [
  {
    name: 'a job can be read straight after it was created, with everything it was created with',
    async run (world) {
      const job = world.job({
        input: { body: { a: [1, 'two', null] }, params: { id: '7' }, query: { q: 'x' }, headers: { 'x-tenant': 't1' } },
        owner: 'owner-1',
        trace: { traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01', tracestate: 'a=1' },
        priority: 7,
        maxAttempts: 4
      })
      assert.deepEqual(await world.store.create(job), { created: true, id: job.id })
      const record = await world.read(job.id)
      const { id, name, queue, owner, correlationId, trace, priority, createdAt, runAt, maxAttempts } = record
      assert.deepEqual(
        { id, name, queue, owner, correlationId, trace, priority, createdAt, runAt, maxAttempts },
        {
          id: job.id, name: job.name, queue: job.queue, owner: job.owner, correlationId: job.correlationId, trace: job.trace,
          priority: job.priority, createdAt: job.createdAt, runAt: job.runAt, maxAttempts: job.maxAttempts
        })
      assert.equal(Object.hasOwn(record, 'input'), false, 'a record never carries what was submitted')
      assert.equal(JSON.stringify(await world.store.input(job.id)), JSON.stringify(job.input))
      assert.equal(record.state, 'queued')
      assert.equal(record.attempts, 0)
      assert.equal(record.cancelRequested, false)
      for (const field of ['startedAt', 'finishedAt', 'progress', 'error', 'resultBytes'] as const) {
        assert.equal(record[field], undefined, `${field} is not there yet`)
      }
      assert.equal(await world.store.result(job.id), undefined)
    }
  },
  {
    name: 'input comes back as the JSON it was: unicode, numbers, big bodies and keys that look like a prototype',
    async run (world) {
      const bodies: unknown[] = [
        undefined, null, 0, -0.5, 1e300, '', 'text', true, [], {}, [[[]]],
        'ünïcödé 💥 \u0000 \u2028 "quotes" \\ \ud83d', { 'a.b': { 'c[0]': 1 } },
        JSON.parse('{"__proto__":{"polluted":true},"constructor":{"prototype":{"polluted":true}},"toString":1}'),
        { big: 'x'.repeat(200_000), many: Array.from({ length: 2_000 }, (_, n) => ({ n })) }
      ]
      const consumer = world.consume({ script: () => COMPLETED })
      for (const [index, body] of bodies.entries()) {
        const input = { body, params: {}, query: { index }, headers: {} }
        await world.create({ input })
        const attempt = await world.claimed(consumer, index + 1)
        assert.equal(JSON.stringify(attempt.claim.job.input.body), JSON.stringify(body), `body ${index} as it is claimed`)
        assert.deepEqual(attempt.claim.job.input.query, { index })
      }
      assert.equal(({} as { polluted?: unknown }).polluted, undefined, 'no prototype was touched')
    }
  },
  {
    name: 'input is isolated: neither side sees what the other changes later',
    async run (world) {
      const body = { list: [1], when: new Date(0), gone: undefined }
      const id = await world.create({ input: { body, params: { p: '1' }, query: {}, headers: {} } })
      body.list.push(2)
      const first = await world.store.input(id)
      assert.deepEqual(first?.body, { list: [1], when: '1970-01-01T00:00:00.000Z' })
      ;(first?.body as { list: number[] }).list.push(3)
      assert.deepEqual((await world.store.input(id))?.body, { list: [1], when: '1970-01-01T00:00:00.000Z' })
    }
  },
  {
    name: 'a body that cannot be written as JSON is refused, and nothing is stored',
    async run (world) {
      const circular: { self?: unknown } = {}
      circular.self = circular
      for (const body of [circular, { n: 1n }, { toJSON () { throw new Error('no') } }]) {
        const job = world.job({ input: { body, params: {}, query: {}, headers: {} } })
        await refused(world.store.create(job), 'FAE_INVALID_SUBMISSION')
        assert.equal(await world.store.get(job.id), undefined)
      }
      assert.equal((await world.store.counts('conformance')).states.queued, 0)
    }
  },
  {
    name: '100 creates at once with one idempotency key give one job',
    async run (world) {
      const other = await world.second()
      const answers = await Promise.all(Array.from({ length: 100 }, (_, n) => {
        const store = n % 2 === 0 ? world.store : other
        return store.create(world.job({ idempotency: key('race', n < 50 ? 'aa' : 'bb', HOUR) }))
      }))
      const winners = answers.filter((answer) => answer.created)
      assert.equal(winners.length, 1, 'exactly one call creates')
      assert.equal(new Set(answers.map((answer) => answer.id)).size, 1, 'all calls get the same id')
      const wonBy = answers.findIndex((answer) => answer.created) < 50
      for (const [n, answer] of answers.entries()) {
        if (answer.created) continue
        assert.equal(answer.job?.id, answer.id)
        assert.equal(answer.sameRequest, (n < 50) === wonBy, 'sameRequest says whether the fingerprint is equal')
      }
      assert.equal((await world.store.counts('conformance')).states.queued, 1)
    }
  },
  {
    name: 'an idempotency key is still held when its job is over',
    async run (world) {
      const idempotency = key('over', 'aa', HOUR)
      const id = await world.create({ idempotency })
      world.consume({ script: () => COMPLETED })
      await world.state(id, 'completed')
      const again = await world.store.create(world.job({ idempotency }))
      assert.equal(again.created, false)
      assert.equal(again.id, id)
      if (!again.created) {
        assert.equal(again.sameRequest, true)
        assert.equal(again.job?.state, 'completed')
      }
    }
  },
  {
    name: 'different idempotency keys are different jobs, and none means a job each',
    async run (world) {
      const ids = new Set([
        await world.create({ idempotency: key('one', 'aa', HOUR) }),
        await world.create({ idempotency: key('two', 'aa', HOUR) }),
        await world.create(),
        await world.create()
      ])
      assert.equal(ids.size, 4)
    }
  },
  {
    name: 'an idempotency key is forgotten after its time to live',
    async run (world) {
      const idempotency = key('short', 'aa', world.timing.shortMs)
      const id = await world.create({ idempotency })
      let fresh = id
      await world.until('the key is free again', async () => {
        const answer = await world.store.create(world.job({ idempotency }))
        fresh = answer.id
        return answer.created
      })
      assert.notEqual(fresh, id)
      assert.equal((await world.read(id)).state, 'queued', 'the first job is still there')
    }
  },
  {
    name: 'removing a job frees its idempotency key',
    async run (world) {
      const idempotency = key('removed', 'aa', HOUR)
      const id = await world.create({ idempotency })
      assert.equal(await world.store.remove(id), 'removed')
      assert.notEqual(await world.create({ idempotency }), id)
    }
  },
  {
    name: 'an unknown id, however odd, is undefined to every method',
    async run (world) {
      const known = await world.create()
      for (const id of ODD_IDS) {
        const what = JSON.stringify(id.slice(0, 40))
        assert.equal(await world.store.get(id), undefined, `get ${what}`)
        assert.equal(await world.store.result(id), undefined, `result ${what}`)
        assert.equal(await world.store.input(id), undefined, `input ${what}`)
        assert.equal(await world.store.cancel(id, 'no'), undefined, `cancel ${what}`)
        assert.equal(await world.store.redrive(id), undefined, `redrive ${what}`)
        assert.equal(await world.store.remove(id), undefined, `remove ${what}`)
      }
      world.consume({ script: () => COMPLETED })
      await world.state(known, 'completed')
    }
  },
  {
    name: 'a submission on trial, where the store has one, leaves nothing that anybody could see',
    async run (world) {
      const { store } = world
      if (store.probe === undefined) return
      await world.create({ runAt: world.now() + HOUR })
      const consumer = world.consume({ script: () => COMPLETED })
      const heard: string[] = []
      const feed = store.listen({ changed: ({ id }) => { heard.push(id) }, missed () {} })
      const before = await store.counts('conformance')
      for (let round = 0; round < 3; round++) assert.equal(await store.probe(), undefined)
      await world.elapse(world.timing.shortMs)
      assert.deepEqual(await store.counts('conformance'), before)
      assert.deepEqual([consumer.attempts.length, heard], [0, []])
      feed.close()
    }
  }
]
