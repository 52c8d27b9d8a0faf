import type { HealthCheckOptions, HealthVerdict } from '../core/health-check.ts'
import type { HealthReport } from './registry.ts'

/** `app.jobHealth`: health checks of your own, and the beginning of a shutdown. */
export interface JobHealth {
  /** True from the beginning of draining; it stays true. */
  readonly draining: boolean
  /**
   * Adds a health check. It is called when a probe or `report()` asks for it, and its answer is used again for `cacheMs`.
   *
   * @param name is shown in the report: 1 to 200 letters, digits, `_`, `.`, `:` or `-`
   *
   * @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS` for a name that is not valid or is taken, a check that is no function, or options
   * that are not valid
   */
  // `const` keeps a text that an async check returns: without it, `async () => 'Healthy'` would be a promise of any text, and would not compile.
  addCheck<const V extends HealthVerdict> (name: string, check: (context: { readonly signal: AbortSignal }) => V | Promise<V>, options?: HealthCheckOptions): void
  /**
   * The first half of a shutdown: readiness answers 503 and the worker claims no more jobs, while requests and running jobs go on. Resolves
   * after `health.shutdownDelayMs`, when load balancers have noticed; then call `app.close()`. It does not wait once the application closes.
   */
  drain (): Promise<void>
  /** What `drain()` does, without waiting. */
  startDraining (): void
  /** Calls the listener when draining begins; never when it has begun already. A listener that fails is logged, and is not waited for. */
  onDraining (listener: () => unknown): void
  /** Runs every check (or uses its answer, see `cacheMs`). Never rejects for a check that fails. */
  report (): Promise<HealthReport>
  /** The checks that decide whether traffic should come here: those tagged `ready`. */
  readiness (): Promise<HealthReport>
  /** Always `Healthy`: a process that answers needs no restart. */
  liveness (): HealthReport
}
