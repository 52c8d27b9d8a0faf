import t from 'tap'
import { Backbone } from '../../lib/channels/backbone.ts'
import type { JobUpdate } from '../../lib/jobs/job.ts'
import type { JobStore } from '../../lib/jobs/store.ts'

function setUp (): { backbone: Backbone, store: { subscriptions: number, open: number, fail: boolean, publish: (update: JobUpdate) => void } } {
  const listeners = new Set<(update: JobUpdate) => void>()
  const store = { subscriptions: 0, open: 0, fail: false, publish: (update: JobUpdate) => { for (const listener of listeners) listener(update) } }
  const subscribe = async (listener: (update: JobUpdate) => void): Promise<() => void> => {
    store.subscriptions++
    if (store.fail) throw new Error('away')
    store.open++
    listeners.add(listener)
    return () => { store.open--; listeners.delete(listener) }
  }
  return { backbone: new Backbone({ subscribe } as unknown as JobStore), store }
}

t.test('a thousand watchers are one subscription, which ends with the last', async (t) => {
  const { backbone, store } = setUp()
  const heard: number[] = []
  const stops = await Promise.all(Array.from({ length: 1_000 }, (_, index) => backbone.watch(`job-${index % 500}`, () => heard.push(index))))
  t.equal(store.subscriptions, 1)
  t.equal(backbone.size, 500)
  store.publish({ id: 'job-7', state: 'completed' })
  store.publish({ id: 'nobody-watches', state: 'completed' })
  t.same(heard, [7, 507])
  for (const stop of stops) { stop(); stop() }
  t.equal(backbone.size, 0)
  await new Promise((resolve) => setImmediate(resolve))
  t.equal(store.open, 0)
  const stop = await backbone.watch('job-1', () => heard.push(-1))
  t.equal(store.open, 1, 'and starts again for the next')
  store.publish({ id: 'job-1', state: 'failed' })
  t.equal(heard.at(-1), -1)
  stop()
})

t.test('a subscription that fails is an error for its watcher and is tried again for the next', async (t) => {
  const { backbone, store } = setUp()
  store.fail = true
  await t.rejects(backbone.watch('a', () => {}), /away/)
  t.equal(backbone.size, 0)
  store.fail = false
  const stop = await backbone.watch('a', () => {})
  t.equal(store.open, 1)
  stop()
})
