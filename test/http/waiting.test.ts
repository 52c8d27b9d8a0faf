import type { AddressInfo } from 'node:net'
import { request as httpRequest } from 'node:http'
import { once } from 'node:events'
import t from 'tap'
import { FakeClock } from '../../lib/testing/fake-clock.ts'
import { echo, testApp, type TestAppOptions } from './support.ts'

/** An endpoint `/a`, and a submission to it that waits. */
async function waitingApp (options: TestAppOptions = {}) {
  const test = await testApp(options)
  test.app.asyncEndpoint({ url: '/a', name: 'a', handler: echo })
  const submit = async (prefer = 'wait=20'): Promise<{ id: string, response: ReturnType<typeof inject> }> => {
    const creates = test.store.created.length
    const response = inject(prefer)
    await test.store.called('create', creates + 1)
    // The first look comes after the subscription is in force.
    await test.store.called('getMany', test.store.count('getMany') + 1)
    return { id: test.store.created[creates]?.id ?? '', response }
  }
  const inject = async (prefer: string) => await test.app.inject({ method: 'POST', url: '/a', headers: { prefer } })
  return { ...test, submit }
}

t.test('a result that is there in time is the answer', async (t) => {
  const { store, submit, http } = await waitingApp()
  const { id, response } = await submit('respond-async, wait=20')
  t.equal(http.waiting.size, 1)
  store.complete(id, { rows: 3 })
  const answer = await response
  t.equal(answer.statusCode, 200)
  t.strictSame(answer.json(), { rows: 3 })
  t.match(answer.headers, {
    'preference-applied': 'wait=20', 'x-async-job-id': id, location: `/jobs/${id}`, 'content-location': `/jobs/${id}/result`, vary: 'Prefer', 'cache-control': 'private, no-store'
  })
  t.ok(answer.headers['x-correlation-id'])
  t.equal(http.waiting.size, 0)
  t.equal(store.listeners, 0, 'nothing is watched any more')
})

t.test('a job without a result is a 204', async (t) => {
  const { store, submit } = await waitingApp()
  const { id, response } = await submit()
  store.complete(id)
  const answer = await response
  t.equal(answer.statusCode, 204)
  t.equal(answer.body, '')
  t.equal(answer.headers['preference-applied'], 'wait=20')
})

t.test('a job that fails or is cancelled in time is a 202 with its status document: a 200 is always a result', async (t) => {
  const { store, submit } = await waitingApp()
  for (const [state, links] of [['failed', 'self redrive'], ['cancelled', 'self']] as const) {
    const { id, response } = await submit()
    store.change(id, { state, finishedAt: Date.now(), error: { code: 'E_NO', message: 'no', expose: true } })
    const answer = await response
    t.equal(answer.statusCode, 202)
    t.match(answer.json(), { id, status: state, attempts: { made: 0, max: 3 }, error: { code: 'E_NO', message: 'no' } })
    t.equal(Object.keys(answer.json().links).join(' '), links)
    t.equal(answer.headers['preference-applied'], 'wait=20')
    t.equal(answer.headers['retry-after'], '0')
  }
})

t.test('when the time is up, the 202 tells how far the job is', async (t) => {
  const clock = new FakeClock()
  const { store, submit } = await waitingApp({ clock, http: { maxWaitMs: 10_000 } })
  const { id, response } = await submit('respond-async, wait=99999')
  store.change(id, { state: 'in-progress', startedAt: clock.now() })
  await clock.advance(9_999)
  const early = await Promise.race([response, Promise.resolve('waiting')])
  t.equal(early, 'waiting')
  await clock.advance(1)
  const answer = await response
  t.equal(answer.statusCode, 202, 'capped by maxWaitMs')
  t.equal(answer.json().status, 'in-progress')
  t.equal(answer.headers['preference-applied'], 'respond-async')
  t.equal(clock.pending, 0, 'no timer is left')
})

t.test('a change whose message was lost is found all the same', async (t) => {
  const clock = new FakeClock()
  const { store, submit } = await waitingApp({ clock })
  const { id, response } = await submit()
  const job = store.jobs.get(id)
  t.ok(job)
  if (job !== undefined) store.jobs.set(id, { ...job, state: 'completed' })
  await clock.advance(36_000)
  t.equal((await response).statusCode, 204)
})

t.test('the last look is at the end of the time', async (t) => {
  const clock = new FakeClock()
  const { store, submit } = await waitingApp({ clock })
  const { id, response } = await submit('wait=2')
  const job = store.jobs.get(id)
  if (job !== undefined) store.jobs.set(id, { ...job, state: 'completed' })
  await clock.advance(2_000)
  t.equal((await response).statusCode, 204)
})

t.test('a store that fails while a client waits does not undo the 202', async (t) => {
  for (const fault of ['reject', 'hang'] as const) {
    const clock = new FakeClock()
    const { app, store } = await testApp({ clock })
    app.asyncEndpoint({ url: '/a', name: 'a', handler: echo })
    store.faults.set('follow', fault).set('getMany', fault)
    const response = app.inject({ method: 'POST', url: '/a', headers: { prefer: 'wait=3' } }).then((answer) => answer)
    await store.called('follow', 1)
    await clock.advance(3_000)
    if (fault === 'hang') {
      // The last look hangs as well; only closing ends it. A real store has deadlines of its own.
      await app.close()
    }
    const answer = await response
    t.equal(answer.statusCode, 202, fault)
    t.equal(answer.json().id, store.created[0]?.id)
  }
})

