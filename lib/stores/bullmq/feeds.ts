/** What this process listens to on the server, over one connection. */
import { EXPIRED, withDeadline } from '../../core/deadline.ts'
import type { Clock, TimerHandle } from '../../core/context.ts'
import type { JobPlace } from '../../jobs/job.ts'
import type { FeedListener, JobFeed } from '../../jobs/store.ts'
import type { Connections, Listening } from './connections.ts'
import { toStoreError, unavailable } from './errors.ts'
import { queuePrefix } from './layout.ts'
import { jobChannel, parseUpdate } from './updates.ts'

/** One command names no more channels than this. */
const MAX_CHANNELS = 500

/**
 * A channel that nobody listens to any more is left within this time, with all others: a job that is over is not heard of
 * again, so that there is no hurry, and one command for many costs less than one for each.
 */
const LEAVE_MS = 500

type Handler = (message: string) => void

/** What is to be joined next. */
interface Joining { readonly channels: Set<string>, readonly sent: Promise<void> }

/**
 * The channels that this process listens to, over one connection that is made for the first of them. What is joined in
 * one turn of the event loop travels together.
 */
export class Subscriptions {
  readonly #connections: Connections
  readonly #clock: Clock
  readonly #timeoutMs: number
  readonly #handlers = new Map<string, Set<Handler>>()
  readonly #missed = new Set<() => void>()
  /** The server sends messages of these over the present connection. */
  readonly #joined = new Set<string>()
  /** Of those, the ones that nobody listens to any more. */
  readonly #left = new Set<string>()
  #client: Listening | undefined
  #joining: Joining | undefined
  #leaving: TimerHandle | undefined
  /** Messages were lost, or may have been. */
  #interrupted = false

  constructor (connections: Connections, clock: Clock, timeoutMs: number) {
    this.#connections = connections
    this.#clock = clock
    this.#timeoutMs = timeoutMs
  }

