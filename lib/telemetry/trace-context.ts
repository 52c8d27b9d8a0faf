import { AsyncLocalStorage } from 'node:async_hooks'
import { context, createContextKey, ROOT_CONTEXT, type Context } from '@opentelemetry/api'
import type { TraceWays } from '../events/trace-exits.ts'

/**
 * How code finds the span that it runs in:
 * `global`: through the context manager that the application has registered, and pays for already;
 * `private`: through an AsyncLocalStorage of this library, only where that costs nothing (Node 24 and newer);
 * `explicit`: not at all; the context is passed by hand (`job.span`, `job.trace`). On Node 20 and 22 a single
 * AsyncLocalStorage makes every `await` of the process 2.5 times as slow, so this library uses none there.
 */
export type ContextMode = 'global' | 'private' | 'explicit'

/** The key by which every SDK recognises that tracing is suppressed. Its text is part of the contract of the SDKs. */
const SUPPRESS_TRACING = createContextKey('OpenTelemetry SDK Context Key SUPPRESS_TRACING')

/** A context in which nothing is traced, and which keeps no active span alive. */
export const QUIET_CONTEXT: Context = ROOT_CONTEXT.setValue(SUPPRESS_TRACING, true)

/** True where tracing is suppressed. */
export function isSuppressed (active: Context): boolean { return active.getValue(SUPPRESS_TRACING) === true }

/**
 * Runs the work outside of any trace. Internal loops and timers need it: they would otherwise keep the span of the
 * request that started them alive for ever.
 */
export function runQuietly<R> (work: () => R): R {
  return context.with(QUIET_CONTEXT, work)
}

/** How to leave a trace through the context manager of the OpenTelemetry API, if there is one. */
export const GLOBAL_WAYS: TraceWays = Object.freeze({
  inside: () => context.active() !== ROOT_CONTEXT,
  quietly: runQuietly,
  plainly: (work) => context.with(ROOT_CONTEXT, work)
} satisfies TraceWays)

/** True when a context manager is registered with the OpenTelemetry API. */
export function hasContextManager (): boolean {
  const probe = createContextKey('fastify-async-endpoints probe')
  try {
    return context.with(ROOT_CONTEXT.setValue(probe, true), () => context.active().getValue(probe) === true)
  } catch {
    return false
  }
}

const nodeMajor = Number(process.versions.node.split('.')[0])

/** Keeps the active context of one Fastify instance, in the cheapest way that the process offers. */
export class TraceContext {
  readonly mode: ContextMode
  readonly #storage: AsyncLocalStorage<Context | undefined> | undefined

  /** @param major the major version of Node, for tests */
  constructor (mode?: ContextMode, major: number = nodeMajor) {
    this.mode = mode ?? (hasContextManager() ? 'global' : major >= 24 ? 'private' : 'explicit')
    this.#storage = this.mode === 'private' ? new AsyncLocalStorage() : undefined
  }

  /** The active context; `undefined` in explicit mode. */
  active (): Context | undefined {
    if (this.mode === 'global') return context.active()
    return this.#storage?.getStore()
  }

  /** How to leave the active trace; `undefined` in explicit mode, where there is none to leave. */
  get ways (): TraceWays | undefined {
    if (this.mode === 'global') return GLOBAL_WAYS
    const storage = this.#storage
    if (storage === undefined) return undefined
    // Only this library reads its storage: where it is empty, there is no trace to leave, and nothing to suppress.
    const inside = (): boolean => storage.getStore() !== undefined
    const out = <R>(work: () => R): R => inside() ? storage.run(undefined, work) : work()
    return { inside, quietly: out, plainly: out }
  }

  /** Runs the work with this context active; in explicit mode it only runs the work. */
  run<R> (active: Context, work: () => R): R {
    if (this.mode === 'global') return context.with(active, work)
    return this.#storage === undefined ? work() : this.#storage.run(active, work)
  }
}
