/** Finds jobs of the memory store by id. */
import type { StoredJob } from './record.ts'

/**
 * Each part grows alone: growing one that holds a 64th of a million jobs takes a millisecond, not a tenth of a
 * second.
 */
const PARTS = 64
const SMALLEST = 16

interface Part {
  /** 0: the place is free. */
  hashes: Int32Array
  serials: Float64Array
  size: number
}

/**
 * Finds jobs by id: hash tables with open addressing that hold numbers only. A `Map` of a million jobs does the same,
 * but each of its look-ups wanders through ten places that are in no cache, and its growing stops the event loop for
 * a tenth of a second. Here a look-up reads a line of numbers, and a job only when its hash agrees; the garbage
 * collector has nothing to look at.
 */
export class IdIndex {
  readonly #parts: readonly Part[] = Array.from({ length: PARTS }, () => emptyPart(SMALLEST))
  readonly #jobAt: (serial: number) => StoredJob | undefined

  /** @param jobAt the job of a serial, from the log of all jobs */
  constructor (jobAt: (serial: number) => StoredJob | undefined) {
    this.#jobAt = jobAt
  }

  get (id: string, hash: number = hashOf(id)): StoredJob | undefined {
    const { hashes, serials } = this.#part(hash)
    const last = hashes.length - 1
    for (let place = hash & last; hashes[place] !== 0; place = (place + 1) & last) {
      if (hashes[place] !== hash) continue
      const job = this.#jobAt(serials[place] ?? -1)
      if (job?.id === id) return job
    }
    return undefined
  }

  /** Its id must not be in the index yet, its serial must be known. */
  add (job: StoredJob): void {
    const part = this.#part(job.hash)
    // Half of the places stay free: that keeps the runs of occupied ones short.
    if (part.size * 2 >= part.hashes.length) resize(part, part.hashes.length * 2)
    insert(part, job.hash, job.serial)
    part.size++
  }

  delete (job: StoredJob): void {
    const part = this.#part(job.hash)
    const { hashes, serials } = part
    const last = hashes.length - 1
    let place = job.hash & last
    while (serials[place] !== job.serial || hashes[place] !== job.hash) {
      if (hashes[place] === 0) return
      place = (place + 1) & last
    }
    closeGap(part, place)
    part.size--
    if (part.size * 16 < hashes.length && hashes.length > SMALLEST) resize(part, hashes.length / 4)
  }

  clear (): void {
    for (const part of this.#parts) Object.assign(part, emptyPart(SMALLEST))
  }

  /** By the upper bits: the lower ones are the place within the part. */
  #part (hash: number): Part {
    return this.#parts[hash >>> 26] as Part
  }
}

function emptyPart (places: number): Part {
  return { hashes: new Int32Array(places), serials: new Float64Array(places), size: 0 }
}

function insert ({ hashes, serials }: Part, hash: number, serial: number): void {
  const last = hashes.length - 1
  let place = hash & last
  while (hashes[place] !== 0) place = (place + 1) & last
  hashes[place] = hash
  serials[place] = serial
}

/** Moves up what a look-up would not find any more past the free place, so that no tombstone is needed. */
function closeGap ({ hashes, serials }: Part, from: number): void {
  const last = hashes.length - 1
  let gap = from
  for (let place = (gap + 1) & last; hashes[place] !== 0; place = (place + 1) & last) {
    const hash = hashes[place] ?? 0
    // It stays if the place that it wants lies behind the gap, counted around the end of the table.
    if (((place - hash) & last) < ((place - gap) & last)) continue
    hashes[gap] = hash
    serials[gap] = serials[place] ?? 0
    gap = place
  }
  hashes[gap] = 0
}

function resize (part: Part, places: number): void {
  const { hashes, serials } = part
  Object.assign(part, emptyPart(places), { size: part.size })
  for (let place = 0; place < hashes.length; place++) {
    const hash = hashes[place] ?? 0
    if (hash !== 0) insert(part, hash, serials[place] ?? 0)
  }
}

/** FNV-1a with a final mix, never 0: good for any ids, not only for random ones. */
export function hashOf (id: string): number {
  let hash = 0x811c9dc5
  for (let at = 0; at < id.length; at++) hash = Math.imul(hash ^ id.charCodeAt(at), 0x01000193)
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash ^= hash >>> 13
  return hash === 0 ? 1 : hash
}
