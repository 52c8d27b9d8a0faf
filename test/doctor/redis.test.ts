/** Every finding about a server that can be reached, seen on a real one that is set up badly. */
import { rm } from 'node:fs/promises'
import t from 'tap'
import { freePort } from '../support/redis.ts'
import { until } from '../support/redis-jobs.ts'
import { connect, examination, programExamination, server } from './support.ts'

// Many servers, one after another, each of which takes its time on a machine that is busy.
t.setTimeout(120_000)

t.test('a good server is found good, and nothing is left behind on it', async (t) => {
  const { url } = await server(t, { durable: true, settings: ['--maxmemory', '200mb'] })
  const client = connect(t, url)
  const offset = async (): Promise<string | undefined> => /master_repl_offset:(\d+)/.exec(await client.info('replication'))?.[1]
  const before = [await offset(), /rdb_changes_since_last_save:(\d+)/.exec(await client.info('persistence'))?.[1]]
  const { report, code, of } = await programExamination(['--redis-url', url])
  t.equal(code, 0)
  for (const { check, severity, checked, what } of report.findings) {
    if (check.startsWith('redis.')) t.same([check, severity, checked], [check, 'ok', true], what)
  }
  t.match(of('redis.persistence').what, /appendfsync always/)
  t.match(of('redis.memory').what, /of 200\.0 MiB/)
  t.match(of('redis.version').what, /^(Redis|Valkey) \d+\.\d+\.\d+/)
  t.equal(await client.dbsize(), 0)
  t.same([await offset(), /rdb_changes_since_last_save:(\d+)/.exec(await client.info('persistence'))?.[1]], before, 'no write has happened')
  t.same(await client.pubsub('CHANNELS'), [])
  await until('its connection is gone', async () => (await client.client('LIST') as string).trim().split('\n').length === 1)
})

t.test('eviction, persistence and memory', async (t) => {
  const { url } = await server(t, { settings: ['--maxmemory-policy', 'allkeys-lru', '--maxmemory', '10mb'] })
  const client = connect(t, url)
  const bad = await examination(['--redis-url', url])
  t.equal(bad.code, 1)
  t.match(bad.of('redis.eviction'), { severity: 'problem', what: /allkeys-lru/, fix: /CONFIG SET maxmemory-policy noeviction/ })
  t.match(bad.of('redis.persistence'), { severity: 'warning', what: /neither AOF nor RDB/, fix: /appendonly yes/ })

  await client.config('SET', 'maxmemory-policy', 'noeviction')
  await client.config('SET', 'save', '3600 1')
  await client.config('SET', 'maxmemory', '0')
  const better = await examination(['--redis-url', url])
  t.equal(better.code, 0)
  t.equal(better.of('redis.eviction').severity, 'ok')
  t.match(better.of('redis.persistence'), { severity: 'warning', what: /RDB only \(save 3600 1\)/ })
  t.match(better.of('redis.memory'), { severity: 'note', what: /without a limit/ })
  t.equal((await examination(['--redis-url', url, '--strict'])).code, 1, 'for --strict a warning is enough')

  await client.config('SET', 'appendonly', 'yes')
  await client.config('SET', 'appendfsync', 'no')
  t.match((await examination(['--redis-url', url])).of('redis.persistence'), { severity: 'note', what: /appendfsync is no/ })
})

t.test('a full server', async (t) => {
  const { url } = await server(t)
  const client = connect(t, url)
  // Far beyond the limit, and not just at it: the server gives buffers of connections back when it likes, and would have room again.
  await client.set('k', 'x'.repeat(4_000_000))
  await client.config('SET', 'maxmemory', '2mb')
  const { of, code } = await examination(['--redis-url', url])
  t.equal(code, 1)
  t.match(of('redis.memory'), { severity: 'problem', what: /of 2\.0 MiB used \(\d{3} %\)/ })
  t.match(of('redis.commands'), { severity: 'problem', what: /out of memory.*OOM/ })
})

t.test('a save that fails', async (t) => {
  const redis = await server(t, { settings: ['--save', '3600', '1'] })
  const client = connect(t, redis.url)
  const dir = (await client.config('GET', 'dir') as string[])[1] ?? ''
  // Not even root can write a file into a folder that is gone.
  await rm(dir, { recursive: true })
  await client.set('k', 'v')
  await client.bgsave().catch(() => {})
  await until('it has failed', async () => /rdb_last_bgsave_status:err/.test(await client.info('persistence')))
  const { of, code } = await examination(['--redis-url', redis.url])
  t.equal(code, 1)
  t.match(of('redis.persistence'), { severity: 'problem', what: /the last save \(RDB\) failed/ })
  t.match(of('redis.commands'), { severity: 'problem', what: /cannot save to disk \(MISCONF\)/ })
})

t.test('a replica', async (t) => {
  const { url } = await server(t, { settings: ['--replicaof', '127.0.0.1', String(await freePort()), '--replica-serve-stale-data', 'yes'] })
  const { of } = await examination(['--redis-url', url])
  t.match(of('redis.commands'), { severity: 'problem', what: /replica.*READONLY/, fix: /master/ })
})

t.test('clusters', async (t) => {
  const redis = await server(t, { settings: ['--cluster-enabled', 'yes', '--cluster-announce-ip', '127.0.0.1'] })
  const client = connect(t, redis.url)
  const down = await examination(['--redis-url', redis.url])
  t.match(down.of('redis.cluster'), { severity: 'problem', what: /not up \(cluster_state fail\)/ })
  t.match(down.of('redis.commands'), { severity: 'problem', what: /CLUSTERDOWN/ })

  await client.cluster('ADDSLOTS', ...Array.from({ length: 16_384 }, (_, slot) => slot))
  await until('the cluster is up', async () => (await client.cluster('INFO')).includes('cluster_state:ok'))
  const up = await examination(['--redis-url', redis.url])
  t.match(up.of('redis.cluster'), { severity: 'ok', what: /one slot/ })
  t.equal(up.of('redis.commands').severity, 'ok')
  await client.call('ACL', 'SETUSER', 'default', '-ssubscribe')
  t.match((await examination(['--redis-url', redis.url])).of('redis.commands'), { severity: 'warning', what: /NOPERM/, fix: /\+ssubscribe/ })
  await client.call('ACL', 'SETUSER', 'default', '-spublish')
  t.equal((await examination(['--redis-url', redis.url])).of('redis.commands').severity, 'ok', 'messages go to all nodes then')
  t.match((await examination(['--redis-url', redis.url, '--prefix', 'jobs'])).of('redis.cluster'), { severity: 'problem', what: /"jobs" has no part in braces/, fix: /prefix: '\{jobs\}'/ })

  const second = await server(t, { settings: ['--cluster-enabled', 'yes', '--cluster-announce-ip', '127.0.0.1'] })
  await client.cluster('MEET', '127.0.0.1', second.port)
  await until('both know each other', async () => (await client.cluster('INFO')).includes('cluster_known_nodes:2'))
  t.match((await examination(['--redis-url', redis.url])).of('redis.cluster'), { severity: 'warning', what: /2 nodes/, fix: /new Cluster/ })
  t.match((await examination(['--redis-url', second.url])).of('redis.commands'), { severity: 'problem', what: /MOVED|CLUSTERDOWN/ })
})
