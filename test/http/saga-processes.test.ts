/** One application that answers requests, and another that runs the sagas, on one Redis. */
import t from 'tap'
import type { FastifyInstance } from 'fastify'
import { redisStore } from '../../plugins/async-endpoints.ts'
import { sagaApp } from '../saga/support.ts'
import { sharedRedis } from '../support/redis.ts'

function publish (app: FastifyInstance): void {
  app.saga({
    name: 'publish',
    url: '/publications',
    steps: (s) => s
      .step('reserve', { run: () => 1, compensate: () => {} })
      .signal('approval', { schema: { type: 'object', required: ['by'], properties: { by: { type: 'string' } } } })
      .returns(({ results }) => results.approval as object)
  })
}

t.test('signals, waits, cancels and steps do not depend on where the saga runs', async (t) => {
  const { url, prefix, stop } = await sharedRedis()
  t.teardown(stop)
  const worker = await sagaApp(t, publish, { store: redisStore({ url, prefix }) })
  const { app, events } = await sagaApp(t, publish, { store: redisStore({ url, prefix }), worker: false })
  const stranger = await sagaApp(t, (app) => { app.defineJob({ name: 'other', handler: () => null }) }, { store: redisStore({ url, prefix }), worker: false })
  const submit = async (): Promise<string> => {
    const { id } = (await app.inject({ method: 'POST', url: '/publications', payload: {} })).json<{ id: string }>()
    let etag = ''
    for (let n = 0; n < 20; n++) {
      const seen = await app.inject({ url: `/jobs/${id}`, headers: { 'if-none-match': etag, prefer: 'wait=5' } })
      if (seen.statusCode === 200 && seen.json<{ steps: Array<{ state: string }> }>().steps[1]?.state === 'waiting') return id
      etag = String(seen.headers.etag)
    }
    throw new Error('the saga never came to its signal')
  }

  const id = await submit()
  const approved = await app.inject({ method: 'POST', url: `/jobs/${id}/signals/approval`, payload: { by: 'ann' }, headers: { prefer: 'wait=10' } })
  t.same([approved.statusCode, approved.json()], [200, { by: 'ann' }])
  t.same([events, worker.events].map((all) => all.filter(({ name }) => name === 'saga.signalled').length), [1, 0], 'emitted where it was received')

  const other = await submit()
  const unknown = await stranger.app.inject({ method: 'POST', url: `/jobs/${other}/signals/approval`, payload: { by: 'ann' } })
  t.match(unknown.json(), { status: 404, code: 'FAE_SIGNAL_UNKNOWN' }, 'a process without the definition cannot check it')
  const seen = (await stranger.app.inject(`/jobs/${other}`)).json()
  t.match(seen, { phase: 'forward', steps: [{ name: 'reserve', state: 'completed', attempts: 3 }, { name: 'approval', state: 'waiting' }] }, 'but shows the steps')
  t.notHas(seen.links, 'signals')
  const both = await Promise.all([app, stranger.app].map((one) => one.inject({ method: 'DELETE', url: `/jobs/${other}` })))
  t.ok(both.every(({ statusCode }) => statusCode === 202 || statusCode === 200), 'whichever of them comes first')
  t.equal((await stranger.app.jobs.waitFor(other, { timeoutMs: 10_000 })).state, 'cancelled')
  t.equal([...events, ...stranger.events].filter(({ name }) => name === 'job.cancel_requested').length, 1)
  t.match((await app.inject(`/jobs/${other}`)).json(), { status: 'cancelled', phase: 'compensated', steps: [{ state: 'compensated' }, { state: 'stopped' }] })
})
