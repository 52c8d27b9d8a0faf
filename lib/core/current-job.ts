import { AsyncLocalStorage } from 'node:async_hooks'

/** What a submission made inside a handler takes over from the job that runs. */
export interface CurrentJob {
  readonly id: string
  readonly correlationId: string
  readonly trace: { readonly traceparent: string, readonly tracestate?: string } | undefined
}

const nodeMajor = Number(process.versions.node.split('.')[0])

/**
 * The job whose handler is running, found without a parameter. An AsyncLocalStorage costs nothing on Node 24 and newer. On Node 20
 * and 22 the first one in a process makes every `await` dearer, so there it is used only after {@link carry}: when the application
 * pays for one already. Everywhere else `current` is `undefined`, and a handler passes its `job` on by hand.
 */
export class CurrentJobs {
  readonly #storage = new AsyncLocalStorage<CurrentJob>()
  #carried: boolean

  /** @param major the major version of Node, for tests */
  constructor (major: number = nodeMajor) {
    this.#carried = major >= 24
  }

  /** `false`: `run` only runs the work. */
  get carries (): boolean { return this.#carried }

  /** From now on handlers run with their job known, whatever the version of Node. */
  carry (): void { this.#carried = true }

  /** The job inside whose handler this is called, `undefined` outside of one or where it is not carried. */
  current (): CurrentJob | undefined { return this.#carried ? this.#storage.getStore() : undefined }

  run<R> (job: CurrentJob, work: () => R): R { return this.#carried ? this.#storage.run(job, work) : work() }
}
