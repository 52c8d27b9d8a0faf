/** How far a walk over the jobs has come. */
export interface Place {
  readonly queue: string
  /** The number of the list or sorted set in that queue. */
  readonly line: number
  /** The score of the last job that was read. */
  readonly from: string
  /** In a list: its position from the tail. */
  readonly over: number
  /** The id of the last job that was read; in a list the ids of the last few, each followed by its generation. */
  readonly seen: readonly string[]
  /** When the walk began in this queue. */
  readonly since: number
}

const MAX_LENGTH = 1_000
const MAX_SEEN = 10
const MAX_NUMBER = Number.MAX_SAFE_INTEGER
const SCORE = /^([-+]inf|-?\d+(\.\d+)?(e\+?\d+)?)$/

export function writeCursor ({ queue, line, from, over, seen, since }: Place): string {
  return Buffer.from(JSON.stringify([queue, line, from, over, since, ...seen])).toString('base64url')
}

/** `undefined` for what {@link writeCursor} has not written: the list begins from the start. */
export function readCursor (cursor: string | undefined, lines: number): Place | undefined {
  if (cursor === undefined || cursor.length > MAX_LENGTH) return undefined
  try {
    const parts: unknown = JSON.parse(Buffer.from(cursor, 'base64url').toString())
    if (!Array.isArray(parts)) return undefined
    const [queue, line, from, over, since, ...seen] = parts as readonly unknown[]
    if (typeof queue !== 'string' || !/^[\w.-]{1,64}$/.test(queue) || typeof from !== 'string' || !SCORE.test(from)) return undefined
    if (!isIndex(line, lines) || !isIndex(over, 1_000_000_000) || !isIndex(since, MAX_NUMBER)) return undefined
    const ids = seen.filter((text) => typeof text === 'string')
    return ids.length === seen.length && ids.length <= MAX_SEEN ? { queue, line, from, over, seen: ids, since } : undefined
  } catch {
    return undefined
  }
}

function isIndex (value: unknown, max: number): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= max
}
