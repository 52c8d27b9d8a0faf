/** Bytes of the first chunk of a page whose size nobody knows yet, and the most of the later ones. */
const FIRST_CHUNK = 65_536
const LARGEST_CHUNK = 1_048_576
/** Smaller memory is not worth keeping. */
const SMALLEST_SPARE = 131_072
const LARGEST_EXCESS = 4
/** UTF-8 needs at most so many bytes for one UTF-16 unit. */
const BYTES_PER_UNIT = 3

/**
 * Gives other work its turn: whoever builds something large asks {@link TimeSlices.over} now and then and waits for
 * {@link TimeSlices.next} when it says so.
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
 * The memory of pages that have been sent, for the next ones. Each scrape would otherwise take some hundred kilobytes or
 * megabytes outside the heap, and V8 answers that by walking the whole heap now and then: with a million jobs in it, that
 * costs more than the pages.
 */
export class PageMemory {
  readonly #lent = new WeakMap<Uint8Array, Buffer>()
  #spare: Buffer | undefined

  /** Memory for so many bytes, or more. */
  take (bytes: number): Buffer {
    const spare = this.#spare
    this.#spare = undefined
    // One that is far too large is from a time with more series, and is let go.
    if (spare !== undefined && spare.length >= bytes && spare.length <= LARGEST_EXCESS * bytes) return spare
    // Outside the pool that small buffers share.
    return Buffer.allocUnsafeSlow(bytes)
  }

  /** The page begins its way to a reader. */
  lend (page: Uint8Array, memory: Buffer): void {
    if (memory.length >= SMALLEST_SPARE) this.#lent.set(page, memory)
  }

  /** Nobody reads the page any more, and the next one may overwrite it. Pages from elsewhere are left alone. */
  giveBack (page: Uint8Array): void {
    const memory = this.#lent.get(page)
    if (memory === undefined) return
    this.#lent.delete(page)
    if (this.#spare === undefined || this.#spare.length < memory.length) this.#spare = memory
  }
}

/**
 * The bytes of a page while it is written. Text is encoded a few kilobytes at a time: a string of megabytes costs more
 * to flatten than to build, and one buffer of the right size saves copying the whole page at its end.
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
    // Some room for values that have grown by a digit.
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
