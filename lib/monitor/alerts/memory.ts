import { totalmem } from 'node:os'
import { getHeapStatistics } from 'node:v8'

export interface MemoryUse { readonly usedBytes: number, readonly limitBytes: number }

/** A parameter, so that a test can be a process without memory. */
export interface MemorySource {
  /** Of the container; 0 or `undefined` where none is known. */
  constrained (): number | undefined
  total (): number
  rss (): number
  heap (): MemoryUse
}

const system: MemorySource = {
  constrained: () => process.constrainedMemory?.(),
  total: totalmem,
  rss: () => process.memoryUsage.rss(),
  heap: () => {
    const { used_heap_size: usedBytes, heap_size_limit: limitBytes } = getHeapStatistics()
    return { usedBytes, limitBytes }
  }
}

/** What this process uses, and of what: of the given limit, else of its container's, else of V8's. */
export function readMemory (limitBytes: number | undefined, source: MemorySource = system): MemoryUse {
  if (limitBytes !== undefined) return { usedBytes: source.rss(), limitBytes }
  const constrained = source.constrained() ?? 0
  // Without a limit there stands a huge number, or the memory of the whole machine, which is not this process's to use up.
  if (constrained > 0 && constrained < source.total()) return { usedBytes: source.rss(), limitBytes: constrained }
  return source.heap()
}
