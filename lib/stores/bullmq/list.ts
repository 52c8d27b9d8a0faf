import type { JobRecord } from '../../jobs/job.ts'
import type { JobState } from '../../jobs/states.ts'
import type { JobPage, ListQuery } from '../../jobs/store.ts'
import type { Connections } from './connections.ts'
import { KEY } from './internals.ts'
import { OWN } from './keeping.ts'
import type { QueueBook } from './queues.ts'
import { rawJob, recordOf } from './record.ts'
import { runScript } from './scripts.ts'

/** So many jobs are looked at for one page; a page may be short, or empty, and have a cursor all the same. */
const MAX_LOOKED_AT = 1_000
const STRETCH = 100

/** A line of a queue, and the way to walk along it so that jobs that come in meanwhile shift nothing. */
interface Line { readonly key: string, readonly walk: 'tail' | 'up' | 'down' }

const LINES = {
  active: { key: KEY.active, walk: 'tail' },
  wait: { key: KEY.wait, walk: 'tail' },
  prioritized: { key: KEY.prioritized, walk: 'up' },
  delayed: { key: KEY.delayed, walk: 'up' },
  completed: { key: KEY.completed, walk: 'down' },
  failed: { key: KEY.failed, walk: 'down' },
  cancelled: { key: OWN.cancelled, walk: 'down' },
  cancelling: { key: OWN.cancelling, walk: 'down' }
} as const satisfies Record<string, Line>

const { active, wait, prioritized, delayed, completed, failed, cancelled, cancelling } = LINES

/** Where jobs of a state can stand. A job whose lease has run out is still among the active ones. */
const LINES_OF: Readonly<Record<JobState, readonly Line[]>> = {
  queued: [active, wait, prioritized],
  scheduled: [delayed],
  'in-progress': [active],
  completed: [completed],
  failed: [failed],
  cancelled: [cancelling, cancelled]
}
const ALL_LINES: readonly Line[] = [active, wait, prioritized, delayed, completed, failed]

/** How far a walk has come: in which queue and line, from which score, and how many of those to pass over. */
interface Place { readonly queue: string, readonly line: number, readonly from: string, readonly over: number }

/**
 * Lists jobs queue by queue: those at work, those that wait (the next to be run first), those that are over (the newest
 * first). There is no index over everything: it would cost every submission.
 */
export class Lister {
  readonly #connections: Connections
  readonly #book: QueueBook
  readonly #expired: (record: JobRecord) => boolean

  constructor (connections: Connections, book: QueueBook, expired: (record: JobRecord) => boolean) {
    this.#connections = connections
    this.#book = book
    this.#expired = expired
  }

  async list (query: ListQuery): Promise<JobPage> {
    // A caller may pass on what it was given: there are no jobs in a state that does not exist.
    if (query.state !== undefined && !Object.hasOwn(LINES_OF, query.state)) return { jobs: [] }
    const queues = query.queue === undefined ? [...await this.#book.allNames()].sort() : [query.queue]
    const lines = query.state === undefined ? ALL_LINES : LINES_OF[query.state]
    const jobs: JobRecord[] = []
    let place = readCursor(query.cursor, lines.length) ?? firstPlace(queues[0], lines)
    let looked = 0
    while (place !== undefined) {
      if (jobs.length >= query.limit || looked >= MAX_LOOKED_AT) return { jobs, cursor: writeCursor(place) }
      const { queue, from, over } = place
      const line = lines[place.line]
      if (line === undefined || !queues.includes(queue)) {
        // A queue that is gone since the last page is passed over.
        place = firstPlace(queues.find((name) => name > queue), lines)
        continue
      }
      const found = await this.#stretch(queue, line, from, over)
      looked += found.length
      for (const { record, score } of found) {
        if (jobs.length >= query.limit) return { jobs, cursor: writeCursor(place) }
        if (record !== undefined && this.#matches(record, query)) jobs.push(record)
        place = step(place, line, score)
      }
      if (found.length < STRETCH) place = { queue, line: place.line + 1, ...beginning(lines[place.line + 1]) }
    }
    return { jobs }
  }

  async #stretch (queue: string, line: Line, from: string, over: number): Promise<Array<{ record: JobRecord | undefined, score: string }>> {
    const answer = await this.#connections.run((client) => runScript(client, 'page', [this.#book.prefixOf(queue)], line.walk, line.key, from, over, STRETCH))
    return (Array.isArray(answer) ? answer : []).map((entry: unknown) => {
      const [id, score, fields, locked] = Array.isArray(entry) ? entry as readonly unknown[] : []
      const raw = rawJob(fields, locked)
      return { record: raw === undefined ? undefined : recordOf(String(id), queue, raw).record, score: String(score) }
    })
  }

  #matches (record: JobRecord, { name, state, owner }: ListQuery): boolean {
    return (name === undefined || record.name === name) && (state === undefined || record.state === state) &&
      (owner === undefined || record.owner === owner) && !this.#expired(record)
  }
}

function beginning (line: Line | undefined): Pick<Place, 'from' | 'over'> {
  return { from: line?.walk === 'down' ? '+inf' : '-inf', over: 0 }
}

function firstPlace (queue: string | undefined, lines: readonly Line[]): Place | undefined {
  return queue === undefined ? undefined : { queue, line: 0, ...beginning(lines[0]) }
}

/** The place behind a job. */
function step (place: Place, { walk }: Line, score: string): Place {
  if (walk === 'tail') return { ...place, over: place.over + 1 }
  return score === place.from ? { ...place, over: place.over + 1 } : { ...place, from: score, over: 1 }
}

function writeCursor ({ queue, line, from, over }: Place): string {
  return Buffer.from(JSON.stringify([queue, line, from, over])).toString('base64url')
}

/** `undefined` for what is not a cursor of ours: the list begins anew. */
function readCursor (cursor: string | undefined, lines: number): Place | undefined {
  if (cursor === undefined || cursor.length > 400) return undefined
  try {
    const parts: unknown = JSON.parse(Buffer.from(cursor, 'base64url').toString())
    if (!Array.isArray(parts)) return undefined
    const [queue, line, from, over] = parts as readonly unknown[]
    if (typeof queue !== 'string' || !/^[\w.-]{1,64}$/.test(queue) || typeof from !== 'string' || !/^([-+]inf|\d+(\.\d+)?(e\+?\d+)?)$/.test(from)) return undefined
    if (!isIndex(line, lines) || !isIndex(over, 1_000_000_000)) return undefined
    return { queue, line, from, over }
  } catch {
    return undefined
  }
}

function isIndex (value: unknown, max: number): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= max
}
