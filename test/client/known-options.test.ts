/** Options of `app.jobs` that do not exist are refused, with the names of those that do. */
import Fastify from 'fastify'
import t from 'tap'
import { asyncEndpoints, type SubmitMeta } from '../../plugins/async-endpoints.ts'

const WAIT_MS = 20_000

t.test('unknown options are refused by every method', async (t) => {
  const app = Fastify()
  await app.register(asyncEndpoints, { health: false, observability: false, http: false })
  t.teardown(() => app.close())
  let inside: unknown
  const job = app.defineJob({ name: 'x', handler: () => {} })
  const parent = app.defineJob({ name: 'parent', handler: async (context) => { inside = await context.submit(job, {}, { dealy: 1 } as SubmitMeta).catch((error: unknown) => error) } })
  await app.ready()
  const { jobs } = app
  const refused = (message: RegExp): { code: string, message: RegExp } => ({ code: 'FAE_INVALID_OPTIONS', message })

  const known = '(known: delayMs, runAt, priority, owner, correlationId, trace, idempotencyKey, idempotencyTtlMs, validate, params, query, headers, webhook)'
  await t.rejects(jobs.submit(job, {}, { attempts: 2, dealy: 1 } as SubmitMeta), {
    code: 'FAE_INVALID_OPTIONS', details: { problems: ['attempts is not an option (it belongs to the definition of the job)', `dealy is not an option ${known}`] }
  })
  const { signal } = new AbortController()
  await t.rejects(jobs.submit(job, {}, { signal } as SubmitMeta), refused(/signal is not an option \(a submission cannot be aborted.*jobs\.cancel/))
  await t.rejects(jobs.submit(job, {}, 5 as SubmitMeta), refused(/must be an object/))
  for (const name of ['constructor', '__proto__']) {
    const hostile: SubmitMeta = JSON.parse(`{ "${name}": {} }`)
    await t.rejects(jobs.submit(job, {}, hostile), refused(new RegExp(`: ${name} is not an option \\(known: `)), 'no advice from Object.prototype')
  }
  t.match(await jobs.submitMany(job, [{ body: 1, dealy: 1 } as { body: unknown }, { body: 2 }]), [{ error: refused(/dealy/) }, { created: true }])
  await t.rejects(jobs.submitMany(job, [], { maxInflight: 1 } as object), refused(/maxInflight is not an option/))

  const { id } = await jobs.submit(parent)
  await t.rejects(jobs.waitFor(id, { timeout: 5 } as object), refused(/jobs\.waitFor: timeout is not an option \(known: timeoutMs, signal\)/))
  await t.rejects(jobs.waitFor(id, { signal: {} as AbortSignal }), refused(/signal must be an AbortSignal/))
  await t.rejects(jobs.list({ status: 'failed' } as object), refused(/jobs\.list: status is not an option \(known: queue, name, exceptName, state, owner, cursor, limit\)/))
  t.equal((await jobs.list({ state: undefined, limit: undefined })).jobs.length > 0, true, 'undefined is not given')
  await jobs.waitFor(id, { timeoutMs: WAIT_MS, signal: undefined })
  t.match(inside, refused(/jobs\.submit\("x"\): dealy is not an option/))
})

t.test('a signal ends a wait and leaves the job alone', async (t) => {
  const app = Fastify()
  await app.register(asyncEndpoints, { health: false, observability: false, http: false, worker: false })
  t.teardown(() => app.close())
  const job = app.defineJob({ name: 'x' })
  await app.ready()
  const { id } = await app.jobs.submit(job)
  const controller = new AbortController()
  const waiting = app.jobs.waitFor(id, { signal: controller.signal })
  controller.abort(new Error('enough'))
  await t.rejects(waiting, { message: 'enough' })
  t.match(await app.jobs.get(id), { state: 'queued' })
})
