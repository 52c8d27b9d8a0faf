import type { Durations } from './distribution.ts'
import type { Surroundings, WorkerView } from './fact-reader.ts'
import type { ResolvedPerformanceOptions } from './options.ts'
import type { SlowQuery } from './queries.ts'
import { CAUSES, SEVERITIES, type Cause, type Facts, type Finding, type HandlerFacts, type QueueFacts } from './bottleneck-report.ts'
import { durationText } from './duration-text.ts'

/** Everything that the findings are made from. */
export interface Evidence {
  readonly facts: Facts
  readonly options: Pick<ResolvedPerformanceOptions, 'slowMs' | 'slowQueryMs' | 'eventLoopLagMs' | 'queueWaitMs' | 'slowStoreMs'>
  /** `timeoutMs` by job name; 0: none. */
  readonly timeouts: ReadonlyMap<string, number>
  readonly worker: WorkerView | undefined
  readonly countsIntervalMs: Surroundings['countsIntervalMs']
  /** The slow queries of the window. */
  readonly slowQueries: readonly SlowQuery[]
}

/** From this share of busy slots on, a queue counts as saturated: between two attempts a slot is free for a moment. */
const SATURATED_PERCENT = 90
const BUSY_LOOP_PERCENT = 95
const WORKING_PERCENT = 70
const FAILING_PERCENT = 20
const NEAR_TIMEOUT_PERCENT = 80
const STORE_FAILING_PERCENT = 5
/** A percentile of fewer measurements means nothing. */
const ENOUGH = 5
const MANY_QUERIES = 10
const COUNTS_TOO_OLD_MS = 60_000
/** A value of more than this many times its threshold is critical. */
const URGENT = 10

/** Operations through which the processes on a store exchange reports: no job waits for them. */
const ASIDE: ReadonlySet<string> = new Set(['list', 'gather', 'share', 'lock', 'unlock', 'subscribe'])
/** Reasons of refusals that mean too much work, not a bad request. */
const OVERLOAD: ReadonlySet<string> = new Set(['queue-full', 'overloaded', 'store-unavailable', 'store-full'])
/** Causes that limit the throughput. The others need attention, but do not hold up other work. */
const LIMITS: ReadonlySet<Cause> = new Set<Cause>([
  'store-away', 'store-failing', 'event-loop-blocked', 'no-worker', 'not-claiming', 'store-slow', 'event-loop-busy',
  'workers-saturated', 'workers-elsewhere', 'queue-wait'
])

/** What the numbers mean, the worst first. A pure function: the same evidence gives the same findings. */
export function findings (evidence: Evidence): Finding[] {
  return [
    ...storeAway(evidence),
    ...storeFailing(evidence),
    ...eventLoop(evidence),
    ...storeSlow(evidence),
    ...queues(evidence),
    ...refused(evidence),
    ...handlers(evidence),
    ...stuck(evidence),
    ...queries(evidence)
  ].map(inOrder).sort(worstFirst)
}

/** Every finding with its fields in the same order, however it was made: they are shown as JSON. */
function inOrder ({ cause, severity, subject, value, threshold, unit, sentence }: Finding): Finding {
  return { cause, severity, subject, value, threshold, unit, sentence }
}

function worstFirst (a: Finding, b: Finding): number {
  const bySeverity = SEVERITIES.indexOf(a.severity) - SEVERITIES.indexOf(b.severity)
  return bySeverity || CAUSES.indexOf(a.cause) - CAUSES.indexOf(b.cause) || b.value - a.value
}

/** The finding that limits the throughput most; `findings` has put it before the others. */
export function limitOf (found: readonly Finding[]): Finding | undefined {
  return found.find(({ cause, severity }) => severity !== 'info' && LIMITS.has(cause))
}

/** The findings in one sentence. */
export function verdict (found: readonly Finding[], { coveredMs, queues, handlers }: Facts): { verdict: string, limitedBy: Cause | null } {
  const limit = limitOf(found)
  if (limit !== undefined) return { verdict: limit.sentence, limitedBy: limit.cause }
  const idle = handlers.length === 0 && queues.every(({ wait, active }) => wait === null && (active ?? 0) === 0)
  const nothingRan = idle ? `: no job was run here in the last ${durationText(coveredMs)}` : ''
  const rest = found.some(({ severity }) => severity !== 'info') ? ', but the findings need attention' : nothingRan
  return { verdict: `Nothing limits the throughput now${rest}.`, limitedBy: null }
}

