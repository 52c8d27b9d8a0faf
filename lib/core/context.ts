import { hostname } from 'node:os'
import { randomHex128, randomUuid } from './ids.ts'

/** A timer made by {@link Clock.setTimeout}. Pass it to `clearTimeout`; nothing else can be done with it. */
export type TimerHandle = unknown

/**
 * The clock as an object, so that a test can replace it. Use `now` for times that are stored or shown, and
 * `monotonic` for durations, because the wall clock may jump.
 */
export interface Clock {
  /** Wall clock, milliseconds since the epoch. */
  now (): number
  /** Milliseconds since some fixed moment. Never goes back. */
  monotonic (): number
  setTimeout (callback: () => void, delayMs: number): TimerHandle
  clearTimeout (handle: TimerHandle): void
}

/** Where ids come from. */
export interface Ids {
  /** A new job id: a random UUID (RFC 9562 version 4). */
  job (): string
  /** A correlation id for a request without one. */
  correlation (): string
}

/**
 * Logs fields and a message, or a message alone. `%s`, `%d`, `%j` and `%o` in the message are replaced by the values
 * that follow.
 */
export interface LogMethod {
  (fields: object, message?: string, ...values: unknown[]): void
  (message: string, ...values: unknown[]): void
}

/**
 * The part of a pino logger that the library uses and that handlers get. It is compatible with Fastify's logger in
 * both directions.
 */
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

/** Clock, ids and logger of one Fastify instance. Code takes them from here, never from globals. */
export interface Context {
  readonly clock: Clock
  readonly ids: Ids
  readonly logger: Logger
  /** Names this process in leases, logs and metrics: `host:pid:random`. */
  readonly instanceId: string
  /** Whether `NODE_ENV` is `production`, read once. In production, routes that are left open cause a warning. */
  readonly production: boolean
}

/**
 * Node fires a timer at once if its delay is over 2^31-1 ms. A longer delay is cut to this; the owner of the timer
 * starts it again.
 */
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

/** A logger that writes nothing, for a Fastify instance without a logger and for tests. */
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

/** Fills missing parts with the system clock, random ids and a silent logger. */
export function createContext (parts: Partial<Context> = {}): Context {
  return Object.freeze({
    clock: parts.clock ?? systemClock,
    ids: parts.ids ?? randomIds,
    logger: parts.logger ?? silentLogger,
    instanceId: parts.instanceId ?? `${hostname()}:${process.pid}:${randomHex128().slice(0, 6)}`,
    production: parts.production ?? process.env['NODE_ENV'] === 'production'
  })
}
