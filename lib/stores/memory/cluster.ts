/** Warns of a memory store in a process of a cluster. */
import cluster from 'node:cluster'
import type { StoreReport } from '../../jobs/store.ts'

/**
 * Processes of a cluster (`node:cluster`, PM2's cluster mode) share a port but no memory. A request that reaches
 * another process than the submission did is answered 404; tests rarely show it.
 *
 * @returns the warning, in such a process
 */
export function clusterReport (isWorker = cluster.isWorker): StoreReport | undefined {
  if (!isWorker) return undefined
  const message = 'this process belongs to a cluster, whose processes do not share their memory: a job, its status and its idempotency key are ' +
    'known only to the process that took the submission, and a request that reaches another one is answered 404. ' +
    'Use redisStore(), or a single process'
  return { kind: 'warning', code: 'cluster-memory', message }
}
