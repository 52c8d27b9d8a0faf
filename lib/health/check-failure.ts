import { isAsyncEndpointsError, type AsyncEndpointsError } from '../core/errors.ts'
import type { HealthData } from '../core/health-check.ts'
import { shortened } from '../core/text.ts'
import { toStoredError } from '../jobs/stored-error.ts'

const MAX_TEXT = 200

/** What a check that threw answers. Only messages about the store are known to hold no connection string, payload or id of a job. */
export function failureOf (error: unknown): { readonly status: 'Unhealthy', readonly description: string, readonly data: HealthData } {
  const { code, message } = toStoredError(error)
  const shown = isAsyncEndpointsError(error) && error.code.startsWith('FAE_STORE_') ? withoutServer(error, message) : `the check failed (${code})`
  return { status: 'Unhealthy', description: bounded(shown), data: { error_type: code } }
}

/** Probes are often open to everybody: where the server is stands in the log. */
export function withoutServer ({ details }: AsyncEndpointsError, message: string): string {
  return typeof details?.server === 'string' ? message.replace(` at ${details.server}`, '') : message
}

/** A text as short as a report shows it. */
export function bounded (text: string): string {
  return shortened(text, MAX_TEXT)
}
