import { totalmem } from 'node:os'
import { getHeapStatistics } from 'node:v8'

export interface MemoryUse { readonly usedBytes: number, readonly limitBytes: number }

/**
 * The one measurement of this process's memory. A parameter where it is used, so that a test can be another process.
 */
export interface ProcessMemory {
  /** Resident memory, as the kernel counts it. */
  rssBytes (): number
  /** What V8 uses, and the most that it may use. Costs about a microsecond. */
  heap (): MemoryUse
  /** The limit of the container; 0 or `undefined` where none is known. */
  containerBytes (): number | undefined
  /** The memory of the machine. */
  machineBytes (): number
}

export const processMemory: ProcessMemory = {
  rssBytes: () => process.memoryUsage.rss(),
  heap: () => {
    const { used_heap_size: usedBytes, heap_size_limit: limitBytes } = getHeapStatistics()
    return { usedBytes, limitBytes }
  },
  containerBytes: () => process.constrainedMemory?.(),
  machineBytes: totalmem
}

/** What this process uses, and of what: of the given limit, else of its container's, else of V8's. */
export function memoryUse (limitBytes: number | undefined, memory: ProcessMemory = processMemory): MemoryUse {
  if (limitBytes !== undefined) return { usedBytes: memory.rssBytes(), limitBytes }
  const container = memory.containerBytes() ?? 0
  // Without a limit the kernel gives a huge number, or the memory of the whole machine, which is not for this process
  // alone.
  if (container > 0 && container < memory.machineBytes()) return { usedBytes: memory.rssBytes(), limitBytes: container }
  return memory.heap()
}
