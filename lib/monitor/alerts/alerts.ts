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
import { decodeReport, encodeReport, type AlertWorkerView, type ProcessReport } from './process-report.ts'
import { STORE_UNREACHABLE, storeUnreachable } from './rules.ts'
import { RuleRunner } from './rule-runner.ts'
import { eventOf, sendersOf } from './senders.ts'
import { JobWatcher } from './job-watcher.ts'
import { decodeWindow, encodeWindow, WINDOW_MS, type ShownWindow } from './job-window.ts'

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
  /** Runs the library's own work without spans. */
  readonly quietly: <R>(work: () => R) => R
  /** Runs the application's rules and senders, whose spans are recorded. */
  readonly plainly: <R>(work: () => R) => R
  /** Records how many alerts of a rule are firing. Must not throw. */
  readonly firing?: (count: number, labels: { readonly rule: string, readonly severity: string }) => void
  /** From 0 to 1. @defaultValue Math.random */
  readonly random?: () => number
  readonly memory?: ProcessMemory
}

/**
 * Names in the shared state of the store: the lock of the process that evaluates, what each process counted, the report
 * of each process, and the ledger of the alerts.
 */
const LOCK = 'alerts'
const WINDOWS = 'alerts-window'
const REPORTS = 'alerts-process'
const STATE = 'alerts-state'
const STATE_KEY = 'ledger'
/** A process writes its report, and tries to take or renew the lock, at least this often. */
const BEAT_MS = 30_000
/** The store forgets the ledger when no process has evaluated the rules for this long. */
const STATE_TTL_MS = 7 * 86_400_000
const MARGIN_MS = 15_000
/** How long closing waits for the store. It need not wait longer: what is not removed expires by itself. */
const STORE_PATIENCE_MS = 1_000

