import { parseRedisUrl, shownConnection } from '../stores/bullmq/redis-url.ts'
import { REDIS_STORE_DEFAULTS } from '../stores/bullmq/options.ts'
import type { AppFacts } from './app-facts.ts'
import type { DoctorRequest } from './arguments.ts'
import type { ShownTarget } from './read-redis.ts'

/** The server to check, or why there is none. */
export type Place =
  | { readonly target: ShownTarget, readonly leaseMs: number }
  | { readonly because: string, readonly fix?: string }

type Request = Pick<DoctorRequest, 'redisUrl' | 'prefix' | 'leaseMs'>

/** The store that the application really uses; if no application became ready, the server that the URL names. */
export function placeOf ({ redisUrl, prefix, leaseMs }: Request, app: AppFacts): Place {
  const store = app.state === 'ready' ? app.store : undefined
  if (store?.redis !== undefined) {
    const { connection, prefix, leaseMs = REDIS_STORE_DEFAULTS.leaseMs } = store.redis
    return { target: { connection, shown: shownConnection(connection), prefix }, leaseMs }
  }
  if (store !== undefined) {
    return { because: `the application keeps its jobs in ${store.type === 'memory' ? 'memory' : `a store of type ${store.type}`}` }
  }
  if (redisUrl === undefined) {
    return { because: 'no Redis URL is given: jobs are kept in memory, in one process', fix: 'REDIS_URL=redis://HOST:6379, or --redis-url' }
  }
  const { connection } = parseRedisUrl(redisUrl)
  return { target: { connection, shown: shownConnection(connection), prefix }, leaseMs }
}

/** The server that the URL names, if the application keeps its jobs somewhere else. */
export function otherServer ({ redisUrl }: Pick<Request, 'redisUrl'>, app: AppFacts): string | undefined {
  if (redisUrl === undefined || app.state !== 'ready' || app.store === undefined) return undefined
  const named = placeKey(parseRedisUrl(redisUrl).connection)
  return app.store.redis !== undefined && placeKey(app.store.redis.connection) === named ? undefined : shownConnection(parseRedisUrl(redisUrl).connection)
}

/** Identifies a server, so that a default that is written out and one that is left out give the same place. */
function placeKey (connection: Readonly<Record<string, unknown>>): string {
  const { sentinels, path, host = 'localhost', port = 6_379, db = 0 } = connection
  return sentinels === undefined && path === undefined ? shownConnection({ ...connection, host, port: Number(port), db: Number(db) }) : shownConnection({ ...connection, db: Number(db) })
}
