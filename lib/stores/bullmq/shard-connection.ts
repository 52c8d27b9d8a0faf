/** One connection to the node of a cluster that serves a store's channels, from its first command to its loss. */
import type { Redis } from 'ioredis'

/** How the node hands messages on: only to those who are connected to it, or to all nodes. */
export type Way = 'sharded' | 'plain'

export type Hear = (channel: string, message: string) => void

/** The connection is of no use any more. */
export class ShardLost extends Error {}

/**
 * ioredis 5 takes an unasked `sunsubscribe`, which a server sends when a slot moves away, for the answer to some command
 * and says that it cannot find it.
 */
const CONFUSED = /^Command queue state error/

/**
 * A connection that joins and leaves channels. It is lost when it closes, or when the server says that it does not serve
 * the channels; there is no way back: its owner makes another.
 */
export class ShardConnection {
  readonly way: Way
  /** Resolves when it is lost. */
  readonly lost: Promise<void>
  readonly #client: Redis
  readonly #release: (client: Redis) => void
  #end: () => void = () => {}
  #ended = false

  /** @param release disconnects the client, and lets it go */
  constructor (client: Redis, way: Way, hear: Hear, release: (client: Redis) => void) {
    this.#client = client
    this.way = way
    this.#release = release
    this.lost = new Promise((resolve) => { this.#end = resolve })
    const lose = (): void => { this.end() }
    client.on('message', hear)
    client.on('smessage', hear)
    client.on('close', lose)
    client.on('end', lose)
    // An event of ioredis: the server answers MOVED, or sends an unasked `sunsubscribe`.
    client.on('moved', lose)
    client.on('error', (error: unknown) => { if (error instanceof Error && CONFUSED.test(error.message)) lose() })
  }

  /**
   * Resolves when messages of these channels arrive. With ioredis 5 a command that the server answers with MOVED never
   * ends: the loss ends it.
   *
   * @throws {ShardLost}; or the server's refusal
   */
  async join (channels: readonly string[]): Promise<void> {
    if (this.#ended || channels.length === 0) return this.#check()
    const sent = this.way === 'sharded' ? this.#client.ssubscribe(...channels) : this.#client.subscribe(...channels)
    await Promise.race([sent, this.lost])
    this.#check()
  }

  leave (channels: readonly string[]): void {
    if (this.#ended || channels.length === 0) return
    const sent = this.way === 'sharded' ? this.#client.sunsubscribe(...channels) : this.#client.unsubscribe(...channels)
    sent.catch(() => { /* nobody handles them any more */ })
  }

  end (): void {
    if (this.#ended) return
    this.#ended = true
    this.#release(this.#client)
    this.#end()
  }

  #check (): void { if (this.#ended) throw new ShardLost('The connection is lost') }
}
