import { Cluster, Redis } from 'ioredis'
import t from 'tap'
import { adviceOn, serverOf } from '../../lib/stores/bullmq/advice.ts'
import { readRedisOptions } from '../../lib/stores/bullmq/options.ts'

t.test('where a server is, without user and password, however the store was told', (t) => {
  const lazy = { lazyConnect: true }
  const clients = [new Redis('redis://u:hunter2@h:7000/1', lazy), new Cluster([{ host: 'a', port: 7000 }, { host: 'b', port: 7001 }], { lazyConnect: true, redisOptions: { password: 'hunter2' } })] as const
  t.teardown(() => { for (const client of clients) client.disconnect() })
  for (const [options, server] of [
    [undefined, 'localhost:6379'],
    [{ url: 'redis://u:hunter2@h' }, 'h:6379'],
    [{ url: 'rediss://u:hunter2@[::1]:7000/3' }, '[::1]:7000'],
    [{ url: 'redis+sentinel://u:hunter2@a:1,b/mymaster/0' }, 'a:1,b:26379'],
    [{ connection: { host: 'h', port: '7000', password: 'hunter2' } }, 'h:7000'],
    [{ connection: { path: '/run/redis.sock' } }, '/run/redis.sock'],
    [{ client: clients[0] }, 'h:7000'],
    [{ client: clients[1] }, 'a:7000,b:7001']
  ] as const) t.equal(serverOf(readRedisOptions(options)), server)
  t.equal(serverOf({ client: { status: 'ready', duplicate () {}, defineCommand () {}, on () {} }, connection: {} }), undefined, 'a client that does not say')
  t.end()
})

t.test('what a message says after its code', (t) => {
  t.match(adviceOn('ECONNREFUSED'), /^: nothing listens there\. Start the server/)
  t.match(adviceOn('NOPERM: XADD'), /^: its user may not run a command .* doctor says which$/)
  t.equal(adviceOn('not connected'), ': the connection was lost, and this process keeps trying to connect')
  t.equal(adviceOn('SOMETHING'), '')
  t.end()
})
