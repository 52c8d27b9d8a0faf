/** Finds one job by its id, in whichever queue it is. */
import { isAsyncEndpointsError } from '../../core/errors.ts'
import type { JobPlace, JobRecord } from '../../jobs/job.ts'
import type { Client } from './internals.ts'
import type { QueueBook } from './queues.ts'
import { rawJob, recordOf, type StoredRecord } from './record.ts'
import type { Retention } from './retention.ts'
import { runScript } from './scripts.ts'
import { factsIn } from './step-args.ts'
import { readable, type Repairs } from './unreadable.ts'

/** Anything else cannot be the id of a job, and never reaches the server, where it could name another key. */
export const JOB_ID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/

/**
 * A script that looks for a job in queues. It answers with the number of the queue, the fields of the job, `leased`, …
 */
export type LookFor = (client: Client, prefixes: readonly string[]) => Promise<unknown>

export interface FoundJob {
  readonly stored: StoredRecord
  /** What follows the number of the queue. */
  readonly answer: readonly unknown[]
}

export class Finder {
  readonly #book: QueueBook
  readonly #retention: Pick<Retention, 'expired'>
  readonly #repairs: Pick<Repairs, 'found'>

  constructor (book: QueueBook, retention: Pick<Retention, 'expired'>, repairs: Pick<Repairs, 'found'>) {
    this.#book = book
    this.#retention = retention
    this.#repairs = repairs
  }

  /**
   * Finds several jobs, each in the queue that is given with it.
   *
   * @returns in the order of `places`; `undefined` also for a job that cannot be read
   */
  async findMany (
    places: readonly JobPlace[], run: <T>(operation: (client: Client) => Promise<T>) => Promise<T>
  ): Promise<Array<JobRecord | undefined>> {
    const byQueue = new Map<string, number[]>()
    places.forEach(({ id, queue }, at) => {
      if (!JOB_ID.test(id)) return
      const group = byQueue.get(queue)
      if (group === undefined) byQueue.set(queue, [at])
      else group.push(at)
    })
    const records = new Array<JobRecord | undefined>(places.length).fill(undefined)
    await Promise.all([...byQueue].map(async ([queue, group]) => {
      const ids = group.map((at) => places[at]?.id ?? '')
      const found = await run((client) => runScript(client, 'lookup-many', [this.#book.prefixOf(queue)], ...ids))
      if (!Array.isArray(found)) return
      group.forEach((at, n) => { records[at] = this.#recordIn(ids[n] ?? '', queue, found[n]) })
    }))
    return records
  }

  #recordIn (id: string, queue: string, answer: unknown): JobRecord | undefined {
    const [fields, leased, texts] = Array.isArray(answer) ? answer as readonly unknown[] : []
    const raw = rawJob(fields, leased)
    if (raw === undefined) return undefined
    const { record } = recordOf(id, queue, raw)
    if (this.#retention.expired(record)) return undefined
    const facts = factsIn(texts)
    return facts === undefined ? record : { ...record, facts }
  }

  /**
   * @returns `undefined` also for a job whose time is over: it is gone, although nobody has swept it
   * @throws {AsyncEndpointsError} `FAE_JOB_UNREADABLE`
   */
  async find (id: string, look: LookFor): Promise<FoundJob | undefined> {
    const book = this.#book
    if (!JOB_ID.test(id)) return undefined
    const answered = book.search((client, prefixes) => readable(id, look(client, prefixes)))
    const found = await answered.catch((error: unknown) => {
      if (isAsyncEndpointsError(error, 'FAE_JOB_UNREADABLE')) {
        this.#repairs.found(id, book.names(), (queue) => book.prefixOf(queue))
      }
      throw error
    })
    const raw = rawJob(found?.answer[0], found?.answer[1])
    if (found === undefined || raw === undefined) return undefined
    const stored = recordOf(id, found.queue, raw)
    return this.#retention.expired(stored.record) ? undefined : { stored, answer: found.answer }
  }
}
