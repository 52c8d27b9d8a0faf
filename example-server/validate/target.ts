import { spawn, type ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { constants, rmSync } from 'node:fs'
import { access, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { CannotRun, type Arguments } from './arguments.ts'
import { messageOf } from './report.ts'
import { freePort } from './support/free-port.ts'
import { startOtlpReceiver, type OtlpReceiver } from './support/otlp-receiver.ts'

const MAIN = fileURLToPath(new URL('../main.js', import.meta.url))
const START_MS = 60_000
const STOP_MS = 10_000
const REDIS_MS = 5_000

/** The processes that are validated. */
export interface Target {
  /** For the report. */
  readonly description: string
  /** Where jobs are submitted. */
  readonly url: string
  /** Every process whose metrics count, the first one included. */
  readonly processes: readonly string[]
  /** Gets the traces of processes of our own. */
  readonly receiver: OtlpReceiver | undefined
  /** Why API and worker are one process, when they are. */
  readonly single: string | undefined
  /** Ends what was started here. @throws when something of it stays behind */
  stop (): Promise<void>
}

/** @throws {CannotRun} */
export async function findTarget ({ url, workers }: Arguments, env: NodeJS.ProcessEnv): Promise<Target> {
  if (url === undefined) return await ownTarget(env)
  return {
    description: [url, ...workers].join(', '),
    url,
    processes: [url, ...workers],
    receiver: undefined,
    single: workers.length > 0 ? undefined : 'no second process was named (--worker URL)',
    stop: async () => {}
  }
}

async function ownTarget (env: NodeJS.ProcessEnv): Promise<Target> {
  const running: Program[] = []
  const receiver = await startOtlpReceiver()
  // Nobody else's: a Redis that others use makes no difference, and ours none to them.
  const prefix = `{validate-${randomBytes(6).toString('hex')}}`
  let shared: string | undefined
  const stop = async (): Promise<void> => {
    // Servers before the Redis that they talk to.
    for (const program of running.reverse()) await program.stop()
    await receiver.stop()
    if (shared !== undefined) await removeKeys(shared, prefix)
  }
  try {
    const redis = await findRedis(env, running)
    if (redis.shared) shared = redis.url
    const start = async (role: string): Promise<string> => {
      const program = new Program(`the example server (${role})`, process.execPath, ['--enable-source-maps', MAIN], {
        PATH: env['PATH'] ?? '',
        PORT: '0',
        ROLE: role,
        LOG_LEVEL: 'warn',
        SHUTDOWN_DELAY_MS: '0',
        OTEL_SERVICE_NAME: `validate-${role}`,
        OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url,
        OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json',
        OTEL_METRICS_EXPORTER: 'none',
        OTEL_BSP_SCHEDULE_DELAY: '100',
        ...(redis.url === undefined ? {} : { REDIS_URL: redis.url, REDIS_PREFIX: prefix })
      })
      running.push(program)
      return await program.says(/listening on (http:\/\/\S+)[^\n]*\n/)
    }
    if (redis.url === undefined) {
      const url = await start('all')
      return { description: 'one process of its own, jobs in memory', url, processes: [url], receiver, single: redis.why, stop }
    }
    const [url, worker] = await Promise.all([start('api'), start('worker')])
    return { description: `an API and a worker process of its own, jobs in Redis (${redis.why})`, url, processes: [url, worker], receiver, single: undefined, stop }
  } catch (error) {
    // Report the error of the start, not one of the clean-up.
    await stop().catch(() => {})
    throw error
  }
}

interface FoundRedis {
  readonly url: string | undefined
  /** Where it is from, or why there is none. */
  readonly why: string
  /** It goes on when we end. */
  readonly shared: boolean
}

/** The one that `REDIS_URL` names, or a server of our own. */
async function findRedis (env: NodeJS.ProcessEnv, running: Program[]): Promise<FoundRedis> {
  const { REDIS_URL: given } = env
  if (given !== undefined && given !== '') return { url: given, why: 'REDIS_URL', shared: true }
  const binary = await onPath(['redis-server', 'valkey-server'], env['PATH'] ?? '')
  if (binary === undefined) return { url: undefined, why: 'there is no redis-server on the PATH, and REDIS_URL is not set', shared: false }
  const folder = await mkdtemp(join(tmpdir(), 'fae-validate-'))
  const port = await freePort()
  const program = new Program('redis-server', binary, ['--port', String(port), '--bind', '127.0.0.1', '--dir', folder, '--save', '', '--maxmemory-policy', 'noeviction'], { PATH: env['PATH'] ?? '' }, folder)
  running.push(program)
  await program.says(/(Ready to accept connections)/)
  return { url: `redis://127.0.0.1:${port}`, why: 'one of its own', shared: false }
}

/** Finished jobs expire after days, and what is known of a queue never does. @throws saying what stays behind */
async function removeKeys (url: string, prefix: string): Promise<void> {
  const { Redis } = await import('ioredis')
  const client = new Redis(url, { lazyConnect: true, connectTimeout: REDIS_MS, commandTimeout: REDIS_MS, retryStrategy: () => null, maxRetriesPerRequest: 0 })
  // `connect` reports the error as well.
  client.on('error', () => {})
  try {
    await client.connect()
    const found: AsyncIterable<string[]> = client.scanStream({ match: `${prefix}:*`, count: 1_000 })
    for await (const keys of found) {
      if (keys.length > 0) await client.unlink(...keys)
    }
  } catch (error) {
    throw new Error(`the keys ${prefix}:* stay in the Redis of REDIS_URL: ${messageOf(error)}`)
  } finally {
    client.disconnect()
  }
}

async function onPath (names: readonly string[], path: string): Promise<string | undefined> {
  for (const file of names.flatMap((name) => path.split(delimiter).map((folder) => join(folder, name)))) {
    if (await access(file, constants.X_OK).then(() => true, () => false)) return file
  }
  return undefined
}

/** A program that runs until it is stopped, and at the latest until we end. */
class Program {
  readonly #name: string
  readonly #child: ChildProcess
  readonly #folder: string | undefined
  #output = ''
  #over = false

  /** @param folder to be removed when it has ended */
  constructor (name: string, command: string, args: readonly string[], env: Record<string, string>, folder?: string) {
    this.#name = name
    this.#folder = folder
    const child = this.#child = spawn(command, args, { env, stdio: ['ignore', 'pipe', 'pipe'] })
    for (const stream of [child.stdout, child.stderr]) stream?.on('data', (data: Buffer) => { this.#output = (this.#output + data.toString()).slice(-8_000) })
    const killAtExit = (): void => {
      child.kill('SIGKILL')
      if (folder !== undefined) rmSync(folder, { recursive: true, force: true })
    }
    process.once('exit', killAtExit)
    const over = (): void => {
      this.#over = true
      process.removeListener('exit', killAtExit)
    }
    child.once('exit', over)
    child.once('error', (error) => {
      this.#output += String(error)
      over()
    })
  }

  /**
   * The first group of what is looked for in its output. @throws {CannotRun} when it ends, or does not say it in time
   */
  async says (pattern: RegExp): Promise<string> {
    const end = performance.now() + START_MS
    for (;;) {
      const found = pattern.exec(this.#output)?.[1]
      if (found !== undefined) return found
      if (this.#over || performance.now() > end) throw new CannotRun(`${this.#name} ${this.#over ? 'ended' : `did not start within ${START_MS / 1_000} s`}: ${this.#output.trim().slice(-1_000)}`)
      await sleep(20)
    }
  }

  async stop (): Promise<void> {
    if (!this.#over) {
      const exited = once(this.#child, 'exit')
      this.#child.kill('SIGTERM')
      const timer = setTimeout(() => { this.#child.kill('SIGKILL') }, STOP_MS)
      await exited
      clearTimeout(timer)
    }
    if (this.#folder !== undefined) await rm(this.#folder, { recursive: true, force: true })
  }
}
