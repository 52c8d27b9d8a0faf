/** What private tracing and private metrics share. Only this folder imports the OpenTelemetry SDK. */
import type { Attributes } from '@opentelemetry/api'
import type { Logger } from '../../core/context.ts'

/**
 * Loads an optional package. Logs a warning when it is missing.
 *
 * @param signal what the package is needed for
 */
export async function load<M> (
  name: string, importing: () => Promise<M>, logger: Logger, signal: 'traces' | 'metrics' = 'traces'
): Promise<M | undefined> {
  try {
    return await importing()
  } catch (error) {
    const missing = (error as { code?: unknown }).code === 'ERR_MODULE_NOT_FOUND'
    const source = signal === 'traces' ? 'tracing' : 'metrics'
    logger.warn({ source, err: missing ? undefined : error }, missing
      ? `${signal} were asked for, but ${name} is not installed: npm install ${name}; until then they are not exported`
      : `${signal} were asked for, but ${name} could not be loaded; they are not exported`)
    return undefined
  }
}

/**
 * Makes a resource without the package for it: providers and exporters of both SDK lines use only this interface.
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
