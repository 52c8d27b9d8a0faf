/** The report that each process writes to the store about itself, for the process that evaluates the rules. */
import type { Consumer } from '../../jobs/store.ts'
import type { ConsumerFacts, ProcessFacts, SlowJob } from './alert-facts.ts'
import { isArrayOf, isCount, isRecord } from './type-guards.ts'

/** What alerts need of a worker. */
export interface AlertWorkerView {
  readonly running: boolean
  consumers (): ReadonlyArray<Pick<Consumer, 'queue' | 'active' | 'lastSeenAt' | 'paused'>>
  concurrencyOf (queue: string): number
  oldestAttempts (limit: number): ReadonlyArray<{
    readonly id: string
    readonly name: string
    readonly queue: string
    readonly runningMs: number
  }>
}

export interface ProcessReport extends ProcessFacts {
  /** How long the process has been counting. */
  readonly watchedMs: number
  /** The queues that the process knows, and how long ago it claimed a job from each; `null`: never. */
  readonly queues: ReadonlyArray<readonly [queue: string, claimAgeMs: number | null]>
  /** Running attempts that have already taken longer than `slowJobMs`. */
  readonly running: readonly SlowJob[]
}

const VERSION = 1

export function encodeReport (report: ProcessReport): string {
  return JSON.stringify({ version: VERSION, ...report })
}

/** @returns `undefined` for a report that another version wrote, or that is damaged */
export function decodeReport (text: string): ProcessReport | undefined {
  try {
    const parsed: unknown = JSON.parse(text)
    return isRecord(parsed) && parsed['version'] === VERSION && isReport(parsed) ? parsed : undefined
  } catch {
    return undefined
  }
}

function isReport (value: Readonly<Record<string, unknown>>): value is Readonly<Record<string, unknown>> & ProcessReport {
  const { instance, memory, consumers, watchedMs, queues, running } = value
  return typeof instance === 'string' && isCount(watchedMs) &&
    isRecord(memory) && isCount(memory['usedBytes']) && isCount(memory['limitBytes']) &&
    isArrayOf(consumers, isConsumer) && isArrayOf(queues, isQueue) && isArrayOf(running, isSlowJob)
}

function isConsumer (value: unknown): value is ConsumerFacts {
  if (!isRecord(value)) return false
  const { queue, active, concurrency, paused, silentMs } = value
  return typeof queue === 'string' && isCount(active) && isCount(concurrency) && typeof paused === 'boolean' && isCount(silentMs)
}

function isQueue (value: unknown): value is readonly [string, number | null] {
  return Array.isArray(value) && typeof value[0] === 'string' && (value[1] === null || isCount(value[1]))
}

function isSlowJob (value: unknown): value is SlowJob {
  if (!isRecord(value)) return false
  const { jobId, jobName, durationMs, running } = value
  return typeof jobId === 'string' && typeof jobName === 'string' && isCount(durationMs) && typeof running === 'boolean'
}
