/** The commands that a user of the Redis server must be allowed to run. */
import { luaScript } from './lua.ts'

/**
 * Every command that a user of the server must be allowed to run for the store to work: those that BullMQ and we
 * send, and those that the scripts of both call, which the server checks one by one. `test/doctor/commands.test.ts`
 * holds the list against the scripts, without what they call for features of BullMQ that the store does not use.
 *
 * Each comes with arguments that the server accepts: so it can be asked for, or tried inside a transaction that is then
 * discarded, and nothing is carried out.
 */
const ON_A_KEY: Readonly<Record<string, readonly string[]>> = {
  BZPOPMIN: ['1'],
  DEL: [],
  EXISTS: [],
  GET: [],
  HDEL: ['f'],
  HEXISTS: ['f'],
  HGET: ['f'],
  HGETALL: [],
  HINCRBY: ['f', '1'],
  HKEYS: [],
  HMGET: ['f'],
  HMSET: ['f', 'v'],
  HSET: ['f', 'v'],
  INCR: [],
  LINDEX: ['0'],
  LPOS: ['0'],
  LLEN: [],
  LPUSH: ['v'],
  LRANGE: ['0', '0'],
  LREM: ['0', 'v'],
  PEXPIRE: ['1'],
  PTTL: [],
  RPUSH: ['v'],
  SADD: ['m'],
  SCARD: [],
  SET: ['v'],
  SMEMBERS: [],
  SREM: ['m'],
  XADD: ['*', 'f', 'v'],
  XTRIM: ['MAXLEN', '0'],
  ZADD: ['0', 'm'],
  ZCARD: [],
  ZINCRBY: ['1', 'm'],
  ZPOPMIN: [],
  ZRANGE: ['0', '0'],
  ZRANGEBYSCORE: ['0', '0'],
  ZREM: ['m'],
  ZREMRANGEBYRANK: ['0', '0'],
  ZREMRANGEBYSCORE: ['0', '0'],
  ZREVRANGE: ['0', '0'],
  ZREVRANGEBYSCORE: ['0', '0'],
  ZSCORE: ['m']
}

export type CommandCall = readonly [command: string, ...args: string[]]

/**
 * The calls to try, on a key and a channel under the prefix. `WAIT` is needed only where replicas confirm
 * submissions.
 */
export function requiredCommands (prefix: string, channel: string, acknowledge: 'primary' | 'replica' = 'primary'): CommandCall[] {
  const key = `${prefix}:doctor`
  return [
    ['PING'],
    ['TIME'],
    ['EVAL', 'return 0', '1', key],
    ['EVALSHA', '0'.repeat(40), '1', key],
    ['PUBLISH', channel, ''],
    ['RPOPLPUSH', key, key],
    ...(acknowledge === 'replica' ? [['WAIT', '0', '0'] as const] : []),
    ...Object.entries(ON_A_KEY).map(([command, args]): CommandCall => [command, key, ...args])
  ]
}

/** Sent over a connection that does nothing else. */
export const LISTENING: readonly string[] = ['SUBSCRIBE', 'UNSUBSCRIBE']

/** On a cluster, from Redis 7 on, a message goes only to the node of its channel, by these commands. */
const SHARDED = ['SPUBLISH', 'SSUBSCRIBE', 'SUNSUBSCRIBE'] as const

export function shardedCalls (channel: string): CommandCall[] {
  return SHARDED.map((command) => command === 'SPUBLISH' ? [command, channel, ''] : [command, channel])
}

/**
 * Leaves out what is not needed: for a user who may not publish to a single node the servers pass messages on to all
 * nodes, and it listens as elsewhere.
 */
export function withoutSharded (denied: readonly string[]): string[] {
  return denied.filter((command) => !denied.includes('SPUBLISH') || !SHARDED.some((sharded) => sharded === command))
}

/**
 * The rules of a user who may do what the store needs and nothing else. Two are not needed: without `INFO` nobody
 * looks at the version and the eviction policy, without `CLIENT SETNAME` the connections of workers have no name.
 */
export function aclRules (prefix: string): string {
  const names = [...new Set([...requiredCommands(prefix, '').map(([command]) => command), ...LISTENING, 'INFO', 'CLIENT|SETNAME'])]
  return `resetchannels &${prefix}:* resetkeys ~${prefix}:* -@all ${names.map((name) => `+${name.toLowerCase()}`).sort().join(' ')}`
}

interface Asks { eval (lua: string, keys: number, ...args: string[]): Promise<unknown> }

/**
 * Asks the server which of these calls its user may not make.
 *
 * @returns `undefined` when an older server cannot be asked; rejects with the server's refusal of EVAL itself
 */
export async function askDenied (client: Asks, calls: readonly CommandCall[]): Promise<string[] | undefined> {
  let answer: unknown
  try {
    answer = await client.eval(luaScript('ask-denied'), 0, ...calls.map((call) => JSON.stringify(call)))
  } catch (error) {
    if (error instanceof Error && error.message.includes('UNASKED')) return undefined
    throw error
  }
  return (Array.isArray(answer) ? answer : []).flatMap((place) => calls[Number(place) - 1]?.[0] ?? [])
}
