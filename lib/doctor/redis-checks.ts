import { REDIS_STORE_DEFAULTS, hasHashTag } from '../stores/bullmq/options.ts'
import { describeServer, infoField, OLDEST_VERSION, SAFE_EVICTION_POLICY } from '../stores/bullmq/server.ts'
import { CHECK_IDS, CHECKS, found, notChecked, type CheckId, type Finding } from './findings.ts'
import { checkConnection } from './redis-connection.ts'
import type { RedisFacts } from './redis-facts.ts'

const REDIS_CHECKS = CHECK_IDS.filter((id) => CHECKS[id].group === 'redis')
const MIB = 1_048_576
/** Shares of the memory limit. */
const NEARLY_FULL = 0.8
const FULL = 0.95

/** All checks of the server. */
export function checkRedis (facts: RedisFacts): Finding[] {
  const connection = checkConnection(facts)
  if (!facts.connection.ok) {
    return REDIS_CHECKS.map((id) => id === 'redis.connection' ? connection : notChecked(id, 'the server cannot be used'))
  }
  return [
    connection, ...checkInfo(facts), checkClock(facts), ...checkCluster(facts), checkCommands(facts), checkLatency(facts)
  ]
}

/** The findings when there is no server to check. */
export function redisNotChecked (because: string, fix?: string): Finding[] {
  return REDIS_CHECKS.map((id) => notChecked(id, because, id === 'redis.connection' ? fix : undefined))
}

function checkInfo ({ info, settings }: RedisFacts): Finding[] {
  if ('code' in info) {
    const because = `the server did not answer INFO (${info.code})`
    const ids: CheckId[] = ['redis.version', 'redis.eviction', 'redis.persistence', 'redis.memory']
    return ids.map((id) => notChecked(id, because, id === 'redis.version' ? 'redis-cli ACL SETUSER NAME +info' : undefined))
  }
  return [
    checkVersion(info.value), checkEviction(info.value), checkPersistence(info.value, 'value' in settings ? settings.value : undefined),
    checkMemory(info.value)
  ]
}

function checkVersion (info: string): Finding {
  const { product, version, tooOld } = describeServer(info)
  if (version === undefined) return notChecked('redis.version', 'the server does not show its version')
  if (tooOld) {
    return found('redis.version', 'problem', `Redis ${version} is older than ${OLDEST_VERSION.join('.')}`,
      `Update the server to ${OLDEST_VERSION.join('.')} or newer`)
  }
  if (product === 'Redis') return found('redis.version', 'ok', `Redis ${version}`)
  const fix = product !== 'Dragonfly'
    ? undefined
    : 'BullMQ requires that Dragonfly is started with --cluster_mode=emulated --lock_on_hashtags, and that the prefix has a part in braces'
  return found('redis.version', 'note', `${product} ${version}, a server compatible with Redis`, fix)
}

function checkEviction (info: string): Finding {
  const { evictionPolicy } = describeServer(info)
  if (evictionPolicy === undefined) {
    return notChecked('redis.eviction', 'the server does not show its maxmemory-policy', `Check the settings of the service: it must be ${SAFE_EVICTION_POLICY}`)
  }
  if (evictionPolicy === SAFE_EVICTION_POLICY) return found('redis.eviction', 'ok', `maxmemory-policy is ${SAFE_EVICTION_POLICY}`)
  return found('redis.eviction', 'problem', `maxmemory-policy is ${evictionPolicy}`,
    `redis-cli CONFIG SET maxmemory-policy ${SAFE_EVICTION_POLICY}, and the same line in redis.conf`)
}

/** The fields in which the server reports its last writes to disk. */
const WRITES: ReadonlyArray<readonly [field: string, name: string]> = [
  ['rdb_last_bgsave_status', 'the last save (RDB)'], ['aof_last_write_status', 'the last write to the AOF'], ['aof_last_bgrewrite_status', 'the last rewrite of the AOF']
]

