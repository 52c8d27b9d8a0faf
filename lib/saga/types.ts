/** The chain with which a saga is written, `(s) => s.step(…).parallel(…).returns(…)`: its types. */
import type { Logger } from '../core/context.ts'
import type { BackoffOptions, CustomBackoff } from '../jobs/backoff.ts'
import type { JobReference, JobSpanOptions, SubmitArguments } from '../jobs/definition.ts'
import type { Travelled } from '../jobs/json-value.ts'
import type { ChildSubmitted } from '../jobs/submit.ts'

/** What a saga is submitted with, as its functions see it. */
export interface SagaInput {
  body: unknown
  params: unknown
  query: unknown
  headers: unknown
}

/** An object type as an editor shows it best: its members, without the names of the helpers that made it. */
export type PlainResults<T> = { [K in keyof T]: T[K] } & {}

/** `T`, unless JSON cannot hold it: then a text that says so, which no function fits. */
export type HeldByJson<T> = [T] extends [void]
  ? unknown
  : Lossless<T> extends true ? unknown : 'JSON cannot hold the result of this step'

/** What JSON leaves out, refuses, or changes. */
type NotData = bigint | symbol | ((...values: never[]) => unknown) | { toJSON (...key: never[]): unknown }
type Primitive = string | number | boolean | null | undefined
/** Whether a value is the same before and after it has travelled as JSON: a `Date` is not, a `Map` is not. */
type Lossless<T> =
  unknown extends T ? true
    : [T] extends [Primitive] ? true
        : [Extract<T, NotData>] extends [never]
            ? [T] extends [Travelled<T>] ? ([Travelled<T>] extends [never] ? false : true) : false
            : false

/** Before the first step. */
export type NoResults = Record<never, never>

/** A new name: one of a step before it is refused. */
export type NewStepName<N extends string, R> = string extends N ? never : N extends keyof R ? never : N

/** What every function of a saga sees. */
export interface SagaDecision<I extends SagaInput, R> {
  /** The id of the job. */
  readonly id: string
  readonly body: I['body']
  readonly params: I['params']
  readonly query: I['query']
  /** Only the headers on the endpoint's allow-list. */
  readonly headers: I['headers']
  readonly owner: string | undefined
  readonly correlationId: string
  /** The results of the steps before this one, as JSON carries them. Each function gets copies of its own. */
  readonly results: Readonly<R>
}

/** One try of a step. */
export interface SagaStepContext<I extends SagaInput, R> extends SagaDecision<I, R> {
  /** Which try this is, from 1. */
  readonly attempt: number
  readonly maxAttempts: number
  /**
   * Aborts on the timeout of this try, on a cancel, at the saga's deadline, when a sibling fails, and when the worker
   * stops.
   */
  readonly signal: AbortSignal
  /**
   * Equal in every try of this step, also after a crash; another one when the saga was undone and is redriven. Pass it
   * to services that know idempotency keys.
   */
  readonly idempotencyKey: string
  /** A logger whose lines have the ids of job, trace, correlation, and the step. */
  readonly log: Logger
  /** Runs `work` inside a child span of the step, if it is traced. */
  readonly span: <T>(name: string, work: () => T | Promise<T>, options?: JobSpanOptions) => Promise<T>
  /**
   * Submits another job. Its idempotency key is made of this step's, so that a step that runs again gets the job that
   * it submitted before.
   */
  readonly submit: <const J extends JobReference>(child: J, ...submission: SubmitArguments<J>) => Promise<ChildSubmitted>
  /** Throws the reason of `signal` if it has aborted. */
  readonly throwIfAborted: () => void
}

/** One try of a step of an `each`. */
export interface SagaItemContext<I extends SagaInput, R, Item> extends SagaStepContext<I, R> {
  readonly item: Item
  /** Its place in the list, from 0. */
  readonly index: number
}

/** One try of a compensation. Its signal is a fresh one: what stopped the step does not stop its undo. */
export interface SagaUndoContext<I extends SagaInput, R, T> extends Omit<SagaStepContext<I, R>, 'results'> {
  /**
   * The `idempotencyKey` that the step itself had, for finding what it made when the outcome is unknown. The key of
   * this context is another one.
   */
  readonly stepKey: string
  /** The results of all steps that completed. */
  readonly results: Readonly<Partial<R>>
  /**
   * `completed`, with the result of the step; or `unknown`: the step was stopped, timed out, or its worker died, and it
   * may have had an effect or not.
   */
  readonly outcome: { readonly kind: 'completed', readonly result: T } | { readonly kind: 'unknown' }
  /** Why the saga undoes its steps: a step failed for good, somebody cancelled it, or its time was over. */
  readonly reason: 'failed' | 'cancelled' | 'timeout'
  readonly error: { readonly code: string, readonly message: string } | undefined
}

