import type { Context } from '../../core/context.ts'
import { EXPIRED, orReject, withDeadline } from '../../core/deadline.ts'
import { Periodic } from '../../core/periodic.ts'
import type { ProcessMemory } from '../../core/process-memory.ts'
import type { Redaction } from '../../core/redact.ts'
import { BaseService } from '../../core/service.ts'
import type { SharedState } from '../../core/shared.ts'
import type { EventBus } from '../../events/bus.ts'
import type { StoreCounts } from '../../jobs/store-counts.ts'
import type { Alert, AlertNotice } from './alert.ts'
import { Dispatcher } from './dispatcher.ts'
import { factsOf, failedJobsKept, QueueReader, STORE_TIMEOUT_MS, type AlertStore } from './queue-reader.ts'
import { Ledger } from './ledger.ts'
import type { ResolvedAlertsOptions } from './options.ts'
import { decodeReport, encodeReport, type AlertWorkerView, type ProcessReport } from './report.ts'
import { STORE_UNREACHABLE, storeUnreachable } from './rules.ts'
import { RuleRunner } from './runner.ts'
import { eventOf, sendersOf } from './senders.ts'
import { JobWatcher } from './watcher.ts'
import { decodeWindow, encodeWindow, WINDOW_MS, type ShownWindow } from './window.ts'

export interface AlertsParts {
  readonly context: Context
  readonly bus: EventBus
  readonly redaction: Redaction
  readonly options: ResolvedAlertsOptions
  readonly store: AlertStore
  readonly counts: Pick<StoreCounts, 'read'>
  readonly queues: () => readonly string[]
  readonly worker: () => AlertWorkerView | undefined
  /** Compiled from `excludeJobs` and `longJobs`. */
  readonly excluded: (jobName: string) => boolean
  readonly long: (jobName: string) => boolean
  /** For work of ours: no spans. */
  readonly quietly: <R>(work: () => R) => R
  /** For the application's rules and senders: spans of their own, if they make any. */
  readonly plainly: <R>(work: () => R) => R
  /** Shows how many fire. Must not throw. */
  readonly firing?: (count: number, labels: { readonly rule: string, readonly severity: string }) => void
  /** From 0 to 1. @defaultValue Math.random */
  readonly random?: () => number
  readonly memory?: ProcessMemory
}

/** Where things lie on the store: who evaluates, what each process counted, how each is, and what is known of alerts. */
const LOCK = 'alerts'
const WINDOWS = 'alerts-window'
const REPORTS = 'alerts-process'
const STATE = 'alerts-state'
const STATE_KEY = 'ledger'
/** A process shows itself, and asks who evaluates, so often at least. */
const BEAT_MS = 30_000
/** Alerts that nobody has evaluated for so long are forgotten. */
const STATE_TTL_MS = 7 * 86_400_000
const MARGIN_MS = 15_000
/** While closing: everything on the store runs out by itself. */
const STORE_PATIENCE_MS = 1_000

/**
 * Evaluates the rules and tells what they find; what `app.jobAlerts` is. On a shared store every process shows what it counted, and
 * the one that holds the lock judges over all of it; what it knows lies on the store, so that another can take over without
 * repeating or forgetting. A notice is on the store before it is sent: if its sender dies in between, the next one sends
 * it, under the same id.
 *
 * ```
 * new ──start──▶ beat: show, ask for the lock, evaluate when it is due ──stop──▶ what is under way ends, or is cut off ──▶ stopped
 * ```
 */
export class Alerts extends BaseService {
  readonly #parts: AlertsParts
  readonly #watcher: JobWatcher
  readonly #reader: QueueReader
  readonly #runner: RuleRunner
  readonly #dispatcher: Dispatcher
  readonly #periodic: Periodic
  readonly #ttlMs: number
  #ledger: Ledger
  /** Of what every process tells for itself. */
  readonly #own: Ledger
  #leading = false
  /** When the next evaluation is due, on the monotonic clock. */
  #dueAt: number
  /** Since when the store has not answered, on the monotonic clock; and until when that was excused. */
  #awaySince: number | undefined
  #excusedUntil = 0
  /** Notices that are not on the store yet, so that nobody was told of them. */
  #unannounced: AlertNotice[] = []
  /** The end of the newest beat: there are never two at once. */
  #beating: Promise<void> = Promise.resolve()
  /** What was shown to fire, by rule and severity. */
  #shown = new Map<string, { readonly rule: string, readonly severity: string }>()

