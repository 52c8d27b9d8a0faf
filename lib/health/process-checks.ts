import type { Clock } from '../core/context.ts'
import type { HealthCheck, HealthData, HealthStatus } from '../core/health-check.ts'
import { processMemory, type ProcessMemory } from '../core/process-memory.ts'
import type { Consumer } from '../jobs/store.ts'

/** The part of a worker that its check looks at. */
export interface WorkerView {
  readonly running: boolean
  consumers (): ReadonlyArray<Pick<Consumer, 'queue' | 'active' | 'lastSeenAt' | 'paused'>>
  /** Whether jobs of a queue are run here. */
  worksOn (queue: string): boolean
  /** The number of slots of a queue. */
  slotsOf (queue: string): number
  /** Abandoned handlers of a queue that still run; since when (monotonic) they hold every slot. */
  abandonedIn (queue: string): { readonly running: number, readonly exhaustedSince: number | undefined }
}

/**
 * Checks that the worker claims jobs. A connection that answers PING while its worker claims nothing would otherwise go unnoticed for
 * a long time. A queue is silent if it has a free slot and is not paused, but the worker has neither claimed a job nor found the queue
 * empty for `silentMs`. A queue whose slots are all held by abandoned handlers for that time is Unhealthy as well.
 *
 * @param countsFrom monotonic: silence before this moment does not count, because the store was away
 */
export function workerCheck (worker: WorkerView, clock: Clock, silentMs: number, countsFrom: () => number = () => -Infinity): HealthCheck {
  return () => {
    if (!worker.running) return { status: 'Unhealthy', description: 'the worker is not running', data: {} }
    const now = clock.monotonic()
    const consumers = worker.consumers()
    const silent: string[] = []
    const paused: string[] = []
    const exhausted: string[] = []
    let [oldestMs, abandoned, heldMs] = [0, 0, 0]
    for (const consumer of consumers) {
      const ageMs = Math.max(0, now - Math.max(consumer.lastSeenAt, countsFrom()))
      const { running, exhaustedSince } = worker.abandonedIn(consumer.queue)
      abandoned += running
      if (exhaustedSince !== undefined) {
        exhausted.push(consumer.queue)
        heldMs = Math.max(heldMs, now - exhaustedSince)
      } else if (consumer.paused) paused.push(consumer.queue)
      else if (consumer.active < worker.slotsOf(consumer.queue)) {
        oldestMs = Math.max(oldestMs, ageMs)
        if (ageMs > silentMs) silent.push(consumer.queue)
      }
    }
    const data: HealthData = {
      queues: consumers.length,
      active: consumers.reduce((sum, consumer) => sum + consumer.active, 0),
      abandoned,
      oldest_proof_ms: Math.round(oldestMs),
      threshold_ms: silentMs
    }
    if (silent.length > 0) return { status: 'Unhealthy', description: `the worker has stopped looking for jobs in ${names(silent)}`, data }
    if (exhausted.length > 0) {
      const description = `handlers that ignored their abort signal hold every slot of ${names(exhausted)}; no job is claimed there until one of them ends`
      return { status: heldMs > silentMs ? 'Unhealthy' : 'Degraded', description, data }
    }
    if (paused.length > 0) return { status: 'Degraded', description: `paused: ${names(paused)}`, data }
    if (abandoned > 0) return { status: 'Degraded', description: `handlers that ignored their abort signal are still running: ${abandoned}`, data }
    return { status: 'Healthy', description: consumers.length === 0 ? 'no job is defined' : 'claiming jobs', data }
  }
}

function names (queues: readonly string[]): string {
  return queues.length > 3 ? `${queues.slice(0, 3).join(', ')} and ${queues.length - 3} more` : queues.join(', ')
}

export interface MemoryLimits {
  /** Bytes of resident memory above which the process is Degraded. */
  readonly degradedRssBytes: number
  /** Share of V8's heap limit above which the process is Degraded, 0 to 1. */
  readonly degradedHeapRatio: number
}

/** Never worse than Degraded: readiness must not take traffic from a busy process. If memory runs out, the kernel ends it. */
export function memoryCheck (limits: MemoryLimits, memory: Pick<ProcessMemory, 'rssBytes' | 'heap'> = processMemory): HealthCheck {
  return () => {
    const rssBytes = memory.rssBytes()
    const heap = memory.heap()
    const problems: string[] = []
    if (rssBytes > limits.degradedRssBytes) problems.push('resident memory is over its limit')
    if (heap.usedBytes > heap.limitBytes * limits.degradedHeapRatio) problems.push('the heap is nearly full')
    const status: HealthStatus = problems.length > 0 ? 'Degraded' : 'Healthy'
    return {
      status,
      description: problems.length > 0 ? problems.join('; ') : 'within its limits',
      data: {
        rss_bytes: rssBytes,
        rss_limit_bytes: limits.degradedRssBytes,
        heap_used_bytes: heap.usedBytes,
        heap_limit_bytes: heap.limitBytes
      }
    }
  }
}
