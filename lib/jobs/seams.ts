/**
 * Where other rooms hook into submissions and attempts. Middleware wraps the work (to open a span around it, for
 * example), calls `next()` once (see `compose`), and can change no more of a job than its scope offers.
 */
import type { Logger } from '../core/context.ts'
import type { JobContext, JobDefinition, JobSpanOptions, SpanAttributeValues, StepContext, StepOptions } from './definition.ts'
import type { JobOrigin, NewJob, TraceCarrier } from './job.ts'
import type { Travelled } from './json-value.ts'
import type { Claim, Created, SettleVerdict, Settlement } from './store.ts'
import type { ChildSubmitted, SubmitMeta } from './submit.ts'

type Draft = { -readonly [K in keyof NewJob]: NewJob[K] }

export interface ParentTrace {
  readonly carrier: TraceCarrier
  /** Given with the submission: it goes before the active context. */
  readonly given: boolean
}

/** One submission on its way into the store. */
export interface SubmitScope {
  /** Middleware may set `trace` and `origin` before it calls `next()`, and nothing else. */
  readonly job: Draft
  readonly definition: JobDefinition
  /** What tracing attached to the HTTP request; `undefined` for a submission from code. */
  readonly requestTrace: unknown
  /** Who sent the request; `undefined` for a submission from code. */
  readonly origin?: JobOrigin | undefined
  /** The trace that its submitter named, or that of the job whose handler submits it; `undefined`: neither. */
  readonly parentTrace?: ParentTrace | undefined
}

export type SubmitMiddleware = (scope: SubmitScope, next: () => Promise<Created>) => Promise<Created>

/** Runs `work` inside a child span. `describe`: what its result adds to the span. */
export type SpanRunner = <R>(
  name: string, work: () => R | Promise<R>, options?: JobSpanOptions, describe?: (result: R) => SpanEnding
) => Promise<R>

/** What the result of a span's work says of the span. */
export interface SpanEnding {
  readonly attributes: SpanAttributeValues
  /** The work returned, and has still failed: `error.type` of the span. */
  readonly error: string | undefined
}

/** One attempt, as middleware sees it. */
export interface AttemptScope {
  readonly claim: Claim
  readonly definition: JobDefinition
  readonly workerId: string
  /** Set by tracing while the attempt is traced; `job.span` uses it. */
  spanRunner: SpanRunner | undefined
  /** Set by tracing when the attempt is sampled: events, exemplars and log lines carry them. */
  traceIds: { readonly traceId: string, readonly spanId: string, readonly traceFlags: string } | undefined
  /** Set by tracing: what the handler sees as `job.trace`. */
  trace: TraceCarrier | undefined
  /** Set by logging: makes the logger of the attempt, on first use. */
  makeLogger: (() => Logger) | undefined
  /** Called after the store has answered for the attempt. */
  onSettled (listener: (verdict: SettleVerdict, settlement: Settlement) => void): void
}

/** Wraps the part of an attempt that leads to its settlement. The store settles after it. */
export type AttemptMiddleware = (scope: AttemptScope, next: () => Promise<Settlement>) => Promise<Settlement>

/**
 * Wraps the handler and the application's middleware around it. An error that `next()` rejects with is the handler's
 * own.
 */
export type HandlerSpanMiddleware = (scope: AttemptScope, next: () => Promise<unknown>) => Promise<unknown>

/** One try of a step, of its compensation, or a group of steps around them, as middleware sees it. */
export interface StepScope {
  readonly attempt: AttemptScope
  /**
   * `step`: a try of a step. `undo`: a try of its compensation. `group`: siblings that run side by side. `compensation`:
   * all undos of one attempt.
   */
  readonly kind: 'step' | 'undo' | 'group' | 'compensation'
  /** The path of the step or group; empty for `compensation`. */
  readonly step: string
  /** Place in the list of all steps, from 1; 0 for `compensation` and for steps of ordinary handlers. */
  readonly order: number
  /** Which try, from 1, and how many there are. */
  readonly tryNumber: number
  readonly maxTries: number
  /** The group or the compensation that this is a part of. */
  readonly parent: StepScope | undefined
  /** Set by tracing when it is recorded: events and log lines carry them. */
  traceIds: AttemptScope['traceIds']
  /** Set by tracing while it is traced: makes child spans of it. */
  spanRunner: SpanRunner | undefined
}

/** Wraps one {@link StepScope}. An error that `next()` rejects with is the step's own, and must be passed on. */
export type StepMiddleware = (scope: StepScope, next: () => Promise<unknown>) => Promise<unknown>

/** An attempt of a job whose definition has a {@link JobRunner}. */
export interface RunnerScope {
  readonly attempt: AttemptScope
  readonly claim: Claim
  /** What a handler would be given. */
  readonly job: JobContext
  /** Aborts when the lease is lost and when the worker stops; not on a cancel. */
  readonly signal: AbortSignal
  /** Somebody has asked to cancel the job. */
  readonly cancelRequested: boolean
  /** Calls the listener when somebody asks to cancel the job while this attempt runs. */
  onCancel (listener: () => void): void
  /** Why `signal` aborted. */
  readonly abortReason: 'lease-lost' | 'shutdown' | undefined
  /** Called after the store has answered for the attempt. */
  onSettled (listener: (verdict: SettleVerdict, settlement: Settlement) => void): void
  /**
   * The settlement of a handler that had returned this value: its result as JSON, checked against the job's schema and
   * size limit.
   */
  settle (value: unknown): Settlement
}

/** Runs a job in the place of a handler, and decides itself how its attempts are settled. */
export interface JobRunner {
  /**
   * Called for a claim after a stall. A settlement ends the attempt: the backoff of the stall has to pass. `undefined`:
   * the job is to be run now.
   */
  afterStall (scope: AttemptScope): Promise<Settlement | undefined>
  /** Never rejects for what a step does. What it resolves with is stored, whatever has aborted in the meantime. */
  run (scope: RunnerScope): Promise<Settlement>
}

/** What `job.step()` of a handler does. */
export interface HandlerSteps {
  run<R> (name: string, work: (step: StepContext) => R | Promise<R>, options?: StepOptions): Promise<Travelled<R>>
}

/** Makes the steps of one attempt of an ordinary handler, on first use. */
export type OpenSteps = (scope: AttemptScope, job: JobContext) => HandlerSteps

/** The jobs of one name that an attempt has submitted. */
export interface ChildrenOfName {
  count: number
  /** Those of which it is unknown whether they were stored, with their bodies as JSON. */
  readonly inDoubt: Array<{ readonly ordinal: number, readonly text: string | undefined }>
}

/** The job whose handler submits another one, and what the other one takes over from it. */
export interface ParentJob {
  readonly id: string
  readonly owner: string | undefined
  readonly correlationId: string
  readonly trace: TraceCarrier | undefined
  /** By the name of the child: the submissions of this attempt that have no idempotency key of their own. */
  readonly children: Map<string, ChildrenOfName>
}

/** Submits a job from inside a handler. */
export type SubmitChild = (parent: ParentJob, job: string | JobDefinition, body?: unknown, meta?: SubmitMeta) => Promise<ChildSubmitted>
