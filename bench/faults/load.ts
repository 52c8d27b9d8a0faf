/** Submissions at a steady rate, whatever becomes of them. Nothing is sent twice. */
import { Agent, request } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Place } from './processes.ts'

/** A request without an answer is given up after this, and told as an error: nothing of ours may take so long. */
const GIVE_UP_MS = 15_000
const TICK_MS = 5
const BODY = JSON.stringify({ year: 2026, rows: 1_000, customer: 'c-1029384756', note: 'x'.repeat(128) })

export interface Answered { readonly at: number, readonly ms: number }
export interface Acknowledged extends Answered { readonly id: string }

export class Load {
  readonly acknowledged: Acknowledged[] = []
  /** Answers of 503, by the code of their problem document. */
  readonly refused = new Map<string, number>()
  /** Everything else: other statuses, resets, no answer. */
  readonly errors = new Map<string, number>()
  longestMs = 0
  sent = 0
  readonly #agent = new Agent({ keepAlive: true })
  readonly #apis: readonly Place[]
  readonly #perSecond: number
  readonly #followReadiness: boolean
  readonly #open = new Set<Promise<void>>()
  #sending: Promise<void> | undefined
  #stopped = false
  #turn = 0

  /** @param followReadiness sends to those that are ready, as a load balancer does; otherwise to all in turn */
  constructor (apis: readonly Place[], perSecond: number, followReadiness: boolean) {
    this.#apis = apis
    this.#perSecond = perSecond
    this.#followReadiness = followReadiness
  }

  start (): void { this.#sending ??= this.#send() }

  /** Sends no more, and waits for the answers. */
  async stop (): Promise<void> {
    this.#stopped = true
    await this.#sending
    await Promise.all(this.#open)
    this.#agent.destroy()
  }

  async #send (): Promise<void> {
    const startedAt = performance.now()
    while (!this.#stopped) {
      const due = Math.floor((performance.now() - startedAt) / 1_000 * this.#perSecond)
      while (this.sent < due) {
        this.sent++
        const submission = this.#submit(this.#next()).finally(() => { this.#open.delete(submission) })
        this.#open.add(submission)
      }
      await sleep(TICK_MS)
    }
  }

  #next (): number {
    const ready = this.#followReadiness ? this.#apis.filter(({ readiness }) => readiness === 'ready') : []
    const choice = ready.length > 0 ? ready : this.#apis
    return choice[this.#turn++ % choice.length]?.port ?? 0
  }

  #submit (port: number): Promise<void> {
    return new Promise((resolve) => {
      const startedAt = performance.now()
      let told = false
      const tell = (what: () => void): void => {
        if (told) return
        told = true
        clearTimeout(timer)
        this.longestMs = Math.max(this.longestMs, performance.now() - startedAt)
        what()
        resolve()
      }
      const fail = (code: string): void => { tell(() => { count(this.errors, code) }) }
      const sent = request({ port, host: '127.0.0.1', method: 'POST', path: '/work', agent: this.#agent, headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(BODY) } }, (response) => {
        let text = ''
        response.setEncoding('utf8').on('data', (part: string) => { text += part })
        response.once('error', (error) => fail(codeOf(error)))
        response.once('end', () => tell(() => { this.#answered(response.statusCode ?? 0, text, performance.now() - startedAt) }))
      })
      const timer = setTimeout(() => {
        fail('no answer')
        sent.destroy()
      }, GIVE_UP_MS)
      sent.on('error', (error) => fail(codeOf(error)))
      sent.end(BODY)
    })
  }

  #answered (status: number, text: string, ms: number): void {
    if (status === 202) this.acknowledged.push({ id: String(field(text, 'id')), at: Date.now(), ms })
    else if (status === 503) count(this.refused, String(field(text, 'code')))
    else count(this.errors, `status ${status}`)
  }
}

function count (map: Map<string, number>, key: string): void { map.set(key, (map.get(key) ?? 0) + 1) }

function codeOf (error: Error): string { return 'code' in error ? String(error.code) : error.message }

function field (text: string, name: string): unknown {
  try {
    return (JSON.parse(text) as Record<string, unknown>)[name]
  } catch {
    return undefined
  }
}
