import { ALERT_SEVERITIES, ALERT_TYPES, type Alert, type AlertFinding, type AlertNotice, type AlertNoticeKind } from './alert.ts'
import { isArrayOf, isCount, isNamedCount, isRecord } from './type-guards.ts'

/** A finding of a rule, made whole. */
export interface Found extends Required<AlertFinding> { readonly rule: string }

/** A notice, and the senders that have not passed it on yet. */
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
 * `told` is another question: within the cooldown after a resolved notice it fires without being told.
 */
interface Entry {
  phase: 'pending' | 'firing' | 'over'
  alert: Alert
  told: boolean
  /** Of the newest notice, of whatever kind. */
  noticedAt: number | undefined
}

export interface LedgerOptions {
  readonly cooldownMs: number
  readonly repeatMs: number | false
  /** Hours may pass between two counts of failed jobs; those of so long are compared. */
  readonly windowMs: number
}

/** How many failed jobs each queue kept at a time. */
type Kept = readonly [at: number, counts: ReadonlyArray<readonly [queue: string, count: number]>]

const VERSION = 1
/** More alerts of one rule at one time are a flood that nobody reads; who is in stays in. */
const MAX_PER_RULE = 20
/** With those that are over and cooling down. */
const MAX_ENTRIES = 1_000
const MAX_OWED = 200
/** With five minutes between evaluations, a receiver may be away for an hour. */
const MAX_TRIES = 12
/** Counts are kept so far apart, or evaluations every second would keep thousands. */
const COUNT_EVERY_MS = 300_000

/**
 * Which alerts there are, whom they were told, and what is still to be told: everything that has to outlive the process that
 * evaluates. Pure: time comes in with each call.
 */
export class Ledger {
  readonly #options: LedgerOptions
  readonly #newId: () => string
  readonly #entries = new Map<string, Entry>()
  #owed: Owed[] = []
  #kept: Kept[] = []
  #judgedAt = 0
  /** Of two ledgers, the one that changed later is the newer one. */
  #changedAt = 0

  constructor (options: LedgerOptions, newId: () => string) {
    this.#options = options
    this.#newId = newId
  }

