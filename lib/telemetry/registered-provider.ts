import { ProxyTracerProvider, trace, type TracerProvider } from '@opentelemetry/api'

/**
 * The tracer provider that the application has registered, or `undefined`. Compared by identity with the API's own
 * no-op, because names are lost to minifiers and `instanceof` to second copies of a package. Ask in `onReady`: an SDK
 * started by `--import` or late in the application's own start is there by then.
 */
export function registeredTracerProvider (): TracerProvider | undefined {
  try {
    const provider = trace.getTracerProvider()
    const real = delegateOf(provider) ?? provider
    return real === new ProxyTracerProvider().getDelegate() ? undefined : provider
  } catch {
    // `ProxyTracerProvider` is marked for removal; a version without it needs another way to tell.
    return undefined
  }
}

/** A provider of the API's proxy kind hands out the real one; any copy of the API has the method. */
function delegateOf (provider: TracerProvider): TracerProvider | undefined {
  const { getDelegate } = provider as { getDelegate?: () => TracerProvider }
  return typeof getDelegate === 'function' ? getDelegate.call(provider) : undefined
}
