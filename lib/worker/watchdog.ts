import type { Clock } from '../core/context.ts'
import { EXPIRED, withDeadline } from '../core/deadline.ts'
import { invalidOptions, type OptionsSchema } from '../core/options.ts'
import { Periodic } from '../core/periodic.ts'
import { BaseService } from '../core/service.ts'
import type { RestartReason } from '../events/restart-reasons.ts'
import { workerSilenceProblem } from '../jobs/worker-silence-limit.ts'
import type { Consumer, JobStore } from '../jobs/store.ts'

export interface WatchdogOptions {
  /**
   * A queue with a free slot gets a new consumer when its consumer has neither claimed a job nor looked into the
   * empty queue for this long, in milliseconds, although the store answered. With Redis not below 15000: a consumer
   * that works may look only every ten seconds.
   * @defaultValue 30000
   */
  silentMs?: number | undefined
  /**
   * A new consumer that is silent as well is replaced after twice the time, the next after four times, up to this, in
   * milliseconds.
   * @defaultValue 600000
   */
  maxSilentMs?: number | undefined
}

export const watchdogSchema: OptionsSchema = {
  anyOf: [
    { const: false },
    {
      type: 'object',
      additionalProperties: false,
      properties: {
        silentMs: { type: 'number', minimum: 100, maximum: 86_400_000 },
        maxSilentMs: { type: 'number', minimum: 100, maximum: 86_400_000 }
      }
    }
  ]
}

export type ResolvedWatchdogOptions = Readonly<Required<WatchdogOptions>>

export const WATCHDOG_DEFAULTS: ResolvedWatchdogOptions = Object.freeze({ silentMs: 30_000, maxSilentMs: 600_000 })

/**
 * @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS`: with such options consumers that work would be replaced again
 * and again
 */
export function readWatchdog (
  options: false | WatchdogOptions, store: Pick<JobStore, 'longestLookMs'>
): ResolvedWatchdogOptions | undefined {
  if (options === false) return undefined
  const settings = { ...WATCHDOG_DEFAULTS, ...options }
  const problem = workerSilenceProblem('watchdog.silentMs', settings.silentMs, store)
  if (problem !== undefined) throw invalidOptions('worker', [problem])
  return settings
}

export interface WatchdogParts {
  readonly clock: Clock
  readonly options: ResolvedWatchdogOptions
  /** The present consumer of each queue. */
  readonly consumers: () => readonly Consumer[]
  /** Attempts that the present consumer of a queue may have under way. */
  readonly slotsOf: (queue: string) => number
  /** Rejects while the store cannot be worked with. */
  readonly answers: () => Promise<unknown>
  readonly restart: (queue: string, silentMs: number, reason: RestartReason) => void
  /** Runs `work` outside of the active trace, so that the timers it starts leave no spans. */
  readonly quietly: <R>(work: () => R) => R
}

/** The watchdog looks this many times while a consumer becomes silent. */
const LOOKS = 4
/**
 * A consumer is replaced only when the store has answered this often in a row: a single late look may come from a
 * blocked event loop.
 */
const ANSWERS = 2
const ANSWER_MS = 5_000

/** What the watchdog knows of the consumer of one queue. */
interface Watch {
  readonly consumer: Consumer
  readonly madeAt: number
  /** Silence is counted from here: the last moment at which the consumer had a reason not to claim. */
  since: number
  /** Answers of the store in a row, while the consumer was silent. */
  answers: number
  /** Times in a row that the consumer was replaced since one last gave a sign of life. */
  failures: number
}

/**
 * Notices consumers that are connected and do not consume, the failure that goes unnoticed longest, and has them
 * replaced. A consumer may be silent while it is paused, while all its slots are taken, and while the store is away,
 * where only reconnecting helps.
 *
 * ```
 * waiting ──timer──▶ looking ──(all well | restarted)──▶ waiting          stop ends both
 * ```
 */
export class Watchdog extends BaseService {
  readonly #parts: WatchdogParts
  readonly #watches = new Map<string, Watch>()
  /** The store did not answer the last time. */
  #away = false
  readonly #looks: Periodic

  constructor (parts: WatchdogParts) {
    super()
    this.#parts = parts
    this.#looks = new Periodic({ clock: parts.clock, intervalMs: parts.options.silentMs / LOOKS, turn: () => this.#look() })
  }

  protected async onStart (): Promise<void> {
    this.#parts.quietly(() => { this.#looks.start() })
  }

  protected async onStop (): Promise<void> {
    this.#looks.cancel()
  }

  get #stopped (): boolean { return this.phase === 'stopping' || this.phase === 'stopped' }

  async #look (): Promise<void> {
    const now = this.#parts.clock.monotonic()
    const silent: Watch[] = []
    for (const consumer of this.#parts.consumers()) {
      const watch = this.#refresh(consumer, now)
      if (this.#silence(watch, now) > this.#limit(watch) / 2) silent.push(watch)
      else watch.answers = 0
    }
    if (silent.length === 0 && !this.#away) return
    const answered = await this.#answers()
    if (this.#stopped) return
    const wasAway = this.#away
    this.#away = !answered
    if (!answered || wasAway) {
      // Nothing can be consumed from a store that is away. When it is back, every consumer gets the full time to
      // notice.
      for (const watch of this.#watches.values()) this.#excuse(watch, this.#parts.clock.monotonic())
      return
    }
    for (const watch of silent) this.#judge(watch, now)
  }

  /** Brings what is known of a consumer up to date; begins again for one that is new. */
  #refresh (consumer: Consumer, now: number): Watch {
    const known = this.#watches.get(consumer.queue)
    let watch = known
    if (watch === undefined || watch.consumer !== consumer) {
      watch = { consumer, madeAt: now, since: now, answers: 0, failures: known?.failures ?? 0 }
      this.#watches.set(consumer.queue, watch)
    }
    if (watch.failures > 0 && consumer.lastSeenAt > watch.madeAt) watch.failures = 0
    if (this.#mayBeSilent(consumer)) this.#excuse(watch, now)
    return watch
  }

  #mayBeSilent (consumer: Consumer): boolean {
    return consumer.paused || consumer.active >= this.#parts.slotsOf(consumer.queue)
  }

  #silence ({ consumer, since }: Watch, now: number): number {
    return now - Math.max(since, consumer.lastSeenAt)
  }

  #limit ({ failures }: Watch): number {
    const { silentMs, maxSilentMs } = this.#parts.options
    return Math.max(silentMs, Math.min(silentMs * 2 ** failures, maxSilentMs))
  }

  #excuse (watch: Watch, now: number): void {
    watch.since = now
    watch.answers = 0
  }

  /** @param now from before the store was asked: what the consumer has done meanwhile counts */
  #judge (watch: Watch, now: number): void {
    const { consumer } = watch
    const silentMs = this.#silence(watch, now)
    if (silentMs <= this.#limit(watch) / 2 || this.#mayBeSilent(consumer)) return this.#excuse(watch, now)
    if (++watch.answers < ANSWERS || silentMs < this.#limit(watch)) return
    watch.failures++
    this.#parts.restart(consumer.queue, Math.round(silentMs), consumer.lastSeenAt > -Infinity ? 'silent' : 'never-looked')
  }

  async #answers (): Promise<boolean> {
    try {
      return await withDeadline(this.#parts.clock, ANSWER_MS, this.#parts.answers()) !== EXPIRED
    } catch {
      return false
    }
  }
}
