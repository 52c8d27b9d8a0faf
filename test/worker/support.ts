import { createContext, systemClock, type Clock } from '../../lib/core/context.ts'
import { readRedactOptions } from '../../lib/core/redact.ts'
import { EventBus } from '../../lib/events/bus.ts'
import { EVENT_NAMES, type EventName } from '../../lib/events/catalogue.ts'
import type { JobRuntime } from '../../lib/events/runtime.ts'
import { compileDefinition } from '../../lib/jobs/compile-definition.ts'
import type { JobDefinitionInput } from '../../lib/jobs/definition.ts'
import type { JobProgress, ClaimedJob } from '../../lib/jobs/job.ts'
import { StoreCounts } from '../../lib/jobs/store-counts.ts'
import { JobRegistry } from '../../lib/jobs/registry.ts'
import type { Claim, JobStore } from '../../lib/jobs/store.ts'

export interface TestRuntime {
  runtime: JobRuntime
  /** Names of all events so far. */
  names: () => EventName[]
  event: (name: EventName) => Record<string, unknown> | undefined
  progress: JobProgress[]
  /** What `store.progress` answers. */
  lease: { held: boolean }
}

/** A runtime over a store that knows only `progress`: enough for one attempt. */
export function testRuntime (definition: Partial<JobDefinitionInput> & Pick<JobDefinitionInput, 'handler'>, clock: Clock = systemClock): TestRuntime {
  const context = createContext({ clock, instanceId: 'test' })
  const bus = new EventBus(context.logger)
  const registry = new JobRegistry()
  registry.add(compileDefinition({ name: 'job', retry: { attempts: 3, backoff: { type: 'fixed', delayMs: 1_000, jitter: 0 } }, ...definition }))
  const events: Array<[EventName, Record<string, unknown>]> = []
  for (const name of EVENT_NAMES) bus.on(name, (event) => events.push([name, event as unknown as Record<string, unknown>]))
  const progress: JobProgress[] = []
  const lease = { held: true }
  const store = {
    type: 'test',
    progress: async (_claim: Claim, value: JobProgress) => {
      if (lease.held) progress.push(value)
      return lease.held
    }
  } as Partial<JobStore> as JobStore
  return {
    runtime: { context, bus, registry, store, counts: new StoreCounts(store, context.clock), redaction: readRedactOptions(), submitMiddleware: [], attemptMiddleware: [], handlerSpanMiddleware: [], stepMiddleware: [], handlerMiddleware: [] },
    // How long the store took has tests of its own.
    names: () => events.map(([name]) => name).filter((name) => name !== 'store.operated' && name !== 'store.operation_failed'),
    event: (name) => events.findLast(([entry]) => entry === name)?.[1],
    progress,
    lease
  }
}

export function testClaim (parts: Partial<ClaimedJob> = {}, claim: Partial<Claim> = {}): Claim {
  const now = Date.now()
  const job: ClaimedJob = {
    id: '00000000-0000-4000-8000-000000000001',
    name: 'job',
    queue: 'default',
    state: 'in-progress',
    input: { body: { n: 1 }, params: {}, query: {}, headers: {} },
    owner: undefined,
    correlationId: 'corr',
    trace: undefined,
    priority: 0,
    createdAt: now - 50,
    runAt: now - 50,
    startedAt: now,
    finishedAt: undefined,
    attempts: 1,
    maxAttempts: 3,
    progress: undefined,
    error: undefined,
    cancelRequested: false,
    resultBytes: undefined,
    ...parts
  }
  return { job, availableAt: job.runAt, stalled: false, claimMs: undefined, ...claim }
}
