import { hostname } from 'node:os'
import { randomHex128, randomUuid } from './ids.ts'

/** A timer that {@link Clock.setTimeout} gave out. Opaque: hand it back to `clearTimeout`. */
export type TimerHandle = unknown

/**
 * Time, as one object, so that a test can move it. `now` is for what is stored or shown, `monotonic` for what is
 * measured: the wall clock may jump.
 */
export interface Clock {
  /** Wall clock, milliseconds since the epoch. */
  now (): number
  /** Milliseconds since some fixed moment; never goes back. */
  monotonic (): number
  setTimeout (callback: () => void, delayMs: number): TimerHandle
  clearTimeout (handle: TimerHandle): void
}

/** Where ids come from. */
export interface Ids {
  /** A new job id: a random UUID (RFC 9562 version 4). */
  job (): string
  /** A correlation id for a request that brought none. */
  correlation (): string
}

/** One level of a logger: fields and a message, or a message alone; `%s`, `%d`, `%j`, `%o` in it stand for the values that follow. */
export interface LogMethod {
  (fields: object, message?: string, ...values: unknown[]): void
  (message: string, ...values: unknown[]): void
}

/** The part of a pino logger that the library uses and hands to handlers. A Fastify logger can be used as one, and one as a Fastify logger. */
export interface Logger {
  level: string
  trace: LogMethod
  debug: LogMethod
  info: LogMethod
  warn: LogMethod
  error: LogMethod
  fatal: LogMethod
  silent: LogMethod
  child (bindings: Record<string, unknown>, options?: object): Logger
  isLevelEnabled? (level: string): boolean
}

/** What every room is given instead of reaching for globals. */
export interface Context {
  readonly clock: Clock
  readonly ids: Ids
  readonly logger: Logger
  /** Names this process in leases, logs and metrics: `host:pid:random`. */
  readonly instanceId: string
  /** `NODE_ENV=production`, read once: what may be left open elsewhere is warned about here. */
  readonly production: boolean
}

/** Node's timers reject delays over 2^31-1 ms by firing at once; a longer wait is cut to it and re-armed by its owner. */
export const MAX_TIMER_MS = 2_147_483_647

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  setTimeout: (callback, delayMs) => setTimeout(callback, Math.min(Math.max(delayMs, 0), MAX_TIMER_MS)),
  clearTimeout: (handle) => clearTimeout(handle as NodeJS.Timeout)
}

export const randomIds: Ids = {
  job: randomUuid,
  correlation: randomHex128
}

const quiet = (): void => {}

/** A logger that says nothing, for a Fastify instance without one and for tests. */
export const silentLogger: Logger = {
  level: 'silent',
  trace: quiet,
  debug: quiet,
  info: quiet,
  warn: quiet,
  error: quiet,
  fatal: quiet,
  silent: quiet,
  child: () => silentLogger,
  isLevelEnabled: () => false
}

/** Fills what is not given with the system clock, random ids and a silent logger. */
export function createContext (parts: Partial<Context> = {}): Context {
  return Object.freeze({
    clock: parts.clock ?? systemClock,
    ids: parts.ids ?? randomIds,
    logger: parts.logger ?? silentLogger,
    instanceId: parts.instanceId ?? `${hostname()}:${process.pid}:${randomHex128().slice(0, 6)}`,
    production: parts.production ?? process.env['NODE_ENV'] === 'production'
  })
}