  constructor (parts: AlertsParts) {
    super()
    this.#parts = parts
    const { context: { clock, instanceId, logger: plain }, options, redaction, bus, store, random = Math.random } = parts
    const logger = redaction.logger(plain)
    this.#watcher = new JobWatcher({ ...parts, clock, instanceId })
    this.#reader = new QueueReader(store, parts.counts, clock)
    this.#runner = new RuleRunner({ ...parts, clock, logger })
    this.#dispatcher = new Dispatcher({ clock, bus, logger, redaction, senders: sendersOf(options, logger, clock, parts.plainly), timeoutMs: options.senderTimeoutMs })
    this.#ledger = this.#newLedger()
    this.#own = this.#newLedger()
    const { intervalMs, senderTimeoutMs } = options
    // A whole number of beats, so that an evaluation is not late by most of one.
    const beatMs = intervalMs / Math.ceil(intervalMs / BEAT_MS)
    // It outlasts two beats that fail, and an evaluation whose senders take all their time and one call more.
    this.#ttlMs = 3 * beatMs + 2 * senderTimeoutMs + MARGIN_MS
    this.#dueAt = clock.monotonic() + intervalMs * random()
    this.#periodic = new Periodic({ clock, intervalMs: beatMs, firstDelayMs: beatMs * random(), turn: () => this.#next(false) })
  }

