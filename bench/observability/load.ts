/** A client that costs little: the measured process, and not its client, shall be what limits the load. */
import { connect, type Socket } from 'node:net'

const HEAD_END = Buffer.from('\r\n\r\n')
const LENGTH = /content-length: *(\d+)/i

/** Connections that are kept over all loads. */
export class Load {
  readonly #port: number
  readonly #request: Buffer
  readonly #sockets: Socket[] = []

  constructor (port: number, path: string, body: unknown) {
    const text = JSON.stringify(body)
    this.#port = port
    this.#request = Buffer.from(`POST ${path} HTTP/1.1\r\nhost: 127.0.0.1:${port}\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(text)}\r\n\r\n${text}`)
  }

  async open (connections: number): Promise<void> {
    await Promise.all(Array.from({ length: connections }, () => new Promise<void>((resolve, reject) => {
      const socket = connect({ port: this.#port, host: '127.0.0.1', noDelay: true }, resolve).once('error', reject)
      this.#sockets.push(socket)
    })))
  }

  /** Each connection sends its next request when it has the answer to the last. @throws at the first answer but 202 */
  async run (requests: number): Promise<void> {
    let left = requests
    await Promise.all(this.#sockets.map((socket) => new Promise<void>((resolve, reject) => {
      let unread: Buffer = Buffer.alloc(0)
      const next = (): void => {
        if (left === 0) {
          stop()
          resolve()
        } else {
          left--
          socket.write(this.#request)
        }
      }
      const fail = (error: Error): void => {
        left = 0
        stop()
        reject(error)
      }
      const read = (chunk: Buffer): void => {
        unread = unread.length === 0 ? chunk : Buffer.concat([unread, chunk])
        const end = unread.indexOf(HEAD_END)
        if (end < 0) return
        const head = unread.toString('latin1', 0, end)
        const length = Number(LENGTH.exec(head)?.[1])
        if (!head.startsWith('HTTP/1.1 202')) return fail(new Error(`refused: ${head.split('\r\n', 1)[0]}`))
        if (unread.length < end + 4 + length) return
        unread = Buffer.alloc(0)
        next()
      }
      const ended = (): void => fail(new Error('the server closed a connection'))
      const stop = (): void => { socket.off('data', read).off('error', fail).off('close', ended) }
      socket.on('data', read).on('error', fail).on('close', ended)
      next()
    })))
  }

  close (): void {
    for (const socket of this.#sockets) socket.destroy()
  }
}
