import { AsyncEndpointsError } from '../core/errors.ts'
import type { JobRuntime } from '../events/runtime.ts'
import { lostInJson } from '../jobs/json-value.ts'
import { plannedSignal, type SagaPlan } from '../jobs/saga-plan.ts'
import { eventIds } from '../jobs/trace-ids.ts'
import type { Signalled } from './jobs.ts'
import { notFound } from './result.ts'
import { inOrder } from './submission.ts'

function whyUnknown (job: string, plan: SagaPlan | undefined): string {
  if (plan === undefined) return `"${job}" is not a saga in this process; define it with app.saga() wherever its signals arrive`
  const names = plan.nodes.flatMap(({ kind, path }) => kind === 'signal' ? [path] : [])
  const list = names.map((name) => `"${name}"`).join(', ')
  return list === '' ? 'its definition has none' : `its definition has ${list}`
}

/**
 * Sends a signal to a saga: checks it, and stores it.
 *
 * @throws {AsyncEndpointsError} see `Jobs.signal`
 */
export async function sendSignal (
  { bus, registry, store }: JobRuntime, id: string, name: string, value: unknown
): Promise<Signalled> {
  const job = await store.get(id)
  if (job === undefined) throw notFound(id)
  const plan = registry.get(job.name)?.saga
  const signal = plan === undefined ? undefined : plannedSignal(plan, name)
  if (plan === undefined || signal === undefined) {
    throw new AsyncEndpointsError('FAE_SIGNAL_UNKNOWN', `The job waits for no such signal: ${whyUnknown(job.name, plan)}`)
  }
  const { maxStepResultBytes: maxBytes } = plan
  // What is checked is a copy, as the saga will get it: a validator that fills in defaults must not change the sender's
  // object.
  const checked = await signal.validate(JSON.parse(written(name, value, maxBytes)))
  const verdict = await store.steps?.signal(id, name, written(name, checked, maxBytes))
  switch (verdict?.kind) {
    case undefined: throw notFound(id)
    case 'finished': {
      const newest = await store.get(id)
      const details = newest === undefined ? undefined : { jobStatus: newest.state }
      throw new AsyncEndpointsError('FAE_JOB_FINISHED', 'The job has ended; it takes no more signals', { details })
    }
    case 'conflict': {
      const message = `Another signal "${name}" was sent before; the first one counts`
      throw new AsyncEndpointsError('FAE_SIGNAL_CONFLICT', message)
    }
    case 'repeated': return { state: 'repeated', job }
    case 'stored': {
      const { traceId, spanId } = eventIds(undefined, job.trace)
      const { name: jobName, queue, correlationId } = job
      bus.emit('saga.signalled', { jobId: id, jobName, queue, correlationId, traceId, spanId, signal: name })
      return { state: 'stored', job }
    }
  }
}

/**
 * As JSON, with members in order: the same signal in another order is the same.
 *
 * @throws {AsyncEndpointsError} `FAE_INVALID_SUBMISSION`, `FAE_PAYLOAD_TOO_LARGE`
 */
function written (name: string, value: unknown = null, maxBytes: number): string {
  const lost = lostInJson(value, 'the signal')
  let text: string | undefined
  try {
    text = lost === undefined ? JSON.stringify(value, inOrder) : undefined
  } catch { /* the error below says what to do */ }
  if (text === undefined) {
    const why = lost === undefined ? '' : `: ${lost}`
    throw new AsyncEndpointsError('FAE_INVALID_SUBMISSION', `The signal "${name}" cannot be written as JSON${why}`)
  }
  const bytes = Buffer.byteLength(text)
  if (bytes > maxBytes) {
    const message = `The signal "${name}" has ${bytes} bytes; the saga allows ${maxBytes} (maxStepResultBytes)`
    throw new AsyncEndpointsError('FAE_PAYLOAD_TOO_LARGE', message)
  }
  return text
}
