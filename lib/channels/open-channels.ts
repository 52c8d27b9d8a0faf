/** The open streams and sockets of this process. */
import type { Clock, TimerHandle } from '../core/context.ts'
import type { EventBus } from '../events/bus.ts'
import { Places } from '../core/places.ts'

/** Over how long the channels end when the process begins to drain, so that not all clients come back at once. */
const DRAIN_MS = 3_000

/** One stream or socket. */
export interface Channel {
  readonly kind: 'sse' | 'websocket'
  /** Says goodbye and ends. */
  leave (reason: 'draining' | 'closing' | 'limit'): void
  /** Called every now and then: looks whether the client is still there, and whether it is time to end. */
  beat (): void
  /** What `Places` calls when another client gets the place. */
  end (): void
}

/** How a channel ended. */
export interface ChannelEnd {
  readonly reason: string
  /** How many messages the client was sent. */
  readonly sent: number
}

export interface OpenChannelsParts {
  readonly clock: Clock
  readonly bus: Pick<EventBus, 'emit'>
  /** Between two looks at every channel, in milliseconds. */
  readonly pingMs: number
  /** How many there may be in this process. When all are taken, the client with the most of them loses its oldest. */
  readonly max: number
  /** How many one client may have. */
  readonly maxPerClient: number
  /** @defaultValue Math.random */
  readonly random?: () => number
}

interface Entry { readonly client: string, readonly openedAt: number, leaving: TimerHandle | undefined }

/**
 * The open streams and sockets: one timer for all of them, their limits by client, and their end when the process ends.
 */
export class OpenChannels {
  readonly #parts: OpenChannelsParts
  readonly #random: () => number
  readonly #open = new Map<Channel, Entry>()
  readonly #count: Record<Channel['kind'], number> = { sse: 0, websocket: 0 }
  readonly #places: Places<Channel>
  #beat: TimerHandle | undefined
  #ending: 'draining' | 'closing' | undefined

  constructor (parts: OpenChannelsParts) {
    this.#parts = parts
    this.#random = parts.random ?? Math.random
    this.#places = new Places(parts.max)
  }

  get size (): number { return this.#open.size }

  /** Why this client may not open a channel now; `undefined`: it may. */
  refusal (client: string): 'draining' | 'closing' | 'limit' | undefined {
    if (this.#ending !== undefined) return this.#ending
    return this.#places.of(client) >= this.#parts.maxPerClient || !this.#places.has(client) ? 'limit' : undefined
  }

  /** @param client identifies it: see `clientKey` */
  add (channel: Channel, client: string): void {
    const { clock, bus, pingMs, maxPerClient } = this.#parts
    this.#open.set(channel, { client, openedAt: clock.monotonic(), leaving: undefined })
    bus.emit('channel.opened', { kind: channel.kind, open: ++this.#count[channel.kind] })
    // Several may have been admitted for one place.
    if (this.#places.of(client) >= maxPerClient || !this.#places.take(client, channel)) channel.end()
    this.#beat ??= clock.setTimeout(this.#onBeat, pingMs)
    if (this.#ending !== undefined) channel.leave(this.#ending)
  }

  /** To be called when its connection has ended. */
  delete (channel: Channel, { reason, sent }: ChannelEnd): void {
    const entry = this.#open.get(channel)
    if (entry === undefined) return
    const { clock, bus } = this.#parts
    if (entry.leaving !== undefined) clock.clearTimeout(entry.leaving)
    this.#open.delete(channel)
    const durationMs = clock.monotonic() - entry.openedAt
    bus.emit('channel.closed', { kind: channel.kind, reason, durationMs, sent, open: --this.#count[channel.kind] })
    this.#places.give(entry.client, channel)
    if (this.#open.size > 0 || this.#beat === undefined) return
    clock.clearTimeout(this.#beat)
    this.#beat = undefined
  }

  /** Ends the channels one by one, and opens no more. */
  drain (): void {
    if (this.#ending !== undefined) return
    this.#ending = 'draining'
    for (const [channel, entry] of this.#open) {
      entry.leaving = this.#parts.clock.setTimeout(() => { channel.leave('draining') }, this.#random() * DRAIN_MS)
    }
  }

  /** Ends all channels now. */
  close (): void {
    this.#ending = 'closing'
    for (const channel of [...this.#open.keys()]) channel.leave('closing')
  }

  readonly #onBeat = (): void => {
    this.#beat = this.#parts.clock.setTimeout(this.#onBeat, this.#parts.pingMs)
    for (const channel of [...this.#open.keys()]) channel.beat()
  }
}
