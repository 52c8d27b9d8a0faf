/** Worker processes of their own, for tests that kill them. */
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { RedisStoreOptions } from '../../lib/stores/bullmq/index.ts'
import type { Told } from '../faults/fixtures/worker.ts'
import { until } from './redis-jobs.ts'

export class WorkerProcess {
  readonly told: Told[] = []
  readonly #child: ChildProcess
  readonly #exited: Promise<unknown>

  constructor (options: RedisStoreOptions) {
    const file = fileURLToPath(new URL('../faults/fixtures/worker.js', import.meta.url))
    this.#child = fork(file, [JSON.stringify(options)], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
    this.#exited = once(this.#child, 'exit')
    this.#child.on('message', (told: Told) => { this.told.push(told) })
  }

  /** Waits until the process has told something like this. */
  async tells<K extends Told['kind']> (kind: K, id?: string, withinMs = 15_000): Promise<Extract<Told, { kind: K }>> {
    const found = (): Told | undefined => this.told.find((told) => told.kind === kind && (id === undefined || ('id' in told && told.id === id)))
    await until(`the worker process tells "${kind}" of ${id ?? 'itself'}`, found, withinMs)
    return found() as Extract<Told, { kind: K }>
  }

  async kill (): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) this.#child.kill('SIGKILL')
    await this.#exited
  }

  /** Lets it end by itself; it must not need to be killed. */
  async end (withinMs = 10_000): Promise<boolean> {
    if (this.#child.connected) this.#child.disconnect()
    const timer = setTimeout(() => { this.#child.kill('SIGKILL') }, withinMs)
    await this.#exited
    clearTimeout(timer)
    return this.#child.exitCode === 0
  }
}

export async function startWorker (options: RedisStoreOptions): Promise<WorkerProcess> {
  const worker = new WorkerProcess(options)
  await worker.tells('ready')
  return worker
}
