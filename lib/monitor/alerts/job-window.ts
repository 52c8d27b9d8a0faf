import { quantile } from '../../core/quantile.ts'
import { NewestSamples } from '../newest-samples.ts'
import { isArrayOf, isCount, isNamedCount } from './type-guards.ts'
import type { JobFacts, SlowJob } from './alert-facts.ts'

/** The last hour, in steps of five minutes: counting forgets in these steps. */
const SLOTS = 12
const SLOT_MS = 300_000
export const WINDOW_MS = SLOTS * SLOT_MS
/** Job names that are counted by themselves; further ones are counted together. */
const MAX_NAMES = 50
const OTHER = 'other jobs'
export const MAX_SLOW = 20
/** Another number is another way of writing; who does not know it, does not read it. */
const VERSION = 1

/** Upper bounds in milliseconds, a quarter more each time, 19 ms to an hour; 5 s, the default threshold, is one of them. */
const BOUNDS: readonly number[] = Array.from({ length: 55 }, (_, index) => 5_000 * 1.25 ** (index - 25))
const BINS = BOUNDS.length + 1

/** One job's five minutes. */
interface Slot { at: number, completed: number, failed: number, maxMs: number, readonly bins: Uint32Array }

/** As it travels: name, slots as [at, completed, failed, bin, count, bin, count, …, the longest attempt in milliseconds]. */
type ShownJob = readonly [name: string, slots: ReadonlyArray<readonly number[]>]
type ShownSlow = readonly [jobId: string, jobName: string, durationMs: number, at: number]

export interface Counted { readonly jobs: readonly ShownJob[], readonly slow: readonly ShownSlow[] }

export interface ShownWindow extends Counted {
  /** The newest claim of each queue, by the wall clock: known as long as the rest, and longer than the process lives. */
  readonly claims: ReadonlyArray<readonly [queue: string, at: number]>
}

/**
 * Counts what happens to jobs over the last hour: memory that does not grow with them, and nothing but additions when a job
 * ends. Times are those of the wall clock, so that the windows of several processes can be laid over each other.
 */
export class JobWindow {
  readonly #now: () => number
  readonly #slowMs: number
  readonly #jobs = new Map<string, Slot[]>()
  readonly #slow = new NewestSamples<ShownSlow>(MAX_SLOW)

  /** @param slowMs attempts that take longer are remembered one by one, the newest */
  constructor (now: () => number, slowMs: number) {
    this.#now = now
    this.#slowMs = slowMs
  }

