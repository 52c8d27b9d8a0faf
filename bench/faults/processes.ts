/** The processes under fault: started, killed, told to leave, and asked all the time whether they are ready. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { get } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { freePort } from '../../test/support/redis.ts'
import type { ServeOptions } from './serve.ts'

const SERVE = fileURLToPath(new URL('./serve.js', import.meta.url))
const READY_MS = 120_000
const LEAVE_MS = 60_000
const POLL_MS = 100
/** Longer than our own health checks take to give up. */
const PROBE_MS = 3_000

export type Readiness = 'ready' | 'not ready' | 'gone'
export interface Transition { readonly at: number, readonly to: Readiness }
export interface Leave { readonly code: number | null, readonly ms: number }

/** A place for a process, with a port and a ledger that it keeps over restarts. */
export class Place {
  readonly name: string
  readonly transitions: Transition[] = []
  readonly #options: ServeOptions
  readonly #polling = new AbortController()
  #child: ChildProcess | undefined
  #readiness: Readiness = 'gone'
  #polled: Promise<void> | undefined

  constructor (name: string, options: ServeOptions) {
    this.name = name
    this.#options = options
  }

  get role (): ServeOptions['role'] { return this.#options.role }
  get ledger (): string { return this.#options.ledger }
  get port (): number { return this.#options.port }
  get readiness (): Readiness { return this.#readiness }

  /** Resolves when it is ready. */
  async start (): Promise<void> {
    this.spawn()
    await this.untilReady()
  }

  spawn (): void {
    const child = this.#child = spawn(process.execPath, [SERVE, JSON.stringify(this.#options)], { stdio: ['ignore', 'ignore', 'inherit'] })
    const killAtExit = (): void => { child.kill('SIGKILL') }
    process.once('exit', killAtExit)
    child.once('exit', () => process.removeListener('exit', killAtExit))
    this.#polled ??= this.#poll()
  }

  async untilReady (): Promise<void> {
    const deadline = Date.now() + READY_MS
    while (this.#readiness !== 'ready') {
      if (Date.now() > deadline || !this.#alive()) throw new Error(`${this.name} did not become ready`)
      await sleep(20)
    }
  }

  /** @returns when it was killed */
  async kill (): Promise<number> {
    const child = this.#child
    if (child === undefined || !this.#alive()) return Date.now()
    const exited = once(child, 'exit')
    const at = Date.now()
    child.kill('SIGKILL')
    await exited
    this.#is('gone')
    return at
  }

  /** Tells it to leave, and waits until it has. */
  async leave (): Promise<Leave> {
    const child = this.#child
    if (child === undefined || !this.#alive()) return { code: null, ms: 0 }
    const exited = once(child, 'exit')
    const startedAt = performance.now()
    child.kill('SIGTERM')
    const timer = setTimeout(() => { child.kill('SIGKILL') }, LEAVE_MS)
    await exited
    clearTimeout(timer)
    this.#is('gone')
    return { code: child.exitCode, ms: performance.now() - startedAt }
  }

  async close (): Promise<void> {
    this.#polling.abort()
    await this.#polled
    await this.kill()
  }

  #alive (): boolean { return this.#child !== undefined && this.#child.exitCode === null && this.#child.signalCode === null }

  async #poll (): Promise<void> {
    const { signal } = this.#polling
    while (!signal.aborted) {
      const next = sleep(POLL_MS, undefined, { signal }).catch(() => {})
      const child = this.#child
      const seen = await probe(this.port)
      // An answer that was on its way while it was killed is none.
      if (child === this.#child) this.#is(this.#alive() ? seen : 'gone')
      await next
    }
  }

  #is (readiness: Readiness): void {
    if (readiness === this.#readiness) return
    this.#readiness = readiness
    this.transitions.push({ at: Date.now(), to: readiness })
  }
}

function probe (port: number): Promise<Readiness> {
  return new Promise((resolve) => {
    const request = get({ port, host: '127.0.0.1', path: '/health/ready', agent: false, timeout: PROBE_MS }, (response) => {
      response.resume()
      response.once('close', () => resolve(response.statusCode === 200 ? 'ready' : 'not ready'))
    })
    request.once('timeout', () => request.destroy())
    request.once('error', () => resolve('gone'))
  })
}

type Settings = Omit<ServeOptions, 'role' | 'port' | 'ledger'>

export async function makePlaces (role: ServeOptions['role'], count: number, folder: string, settings: Settings): Promise<Place[]> {
  const places: Place[] = []
  for (let n = 1; n <= count; n++) {
    const name = `${role}-${n}`
    places.push(new Place(name, { ...settings, role, port: await freePort(), ledger: `${folder}/${name}` }))
  }
  return places
}
