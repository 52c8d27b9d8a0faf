import type { Context } from '../core/context.ts'
import type { CurrentJobs } from '../core/current-job.ts'
import type { Redaction } from '../core/redact.ts'
import type { HandlerMiddleware, JobOptions } from '../jobs/definition.ts'
import type { JobRegistry } from '../jobs/registry.ts'
import type { AttemptMiddleware, HandlerSpanMiddleware, JobRunner, OpenSteps, StepMiddleware, SubmitChild, SubmitMiddleware } from '../jobs/seams.ts'
import type { StoreCounts } from '../jobs/store-counts.ts'
import type { JobStore } from '../jobs/store.ts'
import type { WebhookJobs } from '../jobs/webhook.ts'
import type { EventBus } from './bus.ts'
import type { TraceExits } from './trace-exits.ts'

/**
 * What the plugins of one Fastify instance share, see {@link RUNTIME}: made by the job store's plugin, added to by
 * the others before `onReady`.
 */
export interface JobRuntime {
  readonly context: Context
  readonly bus: EventBus
  /** What must not be shown, in logs, spans, stored headers and errors. */
  readonly redaction: Redaction
  readonly registry: JobRegistry
  /** What runs sagas and deliveries of webhooks, by the name of the job. Absent: there are none. */
  readonly runners?: Map<string, JobRunner>
  /** The application's own defaults of every job. */
  readonly jobDefaults?: JobOptions | undefined
  /** The store behind its observing wrapper. */
  readonly store: JobStore
  /** How many jobs are in which state: the one place that asks the store for it. */
  readonly counts: StoreCounts
  /** Detaches internal timers and loops from the active trace. Without it, work runs in place. */
  readonly traceExits?: TraceExits
  /** Knows the job inside whose handler a submission is made; absent: none is known. */
  readonly currentJobs?: CurrentJobs
  readonly submitMiddleware: SubmitMiddleware[]
  readonly attemptMiddleware: AttemptMiddleware[]
  /** Around the handler alone, inside the attempt. */
  readonly handlerSpanMiddleware: HandlerSpanMiddleware[]
  /** Around every try of a step and of its compensation. */
  readonly stepMiddleware: StepMiddleware[]
  /** The application's own, innermost. */
  readonly handlerMiddleware: HandlerMiddleware[]
  /** What `job.submit()` of a handler does. Absent: nothing can be submitted from this process. */
  submitChild?: SubmitChild | undefined
  /** What makes the deliveries of webhooks. Absent: this application has none, and submissions cannot ask for them. */
  webhooks?: WebhookJobs | undefined
  /** What `job.step()` of a handler uses. Absent: this application has no durable steps. */
  openSteps?: OpenSteps | undefined
  /** The worker of this process, once its plugin is registered; see {@link workerOf}. */
  worker?: object
  /**
   * Calls the listener when this process begins to drain (`app.jobHealth.drain()`). Absent: the health plugin is not
   * registered.
   */
  onDraining?: (listener: () => void) => void
}

/**
 * Where the plugins of one Fastify instance find what they share. A symbol and not a name: it cannot collide with a
 * decorator of the application, and an editor does not offer it.
 */
export const RUNTIME: unique symbol = Symbol.for('fastify-async-endpoints.runtime')

/** The part of a Fastify instance that is needed to find the runtime. */
interface RuntimeOwner {
  getDecorator<T> (name: symbol): T
}

/** @throws `FST_ERR_DEC_UNDECLARED` of Fastify when the plugin of the job store is not registered in this context */
export function runtimeOf (app: RuntimeOwner): JobRuntime {
  return app.getDecorator<JobRuntime>(RUNTIME)
}

/**
 * The worker of this process, for the plugins that look at it: `undefined` until its plugin is registered. `View`
 * names the members that the caller needs.
 */
export function workerOf<View extends object> (app: RuntimeOwner): View | undefined {
  return runtimeOf(app).worker as View | undefined
}