  completed (jobName: string): void { this.#slot(jobName).completed++ }

  failed (jobName: string): void { this.#slot(jobName).failed++ }

  took (jobName: string, durationMs: number): void {
    const slot = this.#slot(jobName)
    const { bins } = slot
    const bin = binOf(durationMs)
    bins[bin] = (bins[bin] ?? 0) + 1
    slot.maxMs = Math.max(slot.maxMs, durationMs)
  }

  slow (jobId: string, jobName: string, durationMs: number): void {
    if (durationMs <= this.#slowMs) return
    this.#slow.add([jobId, jobName, Math.round(durationMs), this.#now()])
  }

  show (): Counted {
    const now = this.#now()
    const jobs = [...this.#jobs].map(([name, slots]): ShownJob => [name, slots.filter(({ at }) => isOfTheHour(at, now)).map(showSlot)])
    return { jobs: jobs.filter(([, slots]) => slots.length > 0), slow: this.#slow.newest().reverse().filter(([, , , at]) => isRecent(at, now)) }
  }

  #slot (jobName: string): Slot {
    const name = this.#jobs.has(jobName) || this.#jobs.size < MAX_NAMES ? jobName : OTHER
    let slots = this.#jobs.get(name)
    if (slots === undefined) this.#jobs.set(name, slots = [])
    const at = slotAt(this.#now())
    const index = at % SLOTS
    let slot = slots[index]
    if (slot === undefined) {
      // Never a hole, so that it can be walked.
      while (slots.length <= index) slots.push({ at: -1, completed: 0, failed: 0, maxMs: 0, bins: new Uint32Array(BINS) })
      slot = slots[index] as Slot
    }
    if (slot.at !== at) {
      slot.at = at
      slot.completed = slot.failed = slot.maxMs = 0
      slot.bins.fill(0)
    }
    return slot
  }
}

function slotAt (now: number): number { return Math.floor(now / SLOT_MS) }

/** Not what was counted by a clock that has been set back since, which would stay for as long; those of other hosts may be a little ahead. */
function isOfTheHour (slot: number, now: number): boolean {
  return slot > slotAt(now) - SLOTS && slot <= slotAt(now) + 1
}

function isRecent (at: number, now: number): boolean {
  return at > now - WINDOW_MS && at <= now + SLOT_MS
}

/** By halving: the first bound that is not smaller. */
function binOf (ms: number): number {
  let low = 0
  let high = BOUNDS.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((BOUNDS[middle] ?? Infinity) < ms) low = middle + 1
    else high = middle
  }
  return low
}

function showSlot ({ at, completed, failed, maxMs, bins }: Slot): number[] {
  const shown = [at, completed, failed]
  for (const [bin, count] of bins.entries()) if (count > 0) shown.push(bin, count)
  if (shown.length > 3) shown.push(Math.ceil(maxMs))
  return shown
}

export function encodeWindow ({ jobs, slow, claims }: ShownWindow): string {
  return JSON.stringify([VERSION, jobs, slow, claims])
}

/** `undefined`: it is nothing that this version can read. */
export function decodeWindow (text: string): ShownWindow | undefined {
  try {
    const parsed: unknown = JSON.parse(text)
    if (!Array.isArray(parsed)) return undefined
    const [version, jobs, slow, claims]: unknown[] = parsed
    return version === VERSION && isArrayOf(jobs, isShownJob) && isArrayOf(slow, isShownSlow) && isArrayOf(claims, isNamedCount) ? { jobs, slow, claims } : undefined
  } catch {
    return undefined
  }
}

function isShownJob (value: unknown): value is ShownJob {
  return Array.isArray(value) && typeof value[0] === 'string' && isArrayOf(value[1], (slot): slot is number[] => isArrayOf(slot, isCount) && slot.length >= 3)
}

function isShownSlow (value: unknown): value is ShownSlow {
  return Array.isArray(value) && typeof value[0] === 'string' && typeof value[1] === 'string' && isCount(value[2]) && isCount(value[3])
}

interface Total { completed: number, failed: number, attempts: number, maxMs: number, readonly bins: Float64Array }

/** Lays windows over each other: what happened in the hour before `now`, by job. */
export function sumUp (windows: readonly Counted[], now: number): { jobs: JobFacts[], slow: SlowJob[] } {
  const totals = new Map<string, Total>()
  for (const [name, slots] of windows.flatMap(({ jobs }) => jobs)) {
    let total = totals.get(name)
    if (total === undefined) totals.set(name, total = { completed: 0, failed: 0, attempts: 0, maxMs: 0, bins: new Float64Array(BINS) })
    for (const [at = 0, completed = 0, failed = 0, ...bins] of slots) {
      if (!isOfTheHour(at, now)) continue
      total.completed += completed
      total.failed += failed
      for (let index = 0; index + 1 < bins.length; index += 2) {
        const [bin = 0, count = 0] = [bins[index], bins[index + 1]]
        if (bin >= BINS) continue
        total.bins[bin] = (total.bins[bin] ?? 0) + count
        total.attempts += count
      }
      // A number without a partner is the longest attempt.
      total.maxMs = Math.max(total.maxMs, bins.length % 2 === 1 ? bins.at(-1) ?? 0 : bins.length === 0 ? 0 : Infinity)
    }
  }
  const jobs = [...totals].map(([name, { completed, failed, attempts, maxMs, bins }]) => ({ name, completed, failed, attempts, p95Ms: percentile(bins, attempts, 0.95, maxMs) }))
  const slow = windows.flatMap((window) => window.slow).filter(([, , , at]) => isRecent(at, now))
  return {
    jobs: jobs.filter(({ completed, failed, attempts }) => completed + failed + attempts > 0),
    slow: slow.map(([jobId, jobName, durationMs]) => ({ jobId, jobName, durationMs, running: false }))
  }
}

/** Never above the longest attempt that was measured. */
function percentile (bins: Float64Array, count: number, share: number, max: number): number | undefined {
  return count === 0 ? undefined : Math.min(max, quantile(share, bins, BOUNDS).value)
}
