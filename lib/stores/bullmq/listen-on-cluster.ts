/** Makes the connection over which a process listens to the channels of a store on a cluster. */
import type { Cluster, Redis } from 'ioredis'
import type { Context } from '../../core/context.ts'
import { withDeadline } from '../../core/deadline.ts'
import type { Client } from './internals.ts'
import { runScript } from './scripts.ts'
import { ShardListener } from './shard-listener.ts'
import { nodeOf, refreshSlots, slotOf } from './slots.ts'

/** To connect to a node, join a channel there and hear something on it. */
const ATTEMPT_MS = 3_000

export interface ClusterListenerParts {
  /** Of all keys and channels of the store: one slot. */
  readonly prefix: string
  readonly context: Pick<Context, 'clock' | 'ids'>
  /** An attempt may take at least so long. */
  readonly attemptMs: number
  readonly run: <T>(operation: (client: Client) => Promise<T>) => Promise<T>
  /** A new client to the node of this one; `undefined` when the store is closed. */
  readonly toNode: (node: Redis) => Redis | undefined
  readonly release: (client: Redis) => void
}

/** @param cluster the client that knows the nodes, and asks the cluster again which slots they serve */
export function listenOnCluster (cluster: Cluster, parts: ClusterListenerParts): ShardListener {
  const { prefix, context: { clock, ids }, run, toNode, release } = parts
  const slot = slotOf(prefix)
  const attemptMs = Math.max(parts.attemptMs, ATTEMPT_MS)
  return new ShardListener({
    clock,
    release,
    attemptMs,
    ownChannel: `${prefix}::greet:${ids.correlation()}`,
    connect: async (again) => {
      if (again) await withDeadline(clock, attemptMs, refreshSlots(cluster))
      const node = nodeOf(cluster, slot)
      return node === undefined ? undefined : toNode(node)
    },
    greet: async (channel, message) => {
      const sharded = await run((client) => runScript(client, 'greet', [channel], message))
      return sharded === 1 ? 'sharded' : 'plain'
    }
  })
}
