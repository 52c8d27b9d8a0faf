/**
 * Watches the finished spans of an existing provider. The SDK offers no way for that, so this file, and no other,
 * uses two private fields, which are the same in 2.x and 3.x. A contract test and `.ci/check-otel.js` check them.
 */
import type { TracerProvider } from '@opentelemetry/api'
import type { LeanProcessor } from './lean-span.ts'

/** The part of a finished span that is read; spans of every SDK have it. */
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
 * Adds a processor after those of a provider. The list is replaced, not changed: it may be an array of the
 * application, and a loop over it may be running.
 *
 * @returns a function that removes it; `undefined` when the provider is not built as expected, and nothing was
 * changed
 */
export function attachWatcher (provider: TracerProvider, watcher: SpanWatcher): (() => void) | undefined {
  try {
    const fan = Reflect.get(realProvider(provider), '_activeSpanProcessor') as unknown
    if (!isFan(fan)) return undefined
    fan._spanProcessors = [...fan._spanProcessors, watcher]
    // An accessor or a proxy may have ignored the assignment.
    if (!fan._spanProcessors.includes(watcher)) return undefined
    return () => {
      try {
        fan._spanProcessors = fan._spanProcessors.filter((processor) => processor !== watcher)
      } catch { /* frozen meanwhile: the watcher stays in the list, but ignores what it gets */ }
    }
  } catch {
    return undefined
  }
}

/**
 * The processors of this provider at the time of a call, for spans that it has not made itself.
 *
 * @returns `undefined` when the provider is not built as expected
 */
export function processorsOf (provider: TracerProvider): (() => readonly LeanProcessor[]) | undefined {
  const fan = Reflect.get(provider, '_activeSpanProcessor') as unknown
  return isFan(fan) ? () => fan._spanProcessors as readonly LeanProcessor[] : undefined
}

/** The provider behind the proxies of the API: each copy of the API may have put one in front. */
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

/** The object that passes every span to the processors of a provider. */
interface Fan { _spanProcessors: readonly unknown[] }

function isFan (value: unknown): value is Fan {
  if (typeof value !== 'object' || value === null || typeof Reflect.get(value, 'onEnd') !== 'function') return false
  const field = Object.getOwnPropertyDescriptor(value, '_spanProcessors')
  return field?.writable === true && Array.isArray(field.value) && field.value.every(isProcessor)
}

function isProcessor (value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false
  return ['onStart', 'onEnd', 'forceFlush', 'shutdown'].every((method) => typeof Reflect.get(value, method) === 'function')
}