function checkPersistence (info: string, settings: Readonly<Record<string, string>> | undefined): Finding {
  const id = 'redis.persistence'
  const aof = infoField(info, 'aof_enabled')
  if (aof === undefined) return notChecked(id, 'the server does not show whether it writes to disk')
  const failed = WRITES.filter(([field]) => (infoField(info, field) ?? 'ok') !== 'ok').map(([, name]) => name)
  if (failed.length > 0) return found(id, 'problem', `${failed.join(' and ')} failed`, 'Read the log of the server: the disk may be full or not writable; after that, run redis-cli BGSAVE')
  if (aof === '1') {
    return settings?.['appendfsync'] === 'no'
      ? found(id, 'note', 'AOF is on, but appendfsync is no: the operating system decides when to write, up to half a minute later',
        'redis-cli CONFIG SET appendfsync everysec')
      : found(id, 'ok', `AOF is on${settings?.['appendfsync'] === undefined ? '' : ` (appendfsync ${settings['appendfsync']})`}`)
  }
  const fix = 'redis-cli CONFIG SET appendonly yes, and in redis.conf: appendonly yes'
  // Without CONFIG it is unknown whether snapshots are made, but known that the AOF is off.
  if (settings?.['save'] === undefined) return found(id, 'warning', 'AOF is off; whether snapshots (RDB) are made cannot be seen', fix)
  return settings['save'] === ''
    ? found(id, 'warning', 'neither AOF nor RDB is on: a restart of the server loses every job', fix)
    : found(id, 'warning', `RDB only (save ${settings['save']}): a crash loses all jobs since the last snapshot`, fix)
}

function checkMemory (info: string): Finding {
  const used = numberOf(info, 'used_memory')
  const limit = numberOf(info, 'maxmemory')
  if (used === undefined || limit === undefined) return notChecked('redis.memory', 'the server does not show its memory')
  const usedText = `${(used / MIB).toFixed(1)} MiB`
  const total = numberOf(info, 'total_system_memory')
  if (limit === 0) {
    return found('redis.memory', 'note',
      `${usedText} used, without a limit${total === undefined || total === 0 ? '' : `; the machine has ${Math.round(total / MIB)} MiB`}`,
      'redis-cli CONFIG SET maxmemory 2gb (less than the machine has), so that a full server refuses jobs instead of being killed')
  }
  const part = used / limit
  const what = `${usedText} of ${(limit / MIB).toFixed(1)} MiB used (${Math.round(part * 100)} %)`
  const fix = 'Raise maxmemory, or keep fewer finished jobs: redisStore({ retention: { maxCount, completedMs } })'
  if (part >= FULL) return found('redis.memory', 'problem', what, fix)
  return part >= NEARLY_FULL ? found('redis.memory', 'warning', what, fix) : found('redis.memory', 'ok', what)
}

function numberOf (info: string, field: string): number | undefined {
  const value = infoField(info, field)
  return value === undefined || !/^\d+$/.test(value) ? undefined : Number(value)
}

function checkClock ({ clock }: RedisFacts): Finding {
  if ('code' in clock) return notChecked('redis.clock', `the server did not answer TIME (${clock.code})`)
  const { skewMs, uncertaintyMs } = clock.value
  // Count only the difference that is certain: a slow network is not a wrong clock.
  const atLeast = Math.max(0, Math.abs(skewMs) - uncertaintyMs)
  const what = `the clock of the server is ${duration(Math.abs(skewMs))} ${skewMs < 0 ? 'behind' : 'ahead of'} this host's clock (± ${duration(uncertaintyMs)})`
  const fix = 'Synchronise both machines: timedatectl set-ntp true (or chronyd)'
  if (atLeast > 30_000) return found('redis.clock', 'problem', what, fix)
  if (atLeast > 1_000) return found('redis.clock', 'warning', what, fix)
  return atLeast > 250 ? found('redis.clock', 'note', what, fix) : found('redis.clock', 'ok', what)
}

function duration (ms: number): string {
  return ms >= 1_000 ? `${(ms / 1_000).toFixed(1)} s` : `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`
}

