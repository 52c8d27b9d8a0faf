/** A Redis cluster of several nodes on this machine: masters that share the slots, one of them with a replica. */
import { Cluster, Redis, type ClusterOptions } from 'ioredis'
import { freePort, startRedis, type RedisServer } from './redis.ts'
import { until } from './redis-jobs.ts'

const SLOTS = 16_384
const NODE_TIMEOUT_MS = 1_000

export interface ClusterNode {
  readonly server: RedisServer
  readonly admin: Redis
  readonly id: string
}

export class RedisCluster {
  readonly nodes: readonly ClusterNode[]

  constructor (nodes: readonly ClusterNode[]) { this.nodes = nodes }

  /** A client as an application makes it. */
  async client (options: ClusterOptions = {}): Promise<Cluster> {
    const startup = this.nodes.map(({ server: { port } }) => ({ host: '127.0.0.1', port }))
    const client = new Cluster(startup, { redisOptions: { maxRetriesPerRequest: 3 }, slotsRefreshTimeout: 2_000, ...options })
    client.on('error', () => {})
    await until('the client of the cluster is ready', () => client.status === 'ready')
    return client
  }

  /** The node that serves a slot, as the node `asked` sees it. */
  async masterOf (slot: number, asked = 0): Promise<ClusterNode | undefined> {
    const answer: unknown = await this.nodes[asked]?.admin.cluster('SLOTS')
    for (const range of Array.isArray(answer) ? answer : []) {
      const [first, last, master] = range as [number, number, [string, number, string]]
      if (slot >= first && slot <= last) return this.nodes.find(({ id }) => id === master[2])
    }
    return undefined
  }

  /** Moves a slot with its keys to another node, as `redis-cli --cluster reshard` does. `halfway`: before the keys. */
  async move (slot: number, from: ClusterNode, to: ClusterNode, halfway: () => Promise<void> = async () => {}): Promise<void> {
    await to.admin.cluster('SETSLOT', slot, 'IMPORTING', from.id)
    await from.admin.cluster('SETSLOT', slot, 'MIGRATING', to.id)
    await halfway()
    for (;;) {
      const keys = await from.admin.cluster('GETKEYSINSLOT', slot, 100)
      if (keys.length === 0) break
      await from.admin.call('MIGRATE', '127.0.0.1', to.server.port, '', 0, 5_000, 'KEYS', ...keys)
    }
    await to.admin.cluster('SETSLOT', slot, 'NODE', to.id)
    await from.admin.cluster('SETSLOT', slot, 'NODE', to.id)
  }

  async stop (): Promise<void> {
    for (const { admin } of this.nodes) admin.disconnect()
    await Promise.all(this.nodes.map(({ server }) => server.stop()))
  }
}

/** @param settings of every node; @param replicated the slot whose master gets a replica, which is the last node */
export async function startCluster ({ masters = 3, replicated, settings = [] }: {
  readonly masters?: number, readonly replicated?: number, readonly settings?: readonly string[]
} = {}): Promise<RedisCluster> {
  const count = masters + (replicated === undefined ? 0 : 1)
  const nodes = await Promise.all(Array.from({ length: count }, async (): Promise<ClusterNode> => {
    const own = ['--cluster-enabled', 'yes', '--cluster-announce-ip', '127.0.0.1', '--cluster-port', String(await freePort())]
    const quick = ['--cluster-node-timeout', String(NODE_TIMEOUT_MS), '--cluster-require-full-coverage', 'no', '--repl-diskless-sync-delay', '0']
    const server = await startRedis({ settings: [...own, ...quick, ...settings] })
    const admin = new Redis(server.url, { maxRetriesPerRequest: null })
    admin.on('error', () => {})
    return { server, admin, id: String(await admin.cluster('MYID')) }
  }))
  const cluster = new RedisCluster(nodes)
  const [first] = nodes
  const owners = nodes.slice(0, masters)
  for (const [place, { admin }] of owners.entries()) {
    const [from, to] = [Math.floor(place * SLOTS / masters), Math.floor((place + 1) * SLOTS / masters) - 1]
    await admin.call('CLUSTER', 'ADDSLOTSRANGE', from, to)
    // Otherwise two nodes may have the same epoch for seconds, and no replica is elected.
    await admin.call('CLUSTER', 'SET-CONFIG-EPOCH', place + 1)
  }
  for (const { server } of nodes.slice(1)) {
    const busPort = server.settings[server.settings.indexOf('--cluster-port') + 1]
    await first?.admin.call('CLUSTER', 'MEET', '127.0.0.1', server.port, String(busPort))
  }
  const known = async ({ admin }: ClusterNode): Promise<boolean> => {
    const info = String(await admin.cluster('INFO'))
    return info.includes(`cluster_known_nodes:${count}`) && info.includes('cluster_state:ok') && info.includes(`cluster_slots_assigned:${SLOTS}`)
  }
  await until('the nodes know each other', async () => (await Promise.all(nodes.map(known))).every(Boolean), 30_000)
  if (replicated !== undefined) {
    const [master, replica] = [await cluster.masterOf(replicated), nodes.at(-1)]
    await replica?.admin.call('CLUSTER', 'REPLICATE', String(master?.id))
    await until('the replica follows', async () => /master_link_status:up/.test(String(await replica?.admin.info('replication'))), 30_000)
    const hasReplica = async (node: ClusterNode): Promise<boolean> => new RegExp(`slave ${String(master?.id)}`).test(String(await node.admin.cluster('NODES')))
    await until('every node knows the replica', async () => (await Promise.all(nodes.map(hasReplica))).every(Boolean), 30_000)
  }
  return cluster
}
