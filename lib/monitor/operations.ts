import type { Clock } from '../core/context.ts'
import { invalidOptions } from '../core/options.ts'
import { processMemory } from '../core/process-memory.ts'
import type { Redaction } from '../core/redact.ts'
import { isThenable } from '../core/rejections.ts'
import { singleLine } from '../core/text.ts'
import type { EventBus } from '../events/bus.ts'
import type { OperationContext } from '../events/catalogue.ts'
import type { HistogramCell } from '../telemetry/metric-cells.ts'
import type { ResolvedPerformanceOptions } from './options.ts'
import type { NewestSamples } from './newest-samples.ts'

/** A slow operation in the bottleneck report. */
export interface SlowOperation {
  /** Wall clock, milliseconds since the epoch. */
  readonly at: number
  readonly operation: string
  readonly durationMs: number
  readonly context: OperationContext | undefined
}

export interface OperationsParts {
  readonly clock: Clock
  readonly bus: EventBus
  readonly redaction: Redaction
  readonly options: Pick<ResolvedPerformanceOptions, 'slowMs' | 'memorySpikeMb'>
  readonly samples: NewestSamples<SlowOperation>
  readonly duration: (operation: string) => HistogramCell
  readonly memoryDelta: (operation: string) => HistogramCell
  /** Bytes of the heap in use. @defaultValue V8's own count; reading it takes about a microsecond */
  readonly heapUsed?: () => number
}

const MIB = 1_048_576
const MAX_NAME = 100
const MAX_CONTEXT_KEYS = 16
const MAX_CONTEXT_KEY = 64
const MAX_CONTEXT_TEXT = 256
// eslint-disable-next-line no-control-regex
const NOT_IN_NAMES = /[\u0000-\u001f\u007f-\u009f\u2028\u2029\p{Surrogate}]/u

/** Runs operations of the application and measures them: `app.jobMonitor.monitor()`. */
export class Operations {
  readonly #parts: OperationsParts
  readonly #heapUsed: () => number

  constructor (parts: OperationsParts) {
    this.#parts = parts
    this.#heapUsed = parts.heapUsed ?? (() => processMemory.heap().usedBytes)
  }

  /**
   * @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS` for a bad name, before the work begins; afterwards, what the
   * work throws
   */
  measure<R> (operation: string, work: () => R, context?: OperationContext): R {
    checkName(operation)
    const { clock } = this.#parts
    const heap = this.#heap()
    const startedAt = clock.monotonic()
    const end = (): void => { this.#ended(operation, clock.monotonic() - startedAt, heap, context) }
    let result: R
    try {
      result = work()
    } catch (error) {
      end()
      throw error
    }
    if (!isThenable(result)) {
      end()
      return result
    }
    // Promise.resolve calls `then` once. Query builders are thenable too, and each call of their `then` sends the query
    // again.
    return Promise.resolve(result).finally(end) as R
  }

  /** Reports an operation that has been measured elsewhere, if it was slow. */
  reportIfSlow (operation: string, durationMs: number): void {
    if (durationMs > this.#parts.options.slowMs) this.#slow(operation, durationMs, undefined)
  }

  #ended (operation: string, durationMs: number, heapBefore: number | undefined, given: OperationContext | undefined): void {
    const { bus, options, duration, memoryDelta } = this.#parts
    duration(operation).observe(durationMs / 1_000)
    const heapAfter = heapBefore === undefined ? undefined : this.#heap()
    const delta = heapBefore === undefined || heapAfter === undefined ? 0 : heapAfter - heapBefore
    if (delta !== 0) memoryDelta(operation).observe(Math.abs(delta))
    const slow = durationMs > options.slowMs
    const spiked = delta / MIB > options.memorySpikeMb
    if (!slow && !spiked) return
    const context = cleanContext(given, this.#parts.redaction)
    if (slow) this.#slow(operation, durationMs, context)
    if (spiked) bus.emit('performance.memory_spike', { operation, deltaMb: delta / MIB, thresholdMb: options.memorySpikeMb, context })
  }

  #slow (operation: string, durationMs: number, context: OperationContext | undefined): void {
    const { bus, clock, options, samples } = this.#parts
    samples.add({ at: clock.now(), operation, durationMs, context })
    bus.emit('performance.slow_operation', { operation, durationMs, thresholdMs: options.slowMs, context })
  }

  #heap (): number | undefined {
    try {
      return this.#heapUsed()
    } catch {
      return undefined
    }
  }
}

function checkName (operation: unknown): void {
  if (typeof operation === 'string' && operation !== '' && operation.length <= MAX_NAME && !NOT_IN_NAMES.test(operation)) return
  const advice = 'it becomes a metric label, so give few different ones'
  throw invalidOptions('jobMonitor.monitor', [`the operation must be a name of 1 to ${MAX_NAME} printable characters: ${advice}`])
}

/**
 * The context as it may be emitted: bounded, redacted, with strings, numbers and booleans only. At run time the object
 * of a caller may contain anything, also getters that throw.
 */
function cleanContext (given: unknown, redaction: Redaction): OperationContext | undefined {
  if (typeof given !== 'object' || given === null) return undefined
  const clean: Record<string, string | number | boolean> = {}
  try {
    for (const [key, value] of Object.entries(given as Record<string, unknown>).slice(0, MAX_CONTEXT_KEYS)) {
      const name = singleLine(key, MAX_CONTEXT_KEY)
      if (redaction.hides(name)) clean[name] = redaction.mask
      else if (typeof value === 'string') clean[name] = singleLine(value, MAX_CONTEXT_TEXT, redaction.text)
      else if (typeof value === 'boolean' || (typeof value === 'number' && Number.isFinite(value))) clean[name] = value
    }
  } catch {
    return undefined
  }
  return Object.keys(clean).length === 0 ? undefined : Object.freeze(clean)
}
