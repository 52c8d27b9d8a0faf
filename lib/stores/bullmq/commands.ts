/**
 * Every command that a user of the server must be allowed to run for the store to work: those that BullMQ and we send, and
 * those that the scripts of both call, which the server checks one by one. `test/doctor/commands.test.ts` holds the list
 * against the scripts.
 *
 * Each comes with arguments that the server accepts, so that it can be tried inside a transaction that is then discarded:
 * permissions are checked when a command is queued, and nothing is carried out.
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
  HMGET: ['f'],
  HMSET: ['f', 'v'],
  HSET: ['f', 'v'],
  INCR: [],
  LINDEX: ['0'],
  LLEN: [],
  LPUSH: ['v'],
  LRANGE: ['0', '0'],
  LREM: ['0', 'v'],
  LTRIM: ['0', '0'],
  PERSIST: [],
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

/** The calls to try, on a key and a channel under the prefix. */
export function requiredCommands (prefix: string, channel: string): CommandCall[] {
  const key = `${prefix}:doctor`
  return [
    ['PING'],
    ['TIME'],
    ['EVAL', 'return 0', '1', key],
    ['EVALSHA', '0'.repeat(40), '1', key],
    ['PUBLISH', channel, ''],
    ['RPOPLPUSH', key, key],
    ...Object.entries(ON_A_KEY).map(([command, args]): CommandCall => [command, key, ...args])
  ]
}
