import { setTimeout as pause } from 'node:timers/promises'
import { defineMetrics, type AsyncEndpointsMetrics, type Logger } from '../plugins/async-endpoints.ts'

export interface HttpPushMetricsOptions {
  /** The URL that gets POST requests with a JSON array of {@link PushedMetric}. */
  endpoint: string
  /** The largest number of waiting recordings. If there are more, the oldest are dropped. @defaultValue 10000 */
  maxQueue?: number
  /** The largest number of recordings in one request. @defaultValue 500 */
  batchSize?: number
  /** How often the waiting recordings are sent. @defaultValue 1000 */
  intervalMs?: number
  /** A request that takes longer is cancelled. @defaultValue 5000 */
  timeoutMs?: number
  logger?: Pick<Logger, 'warn' | 'info'>
}

/** One recording as the receiver gets it. */
export interface PushedMetric {
  readonly MetricName: string
  /** Seconds, a number of things, or 1 for each count. */
  readonly Value: number
  readonly Labels: Readonly<Record<string, string>>
  /** ISO 8601. */
  readonly Timestamp: string
}

export interface HttpPushMetrics {
  /** The value for `observability.metrics.recorder`. Recording never waits and never fails. */
  readonly recorder: Partial<AsyncEndpointsMetrics>
  /** The number of lost recordings: the queue was full, or the receiver did not accept them. */
  readonly dropped: number
  /** Sends the waiting recordings once and stops. Takes at most as long as one request. */
  close (): Promise<void>
}

/**
 * An implementation of the metrics interface that needs no scraper: it sends every recording over HTTP and does not
 * retry. This is only an example of a small implementation; for real use see `observability.export`, which sends sums
 * instead of events.
 */
export function httpPushMetrics ({ endpoint, maxQueue = 10_000, batchSize = 500, intervalMs = 1_000, timeoutMs = 5_000, logger }: HttpPushMetricsOptions): HttpPushMetrics {
  const queue: PushedMetric[] = []
  const closing = new AbortController()
  let dropped = 0
  let outage = false

  const record = (name: string, value: number, labels: object): void => {
    if (closing.signal.aborted) return
    if (queue.length >= maxQueue) {
      // Drop the oldest one. The limit is rarely reached, so the cost of shift() does not matter.
      queue.shift()
      dropped++
    }
    queue.push({ MetricName: name, Value: value, Labels: snakeCased(labels), Timestamp: new Date().toISOString() })
  }

  const send = async (batch: readonly PushedMetric[]): Promise<void> => {
    try {
      const response = await fetch(endpoint, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(batch), signal: AbortSignal.timeout(timeoutMs) })
      await response.body?.cancel()
      if (!response.ok) throw new Error(`it answered ${response.status}`)
      if (outage) logger?.info({ dropped }, 'the receiver accepts metrics again')
      outage = false
    } catch (error) {
      dropped += batch.length
      // One line per outage, because the next batches will fail too.
      if (!outage) logger?.warn({ reason: error instanceof Error ? error.message : 'unknown' }, 'metrics could not be pushed; they are dropped until the receiver accepts them again')
      outage = true
    }
  }

  const sendAll = async (): Promise<void> => {
    // Send only what is waiting now, so that a turn ends even if the application keeps recording. A failed batch ends
    // it too.
    for (let left = queue.length; left > 0; left -= batchSize) {
      await send(queue.splice(0, Math.min(batchSize, left)))
      if (outage) return
    }
  }

  const loop = async (): Promise<void> => {
    while (!closing.signal.aborted) {
      await pause(intervalMs, undefined, { signal: closing.signal, ref: false }).catch(() => { /* closing */ })
      if (!closing.signal.aborted) await sendAll()
    }
  }
  const running = loop()

  return {
    recorder: recorderOf(record),
    get dropped () { return dropped },
    async close () {
      closing.abort()
      await running
      const batch = queue.splice(0, queue.length)
      if (batch.length > 0) await send(batch)
    }
  }
}

const COUNTED = ['jobCreated', 'jobProcessed', 'jobFailed', 'jobRetried', 'jobCancelled', 'jobSlaMissed', 'jobRecovered', 'requestRejected', 'handlerError', 'storeOperation', 'storeError', 'workerProcessed'] as const
const MEASURED = [
  'jobQueueDuration', 'jobProcessingDuration', 'jobClaimDuration', 'jobSubmitDuration', 'handlerDuration', 'storeOperationDuration', 'workerIdle',
  'jobCurrentCount', 'channelUtilization', 'jobsActive', 'handlersAbandoned', 'jobsOldestAge', 'jobsStuck', 'storeCountsAge'
] as const

/** Each method sends its own name. A method that counts sends 1. The two timers use the methods for durations. */
function recorderOf (record: (name: string, value: number, labels: object) => void): Partial<AsyncEndpointsMetrics> {
  const counted = Object.fromEntries(COUNTED.map((name) => [name, (labels: object) => { record(name, 1, labels) }]))
  const measured = Object.fromEntries(MEASURED.map((name) => [name, (value: number, labels: object) => { record(name, value, labels) }]))
  return defineMetrics({ ...counted, ...measured })
}

/** Label names as on `/metrics`: `jobName` becomes `job_name`. */
function snakeCased (labels: object): Record<string, string> {
  return Object.fromEntries(Object.entries(labels).map(([name, value]) => [name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`), String(value)]))
}
