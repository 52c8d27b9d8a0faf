import type { Queue } from 'bullmq'
import type { Clock } from '../../core/context.ts'
import { sleep } from '../../core/deadline.ts'
import type { Connections } from './connections.ts'
import { queuePrefix, type Bull, type Client } from './internals.ts'

/**
 * BullMQ writes every step of every job into a stream per queue. Nobody reads it here; it is kept short, and set again
 * whenever the server comes back, because BullMQ sets it only once and does not notice when that fails.
 */
const EVENTS_KEPT = 100
/** An unknown id makes the process ask for new queues: once in this time at the most, for all who ask meanwhile. */
const REFRESH_EVERY_MS = 50
/** How old the list of all queues may be when somebody asks about all of them. */
const REFRESH_MAX_MS = 30_000

/** A queue that this process adds to or works on. */
export interface QueueHandle {
  readonly name: string
  /** What all its keys begin with. */
  readonly prefix: string
  readonly bull: Queue
}

/**
 * The queues under one prefix: those this process uses, and those that others told of in a set on the server. An id
 * does not say in which queue its job is, so every look-up asks about all of them, in one step.
 */
export class QueueBook {
  readonly #bull: Bull
  readonly #connections: Connections
  readonly #clock: Clock
  readonly #prefix: string
  readonly #handles = new Map<string, QueueHandle>()
  #names: string[] = []
  #prefixes: string[] = []
  #refreshedAt = -Infinity
  #refreshing: Promise<boolean> | undefined
  #askedAt = -Infinity
  #next: Promise<boolean> | undefined
  #told = new Set<string>()

  constructor (bull: Bull, connections: Connections, clock: Clock, prefix: string) {
    this.#bull = bull
    this.#connections = connections
    this.#clock = clock
    this.#prefix = prefix
    connections.onReady(() => this.#serverIsBack())
  }

  /** The queue with what is needed to add to it. Others can find its jobs from the first one on. */
  use (name: string): QueueHandle {
    let handle = this.#handles.get(name)
    if (handle === undefined) {
      const bull = new this.#bull.Queue(name, {
        connection: this.#connections.producer,
        prefix: this.#prefix,
        // All three belong together: BullMQ would wait for the server for ever, or give up on it for ever.
        skipWaitingForReady: true,
        skipVersionCheck: true,
        streams: { events: { maxLen: EVENTS_KEPT } }
      })
      bull.on('error', () => { /* the same trouble is told where a command fails */ })
      handle = { name, prefix: queuePrefix(this.#prefix, name), bull }
      this.#handles.set(name, handle)
      this.#learn([name])
    }
    if (!this.#told.has(name)) this.#tell(name)
    return handle
  }

  /** The prefix of a queue, used here or not. */
  prefixOf (name: string): string { return queuePrefix(this.#prefix, name) }

  /** All queues that are known here, by name. */
  names (): readonly string[] { return this.#names }

  /** All queues that any process has told of lately. */
  async allNames (): Promise<readonly string[]> {
    if (this.#clock.monotonic() - this.#refreshedAt > REFRESH_MAX_MS) await this.#refresh()
    return this.#names
  }

  /**
   * Asks for queues of other processes, together with all who want that at the same time. Nobody is sent away: who comes
   * to a fresh process with many others would be told that his job does not exist.
   *
   * @returns whether there was a new one
   */
  refresh (): Promise<boolean> {
    this.#next ??= this.#refreshNext()
    return this.#next
  }

  async #refreshNext (): Promise<boolean> {
    // One that is under way may have been answered before the queue came.
    await this.#refreshing?.catch(() => {})
    await sleep(this.#clock, Math.max(0, this.#askedAt + REFRESH_EVERY_MS - this.#clock.monotonic()))
    this.#next = undefined
    return await this.#refresh()
  }

  /**
   * Runs a script that looks for a job in a list of queues, over all that are known; if it is in none of them, again
   * over those that have come since.
   *
   * @param run gets the prefixes of the queues; its answer begins with the number of the one it found the job in, from 1
   * @returns the name of the queue and the rest of the answer; `undefined`: there is no such job
   */
  async search (run: (client: Client, prefixes: readonly string[]) => Promise<unknown>): Promise<{ queue: string, answer: readonly unknown[] } | undefined> {
    const known = this.#names.length
    return await this.#searchFrom(0, run) ?? (await this.refresh() || this.#names.length > known ? await this.#searchFrom(known, run) : undefined)
  }

  /** Takes BullMQ's listeners off the connection. The connection itself stays. */
  async close (): Promise<void> {
    await Promise.all([...this.#handles.values()].map(({ bull }) => bull.close().catch(() => {})))
  }

  async #searchFrom (first: number, run: (client: Client, prefixes: readonly string[]) => Promise<unknown>): Promise<{ queue: string, answer: readonly unknown[] } | undefined> {
    const names = this.#names.slice(first)
    if (names.length === 0) return undefined
    const answer = await this.#connections.run((client) => run(client, first === 0 ? this.#prefixes : this.#prefixes.slice(first)))
    if (!Array.isArray(answer)) return undefined
    const queue = names[Number(answer[0]) - 1]
    return queue === undefined ? undefined : { queue, answer: answer.slice(1) }
  }

  // Appended, never sorted: `search` goes on from where it was.
  #learn (names: readonly string[]): boolean {
    const added = names.filter((name) => !this.#names.includes(name))
    if (added.length === 0) return false
    this.#names = [...this.#names, ...added]
    this.#prefixes = this.#names.map((name) => queuePrefix(this.#prefix, name))
    return true
  }

  #refresh (): Promise<boolean> {
    this.#refreshing ??= (async () => {
      this.#askedAt = this.#clock.monotonic()
      try {
        const names = await this.#connections.run((client) => client.smembers(this.#key))
        this.#refreshedAt = this.#clock.monotonic()
        return this.#learn(names.map(String))
      } finally {
        this.#refreshing = undefined
      }
    })()
    return this.#refreshing
  }

  get #key (): string { return `${this.#prefix}:queues` }

  // Sent before the first job on the same connection, so that nobody can learn of the job before the queue.
  #tell (name: string): void {
    this.#told.add(name)
    this.#connections.submit((client) => client.sadd(this.#key, name)).catch(() => { this.#told.delete(name) })
  }

  #serverIsBack (): void {
    // It may have come back empty.
    this.#told = new Set()
    for (const { name, bull } of this.#handles.values()) {
      this.#tell(name)
      this.#connections.run(() => bull.getBackend().setQueueMeta({ 'opts.maxLenEvents': EVENTS_KEPT })).catch(() => { /* the next time */ })
    }
    this.#refresh().catch(() => { /* the next look-up tries again */ })
  }
}