  /** This process evaluates. */
  get leading (): boolean { return this.#leading }

  /**
   * Counts what happens to jobs from now on. `start` does it too; a worker that is ready before would have run jobs uncounted.
   */
  watch (): void { this.#watcher.start() }

  /** What is firing on this store now, the oldest first; while the store is away, as far as this process knows. */
  async active (): Promise<readonly Alert[]> {
    const { store: { shared } } = this.#parts
    if (shared !== undefined) await this.#catchUp(shared).catch(() => { /* told as store.operation_failed */ })
    return [...this.#ledger.firing(), ...this.#own.firing()].sort((a, b) => a.startedAt - b.startedAt)
  }

  /**
   * Evaluates the rules now, if this process is the one that evaluates; resolves when new notices were sent. The job counts that it
   * judges by are at most 250 ms old. Never rejects.
   */
  async check (): Promise<void> {
    if (!this.running) return
    await this.#parts.quietly(() => this.#next(true))
  }

  protected async onStart (): Promise<void> {
    this.#watcher.start()
    this.#parts.quietly(() => { this.#periodic.start() })
  }

  /** What is being sent may go on for half of the time; a store that says nothing is not waited for so long. Never rejects. */
  protected async onStop (deadlineMs: number): Promise<void> {
    const { context: { clock, instanceId }, store: { shared }, quietly } = this.#parts
    this.#watcher.stop()
    const until = clock.monotonic() + deadlineMs
    const left = (): number => Math.max(0, until - clock.monotonic())
    await quietly(async () => {
      // Whatever an evaluation under way has told or still owes, it writes down itself before it ends.
      const ended = Promise.all([this.#periodic.stop(), this.#beating])
      const inTime = await withDeadline(clock, this.#dispatcher.sending ? deadlineMs / 2 : Math.min(STORE_PATIENCE_MS, deadlineMs / 2), ended)
      this.#dispatcher.close()
      const over = inTime === EXPIRED ? await withDeadline(clock, Math.min(STORE_PATIENCE_MS, left()), ended) : inTime
      if (shared === undefined || over === EXPIRED) return
      // Not given back, both run out by themselves.
      const given = [this.#showWindow(shared), shared.put(REPORTS, instanceId, '', 1), ...(this.#leading ? [shared.unlock(LOCK, instanceId)] : [])]
      await withDeadline(clock, Math.min(STORE_PATIENCE_MS, left()), Promise.allSettled(given))
      this.#leading = false
    })
  }

  get #ending (): boolean { return this.phase === 'stopping' || this.phase === 'stopped' }

  /** Never rejects. */
  #next (now: boolean): Promise<void> {
    this.#beating = this.#beating.then(() => this.#beat(now)).catch(() => { /* the store went away on the way: told, and owed */ })
    return this.#beating
  }

  async #beat (now: boolean): Promise<void> {
    if (this.#ending) return
    const { context: { clock }, store: { shared }, options: { intervalMs } } = this.#parts
    const reached = await this.#show()
    // Alone, much can be judged without the store; together, nobody knows who should.
    if (shared === undefined) this.#leading = true
    else if (!reached) this.#leading = false
    await this.#tellOwn()
    if (this.#ending) return
    if (shared !== undefined && reached) await this.#elect(shared)
    if (this.#leading && !this.#ending && (now || clock.monotonic() >= this.#dueAt)) {
      this.#dueAt = clock.monotonic() + intervalMs
      await this.#evaluate().finally(() => { this.#showFiring() })
    } else this.#showFiring()
  }

  /** Shows this process to the others, which proves the store as well. @returns whether it answered */
  async #show (): Promise<boolean> {
    const { context: { clock, instanceId }, store } = this.#parts
    const startedAt = clock.monotonic()
    if (this.#awaySince !== undefined) {
      // Excuse the outage before this process writes its report. Otherwise the first evaluation after the outage would find that no
      // process has claimed a job for as long as the store was away, and raise worker-missing for every queue.
      this.#watcher.excuse(startedAt - this.#excusedUntil)
      this.#excusedUntil = startedAt
    }
    try {
      const { shared } = store
      if (shared === undefined) await this.#limited(store.ping())
      else await this.#limited(Promise.all([shared.put(REPORTS, instanceId, encodeReport(this.#watcher.report()), this.#ttlMs), this.#showWindow(shared)]))
      this.#awaySince = undefined
      return true
    } catch {
      if (this.#awaySince === undefined) this.#awaySince = this.#excusedUntil = startedAt
      return false
    }
  }

  async #showWindow (shared: SharedState): Promise<void> {
    const window = this.#watcher.window()
    const counted = window.jobs.length + window.slow.length + window.claims.length > 0
    if (counted) await shared.put(WINDOWS, this.#parts.context.instanceId, encodeWindow(window), WINDOW_MS)
  }

  async #elect (shared: SharedState): Promise<void> {
    const { context: { clock, instanceId }, options: { intervalMs } } = this.#parts
    const before = this.#leading
    try {
      this.#leading = await this.#limited(shared.tryLock(LOCK, instanceId, this.#ttlMs))
      if (!this.#leading || before) return
      // When the one before has evaluated, it is not due yet.
      await this.#catchUp(shared)
      if (this.#ledger.judgedAt > 0) {
        const sinceMs = Math.max(0, clock.now() - this.#ledger.judgedAt)
        this.#dueAt = clock.monotonic() + Math.max(0, intervalMs - sinceMs)
      }
    } catch {
      this.#leading = false
    }
  }

  async #evaluate (): Promise<void> {
    const { context: { clock }, store: { shared } } = this.#parts
    if (shared !== undefined) await this.#catchUp(shared)
    const { windows, reports } = await this.#gather(shared)
    const queues = await this.#reader.read(reports, windows)
    const now = clock.now()
    const deadLetters = queues === undefined ? undefined : this.#deadLetters(failedJobsKept(queues), now)
    const { found, unknown } = await this.#runner.run({ ...factsOf(now, windows, reports, queues), deadLetters })
    if (this.#ending) return
    this.#unannounced.push(...this.#ledger.judge(found, (rule) => unknown.has(rule), this.#dispatcher.names, now))
    if (shared !== undefined && !await this.#write(shared)) return
    this.#announce(this.#unannounced.splice(0))
    if (this.#ledger.owed.length === 0) return
    await this.#dispatcher.deliver(this.#ledger.owed)
    this.#ledger.settle(clock.now())
    if (shared !== undefined) await this.#write(shared)
  }

  #deadLetters (counts: ReturnType<typeof failedJobsKept>, now: number): { kept: number, growth: number } {
    const growth = this.#ledger.grownBy(counts, now)
    this.#ledger.remember(counts, now)
    return { kept: counts.reduce((sum, [, count]) => sum + count, 0), growth }
  }

  /** This process first, read now. */
  async #gather (shared: SharedState | undefined): Promise<{ windows: ShownWindow[], reports: ProcessReport[] }> {
    const windows = [this.#watcher.window()]
    const reports = [this.#watcher.report()]
    if (shared === undefined) return { windows, reports }
    const { instanceId } = this.#parts.context
    const [shownWindows, shownReports] = await this.#limited(Promise.all([shared.entries(WINDOWS), shared.entries(REPORTS)]))
    for (const [instance, text] of shownWindows) {
      const window = instance === instanceId ? undefined : decodeWindow(text)
      if (window !== undefined) windows.push(window)
    }
    for (const [instance, text] of shownReports) {
      const report = instance === instanceId ? undefined : decodeReport(text)
      if (report !== undefined) reports.push(report)
    }
    return { windows, reports }
  }

  async #catchUp (shared: SharedState): Promise<void> {
    const text = (await this.#limited(shared.entries(STATE))).get(STATE_KEY)
    // Whoever wrote that has judged the same since, and told it.
    if (text !== undefined && this.#ledger.adopt(text)) this.#unannounced = []
  }

  /** @returns whether this process still is the one that may */
  async #write (shared: SharedState): Promise<boolean> {
    const { instanceId } = this.#parts.context
    if (!await this.#limited(shared.tryLock(LOCK, instanceId, this.#ttlMs))) {
      // Another one took over: what it knows counts.
      this.#leading = false
      this.#ledger = this.#newLedger()
      this.#unannounced = []
      return false
    }
    await this.#limited(shared.put(STATE, STATE_KEY, this.#ledger.encode(), STATE_TTL_MS))
    return true
  }

  /** That the store cannot be reached is told without it, by each process for itself. */
  async #tellOwn (): Promise<void> {
    const { context: { clock, instanceId }, store, options } = this.#parts
    const awayMs = this.#awaySince === undefined ? undefined : clock.monotonic() - this.#awaySince
    const found = storeUnreachable(instanceId, store.type, awayMs, options).map((finding) => this.#runner.whole(STORE_UNREACHABLE, finding))
    this.#announce(this.#own.judge(found, () => false, this.#dispatcher.names, clock.now()))
    if (this.#own.owed.length === 0) return
    await this.#dispatcher.deliver(this.#own.owed)
    this.#own.settle(clock.now())
  }

  #announce (notices: readonly AlertNotice[]): void {
    for (const notice of notices) {
      const { name, payload } = eventOf(notice)
      this.#parts.bus.emit(name, payload)
    }
  }

  #showFiring (): void {
    const { firing } = this.#parts
    if (firing === undefined) return
    const counts = new Map([...this.#shown.keys()].map((key) => [key, 0]))
    for (const { rule, severity } of [...(this.#leading ? this.#ledger.firing() : []), ...this.#own.firing()]) {
      const key = `${rule} ${severity}`
      this.#shown.set(key, { rule, severity })
      counts.set(key, (counts.get(key) ?? 0) + 1)
    }
    for (const [key, labels] of this.#shown) firing(counts.get(key) ?? 0, labels)
  }

  #newLedger (): Ledger {
    const { options: { cooldownMs, repeatMs }, context: { ids } } = this.#parts
    return new Ledger({ cooldownMs, repeatMs, windowMs: WINDOW_MS }, () => `alert_${ids.job()}`)
  }

  /** A store that hangs, against its contract, must not hang this. */
  #limited<T> (asked: Promise<T>): Promise<T> {
    return orReject(this.#parts.context.clock, STORE_TIMEOUT_MS, asked, () => new Error('the store did not answer in time'))
  }
}
