import t from 'tap'
import { sagaApp } from './support.ts'

t.test('over HTTP: the status document shows the steps, a signal gives the result, another one is refused', async (t) => {
  const { app, story } = await sagaApp(t, (app) => {
    app.saga<{ body: { n: number } }>({
      name: 'review',
      url: '/reviews',
      schema: { body: { type: 'object', properties: { n: { type: 'integer' } } } },
      steps: (s) => s
        .step('draft', ({ body }) => body.n)
        .signal('approval', { schema: { type: 'object', required: ['ok'], properties: { ok: { type: 'boolean' }, by: { type: 'string', default: 'nobody' } } } })
        .step('publish', ({ results }) => ({ published: true, approval: results.approval as object }))
        .returns(({ results }) => results.publish)
    })
  })
  const submitted = await app.inject({ method: 'POST', url: '/reviews', payload: { n: 1 } })
  t.equal(submitted.statusCode, 202)
  const { id } = submitted.json<{ id: string }>()
  const fresh = (await app.inject(`/jobs/${id}`)).json()
  t.equal(fresh.phase, 'forward')
  t.equal(fresh.steps.length, 3)
  for (let n = 0; n < 200 && !story().includes('saga.suspended approval'); n++) await new Promise((resolve) => { setTimeout(resolve, 10) })
  const waiting = (await app.inject(`/jobs/${id}`)).json()
  t.match(waiting, {
    status: 'scheduled',
    phase: 'forward',
    progress: { done: 1, total: 3 },
    links: { signals: { approval: `/jobs/${id}/signals/approval` } },
    steps: [
      { name: 'draft', state: 'completed', attempt: 1, attempts: 3, startedAt: String, durationMs: Number },
      { name: 'approval', state: 'waiting' },
      { name: 'publish', state: 'pending', attempt: 0 }
    ]
  })
  t.notMatch(JSON.stringify(waiting), 'result":1')
  const post = (name: string, payload: object, headers = {}) => app.inject({ method: 'POST', url: `/jobs/${id}/signals/${name}`, payload, headers })
  t.equal((await post('nothing', {})).json().code, 'FAE_SIGNAL_UNKNOWN')
  const wrong = await post('approval', { ok: 'perhaps' })
  t.equal(wrong.statusCode, 400)
  t.equal(wrong.json().code, 'FAE_INVALID_SUBMISSION')
  const result = await post('approval', { ok: true }, { prefer: 'wait=5' })
  t.equal(result.statusCode, 200)
  t.same(result.json(), { published: true, approval: { ok: true, by: 'nobody' } })
  const late = await post('approval', { ok: true })
  t.equal(late.statusCode, 409)
  t.equal(late.json().code, 'FAE_JOB_FINISHED')
  t.match((await app.inject(`/jobs/${id}`)).json(), { status: 'completed', phase: 'forward', steps: [{ state: 'completed' }, { state: 'completed' }, { state: 'completed' }] })
  t.equal((await app.inject({ method: 'POST', url: `/jobs/${'0'.repeat(8)}-0000-4000-8000-${'0'.repeat(12)}/signals/approval`, payload: {} })).statusCode, 404)
})
