import { AsyncLocalStorage } from 'node:async_hooks'

/** What a submission inside a handler inherits from the running job. */
export interface CurrentJob {
  readonly id: string
  readonly correlationId: string
  readonly trace: { readonly traceparent: string, readonly tracestate?: string } | undefined
}

const nodeMajor = Number(process.versions.node.split('.')[0])

/**
 * Finds the job whose handler is running, without a parameter. An AsyncLocalStorage costs nothing on Node 24 and
 * newer. On Node 20 and 22 the first one in a process makes every `await` slower, so there it is used only after
 * {@link carry}, when the application already pays for one. Otherwise `current` returns `undefined`, and a handler
 * has to pass its `job` on itself.
 */
export class CurrentJobs {
  readonly #storage = new AsyncLocalStorage<CurrentJob>()
  #carried: boolean

  /** @param major the major version of Node, for tests */
  constructor (major: number = nodeMajor) {
    this.#carried = major >= 24
  }

  /** `false`: `run` just runs the work. */
  get carries (): boolean { return this.#carried }

  /** From now on `current` works inside handlers, whatever the version of Node. */
  carry (): void { this.#carried = true }

  /** The job whose handler makes this call; `undefined` outside of a handler, or where jobs are not carried. */
  current (): CurrentJob | undefined { return this.#carried ? this.#storage.getStore() : undefined }

  run<R> (job: CurrentJob, work: () => R): R { return this.#carried ? this.#storage.run(job, work) : work() }
}