/** How often something is tried. */
export interface SagaTryOptions {
  /** How often it is tried in all. @defaultValue 3 for a step, 5 for a compensation */
  readonly attempts?: number | undefined
  /**
   * The pause before the next try. A pause of more than a second holds no slot of the worker.
   *
   * @defaultValue exponential, from 1 s (500 ms for a compensation) to at most 1 h, jitter 0.2
   */
  readonly backoff?: BackoffOptions | CustomBackoff | undefined
  /** The longest time of one try in milliseconds; 0: no limit. @defaultValue 300000 (30000 for a compensation) */
  readonly timeoutMs?: number | undefined
}

/** A compensation with settings of its own. */
export interface SagaUndoOptions<I extends SagaInput, R, T> extends SagaTryOptions {
  readonly run: (undo: SagaUndoContext<I, R, T>) => unknown
}

/** A step: what it does, and how. */
export interface SagaStepOptions<I extends SagaInput, R, T> extends SagaTryOptions {
  readonly run: (step: SagaStepContext<I, R>) => Promise<T> | T
  /** The step is run only if this is true. It is asked once, and the answer is stored. */
  readonly when?: ((step: SagaDecision<I, R>) => boolean) | undefined
  /**
   * Undoes the step. It is called when a later step fails for good, or the saga is cancelled: for a step that
   * completed, and for one that may have had an effect.
   */
  readonly compensate?: (
    (undo: SagaUndoContext<I, R, NoInfer<T>>) => unknown
  ) | SagaUndoOptions<I, R, NoInfer<T>> | undefined
  /**
   * What happens when it has failed for good. `compensate`: the saga undoes its steps and fails. `fail`: it fails and
   * undoes nothing, and a redrive goes on at this step. `continue`: its result is `undefined`, and the next step
   * follows.
   *
   * @defaultValue 'compensate'
   */
  readonly onExhausted?: 'compensate' | 'fail' | 'continue' | undefined
}

/** A step whose result may be missing. */
export type SagaMaySkip<I extends SagaInput, R> = {
  readonly when: (step: SagaDecision<I, R>) => boolean
} | { readonly onExhausted: 'continue' }

/** How siblings run side by side. */
export interface SagaGroupOptions {
  /**
   * What happens to the others when one fails for good. `abort`: their signals abort. `await-all`: they go on to their
   * own ends. Either way all have ended before anything is undone.
   *
   * @defaultValue 'abort'
   */
  readonly onError?: 'abort' | 'await-all' | undefined
  /** How many run at the same time. @defaultValue all of a `parallel`, 10 of an `each` */
  readonly concurrency?: number | undefined
}

/** The siblings of a `parallel`. They see what came before the group, and not each other. */
export interface SagaGroup<I extends SagaInput, R, G> {
  step<const N extends string, T> (
    name: NewStepName<N, G>, run: ((step: SagaStepContext<I, R>) => Promise<T> | T) & HeldByJson<T>
  ): SagaGroup<I, R, PlainResults<G & Record<N, T>>>
  step<const N extends string, T> (
    name: NewStepName<N, G>, options: SagaStepOptions<I, R, T> & SagaMaySkip<I, R> & HeldByJson<T>
  ): SagaGroup<I, R, PlainResults<G & Record<N, T | undefined>>>
  step<const N extends string, T> (
    name: NewStepName<N, G>, options: SagaStepOptions<I, R, T> & HeldByJson<T>
  ): SagaGroup<I, R, PlainResults<G & Record<N, T>>>
}

/** Options of {@link SagaSteps.each}. */
export interface SagaEachOptions<I extends SagaInput, R, T, Item> extends SagaTryOptions, SagaGroupOptions {
  readonly run: (step: SagaItemContext<I, R, Item>) => Promise<T> | T
  readonly compensate?: SagaItemUndo<I, R, NoInfer<T>, NoInfer<Item>> | (
    SagaTryOptions & { readonly run: SagaItemUndo<I, R, NoInfer<T>, NoInfer<Item>> }
  ) | undefined
  readonly onExhausted?: 'compensate' | 'fail' | undefined
  /** A longer list fails the saga, 1 to 1,000. @defaultValue 100 */
  readonly maxItems?: number | undefined
}

export type SagaItemUndo<I extends SagaInput, R, T, Item> = (
  undo: SagaUndoContext<I, R, T> & { readonly item: Item, readonly index: number }
) => unknown

/** A type provider of Fastify, as far as a signal's schema needs it. */
export interface SignalSchemaTypes {
  readonly schema: unknown
  readonly validator: unknown
}

