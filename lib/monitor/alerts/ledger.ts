import { ALERT_SEVERITIES, ALERT_TYPES, type Alert, type AlertFinding, type AlertNotice, type AlertNoticeKind } from './alert.ts'
import { isArrayOf, isCount, isNamedCount, isRecord } from './type-guards.ts'

/** A finding with the name of its rule and all defaults filled in. */
export interface Found extends Required<AlertFinding> { readonly rule: string }

/** A notice, and the senders that have not sent it yet. */
export interface Owed {
  readonly notice: AlertNotice
  readonly senders: Set<string>
  tries: number
}

/**
 * What is known of one fingerprint:
 *
 * ```
 * pending ──found for forMs──▶ firing ──not found──▶ over ──cooldown──▶ forgotten
 *    └──not found──▶ forgotten   ▲└─────found again────┘
 * ```
 *
 * An alert that fires again within the cooldown after its resolved notice sends no notice yet: it is firing, and
 * `notified` is false.
 */
interface Entry {
  phase: 'pending' | 'firing' | 'over'
  alert: Alert
  /** People were notified that it is raised, and not yet that it is resolved. */
  notified: boolean
  /** When the newest notice was made, of whatever kind. */
  noticedAt: number | undefined
}

export interface LedgerOptions {
  readonly cooldownMs: number
  readonly repeatMs: number | false
  /** Counts of failed jobs are compared with those of this long ago, at most. */
  readonly windowMs: number
}

/** How many failed jobs each queue kept at one moment. */
type Kept = readonly [at: number, counts: ReadonlyArray<readonly [queue: string, count: number]>]

const VERSION = 1
/** Alerts of one rule at one time. Nobody reads more; further ones are ignored until one of these is over. */
const MAX_PER_RULE = 20
/** Including those that are over and still in their cooldown. */
const MAX_ENTRIES = 1_000
const MAX_OWED = 200
/**
 * With the default of five minutes between evaluations, a receiver may be unreachable for an hour and still get the
 * notice.
 */
const MAX_TRIES = 12
/**
 * The smallest distance between two counts that are kept. Without it, evaluations every second would keep thousands.
 */
const COUNT_EVERY_MS = 300_000

/**
 * Which alerts there are, of which people were notified, and which notices are still owed to senders: everything that
 * must survive the process that evaluates. Pure: the time is an argument of each call.
 */
export class Ledger {
  readonly #options: LedgerOptions
  readonly #newId: () => string
  readonly #entries = new Map<string, Entry>()
  #owed: Owed[] = []
  #kept: Kept[] = []
  #judgedAt = 0
  /** Decides which of two ledgers is the newer one. */
  #changedAt = 0

  constructor (options: LedgerOptions, newId: () => string) {
    this.#options = options
    this.#newId = newId
  }

