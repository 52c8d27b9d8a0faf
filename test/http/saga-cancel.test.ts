/** Cancel and redrive of sagas over HTTP. */
import t from 'tap'
import { sagaApp, STORES, type SagaApp } from '../saga/support.ts'

async function until (what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  for (let n = 0; n < 500; n++) {
    if (await holds()) return
    await new Promise((resolve) => { setTimeout(resolve, 10) })
  }
  throw new Error(`waited 5 s for this: ${what}`)
}

type Test = Parameters<typeof sagaApp>[0]
type StoreKind = typeof STORES[number]

interface World extends SagaApp {
  release: () => void
  fails: boolean
}

async function world (t: Test, store: StoreKind): Promise<World> {
  const made: { release: () => void, fails: boolean } = { release: () => {}, fails: false }
  const saga = await sagaApp(t, (app) => {
    app.saga({
      name: 'publish',
      url: '/publications',
      steps: (s) => s
        .step('reserve', {
          run: () => 1,
          compensate: {
            run: async () => {
              await new Promise<void>((resolve) => { made.release = resolve })
              if (made.fails) throw new Error('no')
            },
            attempts: 1
          }
        })
        .signal('approval', {})
        .returns(() => null)
    })
  }, { store: await store.open(t) })
  return Object.assign(made, saga)
}

async function waiting ({ app, story }: World): Promise<string> {
  const { id } = (await app.inject({ method: 'POST', url: '/publications', payload: {} })).json<{ id: string }>()
  await until('the saga to wait', () => story().includes('saga.suspended approval'))
  return id
}

for (const store of STORES) {
  t.test(`${store.kind}: a saga that waits: 202 and it undoes its steps at once; 200 while it does; cancelled in the end`, async (t) => {
    const saga = await world(t, store)
    const { app, story, events } = saga
    const id = await waiting(saga)
    const first = await app.inject({ method: 'DELETE', url: `/jobs/${id}` })
    t.equal(first.statusCode, 202)
    t.match(first.json(), { id, cancelRequested: true, steps: [{ name: 'reserve', state: 'completed' }, { name: 'approval', state: 'waiting' }] })
    t.equal(first.headers.location, `/jobs/${id}`)
    await until('the compensation to run', () => story().includes('step.compensating reserve'))
    const during = await app.inject(`/jobs/${id}`)
    t.match(during.json(), { status: 'in-progress', phase: 'compensating', steps: [{ name: 'reserve', state: 'compensating' }, {}] })
    t.notHas(during.json().links, 'signals')
    for (const [method, url] of [['DELETE', `/jobs/${id}`], ['POST', `/jobs/${id}/cancel`]] as const) {
      const again = await app.inject({ method, url })
      t.equal(again.statusCode, 200, 'it undoes its steps already')
      t.match(again.json(), { phase: 'compensating', steps: [{ state: 'compensating' }, {}] })
    }
    saga.release()
    const ended = await app.jobs.waitFor(id, { timeoutMs: 10_000 })
    t.equal(ended.state, 'cancelled')
    t.match((await app.inject(`/jobs/${id}`)).json(), { status: 'cancelled', phase: 'compensated', steps: [{ name: 'reserve', state: 'compensated' }, {}] })
    t.equal((await app.inject({ method: 'DELETE', url: `/jobs/${id}` })).statusCode, 200, 'as for any cancelled job')
    const count = (name: string): number => events.filter((event) => event.name === name).length
    t.same([count('job.cancel_requested'), count('job.cancelled'), count('saga.cancelled')], [1, 1, 1])
  })

  t.test(`${store.kind}: what could not be undone: failed; a redrive over HTTP undoes the rest`, async (t) => {
    const saga = await world(t, store)
    const { app, story } = saga
    saga.fails = true
    const id = await waiting(saga)
    await app.inject({ method: 'DELETE', url: `/jobs/${id}` })
    await until('the compensation to run', () => story().includes('step.compensating reserve'))
    saga.release()
    t.equal((await app.jobs.waitFor(id, { timeoutMs: 10_000 })).state, 'failed')
    t.equal((await app.inject({ method: 'DELETE', url: `/jobs/${id}` })).statusCode, 409)
    const before = story().length
    saga.fails = false
    const redriven = await app.inject({ method: 'POST', url: `/jobs/${id}/redrive` })
    t.equal(redriven.statusCode, 202)
    t.match(redriven.json(), { status: 'queued', phase: 'compensation-failed', steps: [{ name: 'reserve', state: 'compensation-failed' }, {}] })
    await until('the compensation to run again', () => story().indexOf('step.compensating reserve', before) >= 0)
    saga.release()
    t.equal((await app.jobs.waitFor(id, { timeoutMs: 10_000 })).state, 'cancelled')
  })

  t.test(`${store.kind}: a saga that has done nothing is cancelled as any job: 200, and nothing runs`, async (t) => {
    const { app, story } = await sagaApp(t, (app) => {
      app.saga({ name: 'later', url: '/later', delayMs: 60_000, steps: (s) => s.step('a', { run: () => 1, compensate: () => {} }).returns(() => null) })
    }, { store: await store.open(t) })
    const { id } = (await app.inject({ method: 'POST', url: '/later', payload: {} })).json<{ id: string }>()
    const cancelled = await app.inject({ method: 'DELETE', url: `/jobs/${id}` })
    t.equal(cancelled.statusCode, 200)
    t.match(cancelled.json(), { status: 'cancelled', phase: 'forward', steps: [{ name: 'a', state: 'pending' }] })
    t.same(story(), [])
  })
}
