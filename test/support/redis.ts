/**
 * A real Redis for tests and benchmarks. `startRedis` runs a server of its own that can be killed and frozen;
 * `sharedRedis` is for tests that only need some server and keep to a prefix of their own.
 */
import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { constants } from 'node:fs'
import { access } from 'node:fs/promises'
import { connect } from 'node:net'
import { delimiter, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { freePort } from '../../example-server/validate/support/free-port.ts'
import { makeFolder, type Folder } from './folder.ts'

export { freePort }

const run = promisify(execFile)
const READY_MS = 15_000
const STOP_MS = 5_000

export interface RedisServerOptions {
  /** Writes every change to disk before it is answered, so that nothing acknowledged is lost by a kill. */
  readonly durable?: boolean
  /** Further settings, as on the command line: `['--maxmemory', '20mb']`. */
  readonly settings?: readonly string[]
  /** Otherwise a free one. */
  readonly port?: number
}

/** One server process, on a port that it keeps over restarts. */
export class RedisServer {
  readonly port: number
  readonly #options: RedisServerOptions
  readonly #folder: Folder
  #child: ChildProcess | undefined

  constructor (port: number, folder: Folder, options: RedisServerOptions) {
    this.port = port
    this.#folder = folder
    this.#options = options
  }

  get settings (): readonly string[] { return this.#options.settings ?? [] }

  get pid (): number | undefined { return this.#child?.pid }

  get url (): string { return `redis://127.0.0.1:${this.port}` }

  /** Resolves when it answers. @throws when the port is taken or it does not come up */
  async start (): Promise<void> {
    const { durable = false, settings = [] } = this.#options
    const args = [
      '--port', String(this.port), '--bind', '127.0.0.1', '--dir', this.#folder.path, '--save', '', '--loglevel', 'warning',
      ...(durable ? ['--appendonly', 'yes', '--appendfsync', 'always'] : []), ...settings
    ]
    const child = spawn(await serverBinary(), args, { stdio: ['ignore', 'pipe', 'pipe'] })
    this.#child = child
    let output = ''
    for (const stream of [child.stdout, child.stderr]) stream?.on('data', (data: Buffer) => { output = (output + data.toString()).slice(-2_000) })
    // A test file that ends badly must not leave a server behind.
    const killAtExit = (): void => { child.kill('SIGKILL') }
    process.once('exit', killAtExit)
    child.once('exit', () => process.removeListener('exit', killAtExit))
    child.once('error', (error) => { output += String(error) })
    const end = performance.now() + READY_MS
    while (!await answersPing(this.port)) {
      if (child.exitCode !== null || performance.now() > end) throw new Error(`redis-server on port ${this.port} did not start: ${output}`)
      await sleep(20)
    }
    if (child.exitCode !== null) throw new Error(`another server has port ${this.port}`)
  }

  /** Ends the process at once, as a crash would. */
  async kill (signal: 'SIGKILL' | 'SIGTERM' = 'SIGKILL'): Promise<void> {
    const child = this.#child
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    const exited = once(child, 'exit')
    child.kill(signal)
    await exited
  }

  async restart (): Promise<void> {
    await this.kill()
    await this.start()
  }

  /** The process stops working but its connections stay, as when the network is gone. */
  freeze (): void { this.#child?.kill('SIGSTOP') }
  thaw (): void { this.#child?.kill('SIGCONT') }

  async stop (): Promise<void> {
    this.thaw()
    const gentle = this.kill('SIGTERM')
    const timer = setTimeout(() => { this.#child?.kill('SIGKILL') }, STOP_MS)
    await gentle
    clearTimeout(timer)
    this.#folder.remove()
  }
}

/** Starts a server of the caller's own. */
export async function startRedis (options: RedisServerOptions = {}): Promise<RedisServer> {
  const server = await prepareRedis(options)
  for (let tries = 1; ; tries++) {
    try {
      await server.start()
      return server
    } catch (error) {
      await server.kill()
      // Somebody else may have taken the free port meanwhile.
      if (options.port !== undefined || tries === 3) throw error
      await sleep(200)
    }
  }
}

/** A server that is not running yet, with a port that nobody has. */
export async function prepareRedis (options: RedisServerOptions = {}): Promise<RedisServer> {
  return new RedisServer(options.port ?? await freePort(), makeFolder('redis'), options)
}

export interface SharedRedis {
  readonly url: string
  /** Nobody else's, with the braces that a cluster needs. */
  readonly prefix: string
  stop (): Promise<void>
}

/** The server that `REDIS_URL` names, or one of our own. Keep to the prefix: others may use it too. */
export async function sharedRedis (): Promise<SharedRedis> {
  const prefix = uniquePrefix()
  const { REDIS_URL: url } = process.env
  if (url !== undefined && url !== '') return { url, prefix, stop: async () => {} }
  const server = await startRedis()
  return { url: server.url, prefix, stop: () => server.stop() }
}

export function uniquePrefix (): string {
  return `{t${randomBytes(6).toString('hex')}}`
}

let binary: Promise<string> | undefined

/** Finds a Redis server, or installs one where that is possible; never skips a test for want of one. */
function serverBinary (): Promise<string> {
  binary ??= (async () => {
    const found = await onPath('redis-server') ?? await onPath('valkey-server')
    if (found !== undefined) return found
    const apt = await onPath('apt-get')
    if (apt !== undefined && process.getuid?.() === 0) {
      const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
      const wait = ['-o', 'DPkg::Lock::Timeout=120']
      await run(apt, [...wait, 'update'], { env, timeout: 300_000 })
      await run(apt, [...wait, 'install', '-y', '--no-install-recommends', 'redis-server'], { env, timeout: 300_000 })
      const installed = await onPath('redis-server')
      if (installed !== undefined) return installed
    }
    throw new Error('These tests need a Redis server: install redis-server (apt-get install redis-server, brew install redis, …) so that it is on the PATH. Tests that do not stop it also take the one that REDIS_URL names')
  })()
  return binary
}

async function onPath (name: string): Promise<string | undefined> {
  for (const dir of (process.env['PATH'] ?? '').split(delimiter)) {
    const file = join(dir, name)
    try {
      await access(file, constants.X_OK)
      return file
    } catch { /* not there */ }
  }
  return undefined
}

function answersPing (port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1')
    const done = (answer: boolean): void => {
      socket.destroy()
      resolve(answer)
    }
    socket.setTimeout(1_000, () => done(false))
    socket.once('error', () => done(false))
    socket.once('connect', () => { socket.write('PING\r\n') })
    socket.once('data', (data) => done(/^(\+PONG|-NOAUTH)/.test(data.toString())))
  })
}
