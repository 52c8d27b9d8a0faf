/** What a store says about the place where it keeps jobs, for programs beside the application. */
import type { JobStore } from '../jobs/store.ts'
import { settingsOf, type RedisTarget } from './bullmq/targets.ts'

/**
 * Where an application keeps its jobs, for a program that looks at the same place (`fastify-async-endpoints doctor
 * --app`).
 */
export interface StoreFacts {
  readonly type: string
  /** Of a store on Redis: what its client connects with, the password included. Never to be shown. */
  readonly redis?: RedisTarget
}

export function factsOf (store: JobStore): StoreFacts {
  const settings = settingsOf(store)
  return settings === undefined ? { type: store.type } : { type: store.type, redis: settings }
}
