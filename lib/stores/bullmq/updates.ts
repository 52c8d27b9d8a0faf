/** How processes hear of changes of jobs: what is published, the channels, and the listeners of this process. */
import { EXPIRED, withDeadline } from '../../core/deadline.ts'
import type { Clock, TimerHandle } from '../../core/context.ts'
import type { JobProgress, JobUpdate } from '../../jobs/job.ts'
import { JOB_STATES, type JobState } from '../../jobs/states.ts'
import type { Connections } from './connections.ts'
import { toStoreError, unavailable } from './errors.ts'

/** At most one message in this time: what changes in between travels together. */
const GATHER_MS = 5
const ID_LENGTH = 36
/** A letter, an id, a line feed. */
const LINE_BYTES = ID_LENGTH + 2
/** A message holds no more changes than this. */
const MAX_LINES = 1_000

/** Messages of this store are shorter. A longer one comes from another program, and is ignored. */
const MAX_MESSAGE = 100_000

/** One letter per state; `p` for progress. */
const LETTERS = { queued: 'q', scheduled: 's', 'in-progress': 'i', completed: 'c', failed: 'f', cancelled: 'x' } as const satisfies Record<JobState, string>
const STATES = new Map<string, JobState>(JOB_STATES.map((state) => [LETTERS[state], state]))
const PROGRESS = 'p'
const LINE_FEED = 10

export function channels (prefix: string): { readonly updates: string, readonly control: string } {
  return { updates: `${prefix}:updates`, control: `${prefix}:control` }
}

/** A change of state, as a script that stores something publishes it. */
export function stateMessage (id: string, state: JobState): string { return LETTERS[state] + id }

/** A change of progress as the script that stores it publishes it. */
export function progressMessage (id: string, progressJson: string): string {
  return PROGRESS + id + progressJson
}

/** Empty for what this store has not published: any client may publish on a channel. */
export function parseUpdates (message: string): JobUpdate[] {
  const updates: JobUpdate[] = []
  if (message.length > MAX_MESSAGE) return updates
  for (const line of message.split('\n')) {
    const letter = line.charAt(0)
    const id = line.slice(1, 1 + ID_LENGTH)
    if (id.length < ID_LENGTH) continue
    if (letter === PROGRESS) {
      const progress = parseProgress(line.slice(1 + ID_LENGTH))
      if (progress !== undefined) updates.push({ id, state: 'in-progress', progress })
      continue
    }
    const state = STATES.get(letter)
    if (state !== undefined) updates.push({ id, state })
  }
  return updates
}

function parseProgress (json: string): JobProgress | undefined {
  try {
    const value: unknown = JSON.parse(json)
    return typeof value === 'object' && value !== null ? value : undefined
  } catch {
    return undefined
  }
}

/**
 * Publishes to every process what changed. The first change goes out at once, changes of the next few milliseconds
 * follow in one message: a busy worker spends about a microsecond per job on it. That a job began is not worth a
 * message of its own: it waits for that time, or for the next change of another kind, and so a job that is alone has
 * one message for its beginning and its end, which does not stand in the way of its handler.
 */
export class Publisher {
  readonly #connections: Pick<Connections, 'run'>
  readonly #clock: Clock
  readonly #channel: string
  // Bytes and not a string: putting thousands of pieces together and encoding them is what would cost most.
  readonly #bytes = Buffer.alloc(MAX_LINES * LINE_BYTES)
  #length = 0
  #timer: TimerHandle
  /** The timer runs although nothing was sent just before: what comes now need not wait for it. */
  #mayGo = false

  constructor (connections: Pick<Connections, 'run'>, clock: Clock, channel: string) {
    this.#connections = connections
    this.#clock = clock
    this.#channel = channel
  }

