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

/** How often waiting submissions are checked. A check that comes late shows that the event loop was busy; that time does not count as waiting. */
const LOOK_MS = 100

/** The errors of a submission that ran out of time. Made only when they are needed. */
export interface GateErrors {
  /** It was sent, and the store has not answered in time. */
  unconfirmed (): Error
  /** It was never sent. */
  unsent (): Error
  /** Whether an error of the store says that it did not answer. */
  silence (error: unknown): boolean
}

interface Waiter {
  /** On the clock of the line; `Infinity`: it waits however long it takes. */
  readonly since: number
  readonly errors: () => GateErrors
  readonly enter: () => void
  readonly refuse: (error: Error) => void
}

/**
 * The way from the process to the store. The time of a submission counts from the moment it is sent. What finds the window
 * full waits here, in order; what waits longer than a submission may take is refused before it is sent, and is certainly
 * not stored. While the store is silent nothing more is sent: all that waits is refused with the first that gets no answer.
 */
export class SubmitGate {
  readonly #clock: Clock
  readonly #waitMs: number
  #window = FIRST_WINDOW
  #sent = 0
  /** Monotonic: the newest answer of the store, and when the window was last made smaller. */
  #answeredAt = -Infinity
  #shrunkAt = -Infinity
  /** Monotonic: when all that waited was refused because of silence. */
  #refusedAt = -Infinity
  // The head moves instead of the entries: `shift` of a long array copies it.
  #waiting: Waiter[] = []
  #head = 0
  #timer: TimerHandle | undefined
  /** Milliseconds that the event loop was busy while somebody waited. */
  #busyMs = 0

  /** @param waitMs a submission waits no longer than this to be sent */
  constructor (clock: Clock, waitMs: number) {
    this.#clock = clock
    this.#waitMs = waitMs
  }

  /** Submissions that wait to be sent. */
  get waiting (): number { return this.#waiting.length - this.#head }

  /**
   * Sends one submission as soon as there is room.
   *
   * @param timeoutMs from the moment it is sent
   * @param more `patient`: it may wait for any time, as one of many that are sent at the pace of the store; `onWait`: called when it has to wait
   */
  run<T> (timeoutMs: number, send: () => Promise<T>, errors: () => GateErrors, { patient = false, onWait }: { patient?: boolean | undefined, onWait?: () => void } = {}): Promise<T> {
    if (this.#sent < this.#window && this.waiting === 0) return this.#send(timeoutMs, send, errors)
    onWait?.()
    return new Promise<void>((resolve, reject) => {
      this.#waiting.push({ since: patient ? Infinity : this.#now(), errors, enter: resolve, refuse: reject })
      this.#watch()
    }).then(() => this.#send(timeoutMs, send, errors, true))
  }

  /** Refuses all that waits; what was sent goes on. */
  close (error: Error): void { this.#refuseAll(() => error) }

  #send<T> (timeoutMs: number, send: () => Promise<T>, errors: () => GateErrors, counted = false): Promise<T> {
    if (!counted) this.#sent++
    const sentAt = this.#clock.monotonic()
    let expired: Error | undefined
    return orReject(this.#clock, timeoutMs, started(send), () => (expired = errors().unconfirmed())).then((answer) => {
      this.#answered(sentAt, timeoutMs)
      return answer
    }, (error: unknown) => {
      const silent = expired !== undefined || (this.#clock.monotonic() - sentAt >= timeoutMs * SILENT_PART && errors().silence(error))
      // Once for all that was under way together: what came after that has not waited yet.
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

  /** Once for all that was under way together. */
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
      // Its place is taken now, although it is sent a microtask later.
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

  /** Time of the line: it stands still while the event loop is busy, as it is while 30,000 submissions are made in one loop. */
  #now (): number { return this.#clock.monotonic() - this.#busyMs }

  /** Looks for those whose time is up, as long as anybody waits. */
  #watch (): void {
    if (this.#timer !== undefined || this.#waiting[this.#head] === undefined) return
    const dueAt = this.#clock.monotonic() + LOOK_MS
    this.#timer = this.#clock.setTimeout(() => {
      this.#timer = undefined
      this.#busyMs += Math.max(0, this.#clock.monotonic() - dueAt)
      const now = this.#now()
      const late: Waiter[] = []
      this.#waiting = this.#waiting.slice(this.#head).filter((waiter) => now - waiter.since < this.#waitMs || !late.push(waiter))
      this.#head = 0
      for (const waiter of late) waiter.refuse(waiter.errors().unsent())
      this.#watch()
    }, LOOK_MS)
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

/** A store that throws instead of rejecting must not keep a place for ever. */
function started<T> (send: () => Promise<T>): Promise<T> {
  try {
    return send()
  } catch (error) {
    return Promise.reject(error)
  }
}
