/** What the processes wrote down: a side channel that knows nothing of the store. */
import { readFile } from 'node:fs/promises'

export interface Entry {
  readonly kind: 'started' | 'ended' | 'completed'
  readonly id: string
  readonly at: number
  /** Name of the process's place. */
  readonly by: string
}

/** In the order of time. */
export async function readLedgers (places: ReadonlyArray<{ readonly name: string, readonly ledger: string }>): Promise<Entry[]> {
  const entries: Entry[] = []
  for (const { name, ledger } of places) {
    const text = await readFile(ledger, 'utf8').catch(() => '')
    for (const line of text.split('\n')) {
      const [kind, id = '', at] = line.split(' ')
      // A kill may cut the last line short.
      if ((kind === 'started' || kind === 'ended' || kind === 'completed') && id.length === 36 && Number(at) > 1e12) entries.push({ kind, id, at: Number(at), by: name })
    }
  }
  return entries.sort((a, b) => a.at - b.at)
}

/** How often each job was begun, run to its end, told as completed. */
export function countBy (entries: readonly Entry[], kind: Entry['kind']): Map<string, number> {
  const counts = new Map<string, number>()
  for (const entry of entries) if (entry.kind === kind) counts.set(entry.id, (counts.get(entry.id) ?? 0) + 1)
  return counts
}

/** Jobs that a process had begun and not told as completed when it was killed. */
export function interruptedBy (entries: readonly Entry[], by: string, killedAt: number): string[] {
  const open = new Set<string>()
  for (const entry of entries) {
    if (entry.by !== by || entry.at > killedAt) continue
    if (entry.kind === 'started') open.add(entry.id)
    else if (entry.kind === 'completed') open.delete(entry.id)
  }
  return [...open]
}
