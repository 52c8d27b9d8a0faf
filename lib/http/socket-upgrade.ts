/**
 * Hands upgrade requests to `@fastify/websocket` when this package registers it, and only those for its own route.
 *
 * As soon as a server has a listener for `upgrade`, Node gives it every request with an `Upgrade` header, and stops
 * reading the body and watching the connection. Clients send this header on ordinary requests too: Java's HttpClient
 * offers HTTP/2 (`Upgrade: h2c`) on its first one. Such a request would lose its body, and on a route outside of the
 * context of `@fastify/websocket` its connection would stay open for ever.
 */
import type { EventEmitter } from 'node:events'
import type { IncomingMessage, Server } from 'node:http'
import { Server as TlsServer } from 'node:tls'
import type { Duplex } from 'node:stream'

/** The part of an HTTP server that is used here. */
export type UpgradeServer = Pick<Server, 'on' | 'removeListener' | 'listenerCount' | 'emit'>

/**
 * @param server that of the application
 * @param entry what `@fastify/websocket` listens to instead of the server
 * @param isOurs whether the request is for the route of this package
 * @returns a function that removes the listener; from then on Node treats upgrade requests as plain ones
 */
export function passUpgrades (
  server: UpgradeServer, entry: EventEmitter, isOurs: (request: IncomingMessage) => boolean
): () => void {
  const onUpgrade = (request: IncomingMessage, socket: Duplex, head: Buffer): void => {
    if (wantsSocket(request) && isOurs(request)) entry.emit('upgrade', request, socket, head)
    // The application has a listener of its own, and decides about the rest.
    else if (server.listenerCount('upgrade') === 1) serveAsPlain(server, request, socket, head)
  }
  const restore = askFirst(server, (request) => (wantsSocket(request) && isOurs(request)) || server.listenerCount('upgrade') > 1)
  server.on('upgrade', onUpgrade)
  return () => {
    restore()
    server.removeListener('upgrade', onUpgrade)
  }
}

/** Whether the request asks for a WebSocket (RFC 6455 §4.2.1), and for nothing else that it could upgrade to. */
function wantsSocket ({ method, headers }: IncomingMessage): boolean {
  return method === 'GET' && headers.upgrade?.trim().toLowerCase() === 'websocket'
}

/**
 * Newer versions of Node ask before they treat a request as an upgrade (`shouldUpgradeCallback`). There a plain request
 * never comes here.
 */
function askFirst (server: object, accepts: (request: IncomingMessage) => boolean): () => void {
  const before: unknown = Reflect.get(server, 'shouldUpgradeCallback')
  if (typeof before !== 'function') return () => {}
  Reflect.set(server, 'shouldUpgradeCallback', accepts)
  return () => { Reflect.set(server, 'shouldUpgradeCallback', before) }
}

/**
 * Gives the connection back to the server, with the request as if it had no `Upgrade` header (RFC 9110 §7.8: a server
 * may ignore it).
 */
function serveAsPlain (server: UpgradeServer, request: IncomingMessage, socket: Duplex, head: Buffer): void {
  if (socket.destroyed || !socket.readable) {
    socket.destroy()
    return
  }
  const { method = 'GET', url = '/', httpVersion, rawHeaders } = request
  const lines = [`${method} ${url} HTTP/${httpVersion}`]
  for (let at = 0; at + 1 < rawHeaders.length; at += 2) {
    const [name = '', value = ''] = rawHeaders.slice(at, at + 2)
    const lowerName = name.toLowerCase()
    if (lowerName === 'upgrade' || lowerName === 'http2-settings') continue
    const kept = lowerName === 'connection' ? withoutUpgrade(value) : value
    if (kept !== '' || lowerName !== 'connection') lines.push(`${name}: ${kept}`)
  }
  socket.unshift(Buffer.concat([Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1'), head]))
  server.emit(server instanceof TlsServer ? 'secureConnection' : 'connection', socket)
}

/** The options of the connection without those that belong to the upgrade. */
function withoutUpgrade (connection: string): string {
  const options = connection.split(',').map((option) => option.trim())
  return options.filter((option) => !/^(?:upgrade|http2-settings|)$/i.test(option)).join(', ')
}
