/** A WebSocket client of the jobs protocol for tests. */
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import type { FastifyInstance } from 'fastify'
import { WebSocket, type ClientOptions } from 'ws'
import { SOCKET_PROTOCOL } from '../../lib/channels/socket-messages.ts'

const DEADLINE_MS = 10_000

export type Heard = Record<string, unknown> & { readonly type: string }

export interface SocketClientOptions extends ClientOptions {
  readonly path?: string
  readonly protocols?: string | string[]
  /** How long to wait for what a test expects. @defaultValue 10000 */
  readonly deadlineMs?: number
}

/** Keeps what it hears; a test waits for the next message. */
export class SocketClient {
  readonly ws: WebSocket
  readonly heard: Heard[] = []
  readonly #deadlineMs: number
  #taken = 0
  #closed: { readonly code: number, readonly reason: string } | undefined

  constructor (port: number, { path = '/jobs/socket', protocols = SOCKET_PROTOCOL, deadlineMs = DEADLINE_MS, ...options }: SocketClientOptions = {}) {
    this.#deadlineMs = deadlineMs
    this.ws = new WebSocket(`ws://127.0.0.1:${port}${path}`, protocols, options)
    this.ws.on('message', (data: Buffer) => { this.heard.push(JSON.parse(data.toString())) })
    this.ws.on('close', (code, reason) => { this.#closed = { code, reason: reason.toString() } })
    this.ws.on('error', () => { /* `opened` and `closed` say what happened */ })
  }

  /** @throws when the server refuses the upgrade */
  async opened (): Promise<this> {
    if (this.ws.readyState !== WebSocket.OPEN) await this.#wait('open', 'close')
    if (this.#closed !== undefined) throw new Error('the server refused the connection')
    return this
  }

  /** The answer to an upgrade that is refused. */
  async refused (): Promise<{ readonly status: number | undefined, readonly headers: Readonly<Record<string, unknown>>, readonly body: Record<string, unknown> }> {
    const [request, response] = await once(this.ws, 'unexpected-response', { signal: AbortSignal.timeout(DEADLINE_MS) })
    let text = ''
    for await (const chunk of response) text += String(chunk)
    request.destroy()
    return { status: response.statusCode, headers: response.headers, body: JSON.parse(text) }
  }

  say (message: unknown): void { this.ws.send(typeof message === 'string' || Buffer.isBuffer(message) ? message : JSON.stringify(message)) }

  subscribe (...ids: readonly string[]): void { this.say({ type: 'subscribe', ids }) }

  /** The next message that was not yet taken. */
  async next (): Promise<Heard> {
    while (this.heard[this.#taken] === undefined) {
      if (this.#closed !== undefined) throw new Error(`the connection was closed with ${this.#closed.code} ${this.#closed.reason}`)
      await this.#wait('message', 'close')
    }
    return this.heard[this.#taken++] as Heard
  }

  /** The next message of this type; those before it are skipped. */
  async nextOf (type: string, id?: string): Promise<Heard> {
    for (;;) {
      const message = await this.next()
      if (message.type === type && (id === undefined || message['id'] === id)) return message
    }
  }

  async closed (): Promise<{ readonly code: number, readonly reason: string }> {
    if (this.#closed === undefined) await this.#wait('close')
    return this.#closed ?? { code: -1, reason: '' }
  }

  async #wait (...events: ReadonlyArray<'open' | 'message' | 'close'>): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const stop = (): void => {
        clearTimeout(timer)
        for (const event of events) this.ws.removeListener(event, heard)
      }
      const heard = (): void => { stop(); resolve() }
      const timer = setTimeout(() => {
        stop()
        reject(new Error(`waited in vain for ${events.join(' or ')}; so far: ${JSON.stringify(this.heard).slice(0, 500)}`))
      }, this.#deadlineMs)
      for (const event of events) this.ws.on(event, heard)
    })
  }
}

export async function portOf (app: FastifyInstance): Promise<number> {
  if (!app.server.listening) await app.listen({ port: 0, host: '127.0.0.1' })
  return (app.server.address() as AddressInfo).port
}

/** Connections that the server has open. */
export async function connectionsOf (app: FastifyInstance): Promise<number> {
  return await new Promise((resolve, reject) => { app.server.getConnections((error, count) => { if (error === null) resolve(count); else reject(error) }) })
}
