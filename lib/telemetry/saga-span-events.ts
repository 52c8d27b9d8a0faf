import type { Attributes } from '@opentelemetry/api'
import type { EventName } from '../events/catalogue.ts'
import type { Sink } from '../events/router.ts'
import { ATTR } from './attributes.ts'

type AddEvent = (jobId: string, name: EventName, attributes: Attributes) => void

/**
 * What happens to a saga between its steps, as events of the span of the attempt: why it undoes its steps, and what
 * happens to its steps outside of their own spans. `saga.suspended` comes after the attempt, whose span says for how
 * long it waits.
 */
export function sagaSpanEvents (add: AddEvent): Sink {
  return {
    'saga.resumed': ({ jobId, done, total, phase }, name) => {
      add(jobId, name, { done, total, [ATTR.sagaPhase]: phase })
    },
    'saga.definition_changed': ({ jobId, reason }, name) => { add(jobId, name, { reason }) },
    'saga.compensating': ({ jobId, step, reason, errorCode, total }, name) => {
      add(jobId, name, { [ATTR.stepName]: step, reason, [ATTR.errorType]: errorCode, total })
    },
    'saga.compensation_failed': ({ jobId, steps, errorCode }, name) => {
      add(jobId, name, { steps, [ATTR.errorType]: errorCode })
    },
    'step.retry_scheduled': ({ jobId, step, attempt, delayMs }, name) => {
      add(jobId, name, { [ATTR.stepName]: step, [ATTR.stepAttempt]: attempt, delay_ms: delayMs })
    },
    'step.timed_out': ({ jobId, step, attempt, timeoutMs }, name) => {
      add(jobId, name, { [ATTR.stepName]: step, [ATTR.stepAttempt]: attempt, timeout_ms: timeoutMs })
    },
    'step.abandoned': ({ jobId, step, reason, graceMs }, name) => {
      add(jobId, name, { [ATTR.stepName]: step, reason, grace_ms: graceMs })
    },
    'step.skipped': ({ jobId, step }, name) => { add(jobId, name, { [ATTR.stepName]: step }) },
    'step.refused': ({ jobId, step, errorCode }, name) => {
      add(jobId, name, { [ATTR.stepName]: step, [ATTR.errorType]: errorCode })
    }
  }
}
