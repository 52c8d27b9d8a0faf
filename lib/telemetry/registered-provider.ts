import { ProxyTracerProvider, trace, type TracerProvider } from '@opentelemetry/api'

/**
 * The tracer provider that the application has registered, or `undefined`. It is compared by identity with the API's
 * no-op provider: minifiers change the names of classes, and `instanceof` fails for a second copy of a package. Call
 * it in
 * `onReady`: an SDK that starts by `--import`, or late in the start of the application, is registered by then.
 */
export function registeredTracerProvider (): TracerProvider | undefined {
  try {
    const provider = trace.getTracerProvider()
    const real = delegateOf(provider) ?? provider
    return real === new ProxyTracerProvider().getDelegate() ? undefined : provider
  } catch {
    // `ProxyTracerProvider` is marked for removal. A version without it needs another way to recognise the no-op.
    return undefined
  }
}

/** The proxy provider of the API returns the real one; every copy of the API has this method. */
function delegateOf (provider: TracerProvider): TracerProvider | undefined {
  const { getDelegate } = provider as { getDelegate?: () => TracerProvider }
  return typeof getDelegate === 'function' ? getDelegate.call(provider) : undefined
}
