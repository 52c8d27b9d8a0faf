/** One stream of server-sent events about one or several jobs. */
import type { Clock, TimerHandle } from '../core/context.ts'
import type { JobRecord } from '../jobs/job.ts'
import type { Backbone } from './backbone.ts'
import { JobSubscription, type JobMessage } from './job-subscription.ts'
import type { Channel } from './open-channels.ts'
import { endMark, GONE, idOfOne, idOfSeveral, sseFrame, type EndMark, type Seen, type SseFrame } from './sse-frame.ts'

/** The client comes back this soon after a stream that ended in order, in milliseconds. */
const RETRY_MS = 2_000
/** With more unsent bytes, changes wait: only the newest of each job is kept. */
const HELD_ABOVE_BYTES = 65_536
/** A client that reads nothing for so long is cut off, in milliseconds. */
const MAX_HELD_MS = 30_000
/** The same when the application closes, and waits for its connections. */
const CLOSE_GRACE_MS = 500

/**
 * Why a stream ends. `done`: every job of it is over. `client`: the client has gone. `slow`: it did not read. The others
 * are said in a `bye`, and the client may come back.
 */
export type StreamReason = 'done' | 'client' | 'slow' | ByeReason
export type ByeReason = 'draining' | 'closing' | 'limit' | 'max-age' | 'unavailable' | 'error'

/** When the client may come back after a `bye`: shortest and longest, in milliseconds, so that not all come at once. */
const COME_BACK: Readonly<Record<ByeReason, readonly [number, number]>> = {
  draining: [500, 3_000],
  closing: [2_500, 7_500],
  limit: [5_000, 15_000],
  'max-age': [500, 2_000],
  unavailable: [2_500, 7_500],
  error: [5_000, 15_000]
}

/** The part of a response that is used here. */
export interface StreamOutput {
  /** Bytes that were written and are not yet sent. */
  readonly writableLength: number
  write (text: string): boolean
  end (text?: string): unknown
  destroy (): unknown
  on (event: 'drain' | 'close' | 'error', listener: () => void): unknown
}

export interface StreamedJob {
  readonly id: string
  /** `undefined`: there is no such job for this client. */
  readonly job: JobRecord | undefined
  /** When the right to read the job ends, in milliseconds since the epoch. */
  readonly until?: number | undefined
}

export interface EventStreamParts {
  readonly output: StreamOutput
  readonly clock: Clock
  readonly backbone: Pick<Backbone, 'watch'>
  readonly jobs: readonly StreamedJob[]
  readonly seen: Seen
  /** The status document as this client gets it. */
  readonly show: (job: JobRecord) => Promise<unknown>
  /** After how many milliseconds the stream ends: who may listen is then decided again. */
  readonly maxAgeMs: number
  readonly random?: (() => number) | undefined
  /** A job could not be shown. The stream ends. */
  readonly failed: (error: unknown) => void
  /** The connection has ended. */
  readonly closed: (end: { readonly reason: StreamReason, readonly sent: number }) => void
}

/** Ends a stream before it has shown anything: what is only temporary must not be an error for a browser. */
export function sayBye (
  output: Pick<StreamOutput, 'end'>, reason: ByeReason, random: () => number = Math.random
): void {
  output.end(sseFrame(byeFrame(reason, random)))
}

function byeFrame (reason: ByeReason, random: () => number): SseFrame {
  const [shortest, longest] = COME_BACK[reason]
  return { event: 'bye', data: { reason }, retry: shortest + random() * (longest - shortest) }
}

/**
 * ```
 * open ──(all jobs over | leave)──▶ ending ──(all is sent | the client does not read)──▶ closed
 *   └──(the client goes | does not read)──────────────────────────────────────────────────▲
 * ```
 *
 * It never holds more than 64 KiB and one document: while a client does not read, each subscription keeps its newest
 * change and nothing is written.
 */
export class EventStream implements Channel {
  readonly kind = 'sse'
  readonly #parts: EventStreamParts
  readonly #random: () => number
  /** By the place of the job in the request. */
  readonly #subscriptions = new Map<number, JobSubscription>()
  readonly #over: boolean[]
  /** Of several jobs: what the client has heard of those that are over. */
  readonly #marks: EndMark[]
  readonly #endsAt: number
  #count: number
  #phase: 'open' | 'ending' | 'closed' = 'open'
  #reason: StreamReason = 'client'
  #heldSince: number | undefined
  #cutting: TimerHandle | undefined
  #sent = 0