  /**
   * Resolves when messages arrive from then on. If the server is away, or takes too long, it rejects, still goes on
   * trying, until {@link Subscriptions.remove}, and says that messages were missed when it has succeeded.
   */
  async add (channel: string, handler: Handler): Promise<void> {
    const handlers = this.#handlers.get(channel)
    if (handlers === undefined) this.#handlers.set(channel, new Set([handler]))
    else handlers.add(handler)
    this.#left.delete(channel)
    if (this.#joined.has(channel)) return
    const sent = this.#join(channel)
    if (!this.#connections.live) {
      sent.then(() => { this.#say() }, () => { /* when the connection is back */ })
      throw unavailable('not connected', this.#connections.server)
    }
    await sent
  }

  remove (channel: string, handler: Handler): void {
    const handlers = this.#handlers.get(channel)
    if (handlers?.delete(handler) !== true || handlers.size > 0) return
    this.#handlers.delete(channel)
    this.#left.add(channel)
    this.#leaving ??= this.#clock.setTimeout(() => { this.#leave() }, LEAVE_MS)
  }

  /** Calls the listener whenever messages may have been lost. @returns ends that */
  onMissed (listener: () => void): () => void {
    this.#missed.add(listener)
    return () => { this.#missed.delete(listener) }
  }

  /** The connection itself is closed by who has made it. */
  close (): void {
    if (this.#leaving !== undefined) this.#clock.clearTimeout(this.#leaving)
    this.#leaving = undefined
    this.#handlers.clear()
    this.#missed.clear()
  }

  #join (channel: string): Promise<void> {
    if (this.#joining === undefined) {
      const channels = new Set<string>()
      const sent = Promise.resolve().then(async () => {
        this.#joining = undefined
        await this.#send(channels)
      })
      this.#joining = { channels, sent }
    }
    this.#joining.channels.add(channel)
    return this.#joining.sent
  }

  async #send (channels: ReadonlySet<string>): Promise<void> {
    const client = this.#client ??= this.#listen()
    const joined = this.#joinAll(client, channels)
    let answer: unknown
    try {
      answer = await withDeadline(this.#clock, this.#timeoutMs, joined)
    } catch (error) {
      throw toStoreError(error, this.#connections.server)
    }
    if (answer !== EXPIRED) return
    joined.then(() => { this.#say() }, () => { /* when the connection is back */ })
    throw unavailable('ETIMEDOUT', this.#connections.server)
  }

  #leave (): void {
    this.#leaving = undefined
    const channels = [...this.#left]
    this.#left.clear()
    for (const some of inParts(channels)) this.#client?.unsubscribe(...some).catch(() => { /* nobody handles them any more */ })
    for (const channel of channels) this.#joined.delete(channel)
  }

  async #joinAll (client: Listening, channels: Iterable<string>): Promise<void> {
    await Promise.all(inParts([...channels]).map(async (some) => {
      await client.subscribe(...some)
      // A channel that was left before the server answered is not joined any more.
      for (const channel of some) if (this.#handlers.has(channel)) this.#joined.add(channel)
    }))
  }

  #listen (): Listening {
    const client = this.#connections.subscriber()
    const hear = (channel: string, message: string): void => {
      for (const handler of this.#handlers.get(channel) ?? []) handler(message)
    }
    client.on('message', hear)
    client.on('close', () => {
      this.#interrupted = true
      this.#joined.clear()
    })
    client.on('ready', () => { this.#again(client) })
    return client
  }

  /** The connection is there (again): the server has forgotten what was joined before. */
  #again (client: Listening): void {
    this.#joinAll(client, this.#handlers.keys()).then(() => {
      if (!this.#interrupted) return
      this.#interrupted = false
      this.#say()
    }, () => { /* at the next connection */ })
  }

  /** Messages were missed. */
  #say (): void { for (const listener of this.#missed) listener() }
}

/** As many channels as one command may name. */
function inParts (channels: readonly string[]): string[][] {
  const parts: string[][] = []
  for (let first = 0; first < channels.length; first += MAX_CHANNELS) parts.push(channels.slice(first, first + MAX_CHANNELS))
  return parts
}

/** Follows jobs for one listener, each on its own channel. */
export class RedisFeed implements JobFeed {
  readonly #subscriptions: Subscriptions
  readonly #prefix: string
  readonly #listener: FeedListener
  readonly #channels = new Map<string, Handler>()
  readonly #ignoreGaps: () => void

  /** @param prefix of all keys of the store */
  constructor (subscriptions: Subscriptions, prefix: string, listener: FeedListener) {
    this.#subscriptions = subscriptions
    this.#prefix = prefix
    this.#listener = listener
    this.#ignoreGaps = subscriptions.onMissed(() => {
      try { listener.missed() } catch { /* a listener's trouble is its own */ }
    })
  }

  async follow ({ id, queue }: JobPlace): Promise<void> {
    const channel = jobChannel(queuePrefix(this.#prefix, queue), id)
    const handler = this.#channels.get(channel) ?? ((message: string) => { this.#hear(id, message) })
    this.#channels.set(channel, handler)
    await this.#subscriptions.add(channel, handler)
  }

  unfollow ({ id, queue }: JobPlace): void {
    const channel = jobChannel(queuePrefix(this.#prefix, queue), id)
    const handler = this.#channels.get(channel)
    if (handler === undefined) return
    this.#channels.delete(channel)
    this.#subscriptions.remove(channel, handler)
  }

  close (): void {
    this.#ignoreGaps()
    for (const [channel, handler] of this.#channels) this.#subscriptions.remove(channel, handler)
    this.#channels.clear()
  }

  #hear (id: string, message: string): void {
    const update = parseUpdate(id, message)
    if (update === undefined) return
    try { this.#listener.changed(update) } catch { /* a listener's trouble is its own */ }
  }
}
