/**
 * Frames of server-sent events (WHATWG HTML §9.2). Nothing that a user has written can begin a line of its own: data is
 * one line of JSON, and names and ids come from a fixed alphabet.
 */

export const SSE_MEDIA_TYPE = 'text/event-stream'

/** The names of the events. `ping`: the stream is alive. `bye`: it ends, and the client may come back. */
export type SseEvent = 'status' | 'progress' | 'step' | 'end' | 'gone' | 'ping' | 'bye'

/** What an id may be: also the longest text that is accepted back from a client. */
const ID = /^[A-Za-z0-9.]{1,200}$/

export interface SseFrame {
  readonly event: SseEvent
  /** Without one the client keeps the id that it has. */
  readonly id?: string | undefined
  /** What JSON can write; anything else becomes `null`. */
  readonly data: unknown
  /** After how many milliseconds the client may come back when the stream has ended. */
  readonly retry?: number | undefined
}

/** @throws {TypeError} for an id that would not be one line of plain characters */
export function sseFrame ({ event, id, data, retry }: SseFrame): string {
  if (id !== undefined && !ID.test(id)) throw new TypeError('the id of an event must be letters, digits and dots')
  const head = retry === undefined ? '' : `retry: ${Math.max(0, Math.round(retry))}\n`
  // JSON escapes every control character, so that it is one line, and never empty: a browser drops an event without data.
  return `${head}event: ${event}\n${id === undefined ? '' : `id: ${id}\n`}data: ${JSON.stringify(data) ?? 'null'}\n\n`
}

/** What a client says it has seen last; `undefined`: nothing, or nothing that was sent here. */
export function lastEventId (text: unknown): string | undefined {
  return typeof text === 'string' && ID.test(text) ? text : undefined
}

/**
 * The last that a client has heard of one of several jobs: of an end a short form of its version, so that a job which
 * was redriven and ended once more is noticed; `GONE` for a job that was not there. `undefined`: the job was not over.
 */
export type EndMark = string | undefined

export const GONE = 'GGG'

/** Versions that differ by a multiple of this have the same mark: 36 ** 3. */
const MARKS = 46_656

export function endMark (version: number | undefined): string {
  return ((version ?? 0) % MARKS).toString(36).padStart(3, '0')
}

/** How far the client of a stream is: of one job by its version, of several by the marks of their ends. */
export interface Seen {
  /** The version of the one job that it has seen. */
  readonly version: number | undefined
  /** Of the jobs in the order of the request: whether the client has heard its end. */
  readonly over: readonly boolean[]
  /** The same of several jobs, with what it has heard. */
  readonly marks: readonly EndMark[]
  /** How many events the streams before have sent. */
  readonly count: number
}

const ONE = /^(\d{1,15})(\.end)?$/
/** `NNN` stands for a job that was not over. Such jobs at the end of the list are left out. */
const SEVERAL = /^v2\.(\d{1,15})\.((?:[0-9a-z]{3}|GGG|NNN)*)$/
const NOT_OVER = 'NNN'

/** @param jobs how many jobs the stream is about; an id of a stream about another number of them says nothing */
export function readSeen (id: string | undefined, jobs: number): Seen {
  const nothing: Seen = { version: undefined, over: new Array<boolean>(jobs).fill(false), marks: [], count: 0 }
  if (id === undefined) return nothing
  if (jobs === 1) {
    const [, version, end] = ONE.exec(id) ?? []
    return version === undefined ? nothing : { ...nothing, version: Number(version), over: [end !== undefined] }
  }
  const [, count, text] = SEVERAL.exec(id) ?? []
  const given = text?.match(/.{3}/g) ?? []
  if (text === undefined || given.length > jobs) return nothing
  const marks = nothing.over.map((_, at) => given[at] === NOT_OVER ? undefined : given[at])
  return { version: undefined, over: marks.map((mark) => mark !== undefined), marks, count: Number(count) }
}

/** The id of an event of a stream about one job. */
export function idOfOne (version: number | undefined, over: boolean): string | undefined {
  return version === undefined ? undefined : over ? `${version}.end` : String(version)
}

/** The id of an event of a stream about several jobs. */
export function idOfSeveral (marks: readonly EndMark[], count: number): string {
  const last = marks.findLastIndex((mark) => mark !== undefined)
  return `v2.${count}.${marks.slice(0, last + 1).map((mark) => mark ?? NOT_OVER).join('')}`
}
