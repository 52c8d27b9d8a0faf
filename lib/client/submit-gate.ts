import type { Clock, TimerHandle } from '../core/context.ts'
import { orReject } from '../core/deadline.ts'

/*
 * Submissions that may be on their way to the store at one time. It begins low and grows with every quick answer, as a
 * TCP connection does: large bodies, or a store far away, must not fill the connection with more than is answered in time.
 */
const FIRST_WINDOW = 64
const MIN_WINDOW = 16
const MAX_WINDOW = 2_048
/** An answer that took more than this part of the time limit halves the window. */
const SLOW_PART = 4
/** The store's own time limit may be a little shorter. A failure after this share of `timeoutMs` counts as no answer. */
const SILENT_PART = 0.9

/**
 * How often waiting submissions are checked for their time limit. A check that runs late means that the event loop was
 * blocked. That time is not counted as waiting, because the store had no chance to answer in it.
 */
const CHECK_MS = 100

/** The errors of a submission that ran out of time. Made only when they are needed. */
export interface GateErrors {
  /** It was sent, and the store has not answered in time. */
  unconfirmed (): Error
  /** It was never sent. */
  unsent (): Error
  /** Whether an error of the store says that it did not answer. */
  silence (error: unknown): boolean
}

interface WaitRules {
  readonly patient?: boolean | undefined
  readonly onWait?: () => void
}

interface Waiter {
  /** When it began to wait, as `#now()` counts; `Infinity`: it has no time limit while it waits. */
  readonly since: number
  readonly errors: () => GateErrors
  readonly enter: () => void
  readonly refuse: (error: Error) => void
}

/**
 * Bounds how many submissions are on their way to the store. Beyond that bound (the window) they wait here, in order.
 * The time limit of a submission starts when it is sent. One that waits longer than that limit is refused without being
 * sent: it is certainly not stored. When a submission gets no answer, everything that waits is refused with it, because the
 * store would not answer those either.
 */
export class SubmitGate {
  readonly #clock: Clock
  readonly #waitMs: number
  #window = FIRST_WINDOW
  #sent = 0
  /** Monotonic: the newest answer of the store, and when the window was last made smaller. */
  #answeredAt = -Infinity
  #shrunkAt = -Infinity
  /** Monotonic: when everything that waited was refused because the store did not answer. */
  #refusedAt = -Infinity
  // The head moves instead of the entries: `shift` of a long array copies it.
  #waiting: Waiter[] = []
  #head = 0
  #timer: TimerHandle | undefined
  /** Milliseconds that the event loop was blocked while submissions waited. */
  #blockedMs = 0

  /** @param waitMs a submission waits no longer than this to be sent */
  constructor (clock: Clock, waitMs: number) {
    this.#clock = clock
    this.#waitMs = waitMs
  }

