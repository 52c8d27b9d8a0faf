/** Lists jobs page by page. */
import type { Clock } from '../../core/context.ts'
import type { JobRecord } from '../../jobs/job.ts'
import type { JobState } from '../../jobs/states.ts'
import type { JobPage, ListQuery } from '../../jobs/store.ts'
import type { Connections } from './connections.ts'
import { OWN } from './keeping.ts'
import { FIELD, KEY } from './layout.ts'
import { readCursor, writeCursor, type Place } from './list-cursor.ts'
import type { QueueBook } from './queues.ts'
import { rawJob, RECORD_FIELDS, recordOf, type RawJob } from './record.ts'
import { runScript } from './scripts.ts'

/** So many jobs are looked at for one page; a page may be short, or empty, and have a cursor all the same. */
const MAX_LOOKED_AT = 1_000
const STRETCH = 100
/**
 * A cursor names so many of the jobs that were read last in a list: the next page goes on behind the first one that
 * is left.
 */
const ANCHORS = 5
/** Longer ids, which only somebody else can have given, are not written into a cursor. */
const MAX_ANCHOR = 64
/** The clocks of two processes agree to within this. */
const CLOCK_SLACK_MS = 1_000

/** A list or sorted set of a queue, and how to walk along it: see `lua/page.lua`. */
interface Line {
  readonly key: string
  readonly walk: 'tail' | 'claimed' | 'up' | 'down'
  /** Only jobs that changed since the walk began: the walk has been here before. */
  readonly again?: 'waiting' | 'over'
}

const LINES = {
  active: { key: KEY.active, walk: 'claimed' },
  wait: { key: KEY.wait, walk: 'tail' },
  prioritized: { key: KEY.prioritized, walk: 'up' },
  delayed: { key: KEY.delayed, walk: 'up' },
  completed: { key: KEY.completed, walk: 'down' },
  failed: { key: KEY.failed, walk: 'down' },
  cancelled: { key: OWN.cancelled, walk: 'down' },
  cancelling: { key: OWN.cancelling, walk: 'down' }
} as const satisfies Record<string, Line>

const { active, wait, prioritized, delayed, completed, failed, cancelled, cancelling } = LINES
const again = (line: Line, kind: Line['again']): Line => ({ ...line, again: kind })

/**
 * Where jobs of a state can stand, in the order in which they move. A job whose lease has run out is still among the
 * active ones.
 */
const LINES_OF: Readonly<Record<JobState, readonly Line[]>> = {
  queued: [active, wait, prioritized],
  scheduled: [delayed],
  'in-progress': [active],
  completed: [completed],
  failed: [failed],
  cancelled: [cancelling, cancelled]
}
/**
 * Jobs of every state: those at work first, the rest in the order in which jobs move, so that a job that moves on
 * during the paging is met again further on. A retry and a redrive move a job back, behind the walk: hence the second
 * lap.
 */
const FIRST_LAP: readonly Line[] = [active, delayed, wait, prioritized, again(active, 'waiting'), completed, failed]
const SECOND_LAP: readonly Line[] = [
  ...[delayed, wait, prioritized, active].map((line) => again(line, 'waiting')),
  ...[completed, failed].map((line) => again(line, 'over'))
]
const ALL_LINES: readonly Line[] = [...FIRST_LAP, ...SECOND_LAP]

interface Found { readonly id: string, readonly score: string, readonly raw: RawJob | undefined }

/**
 * Lists jobs queue by queue: those at work, those that wait (the next to be run first), those that are over (the newest
 * first). There is no index over everything: it would cost every submission.
 */
export class Lister {
  readonly #connections: Connections
  readonly #book: QueueBook
  readonly #clock: Pick<Clock, 'now'>
  readonly #expired: (record: JobRecord) => boolean

  constructor (connections: Connections, book: QueueBook, clock: Pick<Clock, 'now'>, expired: (record: JobRecord) => boolean) {
    this.#connections = connections
    this.#book = book
    this.#clock = clock
    this.#expired = expired
  }

