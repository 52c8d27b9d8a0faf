import { AsyncLocalStorage } from 'node:async_hooks'
import { context, createContextKey, ROOT_CONTEXT, type Context } from '@opentelemetry/api'
import type { TraceWays } from '../events/trace-exits.ts'

/**
 * How the span of a piece of work is known to what happens inside it:
 * `global`: through the context manager that the application has registered and pays for already;
 * `private`: through an AsyncLocalStorage of our own, only where that is free (Node 24 and newer);
 * `explicit`: not at all; it is handed over by hand (`job.span`, `job.trace`). One AsyncLocalStorage anywhere in a
 * process makes every `await` of it 2.5 times as dear on Node 20 and 22, so we never switch one on there.
 */
export type ContextMode = 'global' | 'private' | 'explicit'

/** The key by which every SDK knows that nothing shall be traced: its text is part of the SDKs' contract. */
const SUPPRESS_TRACING = createContextKey('OpenTelemetry SDK Context Key SUPPRESS_TRACING')

/** Nothing started here leaves a span, and nothing that is active now is kept alive by it. */
export const QUIET_CONTEXT: Context = ROOT_CONTEXT.setValue(SUPPRESS_TRACING, true)

/** Somebody has asked that nothing be traced here. */
export function isSuppressed (active: Context): boolean { return active.getValue(SUPPRESS_TRACING) === true }

/** For loops and timers of our own: they would otherwise keep the span of whatever request started them for ever. */
export function runQuietly<R> (work: () => R): R {
  return context.with(QUIET_CONTEXT, work)
}

/** The ways out of a trace that go through the context manager of the OpenTelemetry API, if there is one. */
export const GLOBAL_WAYS: TraceWays = Object.freeze({
  inside: () => context.active() !== ROOT_CONTEXT,
  quietly: runQuietly,
  plainly: (work) => context.with(ROOT_CONTEXT, work)
} satisfies TraceWays)

/** True when somebody has registered a context manager with the OpenTelemetry API. */
export function hasContextManager (): boolean {
  const probe = createContextKey('fastify-async-endpoints probe')
  try {
    return context.with(ROOT_CONTEXT.setValue(probe, true), () => context.active().getValue(probe) === true)
  } catch {
    return false
  }
}

const nodeMajor = Number(process.versions.node.split('.')[0])

/** Carries the active context of one Fastify instance, in the cheapest way that the process offers. */
export class TraceContext {
  readonly mode: ContextMode
  readonly #storage: AsyncLocalStorage<Context | undefined> | undefined

  /** @param major the major version of Node, for tests */
  constructor (mode?: ContextMode, major: number = nodeMajor) {
    this.mode = mode ?? (hasContextManager() ? 'global' : major >= 24 ? 'private' : 'explicit')
    this.#storage = this.mode === 'private' ? new AsyncLocalStorage() : undefined
  }

  /** The context that is active, `undefined` where none can be known. */
  active (): Context | undefined {
    if (this.mode === 'global') return context.active()
    return this.#storage?.getStore()
  }

  /** `undefined` where no context is carried, and none has to be left. */
  get ways (): TraceWays | undefined {
    if (this.mode === 'global') return GLOBAL_WAYS
    const storage = this.#storage
    if (storage === undefined) return undefined
    // Only we look into a storage of our own: where it is empty, nothing has to be left, nor silenced.
    const inside = (): boolean => storage.getStore() !== undefined
    const out = <R>(work: () => R): R => inside() ? storage.run(undefined, work) : work()
    return { inside, quietly: out, plainly: out }
  }

  /** Runs the work with this context active; in explicit mode it just runs it. */
  run<R> (active: Context, work: () => R): R {
    if (this.mode === 'global') return context.with(active, work)
    return this.#storage === undefined ? work() : this.#storage.run(active, work)
  }
}
