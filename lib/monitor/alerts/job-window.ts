import { quantile } from '../../core/quantile.ts'
import { NewestSamples } from '../newest-samples.ts'
import { isArrayOf, isCount, isNamedCount } from './type-guards.ts'
import type { JobFacts, SlowJob } from './alert-facts.ts'

/** The window is the last hour, in 12 slots of five minutes; the oldest slot is forgotten as a whole. */
const SLOTS = 12
const SLOT_MS = 300_000
export const WINDOW_MS = SLOTS * SLOT_MS
/** Job names that are counted separately; all further names are counted together as `OTHER`. */
const MAX_NAMES = 50
const OTHER = 'other jobs'
export const MAX_SLOW = 20
/** The version of the stored format. A process ignores windows of another version. */
const VERSION = 1

/**
 * Upper bounds of the bins in milliseconds, from 19 ms to 54 minutes, each 25 % more than the one before. The default
 * threshold of 5 s is one of them.
 */
const BOUNDS: readonly number[] = Array.from({ length: 55 }, (_, index) => 5_000 * 1.25 ** (index - 25))
const BINS = BOUNDS.length + 1

/** What was counted for one job name in five minutes. */
interface Slot { at: number, completed: number, failed: number, maxMs: number, readonly bins: Uint32Array }

/**
 * As stored: the name, and slots as [at, completed, failed, bin, count, bin, count, …, the longest attempt in
 * milliseconds].
 */
type ShownJob = readonly [name: string, slots: ReadonlyArray<readonly number[]>]
type ShownSlow = readonly [jobId: string, jobName: string, durationMs: number, at: number]

export interface Counted {
  readonly jobs: readonly ShownJob[]
  readonly slow: readonly ShownSlow[]
}

export interface ShownWindow extends Counted {
  /**
   * The newest claim of each queue, by the wall clock. Others can still read it for an hour after the process has
   * ended.
   */
  readonly claims: ReadonlyArray<readonly [queue: string, at: number]>
}

/**
 * Counts what happened to jobs in the last hour. Its memory does not grow with the number of jobs, and the end of a job
 * costs only a few additions. Times are wall clock times, so that the windows of several processes can be added up.
 */
export class JobWindow {
  readonly #now: () => number
  readonly #slowMs: number
  readonly #jobs = new Map<string, Slot[]>()
  readonly #slow = new NewestSamples<ShownSlow>(MAX_SLOW)

  /** @param slowMs the newest attempts that took longer than this are kept one by one */
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
    return {
      jobs: jobs.filter(([, slots]) => slots.length > 0),
      slow: this.#slow.newest().reverse().filter(([, , , at]) => isRecent(at, now))
    }
  }

  #slot (jobName: string): Slot {
    const name = this.#jobs.has(jobName) || this.#jobs.size < MAX_NAMES ? jobName : OTHER
    let slots = this.#jobs.get(name)
    if (slots === undefined) this.#jobs.set(name, slots = [])
    const at = slotAt(this.#now())
    const index = at % SLOTS
    let slot = slots[index]
    if (slot === undefined) {
      // Fill the slots before it with empty ones: `show` reads all of them.
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

/**
 * Slots from the future are left out: they were counted before a clock was set back, and would stay until that time
 * comes again. One slot ahead is accepted, because the clocks of other hosts may be a little ahead.
 */
function isOfTheHour (slot: number, now: number): boolean {
  return slot > slotAt(now) - SLOTS && slot <= slotAt(now) + 1
}

function isRecent (at: number, now: number): boolean {
  return at > now - WINDOW_MS && at <= now + SLOT_MS
}

/** The index of the first bound that is not smaller than `ms`, by binary search. */
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

/** @returns `undefined` for a window that another version wrote, or that is damaged */
export function decodeWindow (text: string): ShownWindow | undefined {
  try {
    const parsed: unknown = JSON.parse(text)
    if (!Array.isArray(parsed)) return undefined
    const [version, jobs, slow, claims]: unknown[] = parsed
    if (version !== VERSION) return undefined
    const valid = isArrayOf(jobs, isShownJob) && isArrayOf(slow, isShownSlow) && isArrayOf(claims, isNamedCount)
    return valid ? { jobs, slow, claims } : undefined
  } catch {
    return undefined
  }
}

function isShownJob (value: unknown): value is ShownJob {
  return Array.isArray(value) && typeof value[0] === 'string' && isArrayOf(value[1], isShownSlot)
}

function isShownSlot (value: unknown): value is number[] {
  return isArrayOf(value, isCount) && value.length >= 3
}

function isShownSlow (value: unknown): value is ShownSlow {
  return Array.isArray(value) && typeof value[0] === 'string' && typeof value[1] === 'string' && isCount(value[2]) && isCount(value[3])
}

interface Total { completed: number, failed: number, attempts: number, maxMs: number, readonly bins: Float64Array }

/** Adds up the windows of several processes: what happened in the hour before `now`, by job name. */
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
      // The last number has no partner: it is the longest attempt. Without it, the longest attempt is unknown.
      total.maxMs = Math.max(total.maxMs, bins.length % 2 === 1 ? bins.at(-1) ?? 0 : bins.length === 0 ? 0 : Infinity)
    }
  }
  const jobs = [...totals].map(([name, { completed, failed, attempts, maxMs, bins }]): JobFacts => {
    return { name, completed, failed, attempts, p95Ms: percentile(bins, attempts, 0.95, maxMs) }
  })
  const slow = windows.flatMap((window) => window.slow).filter(([, , , at]) => isRecent(at, now))
  return {
    jobs: jobs.filter(({ completed, failed, attempts }) => completed + failed + attempts > 0),
    slow: slow.map(([jobId, jobName, durationMs]) => ({ jobId, jobName, durationMs, running: false }))
  }
}

/** An estimate between two bounds, but never more than the longest attempt. `undefined`: there were no attempts. */
function percentile (bins: Float64Array, count: number, share: number, max: number): number | undefined {
  return count === 0 ? undefined : Math.min(max, quantile(share, bins, BOUNDS).value)
}