  constructor (parts: EventStreamParts) {
    this.#parts = parts
    this.#random = parts.random ?? Math.random
    const { output, clock, seen } = parts
    this.#over = [...seen.over]
    this.#marks = seen.over.map((over, at) => over ? seen.marks[at] : undefined)
    this.#count = seen.count
    this.#endsAt = clock.monotonic() + parts.maxAgeMs
    output.on('drain', () => { this.#drained() })
    output.on('close', () => { this.#closed() })
    output.on('error', () => { this.#closed() })
  }

  /** Shows the jobs, and what changes of them. To be called once. */
  begin (): void {
    if (this.#phase !== 'open') return
    const { jobs, seen, backbone, clock, show } = this.#parts
    jobs.forEach(({ id, job, until }, at) => {
      if (this.#over[at] === true) return
      if (job === undefined) return this.#say(at, { type: 'gone', id })
      const subscription = new JobSubscription({
        job,
        since: seen.version,
        until,
        backbone,
        clock,
        show,
        mayWrite: () => this.#phase === 'open' && this.#heldSince === undefined,
        write: (message) => { this.#say(at, message) },
        ended: () => { this.#drop(at) },
        failed: (error) => { this.#fail(error) }
      })
      this.#subscriptions.set(at, subscription)
    })
    this.#endIfDone()
  }

  end (): void { this.leave('limit') }

  leave (reason: ByeReason): void {
    if (this.#phase === 'open') this.#end(reason, sseFrame(byeFrame(reason, this.#random)))
    else if (this.#phase === 'ending' && reason === 'closing') this.#cutAfter(CLOSE_GRACE_MS)
  }

  beat (): void {
    if (this.#phase !== 'open') return
    const now = this.#parts.clock.monotonic()
    if (this.#heldSince !== undefined && now - this.#heldSince >= MAX_HELD_MS) this.#cut()
    else if (now >= this.#endsAt) this.leave('max-age')
    else if (this.#heldSince === undefined) this.#write(sseFrame({ event: 'ping', data: {} }))
  }

  #say (at: number, message: JobMessage): void {
    const { type } = message
    if (type === 'end' || type === 'gone') {
      this.#over[at] = true
      this.#marks[at] = type === 'gone' ? GONE : endMark(message.version)
    }
    const retry = this.#sent++ === 0 ? RETRY_MS : undefined
    const data = type === 'status' || type === 'end' ? message.job : withoutType(message)
    this.#write(sseFrame({ event: type, id: this.#idOf(message), data, retry }))
    if (type === 'gone') this.#endIfDone()
  }

  #idOf (message: JobMessage): string | undefined {
    if (this.#over.length > 1) return idOfSeveral(this.#marks, ++this.#count)
    // A client that comes back after this must find that it has heard everything.
    if (message.type === 'gone') return idOfOne(this.#parts.seen.version ?? 0, true)
    return idOfOne(message.version, message.type === 'end')
  }

  #write (frame: string): void {
    const { output, clock } = this.#parts
    if (this.#phase !== 'open') return
    output.write(frame)
    if (output.writableLength > HELD_ABOVE_BYTES) this.#heldSince ??= clock.monotonic()
  }

  #drained (): void {
    if (this.#heldSince === undefined) return
    this.#heldSince = undefined
    for (const subscription of [...this.#subscriptions.values()]) subscription.goOn()
  }

  #drop (at: number): void {
    this.#over[at] = true
    this.#subscriptions.get(at)?.stop()
    this.#subscriptions.delete(at)
    this.#endIfDone()
  }

  #endIfDone (): void {
    if (this.#phase === 'open' && this.#over.every((over) => over)) this.#end('done')
  }

  #fail (error: unknown): void {
    if (this.#phase !== 'open') return
    this.#parts.failed(error)
    this.leave('error')
  }

  #end (reason: StreamReason, last?: string): void {
    if (this.#phase !== 'open') return
    this.#phase = 'ending'
    this.#reason = reason
    this.#stopAll()
    // A client that does not read would never let the connection end.
    this.#cutAfter(reason === 'closing' ? CLOSE_GRACE_MS : MAX_HELD_MS)
    this.#parts.output.end(last)
  }

  #cut (): void {
    this.#phase = 'ending'
    this.#reason = 'slow'
    this.#stopAll()
    this.#parts.output.destroy()
  }

  #cutAfter (ms: number): void {
    const { clock, output } = this.#parts
    if (this.#cutting !== undefined) clock.clearTimeout(this.#cutting)
    this.#cutting = clock.setTimeout(() => { output.destroy() }, ms)
  }

  #closed (): void {
    if (this.#phase === 'closed') return
    this.#phase = 'closed'
    this.#stopAll()
    if (this.#cutting !== undefined) this.#parts.clock.clearTimeout(this.#cutting)
    this.#parts.closed({ reason: this.#reason, sent: this.#sent })
  }

  #stopAll (): void {
    for (const subscription of this.#subscriptions.values()) subscription.stop()
    this.#subscriptions.clear()
  }
}

function withoutType (message: JobMessage): object {
  const { type: _, ...data } = message
  return data
}
