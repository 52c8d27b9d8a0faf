/** Many clients that listen to one job each. They read as little as they can: what is measured is the server. */
import { connect, type Socket } from 'node:net'

const END = Buffer.from('event: end\n')

export class Clients {
  readonly #port: number
  readonly #sockets = new Set<Socket>()
  /** When each heard the end of its job, in milliseconds since the epoch. More than one: it heard it twice. */
  readonly ends = new Map<string, number[]>()
  /** Streams that ended without the end of their job. */
  lost = 0
  #heard: () => void = () => {}

  constructor (port: number) { this.#port = port }

  /** Resolves when all of them have heard how their job is now. */
  async listen (ids: readonly string[], atOnce = 100): Promise<void> {
    for (let first = 0; first < ids.length; first += atOnce) {
      await Promise.all(ids.slice(first, first + atOnce).map((id) => this.#listen(id)))
    }
  }

  /** Resolves when this many ends were heard. */
  async heard (count: number): Promise<void> {
    while (this.ends.size < count) await new Promise<void>((resolve) => { this.#heard = resolve })
  }

  close (): void { for (const socket of this.#sockets) socket.destroy() }

  #listen (id: string): Promise<void> {
    return new Promise((resolve, reject) => {
      const socket = connect(this.#port, '127.0.0.1')
      this.#sockets.add(socket)
      socket.setNoDelay(true)
      socket.write(`GET /jobs/${id} HTTP/1.1\r\nhost: x\r\naccept: text/event-stream\r\n\r\n`)
      socket.on('error', reject)
      socket.on('data', (chunk) => {
        if (chunk.includes('event: status')) resolve()
        if (chunk.includes('HTTP/1.1 4')) reject(new Error(String(chunk)))
        if (!chunk.includes(END)) return
        const ends = this.ends.get(id)
        const at = performance.timeOrigin + performance.now()
        if (ends === undefined) this.ends.set(id, [at])
        else ends.push(at)
        this.#heard()
      })
      socket.on('close', () => {
        this.#sockets.delete(socket)
        if (!this.ends.has(id)) this.lost++
      })
    })
  }
}