  /** Submissions that wait to be sent. */
  get waiting (): number { return this.#waiting.length - this.#head }

  /**
   * Sends one submission as soon as the window has room for it.
   *
   * @param timeoutMs from the moment it is sent
   * @param more `patient`: it may wait for any time until it is sent, as `submitMany` needs it; `onWait`: called once if it has
   * to wait
   */
  run<T> (timeoutMs: number, send: () => Promise<T>, errors: () => GateErrors, more: WaitRules = {}): Promise<T> {
    const { patient = false, onWait } = more
    if (this.#sent < this.#window && this.waiting === 0) return this.#send(timeoutMs, send, errors)
    onWait?.()
    return new Promise<void>((resolve, reject) => {
      this.#waiting.push({ since: patient ? Infinity : this.#now(), errors, enter: resolve, refuse: reject })
      this.#watch()
    }).then(() => this.#send(timeoutMs, send, errors, true))
  }

  /** Refuses every submission that waits. Those that were sent go on. */
  close (error: Error): void { this.#refuseAll(() => error) }

  /** @param counted `#sent` includes this submission already */
  #send<T> (timeoutMs: number, send: () => Promise<T>, errors: () => GateErrors, counted = false): Promise<T> {
    if (!counted) this.#sent++
    const sentAt = this.#clock.monotonic()
    let expired: Error | undefined
    return orReject(this.#clock, timeoutMs, started(send), () => (expired = errors().unconfirmed())).then((answer) => {
      this.#answered(sentAt, timeoutMs)
      return answer
    }, (error: unknown) => {
      const tookMs = this.#clock.monotonic() - sentAt
      const silent = expired !== undefined || (tookMs >= timeoutMs * SILENT_PART && errors().silence(error))
      // Of several submissions that were under way together, only the first without an answer refuses what waits. The others would
      // refuse submissions that came after it and have hardly waited.
      if (silent && this.#answeredAt < sentAt && this.#refusedAt <= sentAt) {
        this.#refusedAt = this.#clock.monotonic()
        this.#refuseAll(({ errors }) => errors().unsent())
      }
      if (silent) this.#shrink(sentAt)
      else this.#answeredAt = this.#clock.monotonic()
      this.#left()
      throw silent ? expired ?? errors().unconfirmed() : error
    })
  }

  #answered (sentAt: number, timeoutMs: number): void {
    const now = this.#answeredAt = this.#clock.monotonic()
    if (now - sentAt > timeoutMs / SLOW_PART) this.#shrink(sentAt)
    else if (this.#window < MAX_WINDOW && this.waiting > 0) this.#window++
    this.#left()
  }

  /** Halves the window, once for all submissions that were under way together. */
  #shrink (sentAt: number): void {
    if (sentAt < this.#shrunkAt) return
    this.#shrunkAt = this.#clock.monotonic()
    this.#window = Math.max(MIN_WINDOW, Math.floor(this.#window / 2))
  }

  #left (): void {
    this.#sent--
    while (this.#sent < this.#window) {
      const next = this.#take()
      if (next === undefined) break
      // It is sent a microtask later. Counted only then, the loop would let too many through.
      this.#sent++
      next.enter()
    }
    if (this.waiting === 0) this.#unwatch()
  }

  #take (): Waiter | undefined {
    const waiter = this.#waiting[this.#head]
    if (waiter === undefined) return undefined
    this.#head++
    if (this.#head === this.#waiting.length || this.#head > 10_000) {
      this.#waiting = this.#waiting.slice(this.#head)
      this.#head = 0
    }
    return waiter
  }

  /**
   * The clock for waiting submissions: monotonic time without the time in which the event loop was blocked. A program that
   * submits 30,000 jobs in one loop would otherwise find all of them too late at the first check.
   */
  #now (): number { return this.#clock.monotonic() - this.#blockedMs }

  /** Refuses the submissions whose time is up, every {@link CHECK_MS} as long as one waits. */
  #watch (): void {
    if (this.#timer !== undefined || this.#waiting[this.#head] === undefined) return
    const dueAt = this.#clock.monotonic() + CHECK_MS
    this.#timer = this.#clock.setTimeout(() => {
      this.#timer = undefined
      this.#blockedMs += Math.max(0, this.#clock.monotonic() - dueAt)
      const now = this.#now()
      const late: Waiter[] = []
      const all = this.#waiting.slice(this.#head)
      this.#waiting = all.filter((waiter) => now - waiter.since < this.#waitMs || !late.push(waiter))
      this.#head = 0
      for (const waiter of late) waiter.refuse(waiter.errors().unsent())
      this.#watch()
    }, CHECK_MS)
  }

  #unwatch (): void {
    if (this.#timer !== undefined) this.#clock.clearTimeout(this.#timer)
    this.#timer = undefined
  }

  #refuseAll (error: (waiter: Waiter) => Error): void {
    const all = this.#waiting.slice(this.#head)
    this.#waiting = []
    this.#head = 0
    this.#unwatch()
    for (const waiter of all) waiter.refuse(error(waiter))
  }
}

/** A store that throws instead of rejecting would otherwise occupy a place in the window for ever. */
function started<T> (send: () => Promise<T>): Promise<T> {
  try {
    return send()
  } catch (error) {
    return Promise.reject(error)
  }
}
