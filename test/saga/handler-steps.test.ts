/** `job.step()`: durable steps in ordinary handlers. */
import Fastify from 'fastify'
import t from 'tap'
import asyncEndpoints, { isAsyncEndpointsError, memoryStore, snooze, type JobStore } from '../../plugins/async-endpoints.ts'
import { aborted, clockedApp, latch, never } from './clocked.ts'
import { until } from '../support/redis-jobs.ts'
import { sagaApp } from './support.ts'

t.test('a step that is done is not run again by another attempt: a retry, a crash, a snooze, a redrive', async (t) => {
  for (const how of ['retry', 'crash', 'snooze', 'redrive'] as const) {
    const ran: string[] = []
    const seen: unknown[] = []
    const waits = latch()
    let attempts = 0
    const made = await clockedApp(t, (app) => {
      app.defineJob<{ result: unknown }>({
        name: 'a',
        retry: { attempts: how === 'redrive' ? 1 : 3, backoff: { delayMs: 0 } },
        handler: async (job) => {
          attempts++
          const a = await job.step('a', ({ idempotencyKey }) => { ran.push('a'); return { key: idempotencyKey, at: new Date(0), none: undefined } })
          const nothing = await job.step('nothing', () => { ran.push('nothing') })
          seen.push(a, nothing)
          if (attempts === 1) {
            if (how === 'snooze') return snooze(5_000)
            if (how !== 'crash') throw new Error('again')
            waits.open()
            await never
          }
          return await job.step('b', async () => { ran.push('b'); return a.at })
        }
      })
    })
    const id = await made.submit('a')
    if (how === 'crash') {
      await waits.opened
      made.lasting.crash()
    }
    if (how === 'redrive') {
      t.match(await made.ended(id), { state: 'failed' })
      await made.app.jobs.redrive(id)
    }
    t.match(await made.ended(id), { state: 'completed' }, how)
    t.same(ran, ['a', 'nothing', 'b'], how)
    const a = { key: `${id}/a/0`, at: '1970-01-01T00:00:00.000Z' }
    t.same(seen, [a, undefined, a, undefined], `${how}: the same, first and again`)
    t.same(await made.app.jobs.result(id), '1970-01-01T00:00:00.000Z')
    await made.close()
  }
})

t.test('tries within the attempt, with their pauses and time limits', async (t) => {
  const tries: number[] = []
  const { submit, ended, app, story } = await clockedApp(t, (app) => {
    app.defineJob<{ result: unknown }>({
      name: 'again', retry: { attempts: 1 }, handler: (job) => job.step('a', ({ attempt }) => { tries.push(attempt); if (attempt < 3) throw new Error('no'); return attempt })
    })
    app.defineJob({ name: 'fails', retry: { attempts: 1 }, handler: (job) => job.step('a', () => { tries.push(0); throw new Error('never') }, { attempts: 2, backoff: { delayMs: 0 } }) })
    app.defineJob({ name: 'late', retry: { attempts: 1 }, handler: (job) => job.step('a', ({ signal }) => aborted(signal), { attempts: 1, timeoutMs: 500 }) })
    app.defineJob({ name: 'stuck', retry: { attempts: 1 }, handler: (job) => job.step('a', () => never, { attempts: 1, timeoutMs: 500 }) })
  })
  const id = await submit('again')
  t.match(await ended(id), { state: 'completed' })
  t.same([tries.splice(0), await app.jobs.result(id)], [[1, 2, 3], 3])
  t.match(await ended(await submit('fails')), { state: 'failed', error: { message: 'never' } })
  t.same(tries, [0, 0])
  t.match(await ended(await submit('late')), { state: 'failed', error: { code: 'FAE_STEP_TIMEOUT' } })
  t.match(await ended(await submit('stuck')), { state: 'failed', error: { code: 'FAE_STEP_TIMEOUT' } })
  t.equal(story().filter((line) => line === 'step.abandoned a').length, 1)
})

