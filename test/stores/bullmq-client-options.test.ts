/** Which options of ioredis the store takes, and the URLs. */
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { Cluster, Redis } from 'ioredis'
import t from 'tap'
import { clientOptionProblems, connectionProblems, KNOWN_OPTIONS } from '../../lib/stores/bullmq/client-options.ts'
import { readRedisOptions } from '../../lib/stores/bullmq/options.ts'
import { parseRedisUrl, shownConnection } from '../../lib/stores/bullmq/redis-url.ts'

t.test('the list knows every option of ioredis', async (t) => {
  const folder = dirname(createRequire(import.meta.url).resolve('ioredis/package.json'))
  const types = ['redis/RedisOptions', 'connectors/SentinelConnector/index', 'connectors/StandaloneConnector', 'utils/Commander']
    .map((file) => readFileSync(join(folder, `built/${file}.d.ts`), 'utf8'))
  const names = new Set(types.flatMap((text) => [...text.matchAll(/^ {4}(\w+)\?:/gm)].map(([, name = '']) => name)))
  t.ok(names.size > 50)
  const own = new Set(['ip', 'port', 'prio', 'flags', 'numberOfKeys'])
  t.same([...names].filter((name) => !KNOWN_OPTIONS.includes(name) && !own.has(name)), [])
})

t.test('what cannot work is refused, all of it at once', async (t) => {
  t.same(connectionProblems({ host: 'h', port: '6379', db: 3, family: 4, tls: {}, connectTimeout: 1_000, username: undefined, keyPrefix: '', readOnly: false }), [])
  const problems = connectionProblems({
    port: 'x', db: -1, keyPrefix: 'a:', stringNumbers: true, retryStrategy: () => 1, Connector: class {}, nope: 1, name: 'm', role: 'slave', connectTimeout: 0
  })
  for (const key of ['port', 'db', 'keyPrefix', 'stringNumbers', 'retryStrategy', 'Connector', 'nope', 'name', 'role', 'connectTimeout']) {
    t.equal(problems.filter((problem) => problem.startsWith(`connection.${key} `)).length, 1, key)
  }
  t.match(connectionProblems({ sentinels: [{ host: 'h' }] }), [/connection\.name is missing/])
  t.match(connectionProblems({ sentinels: [], name: 'm' }), [/connection\.sentinels must be a list/])
})

t.test('clients of the application are looked at too', async (t) => {
  const problemsOf = (client: Redis | Cluster): string[] => {
    client.disconnect()
    return clientOptionProblems(client)
  }
  const lazy = { lazyConnect: true }
  t.same(problemsOf(new Redis(lazy)), [])
  t.match(problemsOf(new Redis({ ...lazy, keyPrefix: 'a', enableAutoPipelining: true, retryStrategy: null })), [/keyPrefix/, /enableAutoPipelining/, /retryStrategy/])
  t.match(problemsOf(new Redis('redis://localhost/x', lazy)), [/whole number as db/])
  const nodes = [{ host: 'localhost', port: 1 }]
  t.same(problemsOf(new Cluster(nodes, lazy)), [])
  t.match(problemsOf(new Cluster(nodes, { ...lazy, scaleReads: 'slave', redisOptions: { keyPrefix: 'a', db: 1 } })), [/keyPrefix/, /scaleReads/, /a db/])
  t.throws(() => readRedisOptions({ client: new Cluster(nodes, lazy), acknowledge: 'replica' }), /acknowledge must be "primary" for a cluster/)
})

t.test('the forms of a URL', async (t) => {
  const forms: ReadonlyArray<readonly [url: string, connection: object, shown: string]> = [
    ['redis://localhost', { host: 'localhost' }, 'redis://localhost'],
    ['redis://', {}, 'redis://localhost'],
    ['rediss://user:p%40ss@h:1/2?family=6', { username: 'user', password: 'p@ss', host: 'h', port: 1, db: 2, tls: {}, family: 6 }, 'rediss://h:1/2'],
    ['redis://:p@[::1]:1', { password: 'p', host: '::1', port: 1 }, 'redis://[::1]:1'],
    ['redis+sentinel://a,b:2/m', { sentinels: [{ host: 'a', port: 26_379 }, { host: 'b', port: 2 }], name: 'm' }, 'redis+sentinel://a:26379,b:2/m'],
    [
      'rediss+sentinel://u:p%2F@a/m/3?sentinelPassword=s',
      { sentinels: [{ host: 'a', port: 26_379 }], name: 'm', username: 'u', password: 'p/', db: 3, tls: {}, sentinelTLS: {}, enableTLSForSentinelMode: true, sentinelPassword: 's' },
      'rediss+sentinel://a:26379/m/3'
    ]
  ]
  for (const [url, connection, shown] of forms) {
    t.same(parseRedisUrl(url), { connection, problems: [] }, url)
    t.equal(shownConnection(parseRedisUrl(url).connection), shown)
    t.doesNotThrow(() => readRedisOptions({ url }), url)
  }
  for (const url of ['redis://h/x', 'redis://h:0', 'redis://h:x', 'redis://h?db=1', 'redis://h?family=x', 'redis://h/0/1', 'redis+sentinel://h', 'redis+sentinel://h/m/x', 'redis+sentinel://h:99999/m', 'redis+sentinel://,/m']) {
    t.equal(parseRedisUrl(url).problems.length, 1, url)
    t.throws(() => readRedisOptions({ url }), { code: 'FAE_INVALID_OPTIONS' }, url)
  }
})

t.test('the lease may be named as BullMQ names it', async (t) => {
  t.equal(readRedisOptions({ lockDurationMs: 7_000 }).leaseMs, 7_000)
  t.equal(readRedisOptions({ leaseMs: 7_000, lockDurationMs: undefined }).leaseMs, 7_000)
  t.equal(readRedisOptions({}).leaseMs, 10_000)
})
