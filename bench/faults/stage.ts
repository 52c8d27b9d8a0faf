/** A Redis that keeps what it acknowledged, two API processes, some workers; and a look into the store from outside. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { createContext } from '../../lib/core/context.ts'
import type { JobRecord } from '../../lib/jobs/job.ts'
import type { JobStore } from '../../lib/jobs/store.ts'
import { redisStore } from '../../lib/stores/bullmq/index.ts'
import { startRedis, type RedisServer } from '../../test/support/redis.ts'
import { makePlaces, type Place } from './processes.ts'

export interface StageOptions {
  readonly fsync: 'always' | 'everysec'
  readonly leaseMs: number
  readonly stalledIntervalMs: number
  readonly shutdownDelayMs: number
  readonly drainTimeoutMs: number
  readonly workers: number
}

const QUEUE = 'default'
const READ_AT_ONCE = 50

export class Stage {
  readonly redis: RedisServer
  readonly apis: readonly Place[]
  readonly workers: readonly Place[]
  readonly #folder: string
  readonly #store: JobStore

  private constructor (redis: RedisServer, apis: readonly Place[], workers: readonly Place[], folder: string, store: JobStore) {
    this.redis = redis
    this.apis = apis
    this.workers = workers
    this.#folder = folder
    this.#store = store
  }

  static async open ({ fsync, workers, ...settings }: StageOptions): Promise<Stage> {
    const redis = await startRedis({ settings: ['--appendonly', 'yes', '--appendfsync', fsync] })
    const folder = await mkdtemp(join(tmpdir(), 'fae-faults-'))
    const redisUrl = redis.url
    const store = redisStore({ url: redisUrl })
    const places = { api: await makePlaces('api', 2, folder, { ...settings, redisUrl }), worker: await makePlaces('worker', workers, folder, { ...settings, redisUrl }) }
    const stage = new Stage(redis, places.api, places.worker, folder, store)
    try {
      await store.open({ context: createContext(), report () {} })
      await Promise.all(stage.places.map((place) => place.start()))
    } catch (error) {
      await stage.close()
      throw error
    }
    return stage
  }

  get places (): readonly Place[] { return [...this.apis, ...this.workers] }

  /** Waits until no job waits or runs. @returns how many still do when the time is up */
  async settle (withinMs: number): Promise<number> {
    const deadline = Date.now() + withinMs
    for (;;) {
      const left = await this.#store.counts(QUEUE).then(({ states }) => states.queued + states.scheduled + states['in-progress'], () => NaN)
      if (left === 0 || Date.now() > deadline) return left
      await sleep(100)
    }
  }

  /** What the store knows of each job. */
  async read (ids: readonly string[]): Promise<Array<JobRecord | undefined>> {
    const records: Array<JobRecord | undefined> = []
    for (let first = 0; first < ids.length; first += READ_AT_ONCE) {
      records.push(...await Promise.all(ids.slice(first, first + READ_AT_ONCE).map((id) => this.#store.get(id))))
    }
    return records
  }

  async close (): Promise<void> {
    await Promise.all(this.places.map((place) => place.close()))
    await this.#store.close(1_000)
    await this.redis.stop()
    await rm(this.#folder, { recursive: true, force: true })
  }
}