function countsTooOldMs ({ countsIntervalMs }: Evidence): number { return Math.max(COUNTS_TOO_OLD_MS, 3 * countsIntervalMs) }

function storeAway (evidence: Evidence): Finding[] {
  const { countsAgeMs } = evidence.facts.store
  const threshold = countsTooOldMs(evidence)
  if (countsAgeMs === null || countsAgeMs <= threshold) return []
  return [{
    cause: 'store-away', severity: 'critical', subject: null, value: countsAgeMs, threshold, unit: 'ms',
    sentence: `The job store has not answered for ${durationText(countsAgeMs)}: check that its server is running and can be reached from this host.`
  }]
}

function storeFailing ({ facts: { store } }: Evidence): Finding[] {
  const errors = store.operations.reduce((sum, operation) => sum + operation.errors, 0)
  const calls = store.operations.reduce((sum, { duration }) => sum + duration.count, 0)
  const share = share100(errors, calls)
  if (errors < ENOUGH || share < STORE_FAILING_PERCENT) return []
  const worst = [...store.operations].sort((a, b) => b.errors - a.errors)[0]
  return [{
    cause: 'store-failing', severity: 'critical', subject: worst?.operation ?? null, value: share, threshold: STORE_FAILING_PERCENT, unit: '%',
    sentence: `${errors} of ${calls} operations of the job store failed, most of them \`${worst?.operation ?? ''}\`: look at its server, and at the error codes in the log.`
  }]
}

function eventLoop ({ facts: { eventLoop: { lagMs, highestLagMs, utilizationPercent } }, options: { eventLoopLagMs: threshold } }: Evidence): Finding[] {
  if (highestLagMs === null || utilizationPercent === null) return []
  const base = { subject: null, threshold, unit: 'ms' } as const
  if (lagMs !== null && lagMs > threshold) {
    return [{
      ...base, cause: 'event-loop-blocked', severity: 'critical', value: lagMs,
      sentence: `The event loop is late by up to ${durationText(lagMs)} (p99): code in this process computes without a pause, and everything else in the process waits for it; move it to a worker thread or split it up.`
    }]
  }
  if (highestLagMs > threshold) {
    return [{
      ...base, cause: 'event-loop-blocked', severity: 'warning', value: highestLagMs,
      sentence: `The event loop was late by up to ${durationText(highestLagMs)} (p99) a while ago: code in this process computed without a pause, and everything else in the process waited for it.`
    }]
  }
  if (utilizationPercent < BUSY_LOOP_PERCENT) return []
  return [{
    cause: 'event-loop-busy', severity: 'warning', subject: null, value: utilizationPercent, threshold: BUSY_LOOP_PERCENT, unit: '%',
    sentence: `This process computes ${utilizationPercent} % of the time: one core is all it can use, so add processes; more concurrency would not help.`
  }]
}

function storeSlow ({ facts: { store, eventLoop: { meanLagMs } }, options: { slowStoreMs: threshold } }: Evidence): Finding[] {
  const worst = store.operations.find(({ operation, duration }) => !ASIDE.has(operation) && duration.count >= ENOUGH)
  if (worst === undefined || worst.duration.p95Ms <= threshold) return []
  // An answer that waited because the event loop was blocked is not the store's fault.
  if (meanLagMs !== null && meanLagMs >= worst.duration.p95Ms / 2) return []
  const { p95Ms } = worst.duration
  return [{
    cause: 'store-slow', severity: p95Ms > URGENT * threshold ? 'critical' : 'warning', subject: worst.operation, value: p95Ms, threshold, unit: 'ms',
    sentence: `The job store takes ${p95(worst.duration)} for \`${worst.operation}\`: look at the load of its server, its slow log, and the network in between.`
  }]
}

function queues (evidence: Evidence): Finding[] {
  return evidence.facts.queues.flatMap((queue) => queueFinding(evidence, queue) ?? [])
}

