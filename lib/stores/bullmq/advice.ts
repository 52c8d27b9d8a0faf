/** What to do about a Redis server that cannot be used, by the code of the error. */
import type { ResolvedRedisStoreOptions } from './options.ts'
import { hostAndPort } from './redis-url.ts'

/** What is wrong, and what to do about it. */
export type Advice = readonly [what: string, fix: string]

export const NO_CONNECTION: Advice = ['no connection in time: the packets go nowhere, as behind a firewall', 'Check host, port, security group or network policy: nc -vz HOST PORT']

/** Words of a server that cannot be used, and codes of the system: each cause has another fix. */
export const CONNECTION_ADVICE: Readonly<Record<string, Advice>> = {
  ECONNREFUSED: ['nothing listens there', 'Start the server (redis-server), or correct host and port in its URL'],
  ENOTFOUND: ['unknown host', 'Correct the host name in the URL, or the DNS of this machine'],
  EAI_AGAIN: ['the host name could not be looked up now', 'Check the DNS of this machine: getent hosts HOST'],
  EHOSTUNREACH: NO_CONNECTION,
  ENETUNREACH: NO_CONNECTION,
  NOAUTH: ['the server wants a password, and the URL has none', 'Give it in the URL: redis://:PASSWORD@HOST:PORT, or redis://USER:PASSWORD@HOST:PORT'],
  WRONGPASS: ['user or password is wrong, or the user is disabled', 'Correct them in the URL (special characters percent-encoded); on the server: ACL LIST'],
  NOPERM: ['the user may not even PING', 'redis-cli ACL SETUSER NAME on +@all -@admin ~{fae}:* &{fae}:*'],
  DENIED: ['the server is in protected mode and takes connections from its own machine only', 'Set a password (requirepass) and bind in redis.conf'],
  LOADING: ['the server is loading its data set', 'Wait until it is done: redis-cli INFO persistence'],
  MASTERDOWN: ['it is a replica that has lost its master', 'Point the URL at the master']
}

/** What else a store in use may meet. */
const IN_USE: Readonly<Record<string, Advice>> = {
  ETIMEDOUT: ['it did not answer in time', 'Check the network (nc -vz HOST PORT) and on the server redis-cli --latency and SLOWLOG GET; for a server that is far away raise operationTimeoutMs'],
  NOPERM: ['its user may not run a command that the job store needs', 'fastify-async-endpoints doctor says which'],
  'not connected': ['the connection was lost, and this process keeps trying to connect', '']
}

/** What a message about a server that cannot be used says after its code. Empty for a code that speaks for itself. */
export function adviceOn (reason: string): string {
  const code = reason.replace(/:.*/, '')
  const [what, fix] = IN_USE[code] ?? CONNECTION_ADVICE[code] ?? []
  return what === undefined ? '' : `: ${what}${fix === undefined || fix === '' ? '' : `. ${fix}`}`
}

/**
 * Host and port of the server of a store, for messages; never user or password. `undefined` when its client does not
 * say.
 */
export function serverOf ({ client, connection }: Pick<ResolvedRedisStoreOptions, 'client' | 'connection'>): string | undefined {
  if (client === undefined) return placeOf(connection)
  if (Reflect.get(client, 'isCluster') === true) return listOf(Reflect.get(client, 'startupNodes'))
  const options: unknown = Reflect.get(client, 'options')
  return isRecord(options) ? placeOf(options) : undefined
}

function placeOf ({ sentinels, path, host, port }: Readonly<Record<string, unknown>>): string | undefined {
  if (Array.isArray(sentinels)) return listOf(sentinels)
  return typeof path === 'string' ? path : hostAndPort({ host: host ?? 'localhost', port: port ?? 6_379 })
}

function listOf (places: unknown): string | undefined {
  const shown = Array.isArray(places) ? places.filter(isRecord).map(({ host, port }) => hostAndPort({ host: host ?? 'localhost', port })) : []
  return shown.length === 0 ? undefined : shown.join(',')
}

function isRecord (value: unknown): value is Readonly<Record<string, unknown>> { return typeof value === 'object' && value !== null }
