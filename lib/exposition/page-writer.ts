/** Bytes of the first chunk of a page whose size nobody knows yet, and the most of the later ones. */
const FIRST_CHUNK = 65_536
const LARGEST_CHUNK = 1_048_576
/** Bytes. Smaller memory is not kept for the next page. */
const SMALLEST_SPARE = 131_072
const LARGEST_EXCESS = 4
/** UTF-8 needs at most so many bytes for one UTF-16 unit. */
const BYTES_PER_UNIT = 3

/**
 * Lets other work run while something large is built: its builder calls {@link TimeSlices.over} now and then, and awaits
 * {@link TimeSlices.next} when that is true.
 */
export class TimeSlices {
  readonly #sliceMs: number
  #startedAt = performance.now()

  constructor (sliceMs: number) {
    this.#sliceMs = sliceMs
  }

  over (): boolean { return performance.now() - this.#startedAt >= this.#sliceMs }

  async next (): Promise<void> {
    await new Promise((resolve) => { setImmediate(resolve) })
    this.#startedAt = performance.now()
  }
}

/**
 * Keeps the memory of a page that was sent, for the next page. Otherwise each scrape would take hundreds of kilobytes or megabytes
 * outside the heap, which makes V8 collect garbage in the whole heap: with a million jobs in it, that costs more than the pages.
 */
export class PageMemory {
  readonly #lent = new WeakMap<Uint8Array, Buffer>()
  #spare: Buffer | undefined

  /** Memory for so many bytes, or more. */
  take (bytes: number): Buffer {
    const spare = this.#spare
    this.#spare = undefined
    // Memory that is far too large dates from a time with more series. It is dropped.
    if (spare !== undefined && spare.length >= bytes && spare.length <= LARGEST_EXCESS * bytes) return spare
    // Outside the pool that small buffers share.
    return Buffer.allocUnsafeSlow(bytes)
  }

  /** Remembers the memory of a page that is being sent. */
  lend (page: Uint8Array, memory: Buffer): void {
    if (memory.length >= SMALLEST_SPARE) this.#lent.set(page, memory)
  }

  /** Called when the page was sent, so that the next one may overwrite its memory. Pages with other memory are left alone. */
  giveBack (page: Uint8Array): void {
    const memory = this.#lent.get(page)
    if (memory === undefined) return
    this.#lent.delete(page)
    if (this.#spare === undefined || this.#spare.length < memory.length) this.#spare = memory
  }
}

/**
 * Collects the bytes of a page. Text is encoded a few kilobytes at a time, because V8 takes longer to flatten a string of megabytes
 * than to build it; and one buffer of the right size saves copying the whole page at its end.
 */
export class PageWriter {
  readonly #memory: PageMemory
  readonly #full: Buffer[] = []
  #chunk: Buffer
  #used = 0
  #text = ''

  /** @param expectedBytes how large the page was the last time; 0 when there was none */
  constructor (expectedBytes: number, memory: PageMemory = new PageMemory()) {
    this.#memory = memory
    // A sixteenth more than the last time, because values grow by a digit now and then.
    this.#chunk = memory.take(Math.max(FIRST_CHUNK, expectedBytes + (expectedBytes >> 4)))
  }

  add (text: string): void { this.#text += text }

  /** Encodes what was added since. */
  flush (): void {
    const text = this.#text
    this.#text = ''
    if (text.length * BYTES_PER_UNIT > this.#chunk.length - this.#used) this.#makeRoom(Buffer.byteLength(text))
    this.#used += this.#chunk.write(text, this.#used)
  }

  /** The whole page. Nothing can be added to it any more. */
  async end (slices: TimeSlices): Promise<Buffer> {
    this.flush()
    const last = this.#chunk.subarray(0, this.#used)
    if (this.#full.length === 0) {
      this.#memory.lend(last, this.#chunk)
      return last
    }
    const chunks = [...this.#full, last]
    const page = Buffer.allocUnsafeSlow(chunks.reduce((sum, { length }) => sum + length, 0))
    let at = 0
    for (const chunk of chunks) {
      at += chunk.copy(page, at)
      if (slices.over()) await slices.next()
    }
    return page
  }

  #makeRoom (bytes: number): void {
    if (bytes <= this.#chunk.length - this.#used) return
    this.#full.push(this.#chunk.subarray(0, this.#used))
    this.#chunk = Buffer.allocUnsafeSlow(Math.max(bytes, Math.min(2 * this.#chunk.length, LARGEST_CHUNK)))
    this.#used = 0
  }
}
