/** The scripts of the store in which a script of BullMQ's stands, so that both are one command and one atomic step. */
import { bullAddScript, bullFinishScript, type BullScripts, type Script } from './internals.ts'
import { FORGOTTEN_AT_ONCE, limitsByName } from './keeping.ts'
import type { AddKind } from './layout.ts'
import { luaScript } from './lua.ts'
import type { ResolvedRedisStoreOptions } from './options.ts'

type Limits = Pick<ResolvedRedisStoreOptions, 'maxWaitingBytes' | 'retention'>

/** @throws {AsyncEndpointsError} `FAE_STORE_UNSUPPORTED` when the script of this release of BullMQ is another one */
export function addScript (scripts: BullScripts, kind: AddKind, limits: Limits): Script { return aroundAdd('add', scripts, kind, limits) }

/** Adds a job on trial. @throws {AsyncEndpointsError} `FAE_STORE_UNSUPPORTED` */
export function probeScript (scripts: BullScripts, kind: AddKind, limits: Limits): Script { return aroundAdd('probe', scripts, kind, limits) }

function aroundAdd (name: 'add' | 'probe', scripts: BullScripts, kind: AddKind, { maxWaitingBytes, retention: { maxKeysPerOwner } }: Limits): Script {
  const { lua, numberOfKeys } = bullAddScript(scripts, kind)
  // While it adds, only a delay or a priority means anything to BullMQ. Without them nothing has to be decoded.
  const constants = { readsOptions: kind !== 'standard', maxWaitingBytes: Math.ceil(maxWaitingBytes), maxKeysPerOwner }
  return { lua: luaScript(name, { constants, bullmq: lua }), numberOfKeys }
}

/**
 * @param sharded see `lua/parts/publish.lua`
 * @throws {AsyncEndpointsError} `FAE_STORE_UNSUPPORTED` when the script of this release of BullMQ is another one
 */
export function finishScript (
  scripts: BullScripts, limits: Pick<ResolvedRedisStoreOptions, 'retention'>, sharded: boolean
): Script {
  const { lua, numberOfKeys } = bullFinishScript(scripts)
  const { maxCount, ...others } = limitsByName(limits)
  const constants = { ...others, sharded, firstOver: String(maxCount), lastOver: String(maxCount + FORGOTTEN_AT_ONCE - 1) }
  return { lua: luaScript('finish', { constants, bullmq: lua }), numberOfKeys }
}
