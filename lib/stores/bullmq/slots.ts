/** Which node of a cluster has the keys and the channels of a prefix. */
import type { Cluster, Redis } from 'ioredis'

const SLOTS = 16_384
/** Of the checksum that a cluster computes: CRC-16/XMODEM. */
const POLYNOMIAL = 0x1021

/** The slot of a key, or of a channel: of what stands in its first braces, if anything does. */
export function slotOf (key: string): number {
  const tag = /^[^{]*\{([^}]+)\}/s.exec(key)?.[1] ?? key
  let sum = 0
  for (const byte of Buffer.from(tag)) {
    sum ^= byte << 8
    for (let bit = 0; bit < 8; bit++) {
      const carry = (sum & 0x8000) !== 0
      sum = (sum << 1) & 0xffff
      if (carry) sum ^= POLYNOMIAL
    }
  }
  return sum % SLOTS
}

/** The connection of the cluster's client to the node that serves a slot, as far as the client knows. */
export function nodeOf (cluster: Cluster, slot: number): Redis | undefined {
  const key = cluster.slots[slot]?.[0]
  return cluster.nodes('all').find(({ options: { host, port } }) => `${host}:${port}` === key)
}

/** Makes the client ask the cluster which node serves which slot. Resolves also when nobody has answered. */
export function refreshSlots (cluster: Cluster): Promise<void> {
  return new Promise((resolve) => { cluster.refreshSlotsCache(() => { resolve() }) })
}
