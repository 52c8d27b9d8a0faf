/** What private tracing and private metrics share. This folder alone sees the OpenTelemetry SDK. */
import type { Attributes } from '@opentelemetry/api'
import type { Logger } from '../../core/context.ts'

/**
 * Loads a package that need not be there; says once, clearly, when it is missing.
 *
 * @param signal what it was asked for
 */
export async function load<M> (name: string, importing: () => Promise<M>, logger: Logger, signal: 'traces' | 'metrics' = 'traces'): Promise<M | undefined> {
  try {
    return await importing()
  } catch (error) {
    const missing = (error as { code?: unknown }).code === 'ERR_MODULE_NOT_FOUND'
    logger.warn({ source: signal === 'traces' ? 'tracing' : 'metrics', err: missing ? undefined : error }, missing
      ? `${signal} were asked for, but ${name} is not installed: npm install ${name}; going on without`
      : `${signal} were asked for, but ${name} could not be loaded; going on without`)
    return undefined
  }
}

/**
 * A resource without the package that makes them: the interface is all that providers and exporters of both SDK lines
 * look at.
 */
export function plainResource (attributes: Attributes): Resource {
  return {
    attributes,
    asyncAttributesPending: false,
    merge: (other) => other === null ? plainResource(attributes) : plainResource({ ...attributes, ...other.attributes }),
    getRawAttributes: () => Object.entries(attributes)
  }
}

type Sdk = typeof import('@opentelemetry/sdk-trace-node')
export type Resource = NonNullable<NonNullable<ConstructorParameters<Sdk['NodeTracerProvider']>[0]>['resource']>
