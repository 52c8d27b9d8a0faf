import type { Context } from '../core/context.ts'
import type { CurrentJobs } from '../core/current-job.ts'
import type { Redaction } from '../core/redact.ts'
import type { HandlerMiddleware, JobOptions } from '../jobs/definition.ts'
import type { JobRegistry } from '../jobs/registry.ts'
import type { AttemptMiddleware, HandlerSpanMiddleware, SubmitChild, SubmitMiddleware } from '../jobs/seams.ts'
import type { JobStore } from '../jobs/store.ts'
import type { EventBus } from './bus.ts'
import type { TraceExits } from './trace-exits.ts'

/**
 * What the doors of one Fastify instance share, under the decorator `jobRuntime`: made by the job store's plugin, added
 * to by the others before `onReady`.
 */
export interface JobRuntime {
  readonly context: Context
  readonly bus: EventBus
  /** What must not be shown, in logs, spans, stored headers and errors. */
  readonly redaction: Redaction
  readonly registry: JobRegistry
  /** The application's own defaults of every job. */
  readonly jobDefaults?: JobOptions | undefined
  /** The store behind its observing wrapper. */
  readonly store: JobStore
  /** Detaches internal timers and loops from the active trace. Without it, work runs in place. */
  readonly traceExits?: TraceExits
  /** Knows the job inside whose handler a submission is made; absent: none is known. */
  readonly currentJobs?: CurrentJobs
  readonly submitMiddleware: SubmitMiddleware[]
  readonly attemptMiddleware: AttemptMiddleware[]
  /** Around the handler alone, inside the attempt. */
  readonly handlerSpanMiddleware: HandlerSpanMiddleware[]
  /** The application's own, innermost. */
  readonly handlerMiddleware: HandlerMiddleware[]
  /** What `job.submit()` of a handler does. Absent: nothing can be submitted from this process. */
  submitChild?: SubmitChild | undefined
  /** The worker of this process, once its plugin is loaded; see {@link workerOf}. */
  worker?: object
}

/** The part of a Fastify instance that is needed to find the worker. */
interface RuntimeOwner {
  readonly jobRuntime: JobRuntime
  hasDecorator (name: string): boolean
  getDecorator<T> (name: string): T
}

/**
 * The worker, for the plugins that look at it. Its decorator is not seen from outside of the context that the worker's plugin is
 * registered in, for example at the root, where the probes and the metrics are.
 */
export function workerOf<View extends object> (app: RuntimeOwner): View | undefined {
  return app.hasDecorator('jobWorker') ? app.getDecorator<View>('jobWorker') : app.jobRuntime.worker as View | undefined
}
