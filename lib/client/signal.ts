import { AsyncEndpointsError } from '../core/errors.ts'
import type { JobRuntime } from '../events/runtime.ts'
import { lostInJson } from '../jobs/json-value.ts'
import { plannedSignal } from '../jobs/saga-plan.ts'
import { eventIds } from '../jobs/trace-ids.ts'
import type { Signalled } from './jobs.ts'
import { notFound } from './result.ts'
import { inOrder } from './submission.ts'

/** Characters of a signal as JSON. */
const MAX_SIGNAL = 262_144

/**
 * Sends a signal to a saga: checks it, and stores it.
 *
 * @throws {AsyncEndpointsError} see `Jobs.signal`
 */
export async function sendSignal ({ bus, registry, store }: JobRuntime, id: string, name: string, value: unknown): Promise<Signalled> {
  const job = await store.get(id)
  if (job === undefined) throw notFound(id)
  const plan = registry.get(job.name)?.saga
  const signal = plan === undefined ? undefined : plannedSignal(plan, name)
  if (signal === undefined) {
    const why = plan === undefined ? 'this process does not know it as a saga' : 'its definition has none of this name'
    throw new AsyncEndpointsError('FAE_SIGNAL_UNKNOWN', `The job waits for no such signal: ${why}`)
  }
  const text = written(name, await signal.validate(copyOf(name, value)))
  const verdict = await store.steps?.signal(id, name, text)
  if (verdict === undefined) throw notFound(id)
  switch (verdict.kind) {
    case 'finished': throw new AsyncEndpointsError('FAE_JOB_FINISHED', 'The job has ended; it takes no more signals')
    case 'conflict': throw new AsyncEndpointsError('FAE_SIGNAL_CONFLICT', `Another signal "${name}" was sent before; the first one counts`)
    case 'stored': {
      const { traceId, spanId } = eventIds(undefined, job.trace)
      bus.emit('saga.signalled', { jobId: id, jobName: job.name, queue: job.queue, correlationId: job.correlationId, traceId, spanId, signal: name })
    }
  }
  return { state: verdict.kind === 'repeated' ? 'repeated' : 'stored', job }
}

/** As the saga will get it; and so that a validator that fills in defaults does not change the sender's object. */
function copyOf (name: string, value: unknown): unknown {
  const text = written(name, value)
  return JSON.parse(text)
}

/**
 * As JSON, with members in order: the same signal in another order is the same.
 *
 * @throws {AsyncEndpointsError} `FAE_INVALID_SUBMISSION`
 */
function written (name: string, value: unknown = null): string {
  const lost = lostInJson(value, 'the signal')
  let text: string | undefined
  try {
    text = lost === undefined ? JSON.stringify(value, inOrder) : undefined
  } catch { /* said below */ }
  if (text === undefined) throw new AsyncEndpointsError('FAE_INVALID_SUBMISSION', `The signal "${name}" cannot be written as JSON${lost === undefined ? '' : `: ${lost}`}`)
  if (text.length > MAX_SIGNAL) throw new AsyncEndpointsError('FAE_PAYLOAD_TOO_LARGE', `The signal "${name}" has ${text.length} characters; ${MAX_SIGNAL} are the most`)
  return text
}
