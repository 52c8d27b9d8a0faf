/** A TCP proxy before a Redis server, which can do to connections what networks do: swallow answers, hold requests, and let go again. */
import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'

/** A command that makes a connection one that hears messages. */
const SUBSCRIBES = /\$\d+\r\n[ps]?subscribe\r\n/i

export class RedisProxy {
  readonly #server: Server
  readonly #pairs = new Set<[Socket, Socket]>()
  /** Where new connections lead. */
  port: number
  #muted = false
  /** Connections that are open and carry nothing any more, in either direction. */
  readonly #dead = new Set<Socket>()
  /** Connections that have subscribed to something. */
  readonly #subscribers = new Set<Socket>()
  #deaf = false
  /** Connections made from now on are accepted, and never get an answer. */
  swallowNew = false
  /** Milliseconds by which everything is late, in each direction: half a round trip. */
  delayMs = 0
  /** Connections made so far. */
  accepted = 0
  #held: Array<{ readonly server: Socket, readonly data: Buffer }> | undefined

  constructor (port: number) {
    this.port = port
    this.#server = createServer((client) => { this.#pair(client) })
  }

  /** Connections that are open now. */
  get open (): number { return this.#pairs.size }

  get listensOn (): number {
    const address = this.#server.address()
    return typeof address === 'object' && address !== null ? address.port : 0
  }

  get url (): string { return `redis://127.0.0.1:${this.listensOn}` }

  /** From now on nothing reaches the server. */
  hold (): void { this.#held ??= [] }

  /** What has not reached the server meanwhile. */
  get held (): string { return (this.#held ?? []).map(({ data }) => data.toString()).join('') }

  /** What was held goes on to the server, as after a short trouble of the network. */
  release (): void {
    const held = this.#held ?? []
    this.#held = undefined
    for (const { server, data } of held) if (!server.destroyed) server.write(data)
  }

  /**
   * From now on connections stay open and are accepted, and nothing passes: a sidecar whose way to the server is gone. Those
   * connections never carry anything again; after `unmute` new ones do.
   */
  mute (): void {
    this.#muted = true
    for (const [client] of this.#pairs) this.#dead.add(client)
  }

  unmute (): void { this.#muted = false }

  /**
   * From now on connections that subscribe to channels, or have done so, stay open and hear nothing. Those never carry
   * anything again; after `undeafen` new ones do.
   */
  deafen (): void {
    this.#deaf = true
    for (const client of this.#subscribers) this.#dead.add(client)
  }

  undeafen (): void { this.#deaf = false }

  async start (): Promise<void> {
    this.#server.listen(0, '127.0.0.1')
    await once(this.#server, 'listening')
  }

  async stop (): Promise<void> {
    for (const [client, server] of this.#pairs) {
      client.destroy()
      server.destroy()
    }
    this.#server.close()
    await once(this.#server, 'close')
  }

  #pair (client: Socket): void {
    this.accepted++
    const swallow = this.swallowNew
    const server = connect(this.port, '127.0.0.1')
    if (this.#muted) this.#dead.add(client)
    const pair: [Socket, Socket] = [client, server]
    this.#pairs.add(pair)
    client.on('data', (data) => {
      if (SUBSCRIBES.test(data.toString('latin1'))) {
        this.#subscribers.add(client)
        if (this.#deaf) this.#dead.add(client)
      }
      if (this.#dead.has(client)) return
      if (this.#held === undefined) this.#pass(server, data)
      else this.#held.push({ server, data })
    })
    server.on('data', (data) => { if (!swallow && !this.#dead.has(client)) this.#pass(client, data) })
    for (const [one, other] of [[client, server], [server, client]] as const) {
      one.on('error', () => {})
      one.on('close', () => {
        other.destroy()
        this.#pairs.delete(pair)
        this.#dead.delete(client)
        this.#subscribers.delete(client)
      })
    }
  }

  #pass (to: Socket, data: Buffer): void {
    if (this.delayMs === 0) to.write(data)
    else setTimeout(() => { if (!to.destroyed) to.write(data) }, this.delayMs)
  }
}

export async function startProxy (port: number): Promise<RedisProxy> {
  const proxy = new RedisProxy(port)
  await proxy.start()
  return proxy
}