/** What a type provider makes of a schema. */
export type SignalValue<P extends SignalSchemaTypes, S> = (P & { readonly schema: S })['validator']

/** Options of {@link SagaSteps.signal}. */
export interface SagaSignalOptions<P extends SignalSchemaTypes = SignalSchemaTypes, S = unknown, T = unknown> {
  /** What may be sent: a schema as for a body, in the language of the application's compilers. */
  readonly schema?: S | undefined
  /**
   * Converts what was sent, after the schema; what it throws is the sender's fault. What it returns is stored as JSON.
   */
  readonly parse?: ((value: SignalValue<P, S>) => T) | undefined
  /** The longest wait in milliseconds; 0: as long as the saga may last. @defaultValue 0 */
  readonly timeoutMs?: number | undefined
  /** What happens when it did not come in time. @defaultValue 'compensate' */
  readonly onExhausted?: 'compensate' | 'fail' | 'continue' | undefined
}

declare const RESULT: unique symbol
declare const RESULTS: unique symbol

/** What a chain ends with: the types of the results, and of what the saga returns. */
export interface SagaEnd<R, T> {
  readonly [RESULT]: () => T
  readonly [RESULTS]: () => R
}

/**
 * The steps of a saga, in the order in which they are run. Each method adds one and returns the chain; `R` has the
 * results so far, so that a step sees exactly what came before it.
 */
export interface SagaSteps<
  I extends SagaInput, R, P extends SignalSchemaTypes = SignalSchemaTypes
> extends SagaEnd<R, undefined> {
  /**
   * Adds a step. It runs once: when it has completed, its result is stored and it is never run again, whatever crashes.
   *
   * @param name unique in the saga: 1 to 64 letters, digits, "_", "." or "-", the first a letter or digit
   */
  step<const N extends string, T> (
    name: NewStepName<N, R>, run: ((step: SagaStepContext<I, R>) => Promise<T> | T) & HeldByJson<T>
  ): SagaSteps<I, PlainResults<R & Record<N, T>>, P>
  step<const N extends string, T> (
    name: NewStepName<N, R>, options: SagaStepOptions<I, R, T> & SagaMaySkip<I, R> & HeldByJson<T>
  ): SagaSteps<I, PlainResults<R & Record<N, T | undefined>>, P>
  step<const N extends string, T> (
    name: NewStepName<N, R>, options: SagaStepOptions<I, R, T> & HeldByJson<T>
  ): SagaSteps<I, PlainResults<R & Record<N, T>>, P>

  /** Adds a group of steps that run side by side. Its results are an object of theirs. */
  parallel<const N extends string, G> (
    name: NewStepName<N, R>, siblings: (group: SagaGroup<I, R, NoResults>) => SagaGroup<I, R, G>,
    options?: SagaGroupOptions
  ): SagaSteps<I, PlainResults<R & Record<N, Readonly<G>>>, P>

  /**
   * Adds one step for each item of a list that is known only at run time. The list is read once, and stored. The result
   * is an array, in the order of the list.
   */
  each<const N extends string, T, Item> (
    name: NewStepName<N, R>, list: (saga: SagaDecision<I, R>) => readonly Item[], options: SagaEachOptions<I, R, T,
    Item> & HeldByJson<T>
  ): SagaSteps<I, PlainResults<R & Record<N, T[]>>, P>

  /** Waits, without a slot of the worker. @param ms milliseconds, or a function that is asked once */
  sleep<const N extends string> (
    name: NewStepName<N, R>, ms: number | ((saga: SagaDecision<I, R>) => number)
  ): SagaSteps<I, R, P>

  /**
   * Waits, without a slot of the worker, until somebody sends the signal: `POST /jobs/:id/signals/:name`, or
   * `app.jobs.signal()`. One that came before is kept. Its result is what was sent.
   *
   * With a schema that the application's type provider knows, or with `parse`, the result has its type.
   */
  signal<const N extends string, const S = unknown, T = SignalValue<P, S>> (
    name: NewStepName<N, R>, options: SagaSignalOptions<P, S, T> & { readonly onExhausted: 'continue' }
  ): SagaSteps<I, PlainResults<R & Record<N, T | undefined>>, P>
  signal<const N extends string, const S = unknown, T = SignalValue<P, S>> (
    name: NewStepName<N, R>, options?: SagaSignalOptions<P, S, T>
  ): SagaSteps<I, PlainResults<R & Record<N, T>>, P>

  /** Ends the chain: makes the result of the saga. Without it the saga has no result. */
  returns<T> (make: ((saga: SagaDecision<I, R>) => T) & HeldByJson<T>): SagaEnd<R, T>
}
