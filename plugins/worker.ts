import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { PLUGIN } from '../lib/core/plugin-names.ts'
import { runtimeOf } from '../lib/events/runtime.ts'
import { noHandler } from '../lib/worker/no-handler.ts'
import type { JobWorker } from '../lib/worker/job-worker.ts'
import type { WorkerOptions } from '../lib/worker/worker-options.ts'
import { Worker } from '../lib/worker/worker.ts'

export type { WatchdogOptions } from '../lib/worker/watchdog.ts'
export type { QueueWorkerOptions, WorkerOptions } from '../lib/worker/worker-options.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** The worker of this process: pause, resume, what it is doing. */
    jobWorker: JobWorker
  }
}

/** The type of the store whose jobs no other process sees. */
const MEMORY = 'memory'

async function workerPlugin (app: FastifyInstance, options: WorkerOptions): Promise<void> {
  const runtime = runtimeOf(app)
  const worker = new Worker(runtime, options)
  // A job that is only declared would be claimed here and handed back for ever.
  runtime.registry.guard(({ name, queue, handler }) => {
    if (handler === undefined && worker.worksOn(queue)) throw noHandler(name, queue)
  })
  app.decorate('jobWorker', worker)
  runtime.worker = worker
  stopWhenDraining(app, worker)
  // Not before every plugin is loaded: a job must not be claimed before its handler is known.
  app.addHook('onReady', async () => { await worker.start() })
  // Claiming stops as soon as the application closes; what runs may go on while the server finishes its requests.
  app.addHook('preClose', async () => { worker.quiesce() })
  app.addHook('onClose', async () => { await worker.stop(worker.drainTimeoutMs) })
}

/**
 * A process that is about to go takes no more jobs: others take them, and what it has begun gets longer to end. Jobs
 * in memory are the exception while requests bring new ones: nobody else can take those, and the clients were
 * promised that they run.
 */
function stopWhenDraining (app: FastifyInstance, worker: Worker): void {
  let takesSubmissions = false
  app.addHook('onRoute', ({ config }) => { takesSubmissions ||= config?.asyncEndpoints?.kind === 'submit' })
  app.addHook('onReady', async () => {
    const { onDraining, store } = runtimeOf(app)
    onDraining?.(() => {
      if (!takesSubmissions || store.type !== MEMORY) worker.quiesce()
    })
  })
}

/** Runs the jobs that are defined in this process. Leave it out (`worker: false`) for an API-only process. */
export const worker = fp(workerPlugin, { name: PLUGIN.worker, fastify: '5.x', dependencies: [PLUGIN.jobStore] })
export default worker
