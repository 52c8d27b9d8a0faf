/**
 * The forms of a URL that names a server, here and not in the client: its parser shows passwords and guesses numbers.
 */

/** Connection options of ioredis, as a plain object: host, port, username, password, db, tls, sentinels and so on. */
export type RedisConnectionOptions = Readonly<Record<string, unknown>>

export interface ParsedUrl {
  readonly connection: RedisConnectionOptions
  /** Sentences without any part of the URL: what stands in a wrong place may be a piece of the password. */
  readonly problems: readonly string[]
}

export const URL_FORMS = 'redis://user:password@host:6379/0, rediss://… with TLS, or redis+sentinel://user:password@host1:26379,host2:26379/name/0 (rediss+sentinel://…)'
export const URL_PATTERN = '^rediss?(\\+sentinel)?://'

const MALFORMED = `url is not a URL of the form ${URL_FORMS}; special characters in user and password have to be percent-encoded`
const NO_DATABASE = 'url must name the database, if any, by a whole number: …/0'
const HASH = 'url must not contain "#"; in a password it is %23'
const SENTINEL_PORT = 26_379
const QUERY_SERVER = ['family', 'connectionName'] as const
const QUERY_SENTINEL = [...QUERY_SERVER, 'sentinelUsername', 'sentinelPassword'] as const

export function parseRedisUrl (url: string): ParsedUrl {
  const scheme = /^(rediss?)(\+sentinel)?:\/\//i.exec(url)
  if (scheme === null) return { connection: {}, problems: [MALFORMED] }
  const tls = scheme[1]?.toLowerCase() === 'rediss'
  const rest = url.slice(scheme[0].length)
  if (rest.includes('#')) return { connection: {}, problems: [HASH] }
  try {
    return scheme[2] === undefined ? parseServer(rest, tls) : parseSentinels(rest, tls)
  } catch {
    // `URL` and `decodeURIComponent` put what they were given into their errors.
    return { connection: {}, problems: [MALFORMED] }
  }
}

/** What ioredis connects with, as a URL that may be shown: without user and password. */
export function shownConnection ({ host = 'localhost', path, port, db, sentinels, name, tls }: RedisConnectionOptions): string {
  if (typeof path === 'string') return path
  const scheme = tls === undefined ? 'redis' : 'rediss'
  const database = db === undefined ? '' : `/${String(db)}`
  if (Array.isArray(sentinels)) return `${scheme}+sentinel://${sentinels.map(hostAndPort).join(',')}/${String(name)}${database}`
  return `${scheme}://${hostAndPort({ host, port })}${database}`
}

/** `host:port`, with brackets around an IPv6 address. */
export function hostAndPort ({ host, port }: { host: unknown, port?: unknown }): string {
  const shown = String(host).includes(':') ? `[${String(host)}]` : String(host)
  return port === undefined ? shown : `${shown}:${String(port)}`
}

function parseServer (rest: string, tls: boolean): ParsedUrl {
  const { username, password, hostname, port, pathname, searchParams } = new URL(`redis://${rest}`)
  const problems: string[] = []
  const connection = {
    ...credentials(username, password),
    ...(hostname !== '' && { host: hostname.replace(/^\[|\]$/g, '') }),
    ...(port !== '' && { port: Number(port) }),
    ...database(pathname, problems),
    ...(tls && { tls: {} }),
    ...query(searchParams, QUERY_SERVER, problems)
  }
  if (port === '0') problems.push('url must name a port from 1 to 65535')
  return { connection, problems }
}

function parseSentinels (rest: string, tls: boolean): ParsedUrl {
  const match = /^(?:([^/?]*)@)?([^/?@]+)\/([A-Za-z0-9_.-]+)(\/[^?]*)?(\?.*)?$/.exec(rest)
  const [, user, hosts, name, path = '', search = ''] = match ?? []
  if (hosts === undefined || name === undefined) return { connection: {}, problems: [MALFORMED] }
  const problems: string[] = []
  const sentinels = hosts.split(',').map((place) => {
    const { hostname, port } = new URL(`redis://${place}`)
    if (hostname === '' || port === '0') problems.push(MALFORMED)
    return { host: hostname.replace(/^\[|\]$/g, ''), port: port === '' ? SENTINEL_PORT : Number(port) }
  })
  const colon = user?.indexOf(':') ?? -1
  const connection = {
    sentinels,
    name,
    ...(user !== undefined && (colon < 0 ? credentials(user, '') : credentials(user.slice(0, colon), user.slice(colon + 1)))),
    ...database(path, problems),
    ...(tls && { tls: {}, sentinelTLS: {}, enableTLSForSentinelMode: true }),
    ...query(new URLSearchParams(search), QUERY_SENTINEL, problems)
  }
  return { connection, problems: [...new Set(problems)] }
}

function credentials (username: string, password: string): RedisConnectionOptions {
  return {
    ...(username !== '' && { username: decodeURIComponent(username) }),
    ...(password !== '' && { password: decodeURIComponent(password) })
  }
}

function database (path: string, problems: string[]): RedisConnectionOptions {
  if (path === '' || path === '/') return {}
  if (/^\/\d{1,6}$/.test(path)) return { db: Number(path.slice(1)) }
  problems.push(NO_DATABASE)
  return {}
}

function query (given: URLSearchParams, allowed: readonly string[], problems: string[]): RedisConnectionOptions {
  const found: Record<string, unknown> = {}
  for (const [key, value] of given) {
    if (!allowed.includes(key)) problems.push(`url takes no option after "?" but ${allowed.join(', ')}; give everything else in connection ("?" in a password is %3F)`)
    else if (key !== 'family') found[key] = value
    else if (/^[046]$/.test(value)) found[key] = Number(value)
    else problems.push('url must have 4, 6 or 0 as family')
  }
  return found
}
