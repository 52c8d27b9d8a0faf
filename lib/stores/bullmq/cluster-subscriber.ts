/**
 * A client of a cluster keeps a connection of its own for pub/sub. While the cluster is away it ends the last one at
 * every attempt to connect, also when that is ended already (ioredis 5 and 6). Each time adds a listener and a timer to
 * its socket, so that Node warns of a leak at the eleventh, and an outage of an hour leaves thousands. This file, and no
 * other, lets each of these connections end only once. If a release of ioredis has no such members, nothing is changed.
 */
import type { Client } from './internals.ts'

/** Changes nothing but this client. Calling it twice does no harm. */
export function endSubscribersOnce (client: Client): void {
  if (!client.isCluster) return
  const subscribers: unknown = Reflect.get(client, 'subscriber')
  if (typeof subscribers !== 'object' || subscribers === null || CHANGED.has(subscribers)) return
  const select: unknown = Reflect.get(subscribers, 'selectSubscriber')
  if (typeof select !== 'function') return
  CHANGED.add(subscribers)
  Reflect.set(subscribers, 'selectSubscriber', (...args: unknown[]): unknown => {
    endOnce(Reflect.get(subscribers, 'lastActiveSubscriber'))
    endOnce(Reflect.get(subscribers, 'subscriber'))
    return Reflect.apply(select, subscribers, args)
  })
}

const CHANGED = new WeakSet<object>()

/** None of these connections is used again once it was ended. */
function endOnce (connection: unknown): void {
  if (typeof connection !== 'object' || connection === null || CHANGED.has(connection)) return
  const disconnect: unknown = Reflect.get(connection, 'disconnect')
  if (typeof disconnect !== 'function') return
  CHANGED.add(connection)
  let ended = false
  Reflect.set(connection, 'disconnect', (...args: unknown[]): unknown => {
    if (ended) return undefined
    ended = true
    return Reflect.apply(disconnect, connection, args)
  })
}