  /** Wall clock time of the last change: an evaluation, or the end of a delivery. 0: never. */
  get changedAt (): number { return this.#changedAt }

  /** Wall clock time of the last evaluation; 0: never. */
  get judgedAt (): number { return this.#judgedAt }

  get owed (): readonly Owed[] { return this.#owed }

  /** What fires, the oldest first, whether or not people were notified. */
  firing (): Alert[] {
    const firing = [...this.#entries.values()].filter(({ phase }) => phase === 'firing')
    return firing.map(({ alert }) => alert).sort((a, b) => a.startedAt - b.startedAt)
  }

  /**
   * @returns how many more failed jobs the store keeps than before: the sum over all queues, each compared with its
   * lowest count within the window
   */
  grownBy (counts: Kept[1], now: number): number {
    const least = new Map(counts)
    for (const [queue, kept] of this.#keptSince(now).flatMap(([, earlier]) => earlier)) {
      const low = least.get(queue)
      if (low !== undefined && kept < low) least.set(queue, kept)
    }
    return counts.reduce((grown, [queue, count]) => grown + count - (least.get(queue) ?? count), 0)
  }

  /**
   * Keeps counts of failed jobs, for later evaluations to compare with, and forgets those that are older than the
   * window.
   */
  remember (counts: Kept[1], now: number): void {
    this.#kept = this.#keptSince(now)
    const last = this.#kept.at(-1)
    if (last === undefined || now - last[0] >= COUNT_EVERY_MS) this.#kept.push([now, counts])
  }

  /** The counts of the window. Counts from the future are dropped: the clock has been set back since they were made. */
  #keptSince (now: number): Kept[] {
    return this.#kept.filter(([at]) => at > now - this.#options.windowMs && at <= now)
  }

  /**
   * Updates the alerts with the findings of one evaluation.
   *
   * @param unknown whether a rule could not be evaluated: its alerts stay as they are
   * @param senders names of the senders that the new notices are owed to
   * @returns the new notices
   */
  judge (found: readonly Found[], unknown: (rule: string) => boolean, senders: readonly string[], now: number): AlertNotice[] {
    this.#judgedAt = now
    this.#change(now)
    this.#correct(now)
    const notices: AlertNotice[] = []
    const seen = new Set<string>()
    for (const finding of found) {
      const fingerprint = finding.key === '' ? finding.rule : `${finding.rule}:${finding.key}`
      if (seen.has(fingerprint)) continue
      seen.add(fingerprint)
      const entry = this.#meet(fingerprint, finding, now)
      if (entry !== undefined) this.#fire(entry, finding, now, notices)
    }
    for (const [fingerprint, entry] of this.#entries) {
      if (!seen.has(fingerprint) && !unknown(entry.alert.rule)) this.#miss(fingerprint, entry, now, notices)
    }
    for (const notice of notices) this.#owe(notice, senders)
    return notices
  }

  /**
   * Ends a delivery: counts one more try for every notice that is still owed, and drops those that have had their last.
   */
  settle (now: number): void {
    this.#change(now)
    for (const entry of this.#owed) entry.tries++
    this.#owed = this.#owed.filter(({ senders, tries }) => senders.size > 0 && tries < MAX_TRIES)
  }

  /**
   * Moves times from the future to now. They mean that the clock has been set back; without this, alerts would send no
   * notice until the clock gets there again.
   */
  #correct (now: number): void {
    for (const entry of this.#entries.values()) {
      if (entry.noticedAt !== undefined && entry.noticedAt > now) entry.noticedAt = now
      if (entry.alert.startedAt > now) entry.alert = { ...entry.alert, startedAt: now }
    }
  }

  #change (now: number): void { this.#changedAt = Math.max(this.#changedAt + 1, now) }

  #meet (fingerprint: string, { rule, type, severity, title, message, details }: Found, now: number): Entry | undefined {
    const known = this.#entries.get(fingerprint)
    const startedAt = known === undefined || known.phase === 'over' ? now : known.alert.startedAt
    const alert = { fingerprint, rule, type, severity, title, message, details, startedAt }
    if (known !== undefined) {
      if (known.phase === 'over') known.phase = 'pending'
      known.alert = alert
      return known
    }
    if (this.#entries.size >= MAX_ENTRIES) this.#forgetOne()
    if (this.#entries.size >= MAX_ENTRIES || this.#ofRule(rule) >= MAX_PER_RULE) return undefined
    const entry: Entry = { phase: 'pending', alert, notified: false, noticedAt: undefined }
    this.#entries.set(fingerprint, entry)
    return entry
  }

  #fire (entry: Entry, { forMs }: Found, now: number, notices: AlertNotice[]): void {
    if (entry.phase === 'pending' && now - entry.alert.startedAt >= forMs) entry.phase = 'firing'
    if (entry.phase !== 'firing') return
    const { cooldownMs, repeatMs } = this.#options
    const silentMs = entry.noticedAt === undefined ? Infinity : now - entry.noticedAt
    if (!entry.notified && silentMs >= cooldownMs) this.#notify(entry, 'raised', now, notices)
    else if (entry.notified && repeatMs !== false && silentMs >= repeatMs) this.#notify(entry, 'reminded', now, notices)
  }

  #miss (fingerprint: string, entry: Entry, now: number, notices: AlertNotice[]): void {
    if (entry.phase === 'firing' && entry.notified) this.#notify(entry, 'resolved', now, notices)
    entry.phase = 'over'
    const cooling = entry.noticedAt !== undefined && now - entry.noticedAt < this.#options.cooldownMs
    if (!cooling) this.#entries.delete(fingerprint)
  }

  #notify (entry: Entry, kind: AlertNoticeKind, now: number, notices: AlertNotice[]): void {
    entry.notified = kind !== 'resolved'
    entry.noticedAt = now
    notices.push({ id: this.#newId(), kind, at: now, alert: entry.alert })
  }

  #owe (notice: AlertNotice, senders: readonly string[]): void {
    // An older notice of the same alert that was never sent is dropped: the newer one says more, or that the alert is
    // over.
    this.#owed = this.#owed.filter(({ notice: { alert } }) => alert.fingerprint !== notice.alert.fingerprint)
    if (senders.length > 0) this.#owed.push({ notice, senders: new Set(senders), tries: 0 })
    if (this.#owed.length > MAX_OWED) this.#owed.shift()
  }

  #ofRule (rule: string): number {
    let count = 0
    for (const { alert, phase } of this.#entries.values()) if (alert.rule === rule && phase !== 'over') count++
    return count
  }

  #forgetOne (): void {
    for (const [fingerprint, { phase }] of this.#entries) {
      if (phase !== 'over') continue
      this.#entries.delete(fingerprint)
      return
    }
  }

  encode (): string {
    return JSON.stringify({
      version: VERSION,
      judgedAt: this.#judgedAt,
      changedAt: this.#changedAt,
      entries: [...this.#entries.values()],
      owed: this.#owed.map(({ notice, senders, tries }) => ({ notice, senders: [...senders], tries })),
      kept: this.#kept
    })
  }

  /**
   * Replaces the content of this ledger by what another process has written, unless that is older or cannot be read.
   *
   * @returns whether it was replaced
   */
  adopt (text: string): boolean {
    const parsed = parse(text)
    if (parsed === undefined || parsed.changedAt <= this.#changedAt) return false
    this.#changedAt = parsed.changedAt
    this.#judgedAt = parsed.judgedAt
    this.#entries.clear()
    for (const entry of parsed.entries) this.#entries.set(entry.alert.fingerprint, { ...entry, noticedAt: entry.noticedAt })
    this.#owed = parsed.owed.map(({ notice, senders, tries }) => ({ notice, senders: new Set(senders), tries }))
    this.#kept = parsed.kept
    return true
  }
}

interface Written {
  readonly judgedAt: number
  readonly changedAt: number
  readonly entries: Entry[]
  readonly owed: Array<{ readonly notice: AlertNotice, readonly senders: readonly string[], readonly tries: number }>
  readonly kept: Kept[]
}

function parse (text: string): Written | undefined {
  try {
    const parsed: unknown = JSON.parse(text)
    if (!isRecord(parsed) || parsed['version'] !== VERSION) return undefined
    const { judgedAt, changedAt, entries, owed, kept } = parsed
    const whole = isCount(judgedAt) && isCount(changedAt) &&
      isArrayOf(entries, isEntry) && isArrayOf(owed, isOwed) && isArrayOf(kept, isKept)
    return whole ? { judgedAt, changedAt, entries, owed, kept } : undefined
  } catch {
    return undefined
  }
}

function isEntry (value: unknown): value is Entry {
  if (!isRecord(value)) return false
  const { phase, alert, notified, noticedAt } = value
  return (phase === 'pending' || phase === 'firing' || phase === 'over') && isAlert(alert) && typeof notified === 'boolean' &&
    (noticedAt === undefined || isCount(noticedAt))
}

function isOwed (value: unknown): value is Written['owed'][number] {
  if (!isRecord(value)) return false
  const { notice, senders, tries } = value
  if (!isRecord(notice)) return false
  const { id, kind, at, alert } = notice
  const known = kind === 'raised' || kind === 'reminded' || kind === 'resolved'
  return typeof id === 'string' && known && isCount(at) && isAlert(alert) && isCount(tries) &&
    isArrayOf(senders, (name): name is string => typeof name === 'string')
}

function isKept (value: unknown): value is Kept {
  return Array.isArray(value) && isCount(value[0]) && isArrayOf(value[1], isNamedCount)
}

function isAlert (value: unknown): value is Alert {
  if (!isRecord(value)) return false
  const { fingerprint, rule, title, message, type, severity, details, startedAt } = value
  return [fingerprint, rule, title, message].every((text) => typeof text === 'string') && isRecord(details) && isCount(startedAt) &&
    ALERT_TYPES.some((known) => known === type) && ALERT_SEVERITIES.some((known) => known === severity)
}
