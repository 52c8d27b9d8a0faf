import { isAsyncEndpointsError, type AsyncEndpointsError } from '../core/errors.ts'
import type { HealthData } from '../core/health-check.ts'
import { shortened } from '../core/text.ts'
import { toStoredError } from '../jobs/stored-error.ts'

const MAX_TEXT = 200

export interface FailureAnswer {
  readonly status: 'Unhealthy'
  readonly description: string
  readonly data: HealthData
}

/**
 * The answer of a check that threw. Only messages about the store are shown: others may hold a connection string, a payload or the
 * id of a job.
 */
export function failureOf (error: unknown): FailureAnswer {
  const { code, message } = toStoredError(error)
  const aboutStore = isAsyncEndpointsError(error) && error.code.startsWith('FAE_STORE_')
  const shown = aboutStore ? withoutServer(error, message) : `the check failed (${code})`
  return { status: 'Unhealthy', description: bounded(shown), data: { error_type: code } }
}

/** Leaves the address of the server out of a message, because everybody can read most probes. The log has it. */
export function withoutServer ({ details }: AsyncEndpointsError, message: string): string {
  return typeof details?.server === 'string' ? message.replace(` at ${details.server}`, '') : message
}

/** A text as short as a report shows it. */
export function bounded (text: string): string {
  return shortened(text, MAX_TEXT)
}