function checkCluster ({ info, cluster, prefix }: RedisFacts): Finding[] {
  const id = 'redis.cluster'
  if ('code' in info) return [notChecked(id, `the server did not answer INFO (${info.code})`)]
  if (infoField(info.value, 'cluster_enabled') !== '1') return [found(id, 'ok', 'not a cluster')]
  const findings: Finding[] = []
  if (!hasHashTag(prefix)) {
    findings.push(found(id, 'problem', `the server is a cluster, and the prefix "${prefix}" has no part in braces`,
      `redisStore({ prefix: '{${prefix.replace(/[{}]/g, '')}}' }); the default is '${REDIS_STORE_DEFAULTS.prefix}'`))
  }
  if ('value' in cluster) {
    const state = infoField(cluster.value, 'cluster_state')
    const nodes = Number(infoField(cluster.value, 'cluster_known_nodes') ?? '1')
    if (state !== 'ok') {
      findings.push(found(id, 'problem', `the cluster is not up (cluster_state ${state ?? 'unknown'})`,
        'redis-cli --cluster check HOST:PORT; if slots have no node: redis-cli --cluster fix HOST:PORT'))
    }
    if (nodes > 1) {
      findings.push(found(id, 'warning', `a cluster of ${nodes} nodes`,
        'redisStore({ url }) connects to one node only; pass a client: redisStore({ client: new Cluster([{ host, port }]) })'))
    }
  }
  return findings.length > 0 ? findings : [found(id, 'ok', `the server is a cluster, and the prefix "${prefix}" keeps all keys in one slot`)]
}

/** Error codes that are about the state of the server, not about one command. */
const STATES: Readonly<Record<string, readonly [what: string, fix: string]>> = {
  READONLY: ['the server is a replica and takes no writes', 'Point REDIS_URL at the master (or use sentinels: redisStore({ connection: { sentinels, name } }))'],
  OOM: ['the server is out of memory and takes no writes', 'Raise maxmemory, or keep fewer finished jobs'],
  MISCONF: ['the server takes no writes because it cannot save to disk', 'Read the log of the server: the disk may be full or not writable; after that, run redis-cli BGSAVE'],
  NOREPLICAS: ['the server takes no writes because it has too few replicas (min-replicas-to-write)', 'Start the replicas, or lower min-replicas-to-write'],
  CLUSTERDOWN: ['the cluster is down and takes no commands', 'redis-cli --cluster check HOST:PORT'],
  MOVED: ['the keys of this prefix are on another node of the cluster', 'Pass a client that knows all nodes: redisStore({ client: new Cluster([{ host, port }]) })'],
  ETIMEDOUT: ['the server stopped answering', 'On the server: redis-cli --latency, redis-cli SLOWLOG GET']
}

function checkCommands ({ refused, subscribed, prefix, cluster }: RedisFacts): Finding {
  const id = 'redis.commands'
  if ('code' in refused) return notChecked(id, `the commands could not be tried (${refused.code})`)
  const states = new Set(refused.value.map(({ code }) => code).filter((code) => STATES[code] !== undefined))
  for (const code of states) {
    const state = STATES[code]
    if (state !== undefined) return found(id, 'problem', `${state[0]} (${code})`, state[1])
  }
  if (refused.value.length > 0) {
    const names = refused.value.map(({ command }) => command)
    const shown = names.length > 8 ? `${names.slice(0, 8).join(', ')} and ${names.length - 8} more` : names.join(', ')
    const codes = [...new Set(refused.value.map(({ code }) => code))].join(', ')
    const allow = names.length > 8 ? '+@all -@admin' : names.map((name) => `+${name.toLowerCase()}`).join(' ')
    return found(id, 'problem', `not allowed on the keys of prefix "${prefix}": ${shown} (${codes})`,
      `redis-cli ACL SETUSER NAME ${allow} '~${prefix}:*' '&${prefix}:*'`)
  }
  if ('code' in subscribed) {
    const sharded = 'value' in cluster ? '+ssubscribe +sunsubscribe ' : ''
    return found(id, 'warning', `the user may not subscribe to the channels of live updates (${subscribed.code}): a client that waits for a job learns of its end later`,
      `redis-cli ACL SETUSER NAME +subscribe +unsubscribe ${sharded}'&${prefix}:*'`)
  }
  return found(id, 'ok', `all commands are allowed on the keys and channels of prefix "${prefix}"`)
}

function checkLatency ({ latency }: RedisFacts): Finding {
  if ('code' in latency) return notChecked('redis.latency', `the server did not answer PING (${latency.code})`)
  const { medianMs, maxMs } = latency.value
  const what = `a round trip takes ${duration(medianMs)} (at most ${duration(maxMs)})`
  const fix = 'Run the server and the application in one region and zone; on the server: redis-cli --latency, redis-cli SLOWLOG GET'
  if (medianMs > 1_000) return found('redis.latency', 'problem', what, fix)
  if (medianMs > 100) return found('redis.latency', 'warning', what, fix)
  return medianMs > 20 ? found('redis.latency', 'note', what, fix) : found('redis.latency', 'ok', what)
}
