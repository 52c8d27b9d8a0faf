/** What a status document says of steps that were under way when their saga was cancelled, and of undos that wait. */
import t from 'tap'
import { sagaApp, type SagaApp } from './support.ts'

const PATIENCE_MS = 10_000

interface Shown { readonly status: string, readonly phase: string, readonly steps: ReadonlyArray<Record<string, unknown>> }

/** Resolves with the document once the saga has emitted this. */
async function documentAfter ({ app, story }: SagaApp, id: string, line: string): Promise<Shown> {
  for (const until = performance.now() + PATIENCE_MS; !story().includes(line); await new Promise((resolve) => { setTimeout(resolve, 5) })) {
    if (performance.now() > until) throw new Error(`no ${line}, but ${story().join(', ')}`)
  }
  return (await app.inject(`/jobs/${id}`)).json()
}

const hangs = ({ signal }: { readonly signal: AbortSignal }): Promise<void> =>
  new Promise((_resolve, reject) => { signal.addEventListener('abort', () => { reject(signal.reason as Error) }) })

t.test('a step that was under way when the saga was cancelled is stopped, and those behind it are pending', async (t) => {
  const saga = await sagaApp(t, (app) => {
    app.saga({ name: 'runs', url: '/runs', steps: (s) => s.step('first', { run: () => 1, compensate: () => {} }).step('hangs', hangs).step('last', () => {}) })
  })
  const { id } = await saga.app.jobs.submit('runs' as never)
  t.match(await documentAfter(saga, id, 'step.started hangs'), { steps: [{}, { name: 'hangs', state: 'running' }, {}] })
  await saga.app.jobs.cancel(id)
  t.match(await documentAfter(saga, id, 'saga.cancelled'), {
    status: 'cancelled', phase: 'compensated', steps: [{ state: 'compensated' }, { state: 'stopped', attempt: 0 }, { state: 'pending' }]
  })
})

t.test('a signal that a cancelled saga has waited for is stopped, and waits no more', async (t) => {
  const saga = await sagaApp(t, (app) => {
    app.saga({ name: 'waits', url: '/waits', steps: (s) => s.step('first', () => 1).signal('approval', { timeoutMs: 60_000 }) })
  })
  const { id } = await saga.app.jobs.submit('waits' as never)
  t.match(await documentAfter(saga, id, 'saga.suspended approval'), { status: 'scheduled', steps: [{}, { state: 'waiting', waitsUntil: String }] })
  t.equal((await saga.app.jobs.cancel(id)).state, 'cancelled')
  const { steps: [first, approval] } = (await saga.app.inject(`/jobs/${id}`)).json<Shown>()
  t.match(first, { state: 'completed' })
  t.match(approval, { state: 'stopped' })
  t.notOk(Object.hasOwn(approval ?? {}, 'waitsUntil'))
})

t.test('an undo that has failed says when it is tried again', async (t) => {
  const backoff = { type: 'fixed', delayMs: 60_000, jitter: 0 } as const
  const saga = await sagaApp(t, (app) => {
    app.saga({
      name: 'undoes',
      url: '/undoes',
      steps: (s) => s
        .step('first', { run: () => 1, compensate: { backoff, run: () => { throw Object.assign(new Error('away'), { code: 'AWAY' }) } } })
        .step('fails', { attempts: 1, run: () => { throw new Error('no') } })
    })
  })
  const { id } = await saga.app.jobs.submit('undoes' as never)
  const { status, phase, steps: [first] } = await documentAfter(saga, id, 'saga.suspended first')
  t.match({ status, phase }, { status: 'scheduled', phase: 'compensating' })
  t.match(first, { state: 'compensating', error: { code: 'AWAY' } })
  const waitMs = Date.parse(String(first?.['waitsUntil'])) - Date.now()
  t.ok(waitMs > 0 && waitMs <= 60_000, `it waits for ${waitMs} ms`)
})
