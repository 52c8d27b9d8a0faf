import { invalidOptions } from '../core/options.ts'
import type { AsyncEndpointsError } from '../core/errors.ts'

/** The error for a job that is defined without a handler in a process whose worker would run it. */
export function noHandler (name: string, queue: string): AsyncEndpointsError {
  return invalidOptions(`job "${name}"`, [
    `handler is missing, and the worker of this process runs the jobs of queue "${queue}": give the job a handler, or, in a process that only submits it, ` +
    'register with worker: false (or with worker.onlyTheseQueues and without this queue)'
  ])
}
