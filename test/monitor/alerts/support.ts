/** A receiver of webhooks, and what tests of alerts share. */
import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Logger } from '../../../lib/core/context.ts'
import type { AlertNotice } from '../../../lib/monitor/alerts/alert.ts'

export const SECRET = `whsec_${Buffer.alloc(32, 7).toString('base64')}`

export const NOTICE: AlertNotice = {
  id: 'alert_1',
  kind: 'raised',
  at: Date.UTC(2026, 0, 1),
  alert: { fingerprint: 'memory:x', rule: 'memory', type: 'System', severity: 'high', title: 'High Memory Usage', message: 'x uses 81 %', details: { instance: 'x' }, startedAt: Date.UTC(2026, 0, 1) }
}

export interface Delivery { readonly headers: IncomingHttpHeaders, readonly body: string, readonly url: string }

export interface Receiver {
  readonly url: string
  readonly deliveries: Delivery[]
  /** Answers; the default is 204. */
  answer: (response: ServerResponse, delivery: Delivery) => void
  until (what: string, ready: () => boolean, withinMs?: number): Promise<void>
  stop (): Promise<void>
}

export async function startReceiver (): Promise<Receiver> {
  const waiting = new Set<() => void>()
  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const delivery = { headers: request.headers, body: Buffer.concat(chunks).toString(), url: request.url ?? '' }
      receiver.deliveries.push(delivery)
      receiver.answer(response, delivery)
      for (const look of waiting) look()
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const receiver: Receiver = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`,
    deliveries: [],
    answer: (response) => { response.writeHead(204).end() },
    until: (what, ready, withinMs = 20_000) => new Promise((resolve, reject) => {
      const deadline = setTimeout(() => { waiting.delete(look); reject(new Error(`waited ${withinMs} ms for this: ${what}`)) }, withinMs)
      const look = (): void => {
        if (!ready()) return
        clearTimeout(deadline)
        waiting.delete(look)
        resolve()
      }
      waiting.add(look)
      look()
    }),
    stop: async () => {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    }
  }
  return receiver
}

/** A logger that remembers the lines with a number. */
export function lineLogger (): { logger: Logger, lines: Array<Record<string, unknown>> } {
  const lines: Array<Record<string, unknown>> = []
  const keep = (level: string) => (fields: object | string, msg?: unknown): void => { lines.push(typeof fields === 'string' ? { level, msg: fields } : { level, msg, ...fields }) }
  const logger: Logger = { level: 'trace', trace: keep('trace'), debug: keep('debug'), info: keep('info'), warn: keep('warn'), error: keep('error'), fatal: keep('fatal'), silent () {}, child: () => logger, isLevelEnabled: () => true }
  return { logger, lines }
}
