import { setTimeout as pause } from 'node:timers/promises'
import { defineMetrics, type AsyncEndpointsMetrics, type Logger } from '../plugins/async-endpoints.ts'

export interface HttpPushMetricsOptions {
  /** Gets a POST with a JSON array of {@link PushedMetric}. */
  endpoint: string
  /** So many recordings wait at most; the oldest are dropped when more come. @defaultValue 10000 */
  maxQueue?: number
  /** Recordings of one request, at most. @defaultValue 500 */
  batchSize?: number
  /** How often what has come together is sent. @defaultValue 1000 */
  intervalMs?: number
  /** A request that takes longer is given up. @defaultValue 5000 */
  timeoutMs?: number
  logger?: Pick<Logger, 'warn' | 'info'>
}

/** One recording, as the receiver gets it. */
export interface PushedMetric {
  readonly MetricName: string
  /** Seconds, a number of things, or 1 for what is only counted. */
  readonly Value: number
  readonly Labels: Readonly<Record<string, string>>
  /** ISO 8601. */
  readonly Timestamp: string
}

export interface HttpPushMetrics {
  /** For `observability.metrics.recorder`. Recording never waits, and never fails. */
  readonly recorder: Partial<AsyncEndpointsMetrics>
  /** Recordings that were lost: the queue was full, or the receiver did not take them. */
  readonly dropped: number
  /** Sends what is left, once, and ends. Takes as long as one request at most. */
  close (): Promise<void>
}

/**
 * An implementation of the metrics interface that needs no scraper: every recording is sent by HTTP, fire and forget. An
 * example of how far one gets with a few lines; for real use look at `observability.export`, which sends sums instead of events.
 */
export function httpPushMetrics ({ endpoint, maxQueue = 10_000, batchSize = 500, intervalMs = 1_000, timeoutMs = 5_000, logger }: HttpPushMetricsOptions): HttpPushMetrics {
  const queue: PushedMetric[] = []
  const closing = new AbortController()
  let dropped = 0
  let outage = false

  const record = (name: string, value: number, labels: object): void => {
    if (closing.signal.aborted) return
    if (queue.length >= maxQueue) {
      // The newest tell more about now. Rarely reached, so that moving the rest does not matter.
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
      if (outage) logger?.info({ dropped }, 'metrics are taken again')
      outage = false
    } catch (error) {
      dropped += batch.length
      // One line per outage: the next batch will fail as well.
      if (!outage) logger?.warn({ reason: error instanceof Error ? error.message : 'unknown' }, 'metrics cannot be pushed; they are dropped until the receiver is back')
      outage = true
    }
  }

  const sendAll = async (): Promise<void> => {
    // Only what is there now: a busy application must not keep a turn from ending. A failed batch ends it too.
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

/** Each method sends its own name; a method that counts sends a 1. Both timers feed the durations that are there. */
function recorderOf (record: (name: string, value: number, labels: object) => void): Partial<AsyncEndpointsMetrics> {
  const counted = Object.fromEntries(COUNTED.map((name) => [name, (labels: object) => { record(name, 1, labels) }]))
  const measured = Object.fromEntries(MEASURED.map((name) => [name, (value: number, labels: object) => { record(name, value, labels) }]))
  return defineMetrics({ ...counted, ...measured })
}

/** `jobName` is `job_name`, as on `/metrics`. */
function snakeCased (labels: object): Record<string, string> {
  return Object.fromEntries(Object.entries(labels).map(([name, value]) => [name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`), String(value)]))
}