function queueFinding (evidence: Evidence, facts: QueueFacts): Finding | undefined {
  const { options: { queueWaitMs: threshold }, facts: { store } } = evidence
  const { queue, wait, concurrency } = facts
  // Counts that are too old, because the store is away, say nothing about now.
  const fresh = store.countsAgeMs !== null && store.countsAgeMs <= countsTooOldMs(evidence)
  const oldest = fresh ? facts.oldestWaitingMs ?? 0 : 0
  const waited = wait?.p95Ms ?? 0
  const value = Math.max(waited, oldest)
  if (value <= threshold) return undefined
  const waiting = waited >= oldest && wait !== null
    ? `Jobs wait ${p95(wait)} in queue \`${queue}\``
    : `The job that waits longest in queue \`${queue}\` has waited for ${durationText(oldest)}`
  const severity = value > URGENT * threshold ? 'critical' : 'warning'
  const base = { severity, subject: queue, value, threshold, unit: 'ms' } as const
  if (concurrency !== null && concurrency > 0) return { ...base, ...ownWorker(evidence, facts, waiting, oldest > threshold) }
  if (store.jobsInProgress !== 0) {
    const elsewhere = store.jobsInProgress === null ? '' : ` (${store.jobsInProgress} jobs are being worked on)`
    const advice = `add workers, or look at the same page of those that do${elsewhere}`
    return { ...base, cause: 'workers-elsewhere', sentence: `${waiting}, and this process does not work on it: ${advice}.` }
  }
  const advice = 'start a worker; this process has none for that queue'
  const sentence = `${waiting}, and no job is being worked on anywhere: ${advice}.`
  return { ...base, severity: 'critical', cause: 'no-worker', sentence }
}

/**
 * Why jobs wait although this process works on their queue. @param now whether jobs wait now, not only earlier in the
 * window
 */
function ownWorker (evidence: Evidence, facts: QueueFacts, waiting: string, now: boolean): Pick<Finding, 'cause' | 'sentence'> & Partial<Finding> {
  const { wait, active, concurrency, busyPercent } = facts
  const busy = busyPercent ?? 0
  if (busy >= SATURATED_PERCENT || (active ?? 0) >= (concurrency ?? 0)) {
    return { cause: 'workers-saturated', sentence: saturated(evidence, facts, waiting) }
  }
  if (now && wait === null && (active ?? 0) === 0) {
    const idle = `the worker of this process has claimed none although its ${concurrency} slots are free`
    const advice = 'see whether it is paused or has lost its connection (`/health/ready`)'
    return { cause: 'not-claiming', severity: 'critical', sentence: `${waiting}, and ${idle}: ${advice}.` }
  }
  const why = 'the jobs came in a burst, or other processes are slower than this one'
  return { cause: 'queue-wait', sentence: `${waiting} although only ${busy} % of ${concurrency} slots were busy: ${why}.` }
}

/** The sentence about a queue whose slots are all busy: with which job, and what to do. */
function saturated (evidence: Evidence, { queue, active, concurrency, busyPercent }: QueueFacts, waiting: string): string {
  const name = busiest(evidence, queue)
  const duration = evidence.facts.handlers.find((handler) => handler.name === name)?.duration
  const work = name === undefined ? '' : ` with \`${name}\`${duration === undefined ? '' : ` (p95 ${atLeast(duration)})`}`
  const busy = busyPercent ?? 0
  // The average includes the time before the jobs came. If all slots are busy now, that is what holds the jobs up.
  const full = busy >= 99 || (active ?? 0) >= (concurrency ?? 0)
  const all = concurrency === 1 ? 'its only slot is busy' : `all ${concurrency} slots are busy`
  const slots = full ? all : `${busy} % of ${concurrency} slots were busy on average`
  const { utilizationPercent } = evidence.facts.eventLoop
  const advice = (utilizationPercent ?? 0) >= BUSY_LOOP_PERCENT
    ? 'add worker processes; this one has no time left for more concurrency'
    : 'add workers or raise `worker.concurrency`'
  return `${waiting} while ${slots}${work}: ${advice}.`
}

/**
 * The job of a queue that most of its running attempts belong to; if none is running, the one that took most of the
 * time.
 */
function busiest ({ facts, worker }: Evidence, queue: string): string | undefined {
  const running = new Map<string, number>()
  for (const attempt of worker?.attempts() ?? []) {
    if (attempt.queue === queue) running.set(attempt.name, (running.get(attempt.name) ?? 0) + 1)
  }
  const [name] = [...running].sort(([, a], [, b]) => b - a)[0] ?? []
  return name ?? byTime(facts.handlers.filter((handler) => handler.queue === queue))?.name
}

function byTime (handlers: readonly HandlerFacts[]): HandlerFacts | undefined {
  return [...handlers].sort((a, b) => b.timePercent - a.timePercent)[0]
}

