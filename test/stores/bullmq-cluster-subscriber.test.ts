import { Cluster } from 'ioredis'
import t from 'tap'
import { endSubscribersOnce } from '../../lib/stores/bullmq/cluster-subscriber.ts'

t.test('a connection for pub/sub that a cluster has given up is ended once, however often it connects again', async (t) => {
  const cluster = new Cluster([{ host: '127.0.0.1', port: 1 }], { lazyConnect: true })
  t.teardown(() => { cluster.disconnect() })
  endSubscribersOnce(cluster as never)
  endSubscribersOnce(cluster as never)
  let ends = 0
  const last = { off: () => {}, disconnect: () => { ends++ } }
  const subscribers = Reflect.get(cluster, 'subscriber') as { lastActiveSubscriber: unknown, selectSubscriber: () => void }
  t.type(subscribers.selectSubscriber, 'function', 'the member that is changed is still there')
  subscribers.lastActiveSubscriber = last
  for (let n = 0; n < 20; n++) subscribers.selectSubscriber()
  t.equal(ends, 1)
})
