/**
 * Watching the finished spans of a provider that is already made. The SDK has no way in for that, so this file, and no
 * other, reaches for two of its private fields, the same in 2.x and 3.x; a contract test and `.ci/check-otel.js` compare.
 */
import type { TracerProvider } from '@opentelemetry/api'
import type { LeanProcessor } from './lean-span.ts'

/** As much of a finished span as is looked at; those of every SDK have it. */
export interface FinishedSpan {
  readonly attributes: Readonly<Record<string, unknown>>
  /** Seconds and nanoseconds. */
  readonly duration: readonly [number, number]
  spanContext (): { readonly traceId: string, readonly spanId: string }
}

/** A span processor, for SDKs of both lines. */
export interface SpanWatcher {
  onStart (): void
  onEnd (span: FinishedSpan): void
  forceFlush (): Promise<void>
  shutdown (): Promise<void>
}

/**
 * Adds a processor behind those that a provider has. The list is replaced and not changed: it may be the application's
 * own array, and may be walked at this moment.
 *
 * @returns takes it away again; `undefined` when the provider is not built as expected, and nothing was touched
 */
export function attachWatcher (provider: TracerProvider, watcher: SpanWatcher): (() => void) | undefined {
  try {
    const fan = Reflect.get(realProvider(provider), '_activeSpanProcessor') as unknown
    if (!isFan(fan)) return undefined
    fan._spanProcessors = [...fan._spanProcessors, watcher]
    // An accessor, or a proxy around it, may have thought otherwise.
    if (!fan._spanProcessors.includes(watcher)) return undefined
    return () => {
      try {
        fan._spanProcessors = fan._spanProcessors.filter((processor) => processor !== watcher)
      } catch { /* frozen meanwhile: the watcher is deaf by then */ }
    }
  } catch {
    return undefined
  }
}

/**
 * Who gets the spans of this provider by now, for spans that it has not made itself.
 *
 * @returns `undefined` when the provider is not built as expected
 */
export function processorsOf (provider: TracerProvider): (() => readonly LeanProcessor[]) | undefined {
  const fan = Reflect.get(provider, '_activeSpanProcessor') as unknown
  return isFan(fan) ? () => fan._spanProcessors as readonly LeanProcessor[] : undefined
}

/** Behind the API's proxies, of which each copy of the API may have put one before the other. */
export function realProvider (provider: TracerProvider): TracerProvider {
  let real: object = provider
  for (let depth = 0; depth < 5; depth++) {
    const getDelegate: unknown = Reflect.get(real, 'getDelegate')
    if (typeof getDelegate !== 'function') break
    const next: unknown = getDelegate.call(real)
    if (typeof next !== 'object' || next === null || next === real) break
    real = next
  }
  return real as TracerProvider
}

/** What hands every span to the processors of a provider. */
interface Fan { _spanProcessors: readonly unknown[] }

function isFan (value: unknown): value is Fan {
  if (typeof value !== 'object' || value === null || typeof Reflect.get(value, 'onEnd') !== 'function') return false
  const field = Object.getOwnPropertyDescriptor(value, '_spanProcessors')
  return field?.writable === true && Array.isArray(field.value) && field.value.every(isProcessor)
}

function isProcessor (value: unknown): boolean {
  return typeof value === 'object' && value !== null && ['onStart', 'onEnd', 'forceFlush', 'shutdown'].every((method) => typeof Reflect.get(value, method) === 'function')
}
