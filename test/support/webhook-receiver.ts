/** A receiver of webhooks: it keeps what it was sent, and answers as it is told to. */
import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { until } from './redis-jobs.ts'

/** `whsec_` and 32 bytes. */
export const SECRET = `whsec_${Buffer.alloc(32, 7).toString('base64')}`
export const OLD_SECRET = `whsec_${Buffer.alloc(32, 8).toString('base64')}`

export interface Received {
  readonly path: string
  readonly headers: IncomingHttpHeaders
  readonly body: string
  readonly message: { readonly type: string, readonly timestamp: string, readonly data: Record<string, unknown> }
}

export interface Reply { readonly status: number, readonly headers?: Record<string, string> }

export class WebhookReceiver {
  readonly received: Received[] = []
  /** Answers in order; the last one again and again. */
  replies: Reply[] = [{ status: 204 }]
  /** What the answers wait for. */
  hold: Promise<unknown> | undefined
  /** How many requests are open at this moment, and how many there were at most. */
  open = 0
  mostOpen = 0
  readonly #server: Server

  private constructor (server: Server) { this.#server = server }

  static async start (): Promise<WebhookReceiver> {
    const receiver: WebhookReceiver = new WebhookReceiver(createServer((request, response) => {
      const chunks: Buffer[] = []
      receiver.mostOpen = Math.max(receiver.mostOpen, ++receiver.open)
      response.on('close', () => { receiver.open-- })
      request.on('data', (chunk: Buffer) => { chunks.push(chunk) })
      request.on('end', () => {
        const body = Buffer.concat(chunks).toString()
        receiver.received.push({ path: request.url ?? '', headers: request.headers, body, message: JSON.parse(body) })
        const reply = receiver.replies.length > 1 ? receiver.replies.shift() : receiver.replies[0]
        const answer = (): void => { response.writeHead(reply?.status ?? 204, reply?.headers).end() }
        if (receiver.hold === undefined) answer()
        else void receiver.hold.then(answer)
      })
    }))
    receiver.#server.listen(0, '127.0.0.1')
    await once(receiver.#server, 'listening')
    return receiver
  }

  url (path = '/hook'): string { return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}${path}` }

  get origin (): string { return new URL(this.url()).origin }

  /** The message with this number, from 1. */
  async message (number: number, withinMs = 10_000): Promise<Received> {
    await until(`message ${number} arrives`, () => this.received.length >= number, withinMs)
    return this.received[number - 1] as Received
  }

  async close (): Promise<void> {
    this.#server.closeAllConnections()
    this.#server.close()
    await once(this.#server, 'close')
  }
}

/** What lets a test deliver to a receiver on this machine. */
export const LOCAL = { allowHttp: true, allowPrivate: true, ports: 'any' } as const