t.test('a result that cannot be read at this moment is a 202 as well', async (t) => {
  const { store, submit } = await waitingApp()
  const { id, response } = await submit()
  store.faults.set('result', 'reject')
  store.complete(id, { rows: 3 })
  const answer = await response
  t.equal(answer.statusCode, 202)
  t.equal(answer.json().status, 'completed')
})

t.test('a job that disappears while it is waited for was accepted all the same', async (t) => {
  const clock = new FakeClock()
  const { store, submit } = await waitingApp({ clock })
  const { id, response } = await submit()
  store.jobs.delete(id)
  await clock.advance(20_000)
  t.equal((await response).statusCode, 202)
})

t.test('beyond the cap of waiters nobody else waits', async (t) => {
  const { app, store, submit, http } = await waitingApp({ http: { maxWaiters: 1 } })
  const { id, response } = await submit()
  t.equal(http.waiting.size, 1)
  const headers = { prefer: 'wait=20' }
  t.equal((await app.inject({ method: 'POST', url: '/a', headers, remoteAddress: '10.0.0.9' })).statusCode, 202)
  const polled = await app.inject({ url: `/jobs/${id}`, headers, remoteAddress: '10.0.0.9' })
  t.equal(polled.headers['preference-applied'], undefined)
  store.complete(id, 1)
  t.equal((await response).statusCode, 200)
})

t.test('one address cannot take all places: its oldest wait ends for another client, and for a newer one of its own', async (t) => {
  const { app, store, http } = await waitingApp({ http: { maxWaiters: 4 } })
  const { id } = (await app.inject({ method: 'POST', url: '/a' })).json()
  const ended: string[] = []
  const poll = async (name: string, remoteAddress: string): Promise<number> => {
    const reads = store.count('getMany')
    const response = app.inject({ url: `/jobs/${String(id)}`, headers: { prefer: 'wait=20' }, remoteAddress }).then((answer) => { ended.push(name); return answer.statusCode })
    await store.called('getMany', reads + 1)
    return await Promise.race([response, new Promise<number>((resolve) => setImmediate(() => setImmediate(() => resolve(0))))])
  }
  for (let n = 0; n < 6; n++) await poll(`greedy${n}`, '10.0.0.1')
  t.strictSame(ended, ['greedy0', 'greedy1'], 'its own newest wait')
  t.equal(await poll('other', '10.0.0.2'), 0, 'waits')
  t.equal(http.waiting.size, 4)
  t.strictSame(ended, ['greedy0', 'greedy1', 'greedy2'])
  store.complete(id, 1)
  const deadline = AbortSignal.timeout(5_000)
  while (http.waiting.size > 0 && !deadline.aborted) await new Promise(setImmediate)
  t.equal(http.waiting.size, 0)
})

t.test('where an owner function names clients, one address is many of them', async (t) => {
  const { app, store, http } = await waitingApp({ http: { maxWaiters: 2, owner: (request) => request.headers['x-user']?.toString() } })
  const waits: string[] = []
  const post = async (user: string): Promise<void> => {
    const reads = store.count('getMany')
    app.inject({ method: 'POST', url: '/a', headers: { prefer: 'wait=20', 'x-user': user } }).then(() => { waits.push(user) }, () => { /* closed */ })
    await store.called('getMany', reads + 1)
  }
  await post('alice')
  await post('alice')
  await post('bob')
  const deadline = AbortSignal.timeout(5_000)
  while (waits.length === 0 && !deadline.aborted) await new Promise(setImmediate)
  t.strictSame(waits, ['alice'])
  t.equal(http.waiting.size, 2)
  await app.close()
})

t.test('a wait ends with the shutdown', async (t) => {
  const { app, store, submit, http } = await waitingApp()
  const { response } = await submit('wait=30')
  const polled = app.inject({ url: `/jobs/${store.created[0]?.id}`, headers: { prefer: 'wait=30' } }).then((answer) => answer)
  await store.called('getMany', store.count('getMany') + 1)
  t.equal(http.waiting.size, 2)
  await app.close()
  t.equal((await response).statusCode, 202)
  t.equal((await polled).statusCode, 200)
})

t.test('over a real socket: close() does not wait for those who wait', async (t) => {
  const { app, store } = await waitingApp()
  await app.listen({ port: 0, host: '127.0.0.1' })
  const { port } = app.server.address() as AddressInfo
  const client = httpRequest({ port, host: '127.0.0.1', method: 'POST', path: '/a', headers: { prefer: 'wait=30' } }).end()
  const responded = once(client, 'response')
  await store.called('getMany', 1)
  await app.close()
  const [response] = await responded
  t.equal(response.statusCode, 202)
  response.resume()
})

t.test('a client that goes away ends its wait', async (t) => {
  const { app, store, http } = await waitingApp()
  t.teardown(() => app.close())
  await app.listen({ port: 0, host: '127.0.0.1' })
  const { port } = app.server.address() as AddressInfo
  const client = httpRequest({ port, host: '127.0.0.1', method: 'POST', path: '/a', headers: { prefer: 'wait=30' } }).end()
  client.on('error', () => { /* it was aborted here */ })
  await store.called('getMany', 1)
  t.equal(http.waiting.size, 1)
  const watched = new Promise<void>((resolve) => {
    const look = (): void => { if (http.waiting.size === 0) resolve(); else setImmediate(look) }
    look()
  })
  client.destroy()
  await watched
  t.equal(http.waiting.size, 0)
  await new Promise(setImmediate)
  t.equal(store.listeners, 0)
})
