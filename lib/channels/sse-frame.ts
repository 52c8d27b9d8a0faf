/**
 * Frames of server-sent events (WHATWG HTML §9.2). Nothing that a user has written can begin a line of its own: data is
 * one line of JSON, and names and ids come from a fixed alphabet.
 */

export const SSE_MEDIA_TYPE = 'text/event-stream'

/** The names of the events. `ping`: the stream is alive. `bye`: it ends, and the client may come back. */
export type SseEvent = 'status' | 'progress' | 'step' | 'end' | 'gone' | 'ping' | 'bye'

/** What an id may be: also the longest text that is accepted back from a client. */
const ID = /^[A-Za-z0-9.]{1,64}$/

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

/** How far the client of a stream is: of one job by its version, of several by which of them are over. */
export interface Seen {
  /** The version of the one job that it has seen. */
  readonly version: number | undefined
  /** Of the jobs in the order of the request: whether the client has heard its end. */
  readonly over: readonly boolean[]
  /** How many events the streams before have sent. */
  readonly count: number
}

const ONE = /^(\d{1,15})(\.end)?$/
const SEVERAL = /^v1\.([0-9a-f]{1,13})\.(\d{1,15})$/

/** @param jobs how many jobs the stream is about; an id of a stream about another number of them says nothing */
export function readSeen (id: string | undefined, jobs: number): Seen {
  const nothing: Seen = { version: undefined, over: new Array<boolean>(jobs).fill(false), count: 0 }
  if (id === undefined) return nothing
  if (jobs === 1) {
    const [, version, end] = ONE.exec(id) ?? []
    return version === undefined ? nothing : { version: Number(version), over: [end !== undefined], count: 0 }
  }
  const [, bits, count] = SEVERAL.exec(id) ?? []
  if (bits === undefined) return nothing
  const map = BigInt(`0x${bits}`)
  return { version: undefined, over: nothing.over.map((_, at) => (map >> BigInt(at) & 1n) === 1n), count: Number(count) }
}

/** The id of an event of a stream about one job. */
export function idOfOne (version: number | undefined, over: boolean): string | undefined {
  return version === undefined ? undefined : over ? `${version}.end` : String(version)
}

/** The id of an event of a stream about several jobs. */
export function idOfSeveral (over: readonly boolean[], count: number): string {
  const map = over.reduce((bits, ended, at) => ended ? bits | 1n << BigInt(at) : bits, 0n)
  return `v1.${map.toString(16)}.${count}`
}
