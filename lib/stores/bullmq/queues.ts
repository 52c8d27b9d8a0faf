/** The queues that this process knows, and how it learns of those of other processes. */
import type { Queue } from 'bullmq'
import type { Clock } from '../../core/context.ts'
import { Periodic } from '../../core/periodic.ts'
import { cut } from '../../core/text.ts'
import { QUEUE_NAME } from '../../jobs/compile-definition.ts'
import type { Connections } from './connections.ts'
import { serverCode } from './errors.ts'
import type { Bull, Client } from './internals.ts'
import { queuePrefix } from './layout.ts'
import { runScript } from './scripts.ts'

/**
 * BullMQ writes every step of every job into a stream per queue. Nobody reads it here; it is kept short, and set again
 * whenever the server comes back, because BullMQ sets it only once and does not notice when that fails.
 */
const EVENTS_KEPT = 100
/**
 * How often a process writes on the server which queues it uses. A server that was flushed, or restarted without its
 * data, has forgotten them, and no connection is lost when that happens: other processes would never find the jobs.
 */
const NOTE_EVERY_MS = 2_000
/** Names that no queue can have are reported once each. At most this many are remembered. */
const MAX_BAD_NAMES = 100
const QUEUE_NAMES = new RegExp(QUEUE_NAME)

/** How old the list of all queues may be when all of them are asked for. */
const REFRESH_MAX_MS = 30_000

/** Reports something that an operator should know. */
export type Report = (code: string, message: string) => void

/** A queue that this process adds to or works on. */
export interface QueueHandle {
  readonly name: string
  /** What all its keys begin with. */
  readonly prefix: string
  readonly bull: Queue
}

/**
 * The queues under one prefix: those that this process uses, and those that other processes have written into a set
 * on the server. An id does not say in which queue its job is, so every look-up asks all of them, in one step.
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
  #next: Promise<boolean> | undefined
  readonly #noted = new Set<string>()
  readonly #report: Report
  readonly #badNames = new Set<string>()
  readonly #round: Periodic

  constructor (bull: Bull, connections: Connections, clock: Clock, prefix: string, report: Report) {
    this.#report = report
    this.#bull = bull
    this.#connections = connections
    this.#clock = clock
    this.#prefix = prefix
    this.#round = new Periodic({ clock, firstDelayMs: NOTE_EVERY_MS, intervalMs: NOTE_EVERY_MS, turn: () => this.#heal().catch(() => { /* the next time */ }) })
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
      bull.on('error', () => { /* the sender of the command gets the error */ })
      handle = { name, prefix: queuePrefix(this.#prefix, name), bull }
      this.#handles.set(name, handle)
      this.#learn([name])
    }
    if (!this.#noted.has(name)) this.#note(name)
    return handle
  }

  /**
   * Adds a queue that has jobs to the set, even if this process does not use it, so that other processes find its
   * jobs.
   */
  know (name: string): void {
    if (this.#noted.has(name) || !QUEUE_NAMES.test(name)) return
    this.#learn([name])
    this.#note(name)
  }

  /** Writes the queues of this process on the server from now on: again and again, and each time the server is back. */
  start (): void {
    this.#connections.onReady(() => this.#serverIsBack())
    this.#round.start()
  }

  stop (): Promise<void> { return this.#round.stop() }

  /** The prefix of a queue, used here or not. */
  prefixOf (name: string): string { return queuePrefix(this.#prefix, name) }

  /** All queues that are known here, by name. */
  names (): readonly string[] { return this.#names }

  /** All queues that any process has written down, read at most half a minute ago. */
  async allNames (): Promise<readonly string[]> {
    if (this.#clock.monotonic() - this.#refreshedAt > REFRESH_MAX_MS) await this.#refresh()
    return this.#names
  }

  /**
   * Asks for queues of other processes, together with all who want that at the same time: there is one question under
   * way and one to follow, however many unknown ids are looked for. Nobody is sent away: a client that comes to a
   * fresh process with many others would hear that its job does not exist. There is no pause between two questions,
   * because the duration of an answer would say whether an id is known.
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
    this.#next = undefined
    return await this.#refresh()
  }

  /**
   * Runs a script that looks for a job in a list of queues, over all that are known; if it is in none of them, again
   * over those that have come since.
   *
   * @param run gets the prefixes of the queues; its answer begins with the number of the one it found the job in,
   * from 1
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
      try {
        const names = await this.#connections.run((client) => client.smembers(this.#key).catch(async (error: unknown) => {
          if (serverCode(error) !== 'WRONGTYPE') throw error
          if (this.#noted.size > 0) await this.#heal()
          else if (await client.del(this.#key) > 0) this.#reportReplaced()
          return await client.smembers(this.#key)
        }))
        this.#refreshedAt = this.#clock.monotonic()
        return this.#learn(this.#valid(names.map(String)))
      } finally {
        this.#refreshing = undefined
      }
    })()
    return this.#refreshing
  }

  get #key (): string { return `${this.#prefix}:queues` }

  // Sent before the first job on the same connection, so that nobody can learn of the job before the queue.
  #note (name: string): void {
    this.#noted.add(name)
    this.#add([name]).then(([, replaced]) => { if (replaced) this.#reportReplaced() }, () => { this.#noted.delete(name) })
  }

  async #add (names: readonly string[]): Promise<[added: number, replaced: boolean]> {
    const answer = await this.#connections.submit((client) => runScript(client, 'note-queues', [this.#key], ...names))
    const [added, replaced] = Array.isArray(answer) ? answer as readonly unknown[] : []
    return [Number(added), replaced === 1]
  }

  /** Adds what the server has forgotten. */
  async #heal (): Promise<void> {
    const names = [...this.#noted]
    if (names.length === 0 || !this.#connections.live) return
    const [added, replaced] = await this.#add(names)
    if (replaced) this.#reportReplaced()
    else if (added > 0) this.#report('queues-lost', `The server was flushed, or restarted without its data: the jobs that were stored on it are gone, and clients get 404 for them. (${added} of the queues of this process were missing in the key ${this.#key}; they were added again.)`)
    if (added > 0) this.keepEventsShort()
  }

  #reportReplaced (): void {
    this.#report('queues-replaced', `The key ${this.#key} did not hold the set of queues; it was replaced. Nothing else may use keys that begin with "${this.#prefix}:"`)
  }

  /** Any client can add to the set. A name that no queue can have would make every script that uses it fail. */
  #valid (names: readonly string[]): string[] {
    return names.filter((name) => {
      if (QUEUE_NAMES.test(name)) return true
      if (!this.#badNames.has(name) && this.#badNames.size < MAX_BAD_NAMES) {
        this.#badNames.add(name)
        this.#report('queue-name', `The key ${this.#key} holds ${JSON.stringify(cut(name, 64))}, which no queue can be called; it is ignored. Remove it: SREM ${this.#key} ${JSON.stringify(cut(name, 64))}`)
      }
      return false
    })
  }

  /**
   * BullMQ sets the length of the stream when it makes a queue, and a server that has forgotten it keeps a hundred
   * times as much.
   */
  keepEventsShort (): void {
    for (const { bull } of this.#handles.values()) {
      this.#connections.run(() => bull.getBackend().setQueueMeta({ 'opts.maxLenEvents': EVENTS_KEPT })).catch(() => { /* the next time */ })
    }
  }

  #serverIsBack (): void {
    // It may have come back empty.
    this.#heal().catch(() => { /* the next time */ })
    for (const { name } of this.#handles.values()) if (!this.#noted.has(name)) this.#note(name)
    this.keepEventsShort()
    this.#refresh().catch(() => { /* the next look-up tries again */ })
  }
}
