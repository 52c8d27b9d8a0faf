/**
 * The seams that other rooms hook into: middleware wraps work (spans live here), and may do nothing else to a job than
 * what these scopes offer.
 */
import type { Logger } from '../core/context.ts'
import type { JobDefinition, JobSpanOptions, JobTypes, Part } from './definition.ts'
import type { JobOrigin, NewJob, TraceCarrier } from './job.ts'
import type { Claim, Created, SettleVerdict, Settlement } from './store.ts'
import type { ChildSubmitted, SubmitMeta } from './submit.ts'

type Draft = { -readonly [K in keyof NewJob]: NewJob[K] }

export interface ParentTrace {
  readonly carrier: TraceCarrier
  /** Named with the submission: it comes before whatever is active. */
  readonly given: boolean
}

/** One submission on its way into the store. */
export interface SubmitScope {
  /** Middleware may set `trace` and `origin`, before `next()`; the rest is settled. */
  readonly job: Draft
  readonly definition: JobDefinition
  /** What tracing attached to the HTTP request, handed through untouched; `undefined` for a submission from code. */
  readonly requestTrace: unknown
  /** Who sent the request; `undefined` for a submission from code. */
  readonly origin?: JobOrigin | undefined
  /** The trace it belongs to, as its submitter said, or that of the job whose handler submits it; `undefined`: nobody said. */
  readonly parentTrace?: ParentTrace | undefined
}

export type SubmitMiddleware = (scope: SubmitScope, next: () => Promise<Created>) => Promise<Created>

/** Runs work inside a child span. */
export type SpanRunner = <R>(name: string, work: () => R | Promise<R>, options?: JobSpanOptions) => Promise<R>

/** One attempt, as middleware sees it. */
export interface AttemptScope {
  readonly claim: Claim
  readonly definition: JobDefinition
  readonly workerId: string
  /** Set by tracing while the attempt is traced; `job.span` uses it. */
  spanRunner: SpanRunner | undefined
  /** Set by tracing when the attempt is sampled: exemplars and log lines point at it. */
  traceIds: { readonly traceId: string, readonly spanId: string, readonly traceFlags: string } | undefined
  /** Set by tracing: what the handler sees as `job.trace`, to pass on. */
  trace: TraceCarrier | undefined
  /** Set by logging: makes the logger of the attempt, on first use. */
  makeLogger: (() => Logger) | undefined
  /** Called after the store has answered for the attempt. */
  onSettled (listener: (verdict: SettleVerdict, settlement: Settlement) => void): void
}

/** Wraps one attempt, the classification of its outcome included; acknowledging it to the store comes after. */
export type AttemptMiddleware = (scope: AttemptScope, next: () => Promise<Settlement>) => Promise<Settlement>

/** Wraps the handler alone. The error that it throws is the handler's own. */
export type HandlerSpanMiddleware = (scope: AttemptScope, next: () => Promise<unknown>) => Promise<unknown>

/** The children of one name that an attempt has submitted. */
export interface ChildrenOfName {
  /** How many. */
  count: number
  /** Those of which nobody knows whether they were stored, with their bodies as JSON. */
  readonly inDoubt: Array<{ readonly ordinal: number, readonly text: string | undefined }>
}

/** Which job submits another one, and what goes along from it. */
export interface ParentJob {
  readonly id: string
  readonly owner: string | undefined
  readonly correlationId: string
  readonly trace: TraceCarrier | undefined
  /** Counts the submissions of this attempt without a key of their own, by the name of the child. */
  readonly children: Map<string, ChildrenOfName>
}

/** Submits a job from inside a handler. */
export type SubmitChild = <T extends JobTypes = JobTypes> (
  parent: ParentJob, job: string | JobDefinition<T>, body?: Part<T, 'body', unknown>, meta?: SubmitMeta
) => Promise<ChildSubmitted>
