/** The status document of sagas, on the memory store. */
import t from 'tap'
import type { StatusDocument } from '../../lib/http/document.ts'
import { finished, sagaApp, STORES, type SagaApp } from '../saga/support.ts'

type Document = StatusDocument

async function statusOf ({ app }: SagaApp, id: string): Promise<Document> { return (await app.inject(`/jobs/${id}`)).json<Document>() }

/** Reads the document until it fits. */
async function until (saga: SagaApp, id: string, what: string, fits: (document: Document) => boolean): Promise<Document> {
  for (let n = 0; n < 500; n++) {
    const document = await statusOf(saga, id)
    if (fits(document)) return document
    await new Promise((resolve) => { setTimeout(resolve, 10) })
  }
  throw new Error(`waited 5 s for this: ${what}`)
}

const stepsOf = ({ steps }: Document): string[] => steps?.map(({ group, name, state }) => `${group === undefined ? '' : `${group}/`}${name} ${state}`) ?? []

for (const store of STORES) {
  t.test(`${store.kind}: every step in its order with its state, pending ones included; never a result`, async (t) => {
    let release = (): void => {}
    const saga = await sagaApp(t, (app) => {
      app.saga<{ body: { n: number } }>({
        name: 'transcode',
        url: '/transcodes',
        steps: (s) => s
          .step('upload', () => ({ secret: 'the result of a step' }))
          .step('skipped', { when: () => false, run: () => 1 })
          .parallel('renditions', (g) => g
            .step('hd', { run: () => new Promise<number>((resolve) => { release = () => { resolve(1) } }) })
            .step('sd', () => 2))
          .each('mails', () => ['a', 'b'], { run: () => null })
          .sleep('pause', 10)
          .returns(() => ({ done: true }))
      })
    }, { store: await store.open(t) })
    const submitted = await saga.app.inject({ method: 'POST', url: '/transcodes', payload: { n: 1 } })
    t.equal(submitted.statusCode, 202)
    t.notHas(submitted.json(), 'steps', 'the answer to a submission is as for any job')
    const { id } = submitted.json<{ id: string }>()
    const running = await until(saga, id, 'sd to be completed', ({ steps = [] }) => steps.some(({ name, state }) => name === 'sd' && state === 'completed'))
    t.same(stepsOf(running), ['upload completed', 'skipped skipped', 'renditions/hd running', 'renditions/sd completed', 'mails pending', 'pause pending'])
    t.match(running, { status: 'in-progress', phase: 'forward', progress: { done: 3, total: 6 }, steps: [{ attempt: 1, attempts: 3, startedAt: /^20.*Z$/, durationMs: Number }] })
    t.notHas(running.links, 'signals')
    release()
    const done = await until(saga, id, 'the end', ({ status }) => status === 'completed')
    t.same(stepsOf(done), ['upload completed', 'skipped skipped', 'renditions/hd completed', 'renditions/sd completed', 'mails completed', 'mails/0 completed', 'mails/1 completed', 'pause completed'])
    t.match(done, { phase: 'forward', progress: { done: 8, total: 8 } })
    t.notMatch(JSON.stringify([running, done]), 'the result of a step')
  })

  t.test(`${store.kind}: before a worker has begun: all steps pending, if this process knows the definition`, async (t) => {
    const saga = await sagaApp(t, (app) => {
      app.saga({ name: 'later', steps: (s) => s.step('a', { run: () => 1, attempts: 7 }).signal('go', {}).returns(() => null) })
    }, { worker: false, store: await store.open(t) })
    const { id } = await saga.app.jobs.submit('later' as never)
    const document = await statusOf(saga, id)
    t.match(document, { status: 'queued', phase: 'forward', steps: [{ name: 'a', state: 'pending', attempt: 0, attempts: 7 }, { name: 'go', state: 'pending' }] })
    t.strictSame(document.links.signals, { go: `/jobs/${id}/signals/go` })
    const { id: plain } = await saga.app.jobs.submit((saga.app.defineJob({ name: 'plain', handler: () => 1 })))
    const other = await statusOf(saga, plain)
    t.notHas(other, 'steps')
    t.notHas(other, 'phase')
    t.notHas(other.links, 'signals')
  })

  t.test(`${store.kind}: errors of steps are shown by the rules for errors of jobs, also when the saga was cancelled`, async (t) => {
    const saga = await sagaApp(t, (app) => {
      app.saga<{ body: { wait: boolean } }>({
        name: 'fails',
        steps: (s) => s
          .step('try', { run: () => { throw Object.assign(new Error('password=hunter2'), { code: 'E_PRIVATE' }) }, attempts: 1, onExhausted: 'continue' })
          .step('say', { run: () => { throw Object.assign(new Error('the card was declined'), { code: 'E_CARD', expose: true }) }, attempts: 1, onExhausted: 'continue' })
          .step('undoable', { run: () => 1, compensate: { run: () => { throw new Error('password=hunter3') }, attempts: 2, backoff: { type: 'fixed', delayMs: 1 } } })
          .step('odd', { when: ({ body }) => !body.wait, run: () => { throw Object.assign(new Error('x'), { code: '<script>' }) }, attempts: 1 })
          .signal('go', {})
          .returns(() => null)
      })
      app.saga({
        name: 'cancelled',
        steps: (s) => s
          .step('try', { run: () => { throw new Error('password=hunter4') }, attempts: 1, onExhausted: 'continue' })
          .signal('go', {})
          .returns(() => null)
      })
    }, { store: await store.open(t) })
    const { id } = await finished(saga.app, 'fails', { wait: false })
    const failed = await statusOf(saga, id)
    t.match(failed, {
      status: 'failed',
      phase: 'compensation-failed',
      error: { code: 'FAE_COMPENSATION_FAILED', message: 'Not all steps of the saga could be undone' },
      steps: [
        { name: 'try', state: 'failed', attempt: 1, attempts: 1, error: { code: 'E_PRIVATE', message: 'The step threw an error' } },
        { name: 'say', state: 'failed', error: { code: 'E_CARD', message: 'the card was declined' } },
        { name: 'undoable', state: 'compensation-failed', error: { code: 'Error', message: 'The compensation threw an error' } },
        { name: 'odd', state: 'failed', error: { code: 'Error' } },
        { name: 'go', state: 'pending' }
      ],
      links: { redrive: `/jobs/${id}/redrive` }
    })
    const { id: waiting } = await saga.app.jobs.submit('cancelled' as never)
    await until(saga, waiting, 'the signal to be waited for', ({ steps = [] }) => steps[1]?.state === 'waiting')
    await saga.app.jobs.cancel(waiting, 'no longer wanted')
    const cancelled = await until(saga, waiting, 'the end', ({ status }) => status === 'cancelled')
    t.match(cancelled, { steps: [{ error: { message: 'The step threw an error' } }, { name: 'go' }] })
    t.notHas(cancelled.links, 'signals')
    t.notMatch(JSON.stringify([failed, cancelled]), 'hunter')
  })

  t.test(`${store.kind}: the document has an ETag that changes with the steps; a long poll hears of each change, and of the end across waits`, async (t) => {
    const saga = await sagaApp(t, (app) => {
      app.saga({
        name: 'slow',
        url: '/slow',
        steps: (s) => s.step('a', () => 1).signal('go', {}).sleep('pause', 1_200).step('b', () => 2).returns(() => ({ b: true }))
      })
    }, { store: await store.open(t) })
    const { id } = (await saga.app.inject({ method: 'POST', url: '/slow', payload: {} })).json<{ id: string }>()
    await until(saga, id, 'the signal to be waited for', ({ steps = [] }) => steps[1]?.state === 'waiting')
    const first = await saga.app.inject(`/jobs/${id}`)
    const etag = String(first.headers.etag)
    t.equal((await saga.app.inject({ url: `/jobs/${id}`, headers: { 'if-none-match': etag } })).statusCode, 304)
    const changed = saga.app.inject({ url: `/jobs/${id}`, headers: { 'if-none-match': etag, prefer: 'wait=10' } })
    await saga.app.jobs.signal(id, 'go')
    const seen = await changed
    t.equal(seen.statusCode, 200)
    t.not(seen.headers.etag, etag)
    const ended = await saga.app.inject({ url: `/jobs/${id}`, headers: { prefer: 'wait=10' } })
    t.match(ended.json(), { status: 'completed', steps: [{}, { state: 'completed' }, { state: 'completed' }, { state: 'completed' }] })
  })

  t.test(`${store.kind}: a submission that waits gets the result, although the saga was suspended meanwhile; waitFor as well`, async (t) => {
    const { app } = await sagaApp(t, (app) => {
      app.saga<{ body: { fail?: boolean } }>({
        name: 'nap',
        url: '/naps',
        steps: (s) => s
          .step('a', { run: () => 'made', compensate: () => {} })
          .sleep('pause', 1_100)
          .step('b', { run: ({ body }) => { if (body.fail === true) throw new Error('no'); return 1 }, attempts: 1 })
          .returns(({ results }) => ({ a: results.a }))
      })
    }, { store: await store.open(t) })
    const done = await app.inject({ method: 'POST', url: '/naps', payload: {}, headers: { prefer: 'wait=10' } })
    t.equal(done.statusCode, 200)
    t.same(done.json(), { a: 'made' })
    const failed = await app.inject({ method: 'POST', url: '/naps', payload: { fail: true }, headers: { prefer: 'wait=10' } })
    t.equal(failed.statusCode, 202)
    t.match(failed.json(), { status: 'failed', phase: 'compensated', steps: [{ name: 'a', state: 'compensated' }, { state: 'completed' }, { name: 'b', state: 'failed' }] })
    t.equal((await finished(app, 'nap', {})).job.state, 'completed')
  })

  t.test(`${store.kind}: steps of an ordinary handler are shown when they are done`, async (t) => {
    const saga = await sagaApp(t, (app) => {
      app.defineJob({
        name: 'handler',
        handler: async (job) => {
          const a = await job.step('load', () => ({ rows: 'private rows' }))
          await job.step('store', () => a)
          return null
        }
      })
    }, { store: await store.open(t) })
    const { id } = await finished(saga.app, 'handler')
    const document = await statusOf(saga, id)
    t.same(stepsOf(document), ['load completed', 'store completed'])
    t.notHas(document, 'phase')
    t.notMatch(JSON.stringify(document), 'private rows')
  })
}
