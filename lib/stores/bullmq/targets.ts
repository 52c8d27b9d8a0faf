/** Which server and prefix a store uses, for programs that look at the same place. */
import type { ResolvedRedisStoreOptions } from './options.ts'

/** What a program needs to connect to the server of a store. */
export interface RedisTarget {
  readonly connection: Readonly<Record<string, unknown>>
  readonly prefix: string
  readonly leaseMs: number
}

/**
 * Options of a client of the application that say where the server is and who connects; everything else is the
 * client's own matter.
 */
const PLACE = ['host', 'port', 'path', 'username', 'password', 'db', 'tls', 'family', 'sentinels', 'name', 'sentinelUsername', 'sentinelPassword', 'sentinelTLS', 'enableTLSForSentinelMode']

const settings = new WeakMap<object, ResolvedRedisStoreOptions>()

/** @returns the store */
export function remember<S extends object> (store: S, given: ResolvedRedisStoreOptions): S {
  settings.set(store, given)
  return store
}

/** `undefined` for a store that is not on Redis. */
export function settingsOf (store: object): RedisTarget | undefined {
  const found = settings.get(store)
  if (found === undefined) return undefined
  const { prefix, leaseMs, client, connection } = found
  return { prefix, leaseMs, connection: client === undefined ? connection : placeOf(client) }
}

function placeOf (client: object): Readonly<Record<string, unknown>> {
  const options = recordOf(Reflect.get(client, 'options'))
  const nodes: unknown = Reflect.get(client, 'startupNodes')
  // Of a cluster the first node is looked at.
  const given = Array.isArray(nodes) ? { ...recordOf(options['redisOptions']), ...recordOf(nodes[0]) } : options
  return Object.fromEntries(PLACE.flatMap((key) => given[key] === undefined || given[key] === null ? [] : [[key, given[key]]]))
}

function recordOf (value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? value as Readonly<Record<string, unknown>> : {}
}
