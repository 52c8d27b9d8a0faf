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
   * A queue with a free place that was neither claimed from nor looked into for so long, while its store answered all the
   * time, gets a new consumer. With Redis not below 15000: a worker that works may look only every ten seconds.
   * @defaultValue 30000
   */
  silentMs?: number
  /** A new consumer that is silent too is replaced after twice the time, and so on, up to this. @defaultValue 600000 */
  maxSilentMs?: number
}

export const watchdogSchema: OptionsSchema = {
  anyOf: [
    { const: false },
    {
      type: 'object',
      additionalProperties: false,
      properties: { silentMs: { type: 'number', minimum: 100, maximum: 86_400_000 }, maxSilentMs: { type: 'number', minimum: 100, maximum: 86_400_000 } }
    }
  ]
}

export const WATCHDOG_DEFAULTS: Readonly<Required<WatchdogOptions>> = Object.freeze({ silentMs: 30_000, maxSilentMs: 600_000 })

/** @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS`: with such options consumers that work would be made anew for ever */
export function readWatchdog (options: false | WatchdogOptions, store: Pick<JobStore, 'longestLookMs'>): Readonly<Required<WatchdogOptions>> | undefined {
  if (options === false) return undefined
  const settings = { ...WATCHDOG_DEFAULTS, ...options }
  const problem = workerSilenceProblem('watchdog.silentMs', settings.silentMs, store)
  if (problem !== undefined) throw invalidOptions('worker', [problem])
  return settings
}

export interface WatchdogParts {
  readonly clock: Clock
  readonly options: Readonly<Required<WatchdogOptions>>
  /** The present consumer of each queue. */
  readonly consumers: () => readonly Consumer[]
  /** Attempts that the consumer of a queue may have under way. */
  readonly placesOf: (queue: string) => number
  /** Rejects while the store cannot be worked with. */
  readonly answers: () => Promise<unknown>
  readonly restart: (queue: string, silentMs: number, reason: RestartReason) => void
  /** Runs what is started inside where it leaves no spans. */
  readonly quietly: <R>(work: () => R) => R
}

/** Looks in the time after which a queue counts as silent. */
const LOOKS = 4
/** The store has to have answered so often in a row, with time between: one late look may come out of a blocked event loop. */
const ANSWERS = 2
const ANSWER_MS = 5_000

/** What is known of one consumer. */
interface Watch {
  readonly consumer: Consumer
  readonly madeAt: number
  /** Silence counts from here: from when it had a reason not to claim. */
  since: number
  /** In a row, while it was silent. */
  answers: number
  /** New consumers in a row that gave no sign of life. */
  failures: number
}

/**
 * Notices consumers that are connected and do not consume, the failure that goes unnoticed longest, and has them made
 * anew. Not while there is a reason for silence: paused, every place taken, or a store that is away (there reconnecting
 * helps, and nothing else).
 *
 * ```
 * waiting ──timer──▶ looking ──(all well | restarted)──▶ waiting          stop ends both
 * ```
 */
export class Watchdog extends BaseService {
  readonly #parts: WatchdogParts
  readonly #watches = new Map<string, Watch>()
  /** The store did not answer when it was last asked. */
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
      const watch = this.#watch(consumer, now)
      if (this.#silence(watch, now) > this.#limit(watch) / 2) silent.push(watch)
      else watch.answers = 0
    }
    if (silent.length === 0 && !this.#away) return
    const answered = await this.#answers()
    if (this.#stopped) return
    const wasAway = this.#away
    this.#away = !answered
    if (!answered || wasAway) {
      // Nobody can consume from a store that is away. When it is back, everybody gets the full time to find that out.
      for (const watch of this.#watches.values()) this.#excuse(watch, this.#parts.clock.monotonic())
      return
    }
    for (const watch of silent) this.#judge(watch, now)
  }

  #watch (consumer: Consumer, now: number): Watch {
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
    return consumer.paused || consumer.active >= this.#parts.placesOf(consumer.queue)
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

  /** `now` is from before the store was asked: what the consumer did meanwhile counts for it. */
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
