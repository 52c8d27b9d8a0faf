import { invalidOptions } from '../core/options.ts'
import { BaseService } from '../core/service.ts'
import type { JobRuntime } from '../events/runtime.ts'
import type { JobDefinition } from '../jobs/definition.ts'
import { workerSilenceProblem } from '../jobs/worker-silence-limit.ts'
import { storeNow } from '../jobs/store-clock.ts'
import { memoryCheck, workerCheck, type WorkerView } from './process-checks.ts'
import { eventLoopCheck, EventLoopSampler } from './event-loop-check.ts'
import { addRequirementChecks, StuckJobs } from './job-checks.ts'
import { addQueueCheck, addStuckStepsCheck, Compensations } from './saga-checks.ts'
import { BUILT_IN_CHECKS, type BuiltInCheck, type ResolvedBaseHealthOptions } from './options.ts'
import { RunningSteps } from './running-steps.ts'
import { StoreOutage } from './store-outage.ts'
import { StoreReadings } from './store-readings.ts'
import type { Health } from './registry.ts'
import { asyncEndpointsCheck, queueDepthCheck, redisCheck } from './store-checks.ts'

/** The label `store_type` of the store that lives on a Redis server. */
const REDIS = 'bullmq'

/** The built-in checks of one application, and the sampler of the event loop that one of them needs. */
export class BuiltInChecks extends BaseService {
  readonly #health: Health
  readonly #runtime: JobRuntime
  readonly #options: ResolvedBaseHealthOptions
  readonly #wanted: Readonly<Record<BuiltInCheck, boolean>>
  readonly #readings: StoreReadings
  readonly #loop: EventLoopSampler | undefined
  /** `undefined`: nobody asks which steps run for too long. */
  readonly #steps: RunningSteps | undefined
  #sagas = false
  /** `undefined`: this process is unready while the store cannot be used. */
  readonly #outage: StoreOutage | undefined

  /** @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS` */
  constructor (health: Health, runtime: JobRuntime, options: ResolvedBaseHealthOptions) {
    super()
    const { context: { clock }, counts, registry, store } = runtime
    this.#health = health
    this.#runtime = runtime
    this.#options = options
    this.#wanted = { ...Object.fromEntries(BUILT_IN_CHECKS.map((name) => [name, true])) as Record<BuiltInCheck, boolean>, ...options.checks }
    // With a limit shorter than the time between two looks of a healthy worker, readiness would come and go.
    const problem = this.#wanted.worker ? workerSilenceProblem('workerSilentMs', options.workerSilentMs, store) : undefined
    if (problem !== undefined) throw invalidOptions('health', [problem])
    this.#readings = new StoreReadings(store, counts, clock, () => registry.queues())
    this.#outage = options.storeOutage === 'ready' ? new StoreOutage(clock) : undefined
    this.#loop = this.#wanted.eventLoop ? new EventLoopSampler(clock) : undefined
    this.#steps = this.#wanted.stuck ? new RunningSteps(clock) : undefined
  }

  /** Adds the checks that work as soon as the plugin is registered. */
  addChecks (): void {
    this.#addStoreChecks()
    this.#addProcessChecks()
    if (this.#steps !== undefined) this.#runtime.stepMiddleware.push(this.#steps.middleware)
  }

  /** Called when everything is loaded: adds the checks of the worker, if there is one, and of what its jobs require. */
  addWorker (worker: WorkerView | undefined): void {
    const { context: { clock }, registry, store } = this.#runtime
    const outage = this.#outage
    if (worker !== undefined && this.#wanted.worker) {
      const check = workerCheck(worker, clock, this.#options.workerSilentMs, () => outage?.lastOutAt ?? -Infinity)
      // Wrapped by `excuse`, the check waits for the check of the store, which may take `probeTimeoutMs`.
      const options = { tags: ['ready', 'worker'], cacheMs: 0, timeoutMs: this.#options.probeTimeoutMs }
      this.#health.addCheck('worker', outage?.excuse(check) ?? check, options)
    }
    if (this.#wanted.stuck) new StuckJobs(registry, this.#readings, { now: () => storeNow(store, clock) }).addTo(this.#health)
    registry.watch((definition) => {
      const runsHere = worker?.worksOn(definition.queue) === true
      if (definition.saga !== undefined) this.#addSaga(definition, runsHere)
      // Only a process that runs the handler needs what the handler requires.
      if (this.#wanted.requires && runsHere) addRequirementChecks(this.#health, definition)
    })
  }

  #addSaga (definition: JobDefinition, runsHere: boolean): void {
    const { context: { clock }, counts, registry, store } = this.#runtime
    if (this.#wanted.compensations && !this.#sagas) {
      this.#sagas = true
      const sagas = (): JobDefinition[] => registry.all().filter(({ saga }) => saga !== undefined)
      new Compensations({
        clock: { now: () => storeNow(store, clock) },
        store,
        counts,
        queues: () => [...new Set(sagas().map(({ queue }) => queue))],
        maxCompensationMs: this.#options.maxCompensationMs
      }).addTo(this.#health)
    }
    if (this.#wanted.sagaQueue) addQueueCheck(this.#health, definition, counts)
    if (this.#steps !== undefined && runsHere) addStuckStepsCheck(this.#health, definition, this.#steps)
  }

  protected async onStart (): Promise<void> {
    const { traceExits } = this.#runtime
    const start = async (): Promise<void> => { await this.#loop?.start() }
    await (traceExits === undefined ? start() : traceExits.quietly(start))
  }

  protected async onStop (deadlineMs: number): Promise<void> { await this.#loop?.stop(deadlineMs) }

  #addStoreChecks (): void {
    const { context: { clock, ids }, registry, store } = this.#runtime
    const { storeLatencyMs: latencyMs, probeTimeoutMs: answerMs, maxStuckJobs, maxQueueDepth, submitProbe } = this.#options
    if (this.#wanted.asyncendpoints) {
      const maxRetries = (): number => Math.max(0, ...registry.all().map(({ maxAttempts }) => maxAttempts - 1))
      const check = asyncEndpointsCheck({ store, clock, ids, readings: this.#readings, maxRetries, latencyMs, answerMs, maxStuckJobs, submitProbe: submitProbe !== false })
      this.#health.addCheck('asyncendpoints', this.#outage?.watch(check) ?? check, { tags: ['ready', 'store'], timeoutMs: 10_000 })
    }
    if (this.#wanted.queueDepth) {
      this.#health.addCheck('asyncendpoints.queuedepth', queueDepthCheck(this.#readings, maxQueueDepth), { tags: ['ready', 'queue'], critical: false, timeoutMs: 5_000 })
    }
    if (this.#wanted.redis && store.type === REDIS) this.#health.addCheck('redis', redisCheck(store, clock), { tags: ['redis', 'store'], timeoutMs: 5_000 })
  }

  #addProcessChecks (): void {
    const loop = this.#loop
    if (this.#wanted.memory) this.#health.addCheck('memory', memoryCheck(this.#options), { tags: ['memory'], critical: false })
    if (loop !== undefined) this.#health.addCheck('event-loop', eventLoopCheck(this.#options, () => loop.reading), { tags: ['event-loop'], critical: false, cacheMs: 0 })
  }
}
