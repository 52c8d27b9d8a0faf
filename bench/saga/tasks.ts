/** What the parts of the benchmark of sagas share: what is measured, and the application with the saga. */
import Fastify, { type FastifyInstance } from 'fastify'
import { redisStore } from '../../lib/stores/bullmq/index.ts'
import asyncEndpoints from '../../plugins/async-endpoints.ts'

export type Kind = 'bare' | 'store' | 'ours'

interface Place {
  readonly url: string
  readonly prefix: string
  readonly sagas: number
  readonly steps: number
}

export interface Task extends Place {
  readonly kind: Kind
  readonly concurrency: number
  /** Of the result of each step. */
  readonly bytes: number
}

export interface LongTask extends Place {
  readonly kind: 'long'
}

/** Of one step, but `perSecond`. */
export interface Figures { readonly perSecond: number, readonly cpuMicros: number, readonly serverMicros: number }
export interface LongFigures { readonly earlyMicros: number, readonly lateMicros: number }

export const QUEUE = 'bench'
export const NAME = 'bench'
export const RETENTION = { completedMs: 86_400_000, failedMs: 604_800_000, maxCount: 1_000 }

export interface SagaAppOptions {
  readonly url: string
  readonly prefix: string
  readonly concurrency: number
  readonly steps: number
  readonly run: () => unknown
}

/** An application whose saga has this many steps, which all do the same. */
export async function sagaApp ({ url, prefix, concurrency, steps, run }: SagaAppOptions): Promise<FastifyInstance> {
  const app = Fastify()
  await app.register(asyncEndpoints, {
    store: redisStore({ url, prefix, retention: RETENTION }),
    worker: { concurrency },
    http: false,
    observability: false,
    health: false
  })
  app.saga({
    name: NAME,
    queue: QUEUE,
    steps: (s) => {
      // The names are made here, so the types of the chain know nothing of them.
      let chain = s as unknown as LooseChain
      for (let n = 1; n <= steps; n++) chain = chain.step(`s${n}`, run)
      return chain.returns(() => {}) as ReturnType<typeof s.returns>
    }
  })
  return app
}

interface LooseChain {
  step (name: string, run: () => unknown): LooseChain
  returns (result: () => unknown): unknown
}