  async list (query: ListQuery): Promise<JobPage> {
    // A caller may pass on what it was given: there are no jobs in a state that does not exist.
    if (query.state !== undefined && !Object.hasOwn(LINES_OF, query.state)) return { jobs: [] }
    const queues = query.queue === undefined ? [...await this.#book.allNames()].sort() : [query.queue]
    const lines = query.state === undefined ? ALL_LINES : LINES_OF[query.state]
    const jobs = new Map<string, JobRecord>()
    const begin = (queue: string | undefined): Place | undefined => queue === undefined ? undefined : firstPlace(queue, lines, this.#clock.now())
    const given = readCursor(query.cursor, lines.length)
    let place = given ?? begin(queues[0])
    let looked = 0
    while (place !== undefined) {
      if (jobs.size >= query.limit || looked >= MAX_LOOKED_AT) return { jobs: [...jobs.values()], cursor: writeCursor(place) }
      const { queue } = place
      const line = lines[place.line]
      // The second lap is needed only for a queue whose walk began on an earlier page.
      const done = line === undefined || (lines === ALL_LINES && place.line >= FIRST_LAP.length && given?.queue !== queue)
      if (done || !queues.includes(queue)) {
        // A queue that is gone since the last page is passed over.
        place = begin(queues.find((name) => name > queue))
        continue
      }
      const { start, found } = await this.#stretch(place, line)
      looked += found.length
      place = { ...place, over: start }
      for (const each of found) {
        if (jobs.size >= query.limit) return { jobs: [...jobs.values()], cursor: writeCursor(place) }
        const record = each.raw === undefined ? undefined : recordOf(each.id, queue, each.raw).record
        if (record !== undefined && this.#matches(record, query) && isDue(line, place, record, each.raw)) jobs.set(each.id, record)
        place = step(place, line, each)
      }
      const past = line.again === 'over' && Number(found.at(-1)?.score) < place.since
      if (found.length < STRETCH || past) place = { queue, line: place.line + 1, since: place.since, ...beginning(lines[place.line + 1]) }
    }
    return { jobs: [...jobs.values()] }
  }

  async #stretch ({ queue, from, over, seen }: Place, { walk, key }: Line): Promise<{ start: number, found: Found[] }> {
    const answer = await this.#connections.run((client) => runScript(client, 'page', [this.#book.prefixOf(queue)], walk, key, STRETCH, from, over, ...seen))
    const [start, entries]: readonly unknown[] = Array.isArray(answer) ? answer : []
    const found = (Array.isArray(entries) ? entries : []).map((entry: unknown) => {
      const [id, score, fields, leased] = Array.isArray(entry) ? entry as readonly unknown[] : []
      return { id: String(id), score: String(score), raw: rawJob(fields, leased) }
    })
    return { start: Number(start) || 0, found }
  }

  #matches (record: JobRecord, { name, exceptName, state, owner }: ListQuery): boolean {
    return (name === undefined || record.name === name) && record.name !== exceptName &&
      (state === undefined || record.state === state) &&
      (owner === undefined || record.owner === owner) && !this.#expired(record)
  }
}

/**
 * Whether a job belongs on the page. The second pass over a list shows only jobs that may have moved back since the
 * first pass; the others were shown then.
 */
function isDue ({ again }: Line, { since }: Place, { startedAt = 0, runAt, redrives = 0 }: JobRecord, raw: RawJob | undefined): boolean {
  if (again === undefined) return true
  const movedBack = again === 'waiting' || redrives > 0 || Number(field(raw, FIELD.attemptsStarted)) > 1
  return movedBack && (startedAt >= since || (redrives > 0 && runAt >= since))
}

function field (raw: RawJob | undefined, name: typeof RECORD_FIELDS[number]): string {
  return raw?.fields[RECORD_FIELDS.indexOf(name)] ?? '0'
}

function beginning (line: Line | undefined): Pick<Place, 'from' | 'over' | 'seen'> {
  return { from: line?.walk === 'up' ? '-inf' : '+inf', over: 0, seen: [] }
}

function firstPlace (queue: string, lines: readonly Line[], now: number): Place {
  return { queue, line: 0, since: Math.floor(now - CLOCK_SLACK_MS), ...beginning(lines[0]) }
}

/** The place behind a job. */
function step (place: Place, { walk }: Line, { id, score, raw }: Found): Place {
  if (walk !== 'tail') return { ...place, from: score, seen: [id] }
  const over = place.over + 1
  if (raw === undefined || id.length > MAX_ANCHOR) return { ...place, over }
  const generation = `${field(raw, FIELD.attemptsStarted)}.${field(raw, FIELD.redrives)}`
  return { ...place, over, seen: [id, generation, ...place.seen].slice(0, 2 * ANCHORS) }
}