function refused ({ facts: { pressure } }: Evidence): Finding[] {
  const over = pressure.refused.filter(({ reason }) => OVERLOAD.has(reason))
  const count = over.reduce((sum, entry) => sum + entry.count, 0)
  if (count === 0) return []
  return [{
    cause: 'submissions-refused', severity: 'warning', subject: over[0]?.reason ?? null, value: count, threshold: 0, unit: 'count',
    sentence: `${count} submission${count === 1 ? ' was' : 's were'} refused (${over.map(({ reason }) => reason).join(', ')}): clients were asked to come back later.`
  }]
}

function handlers ({ facts, options, timeouts }: Evidence): Finding[] {
  const found = facts.handlers.flatMap((handler): Finding[] => {
    const { name, duration, errors, errorCode } = handler
    if (duration.count < ENOUGH) return []
    const failing = share100(errors, duration.count)
    const timeoutMs = timeouts.get(name) ?? 0
    const near = NEAR_TIMEOUT_PERCENT / 100 * timeoutMs
    return [
      ...(failing < FAILING_PERCENT
        ? []
        : [{
            cause: 'handler-failing', severity: failing >= 50 ? 'critical' : 'warning', subject: name, value: failing, threshold: FAILING_PERCENT, unit: '%',
            sentence: `${failing} % of the attempts of \`${name}\` failed${errorCode === null ? '' : `, mostly with ${errorCode}`}: their retries take slots from other jobs.`
          } as const]),
      ...(timeoutMs === 0 || duration.p95Ms < near
        ? []
        : [{
            cause: 'handler-near-timeout', severity: 'warning', subject: name, value: duration.p95Ms, threshold: near, unit: 'ms',
            sentence: `\`${name}\` takes ${p95(duration)} and is aborted after ${durationText(timeoutMs)}: make it faster, or give it a longer \`timeoutMs\`.`
          } as const])
    ]
  })
  return [...found, ...slowest(facts, options.slowMs)]
}

/** The handler that takes most of the time, reported only when slots are scarce: otherwise jobs may take long. */
function slowest (facts: Facts, slowMs: number): Finding[] {
  const busyPercent = Math.max(0, ...facts.queues.map((queue) => queue.busyPercent ?? 0))
  const handler = byTime(facts.handlers)
  if (busyPercent < WORKING_PERCENT || handler === undefined || handler.timePercent < 50 || handler.duration.p95Ms <= slowMs) return []
  const { name, duration, timePercent } = handler
  return [{
    cause: 'handler-slow', severity: 'info', subject: name, value: duration.p95Ms, threshold: slowMs, unit: 'ms',
    sentence: `\`${name}\` takes ${p95(duration)} and ${timePercent} % of the time of all handlers here: whatever makes it faster helps most.`
  }]
}

function stuck ({ facts: { store: { stuckJobs } } }: Evidence): Finding[] {
  if (stuckJobs === null || stuckJobs === 0) return []
  return [{
    cause: 'jobs-stuck', severity: 'warning', subject: null, value: stuckJobs, threshold: 0, unit: 'count',
    sentence: `${stuckJobs} job${stuckJobs === 1 ? ' has' : 's have'} lost the worker that ran ${stuckJobs === 1 ? 'it' : 'them'}, and will be taken over by another: if the number stays, look for workers that crash or do not answer.`
  }]
}

function queries ({ slowQueries, options: { slowQueryMs: threshold } }: Evidence): Finding[] {
  const worst = [...slowQueries].sort((a, b) => b.durationMs - a.durationMs)[0]
  if (worst === undefined) return []
  const { length } = slowQueries
  const what = [`\`${worst.operation}\``, ...(worst.target === '' ? [] : [`on \`${worst.target}\``])].join(' ')
  return [{
    cause: 'queries-slow', severity: length >= MANY_QUERIES ? 'warning' : 'info', subject: worst.system, value: worst.durationMs, threshold, unit: 'ms',
    sentence: `${length} database quer${length === 1 ? 'y' : 'ies'} took longer than ${durationText(threshold)}, the slowest ${durationText(worst.durationMs)} (${what}): see \`slowQueries\`.`
  }]
}

function share100 (part: number, whole: number): number {
  return whole === 0 ? 0 : Math.round(1_000 * part / whole) / 10
}

function p95 (duration: Durations): string { return `${atLeast(duration)} (p95)` }

function atLeast ({ p95Ms, p95ToMs }: Durations): string { return `${p95ToMs === null ? 'more than ' : ''}${durationText(p95Ms)}` }