t.test('what is refused', async (t) => {
  const codes: Record<string, string> = {}
  const code = async (work: () => Promise<unknown>): Promise<string> => {
    try {
      await work()
      return 'nothing'
    } catch (error) {
      return isAsyncEndpointsError(error) ? error.code : String(error)
    }
  }
  const { submit, ended } = await clockedApp(t, (app) => {
    app.defineJob({
      name: 'a',
      handler: async (job) => {
        const step = job.step.bind(job) as (...given: unknown[]) => Promise<unknown>
        const one = (): number => 1
        await step('first', one)
        for (const [what, ...given] of [
          ['twice', 'first', one], ['no name', '', one], ['a space', 'a b', one], ['a colon', 'a:1', one], ['a slash', 'a/b', one], ['a number', 5, one], ['65', 'x'.repeat(65), one],
          ['no function', 'b', 5], ['no tries', 'c', one, { attempts: 0 }], ['an unknown key', 'd', one, { retries: 2 }], ['an undo', 'e', one, { compensate: one }], ['a time', 'f', one, { timeoutMs: -1 }],
          ['a map', 'g', () => new Map([[1, 1]])], ['a bigint', 'h', () => 1n], ['too large', 'i', () => 'x'.repeat(262_143)], ['just fits', 'j', () => 'x'.repeat(262_142)]
        ] as const) codes[what] = await code(() => step(...given))
        codes['both at once'] = await code(() => Promise.all([step('k', one), step('k', one)]))
        for (let n = 0; n < 16; n++) codes['too much'] = await code(() => step(`l${n}`, () => 'x'.repeat(262_142)))
      }
    })
  })
  t.match(await ended(await submit('a')), { state: 'completed' })
  t.same(codes, {
    twice: 'FAE_DUPLICATE_STEP',
    'no name': 'FAE_INVALID_OPTIONS',
    'a space': 'FAE_INVALID_OPTIONS',
    'a colon': 'FAE_INVALID_OPTIONS',
    'a slash': 'FAE_INVALID_OPTIONS',
    'a number': 'FAE_INVALID_OPTIONS',
    65: 'FAE_INVALID_OPTIONS',
    'no function': 'FAE_INVALID_OPTIONS',
    'no tries': 'FAE_INVALID_OPTIONS',
    'an unknown key': 'FAE_INVALID_OPTIONS',
    'an undo': 'FAE_INVALID_OPTIONS',
    'a time': 'FAE_INVALID_OPTIONS',
    'a map': 'FAE_STEP_RESULT_NOT_SERIALIZABLE',
    'a bigint': 'FAE_STEP_RESULT_NOT_SERIALIZABLE',
    'too large': 'FAE_STEP_RESULT_TOO_LARGE',
    'just fits': 'nothing',
    'both at once': 'FAE_DUPLICATE_STEP',
    'too much': 'FAE_STEP_RESULT_TOO_LARGE'
  })
})

t.test('steps side by side are each stored', async (t) => {
  const ran: number[] = []
  let attempts = 0
  const { submit, ended, app } = await clockedApp(t, (app) => {
    app.defineJob<{ result: unknown }>({
      name: 'a',
      retry: { backoff: { delayMs: 0 } },
      handler: async (job) => {
        const all = await Promise.all(Array.from({ length: 20 }, (_, n) => job.step(`s${n}`, async () => { ran.push(n); return n })))
        if (++attempts === 1) throw new Error('again')
        return all
      }
    })
  })
  const warnings: string[] = []
  const onWarning = ({ name }: Error): void => { warnings.push(name) }
  process.on('warning', onWarning)
  t.teardown(() => { process.off('warning', onWarning) })
  const id = await submit('a')
  t.match(await ended(id), { state: 'completed' })
  t.strictSame(warnings, [], 'many steps listen to one signal')
  t.equal(ran.length, 20)
  t.same(await app.jobs.result(id), Array.from({ length: 20 }, (_, n) => n))
})

t.test('a cancel aborts the step, and the job is cancelled as any other', async (t) => {
  const begun = latch()
  const reasons: unknown[] = []
  const { submit, ended, app } = await clockedApp(t, (app) => {
    app.defineJob({
      name: 'a',
      handler: async (job) => {
        await job.step('first', () => 1)
        await job.step('long', async ({ signal }) => { begun.open(); await aborted(signal) }).catch((error: unknown) => { reasons.push(error); throw error })
      }
    })
  })
  const id = await submit('a')
  await begun.opened
  await app.jobs.cancel(id)
  t.match(await ended(id), { state: 'cancelled' })
  t.match(reasons, [{ code: 'FAE_ABORTED' }])
})