  /** When alerts were last judged, or what is owed was last settled, by the wall clock; 0: never. */
  get changedAt (): number { return this.#changedAt }

  /** When alerts were last judged; 0: never. */
  get judgedAt (): number { return this.#judgedAt }

  get owed (): readonly Owed[] { return this.#owed }

  /** What fires, the oldest first; told or not. */
  firing (): Alert[] {
    return [...this.#entries.values()].filter(({ phase }) => phase === 'firing').map(({ alert }) => alert).sort((a, b) => a.startedAt - b.startedAt)
  }

  /** @returns by how many the failed jobs that the store keeps have grown: over all queues, each since its lowest count within the window */
  grownBy (counts: Kept[1], now: number): number {
    const least = new Map(counts)
    for (const [queue, kept] of this.#keptSince(now).flatMap(([, earlier]) => earlier)) {
      const low = least.get(queue)
      if (low !== undefined && kept < low) least.set(queue, kept)
    }
    return counts.reduce((grown, [queue, count]) => grown + count - (least.get(queue) ?? count), 0)
  }

  /** Remembers counts of failed jobs for later evaluations to compare with; those that are older than the window are forgotten. */
  remember (counts: Kept[1], now: number): void {
    this.#kept = this.#keptSince(now)
    const last = this.#kept.at(-1)
    if (last === undefined || now - last[0] >= COUNT_EVERY_MS) this.#kept.push([now, counts])
  }

  /** Those of the window. Not those of the future: the clock has been set back since. */
  #keptSince (now: number): Kept[] {
    return this.#kept.filter(([at]) => at > now - this.#options.windowMs && at <= now)
  }

  /**
   * Takes in what an evaluation found.
   *
   * @param unknown rules that could not be judged: their alerts stay as they are
   * @param senders who is to be told
   * @returns the new notices; they are owed to the senders
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

  /** After a delivery: what is still owed has had one more try, and some of it the last. */
  settle (now: number): void {
    this.#change(now)
    for (const entry of this.#owed) entry.tries++
    this.#owed = this.#owed.filter(({ senders, tries }) => senders.size > 0 && tries < MAX_TRIES)
  }

  /** A clock that has been set back: what it wrote before must not keep alerts silent until then. */
  #correct (now: number): void {
    for (const entry of this.#entries.values()) {
      if (entry.noticedAt !== undefined && entry.noticedAt > now) entry.noticedAt = now
      if (entry.alert.startedAt > now) entry.alert = { ...entry.alert, startedAt: now }
    }
  }

  #change (now: number): void { this.#changedAt = Math.max(this.#changedAt + 1, now) }

  #meet (fingerprint: string, { rule, type, severity, title, message, details }: Found, now: number): Entry | undefined {
    const known = this.#entries.get(fingerprint)
    const alert = { fingerprint, rule, type, severity, title, message, details, startedAt: known === undefined || known.phase === 'over' ? now : known.alert.startedAt }
    if (known !== undefined) {
      if (known.phase === 'over') known.phase = 'pending'
      known.alert = alert
      return known
    }
    if (this.#entries.size >= MAX_ENTRIES) this.#forgetOne()
    if (this.#entries.size >= MAX_ENTRIES || this.#ofRule(rule) >= MAX_PER_RULE) return undefined
    const entry: Entry = { phase: 'pending', alert, told: false, noticedAt: undefined }
    this.#entries.set(fingerprint, entry)
    return entry
  }

  #fire (entry: Entry, { forMs }: Found, now: number, notices: AlertNotice[]): void {
    if (entry.phase === 'pending' && now - entry.alert.startedAt >= forMs) entry.phase = 'firing'
    if (entry.phase !== 'firing') return
    const { cooldownMs, repeatMs } = this.#options
    const silentMs = entry.noticedAt === undefined ? Infinity : now - entry.noticedAt
    if (!entry.told && silentMs >= cooldownMs) this.#tell(entry, 'raised', now, notices)
    else if (entry.told && repeatMs !== false && silentMs >= repeatMs) this.#tell(entry, 'reminded', now, notices)
  }

  #miss (fingerprint: string, entry: Entry, now: number, notices: AlertNotice[]): void {
    if (entry.phase === 'firing' && entry.told) this.#tell(entry, 'resolved', now, notices)
    entry.phase = 'over'
    if (entry.noticedAt === undefined || now - entry.noticedAt >= this.#options.cooldownMs) this.#entries.delete(fingerprint)
  }

  #tell (entry: Entry, kind: AlertNoticeKind, now: number, notices: AlertNotice[]): void {
    entry.told = kind !== 'resolved'
    entry.noticedAt = now
    notices.push({ id: this.#newId(), kind, at: now, alert: entry.alert })
  }

  #owe (notice: AlertNotice, senders: readonly string[]): void {
    // What could not be told before is told by the newer one, or over.
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
   * Takes over what another process has written, unless it is older than what is known here. Nothing happens to what cannot be read.
   *
   * @returns whether it did
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
    const whole = isCount(judgedAt) && isCount(changedAt) && isArrayOf(entries, isEntry) && isArrayOf(owed, isOwed) && isArrayOf(kept, isKept)
    return whole ? { judgedAt, changedAt, entries, owed, kept } : undefined
  } catch {
    return undefined
  }
}

function isEntry (value: unknown): value is Entry {
  if (!isRecord(value)) return false
  const { phase, alert, told, noticedAt } = value
  return (phase === 'pending' || phase === 'firing' || phase === 'over') && isAlert(alert) && typeof told === 'boolean' && (noticedAt === undefined || isCount(noticedAt))
}

function isOwed (value: unknown): value is Written['owed'][number] {
  if (!isRecord(value)) return false
  const { notice, senders, tries } = value
  if (!isRecord(notice)) return false
  const { id, kind, at, alert } = notice
  const known = kind === 'raised' || kind === 'reminded' || kind === 'resolved'
  return typeof id === 'string' && known && isCount(at) && isAlert(alert) && isCount(tries) && isArrayOf(senders, (name): name is string => typeof name === 'string')
}

function isKept (value: unknown): value is Kept {
  return Array.isArray(value) && isCount(value[0]) && isArrayOf(value[1], isNamedCount)
}

function isAlert (value: unknown): value is Alert {
  if (!isRecord(value)) return false
  const { fingerprint, rule, title, message, type, severity, details, startedAt } = value
  return [fingerprint, rule, title, message].every((text) => typeof text === 'string') &&
    ALERT_TYPES.some((known) => known === type) && ALERT_SEVERITIES.some((known) => known === severity) && isRecord(details) && isCount(startedAt)
}