  publish (id: string, state: JobState): void {
    if (id.length !== ID_LENGTH) return
    const at = this.#length
    this.#bytes.write(LETTERS[state], at, 'latin1')
    this.#bytes.write(id, at + 1, 'latin1')
    this.#bytes[at + LINE_BYTES - 1] = LINE_FEED
    this.#length = at + LINE_BYTES
    if (this.#length === this.#bytes.length) this.#send()
    else if (state === 'in-progress') this.#wait()
    else if (this.#timer === undefined || this.#mayGo) this.#sendNow()
  }

  /** Sends what is left. */
  close (): void {
    if (this.#timer === undefined) return
    this.#clock.clearTimeout(this.#timer)
    this.#timer = undefined
    if (this.#length > 0) this.#send()
  }

  #wait (): void {
    if (this.#timer !== undefined) return
    this.#mayGo = true
    this.#timer = this.#clock.setTimeout(this.#flush, GATHER_MS)
  }

  #sendNow (): void {
    if (this.#timer !== undefined) this.#clock.clearTimeout(this.#timer)
    this.#flush()
  }

  readonly #flush = (): void => {
    this.#timer = undefined
    this.#mayGo = false
    if (this.#length === 0) return
    this.#send()
    this.#timer = this.#clock.setTimeout(this.#flush, GATHER_MS)
  }

  #send (): void {
    // A copy: what the client still has to send must not change.
    const message = Buffer.from(this.#bytes.subarray(0, this.#length - 1))
    this.#length = 0
    // Best effort: clients that wait for a job read it again now and then.
    this.#connections.run((client) => client.publish(this.#channel, message)).catch(() => {})
  }
}

type Handler = (message: string) => void

/** Channels this process listens to, over one connection that is made for the first of them. */
export class Subscriptions {
  readonly #connections: Connections
  readonly #clock: Clock
  readonly #timeoutMs: number
  readonly #handlers = new Map<string, Handler>()
  #listening = false

  constructor (connections: Connections, clock: Clock, timeoutMs: number) {
    this.#connections = connections
    this.#clock = clock
    this.#timeoutMs = timeoutMs
  }

  /**
   * Resolves when messages arrive from then on. Should that take too long it rejects, and still goes on trying, until
   * {@link Subscriptions.remove}.
   */
  async add (channel: string, handler: Handler): Promise<void> {
    this.#handlers.set(channel, handler)
    const client = this.#connections.subscriber()
    if (!this.#listening) {
      this.#listening = true
      client.on('message', (from: string, message: string) => { this.#handlers.get(from)?.(message) })
      // The client subscribes again to what it knows, which is not what was still waiting when a connection attempt
      // failed.
      client.on('ready', () => {
        if (this.#handlers.size > 0) client.subscribe(...this.#handlers.keys()).catch(() => { /* at the next connection */ })
      })
    }
    let answer: unknown
    try {
      answer = await withDeadline(this.#clock, this.#timeoutMs, client.subscribe(channel))
    } catch (error) {
      throw toStoreError(error, this.#connections.server)
    }
    if (answer === EXPIRED) throw unavailable('ETIMEDOUT', this.#connections.server)
  }

  remove (channel: string): void {
    if (!this.#handlers.delete(channel)) return
    this.#connections.subscriber().unsubscribe(channel).catch(() => { /* nobody handles it any more */ })
  }
}

/** Hands updates from the server to the listeners of this process. One subscription, however many they are. */
export class UpdateListeners {
  readonly #subscriptions: Subscriptions
  readonly #channel: string
  readonly #listeners = new Set<(update: JobUpdate) => void>()
  #inForce: Promise<void> | undefined

  constructor (subscriptions: Subscriptions, channel: string) {
    this.#subscriptions = subscriptions
    this.#channel = channel
  }

  async add (listener: (update: JobUpdate) => void): Promise<() => void> {
    // A wrapper, so that one function given twice is two listeners.
    const own = (update: JobUpdate): void => listener(update)
    this.#listeners.add(own)
    const remove = (): void => {
      if (!this.#listeners.delete(own) || this.#listeners.size > 0) return
      this.#inForce = undefined
      this.#subscriptions.remove(this.#channel)
    }
    this.#inForce ??= this.#subscriptions.add(this.#channel, (message) => this.#deliver(message))
    const inForce = this.#inForce
    try {
      await inForce
    } catch (error) {
      // The next listener subscribes again, even if others that waited for the same answer are still here.
      if (this.#inForce === inForce) this.#inForce = undefined
      remove()
      throw error
    }
    return remove
  }

  #deliver (message: string): void {
    for (const update of parseUpdates(message)) {
      for (const listener of this.#listeners) {
        try { listener(update) } catch { /* a listener's trouble is its own */ }
      }
    }
  }
}