/**
 * Evaluates the rules and notifies people of what they find: the implementation of `app.jobAlerts`. On a shared store
 * every process writes down what it counted, and the one that holds the lock (the leader) evaluates the rules over all
 * of it. The leader keeps its ledger on the store, so that another process can take over without repeating or
 * forgetting a notice. A notice is stored before it is sent: if the leader dies in between, the next leader sends it
 * under the same id.
 *
 * ```
 * new ──start──▶ beat: write the report, take the lock, evaluate when due ──stop──▶ calls end, or are aborted ──▶ stopped
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
  /** Alerts that every process raises for itself: that it cannot reach the store. */
  readonly #own: Ledger
  #leading = false
  /** When the next evaluation is due, on the monotonic clock. */
  #dueAt: number
  /** Since when the store has not answered, on the monotonic clock. */
  #awaySince: number | undefined
  /** The part of that outage up to this moment has been excused already: it counts against no worker. */
  #excusedUntil = 0
  /** Notices that are not on the store yet: their events have not been emitted, and they have not been sent. */
  #unannounced: AlertNotice[] = []
  /** Resolves when the newest beat ends; beats run one after the other. */
  #beating: Promise<void> = Promise.resolve()
  /** Every rule and severity that the metric of firing alerts has had a value for, so that it can go back to 0. */
  #shown = new Map<string, { readonly rule: string, readonly severity: string }>()

  constructor (parts: AlertsParts) {
    super()
    this.#parts = parts
    const { context: { clock, instanceId, logger: plain }, options, redaction, bus, store, random = Math.random } = parts
    const logger = redaction.logger(plain)
    this.#watcher = new JobWatcher({ ...parts, clock, instanceId })
    this.#reader = new QueueReader(store, parts.counts, clock, parts.excluded)
    this.#runner = new RuleRunner({ ...parts, clock, logger })
    const senders = sendersOf(options, logger, clock, parts.plainly)
    this.#dispatcher = new Dispatcher({ clock, bus, logger, redaction, senders, timeoutMs: options.senderTimeoutMs })
    this.#ledger = this.#newLedger()
    this.#own = this.#newLedger()
    const { intervalMs, senderTimeoutMs } = options
    // Evaluations happen only in beats. If the interval were not a whole number of beats, each would be late by up to
    // one beat.
    const beatMs = intervalMs / Math.ceil(intervalMs / BEAT_MS)
    // Long enough for two beats that fail, and for an evaluation whose senders take all their time and one more call.
    this.#ttlMs = 3 * beatMs + 2 * senderTimeoutMs + MARGIN_MS
    this.#dueAt = clock.monotonic() + intervalMs * random()
    this.#periodic = new Periodic({ clock, intervalMs: beatMs, firstDelayMs: beatMs * random(), turn: () => this.#next(false) })
  }

  /** Whether this process is the one that evaluates the rules. */
  get leading (): boolean { return this.#leading }

  /**
   * Begins to count what happens to jobs. `start` does this too, but a worker may be ready earlier, and the jobs that
   * it runs until then would not be counted.
   */
  watch (): void { this.#watcher.start() }

  /**
   * The alerts that fire on this store now, the oldest first. While the store is away, only those that this process
   * knows of.
   */
  async active (): Promise<readonly Alert[]> {
    const { store: { shared } } = this.#parts
    if (shared !== undefined) await this.#catchUp(shared).catch(() => { /* emitted as store.operation_failed */ })
    return [...this.#ledger.firing(), ...this.#own.firing()].sort((a, b) => a.startedAt - b.startedAt)
  }

  /**
   * Evaluates the rules now, if this process is the one that evaluates, with job counts that are at most 250 ms old.
   * Resolves after new notices were sent. Never rejects.
   */
  async check (): Promise<void> {
    if (!this.running) return
    await this.#parts.quietly(() => this.#next(true))
  }

  protected async onStart (): Promise<void> {
    this.#watcher.start()
    this.#parts.quietly(() => { this.#periodic.start() })
  }

  /**
   * Notices that are being sent get half of the time; without any, closing waits for the store only a second. Then
   * calls are aborted. Never rejects.
   */
  protected async onStop (deadlineMs: number): Promise<void> {
    const { context: { clock, instanceId }, store: { shared }, quietly } = this.#parts
    this.#watcher.stop()
    const until = clock.monotonic() + deadlineMs
    const leftMs = (): number => Math.max(0, until - clock.monotonic())
    await quietly(async () => {
      // An evaluation that is under way stores which notices it has sent and which it still owes before it ends.
      const ended = Promise.all([this.#periodic.stop(), this.#beating])
      const patienceMs = this.#dispatcher.sending ? deadlineMs / 2 : Math.min(STORE_PATIENCE_MS, deadlineMs / 2)
      const inTime = await withDeadline(clock, patienceMs, ended)
      this.#dispatcher.close()
      const over = inTime === EXPIRED ? await withDeadline(clock, Math.min(STORE_PATIENCE_MS, leftMs()), ended) : inTime
      if (shared === undefined || over === EXPIRED) return
      // Removes the report of this process and releases the lock. If that fails, both expire by themselves.
      const written = [this.#writeWindow(shared), shared.put(REPORTS, instanceId, '', 1)]
      if (this.#leading) written.push(shared.unlock(LOCK, instanceId))
      await withDeadline(clock, Math.min(STORE_PATIENCE_MS, leftMs()), Promise.allSettled(written))
      this.#leading = false
    })
  }

  get #ending (): boolean { return this.phase === 'stopping' || this.phase === 'stopped' }

  /** Never rejects. */
  #next (now: boolean): Promise<void> {
    // It fails when the store goes away during the beat. The store emits that, and what was not sent is still owed.
    this.#beating = this.#beating.then(() => this.#beat(now)).catch(() => {})
    return this.#beating
  }

  async #beat (now: boolean): Promise<void> {
    if (this.#ending) return
    const { context: { clock }, store: { shared }, options: { intervalMs } } = this.#parts
    const reached = await this.#writeReport()
    // A process with a store of its own always evaluates; most rules need no answer of the store. Processes that share
    // a store cannot agree on one of them while it does not answer, so none evaluates.
    if (shared === undefined) this.#leading = true
    else if (!reached) this.#leading = false
    await this.#judgeOwn()
    if (this.#ending) return
    if (shared !== undefined && reached) await this.#elect(shared)
    if (this.#leading && !this.#ending && (now || clock.monotonic() >= this.#dueAt)) {
      this.#dueAt = clock.monotonic() + intervalMs
      await this.#evaluate().finally(() => { this.#recordFiring() })
    } else this.#recordFiring()
  }

  /**
   * Stores the report of this process and what it counted; this also checks the store. @returns whether the store
   * answered
   */
  async #writeReport (): Promise<boolean> {
    const { context: { clock, instanceId }, store } = this.#parts
    const startedAt = clock.monotonic()
    if (this.#awaySince !== undefined) {
      // Excuse the outage before this process writes its report. Otherwise the first evaluation after the outage would
      // find that no process has claimed a job for as long as the store was away, and raise worker-missing for every
      // queue.
      this.#watcher.excuse(startedAt - this.#excusedUntil)
      this.#excusedUntil = startedAt
    }
    try {
      const { shared } = store
      if (shared === undefined) await this.#limited(store.ping())
      else {
        const report = encodeReport(this.#watcher.report())
        await this.#limited(Promise.all([shared.put(REPORTS, instanceId, report, this.#ttlMs), this.#writeWindow(shared)]))
      }
      this.#awaySince = undefined
      return true
    } catch {
      if (this.#awaySince === undefined) this.#awaySince = this.#excusedUntil = startedAt
      return false
    }
  }

  async #writeWindow (shared: SharedState): Promise<void> {
    const window = this.#watcher.window()
    const counted = window.jobs.length + window.slow.length + window.claims.length > 0
    if (counted) await shared.put(WINDOWS, this.#parts.context.instanceId, encodeWindow(window), WINDOW_MS)
  }

  /** Takes or renews the lock. A process that has just got it reads the ledger of the leader before it. */
  async #elect (shared: SharedState): Promise<void> {
    const { context: { clock, instanceId }, options: { intervalMs } } = this.#parts
    const before = this.#leading
    try {
      this.#leading = await this.#limited(shared.tryLock(LOCK, instanceId, this.#ttlMs))
      if (!this.#leading || before) return
      // The next evaluation is due one interval after the last one of the leader before.
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

  /** What each process counted and reported: this process first, with its present numbers. */
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
    // The process that wrote the newer ledger has evaluated the same problems since, and emitted its own notices for
    // them.
    if (text !== undefined && this.#ledger.adopt(text)) this.#unannounced = []
  }

  /** Stores the ledger, if this process still holds the lock. @returns whether it does */
  async #write (shared: SharedState): Promise<boolean> {
    const { instanceId } = this.#parts.context
    if (!await this.#limited(shared.tryLock(LOCK, instanceId, this.#ttlMs))) {
      // Another process took over; its ledger is the one that counts.
      this.#leading = false
      this.#ledger = this.#newLedger()
      this.#unannounced = []
      return false
    }
    await this.#limited(shared.put(STATE, STATE_KEY, this.#ledger.encode(), STATE_TTL_MS))
    return true
  }

  /**
   * Raises and resolves `store-unreachable`. Each process does this for itself, because it must work without the store.
   */
  async #judgeOwn (): Promise<void> {
    const { context: { clock, instanceId }, store, options } = this.#parts
    const awayMs = this.#awaySince === undefined ? undefined : clock.monotonic() - this.#awaySince
    const findings = storeUnreachable(instanceId, store.type, awayMs, options)
    const found = findings.map((finding) => this.#runner.whole(STORE_UNREACHABLE, finding))
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

  /** The leader records the alerts of the whole store; every process records its own. */
  #recordFiring (): void {
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

  /**
   * Bounds a call of the store. A store that breaks its contract and never answers would otherwise stop all
   * evaluations.
   */
  #limited<T> (call: Promise<T>): Promise<T> {
    return orReject(this.#parts.context.clock, STORE_TIMEOUT_MS, call, () => new Error('the store did not answer in time'))
  }
}