t.test('snooze in a step is the answer of the handler', async (t) => {
  const ran: string[] = []
  const { submit, ended, clock } = await clockedApp(t, (app) => {
    app.defineJob({
      name: 'a',
      handler: async (job) => {
        await job.step('a', () => { ran.push('a') })
        await job.step('b', () => { ran.push('b'); if (ran.length < 3) throw snooze(30_000) })
      }
    })
  })
  const before = clock.now()
  t.match(await ended(await submit('a')), { state: 'completed', attempts: 1 })
  t.ok(clock.now() - before >= 30_000)
  t.same(ran, ['a', 'b', 'b'])
})

t.test('a lost lease: the result is not stored, and the handler hears of it', async (t) => {
  const errors: unknown[] = []
  const { submit, ended, lasting, story } = await clockedApp(t, (app) => {
    app.defineJob({
      name: 'a',
      retry: { backoff: { delayMs: 0 } },
      handler: async (job) => {
        await job.step('a', () => 1).catch((error: unknown) => { errors.push(error); throw error })
      }
    })
  })
  lasting.refuseNext()
  t.match(await ended(await submit('a')), { state: 'completed' })
  t.match(errors, [{ code: 'FAE_LEASE_LOST' }])
  t.match(story(), ['step.started a', 'step.refused a', 'step.started a', 'step.completed a'])
})

t.test('a step that the handler has not awaited neither begins nor is tried again once the attempt is over', async (t) => {
  const ran: string[] = []
  const refused: unknown[] = []
  const returned = latch()
  const note = (error: unknown): void => { refused.push(isAsyncEndpointsError(error, 'FAE_LEASE_LOST')) }
  const { submit, ended, until } = await clockedApp(t, (app) => {
    app.defineJob({
      name: 'a',
      handler: (job) => {
        job.step('retried', () => { ran.push('retried'); throw new Error('again') }, { attempts: 5, backoff: { delayMs: 1_000, jitter: 0 } }).catch(note)
        void returned.opened.then(() => job.step('late', () => { ran.push('late') })).catch(note)
      }
    })
  })
  const id = await submit('a')
  t.equal((await ended(id)).state, 'completed')
  returned.open()
  await until('both were refused', () => refused.length === 2)
  t.same([ran, refused], [['retried'], [true, true]])
})

t.test('a step that its handler does not wait for ends no process, and a line says so', async (t) => {
  const ended = latch()
  const lines: Array<{ msg: string, level: number, err?: { code: string } }> = []
  const app = Fastify({ logger: { stream: { write: (line: string) => { lines.push(JSON.parse(line) as (typeof lines)[number]) } } } })
  t.teardown(async () => { await app.close() })
  await app.register(asyncEndpoints)
  app.defineJob({
    name: 'a',
    handler: (job) => {
      void job.step('late', async () => { await ended.opened })
      void job.step('a name', () => {})
      return 'done'
    }
  })
  await app.ready()
  const { id } = await app.jobs.submit('a' as never)
  t.match(await app.jobs.waitFor(id), { state: 'completed' })
  ended.open()
  const line = 'job.step("late") failed after its handler had ended: the handler must await it'
  await until('the line', () => lines.some(({ msg }) => msg === line))
  t.match(lines.find(({ msg }) => msg === line), { level: 40, err: { code: 'FAE_LEASE_LOST' } })
})

t.test('a store that keeps no steps', async (t) => {
  const whole = memoryStore()
  const store = new Proxy(whole, {
    get: (inner: JobStore, name: keyof JobStore) => {
      if (name === 'steps') return undefined
      const member: unknown = inner[name]
      return typeof member === 'function' ? member.bind(inner) : member
    }
  })
  const { app } = await sagaApp(t, (app) => {
    app.defineJob({ name: 'a', retry: { attempts: 1 }, handler: (job) => job.step('a', () => 1) })
  }, { store, health: false })
  const { id } = await app.jobs.submit('a' as never)
  t.match(await app.jobs.waitFor(id), { state: 'failed', error: { code: 'FAE_STORE_UNSUPPORTED' } })
})
