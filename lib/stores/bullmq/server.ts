/** What a server says of itself in its answer to INFO, as far as the store depends on it. */
export type ServerProduct = 'Redis' | 'Valkey' | 'Dragonfly'

export interface ServerDescription {
  readonly product: ServerProduct
  /** Of the product itself; `undefined` when the server does not say. */
  readonly version: string | undefined
  /** It lacks commands that the scripts of BullMQ and of the store use. */
  readonly tooOld: boolean
  readonly evictionPolicy: string | undefined
}

/** The oldest server with all commands that the scripts of BullMQ and of the store use. */
export const OLDEST_VERSION = [6, 2] as const
/** With any other the server may throw jobs away. */
export const SAFE_EVICTION_POLICY = 'noeviction'

/** One field of an answer to INFO. */
export function infoField (info: string, name: string): string | undefined {
  for (const line of info.split('\n')) {
    if (line.startsWith(`${name}:`)) return line.slice(name.length + 1).trim()
  }
  return undefined
}

export function describeServer (info: string): ServerDescription {
  const [valkey, dragonfly, redis] = ['valkey_version', 'dragonfly_version', 'redis_version'].map((name) => infoField(info, name))
  const evictionPolicy = infoField(info, 'maxmemory_policy')
  // Forks report the version of Redis that they equal besides their own; Dragonfly has its own numbers.
  if (valkey !== undefined) return { product: 'Valkey', version: valkey, tooOld: false, evictionPolicy }
  if (dragonfly !== undefined) return { product: 'Dragonfly', version: dragonfly.replace(/^df-v?/, ''), tooOld: false, evictionPolicy }
  return { product: 'Redis', version: redis, tooOld: redis !== undefined && isTooOld(redis), evictionPolicy }
}

function isTooOld (text: string): boolean {
  const version = /^(\d+)\.(\d+)/.exec(text)
  if (version === null) return false
  const [major, minor] = [Number(version[1]), Number(version[2])]
  return major < OLDEST_VERSION[0] || (major === OLDEST_VERSION[0] && minor < OLDEST_VERSION[1])
}
