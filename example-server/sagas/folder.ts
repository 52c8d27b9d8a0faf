import { access, constants, mkdir, rename, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'

/**
 * The directory in which the sagas keep their files. It stands for a bucket: every worker needs the same one, because a
 * saga goes on wherever a worker is free.
 */
export class Folder {
  readonly #path: string

  constructor (path: string) {
    this.#path = path
  }

  /**
   * The path of what a step makes. The name comes from the step's idempotency key, so that a step which runs again
   * after a crash replaces its own file instead of adding one.
   */
  path (place: 'work' | 'bucket' | 'outbox', idempotencyKey: string, extension = ''): string {
    return join(this.#path, place, idempotencyKey.replaceAll('/', '_') + extension)
  }

  /**
   * Makes a file or a directory completely or not at all: `make` writes it under another name. A step that fails leaves
   * nothing behind then, and a step whose time is up cannot publish anything any more.
   */
  async create (path: string, signal: AbortSignal, make: (part: string) => Promise<unknown>): Promise<void> {
    const part = `${path}.part`
    await this.remove(path)
    await mkdir(dirname(path), { recursive: true })
    try {
      await make(part)
      signal.throwIfAborted()
      await rename(part, path)
    } catch (error) {
      await rm(part, { recursive: true, force: true })
      throw error
    }
  }

  /** Puts a message into the outbox. A real service sends it, with the key as its `idempotency-key`. */
  async post (idempotencyKey: string, signal: AbortSignal, message: object): Promise<string> {
    const path = this.path('outbox', idempotencyKey, '.json')
    await this.create(path, signal, (part) => writeFile(part, JSON.stringify(message)))
    return path
  }

  /** Removes a file or a directory, or what a crash has left of it. It need not exist: a compensation may run twice. */
  async remove (path: string): Promise<void> {
    await Promise.all([path, `${path}.part`].map((each) => rm(each, { recursive: true, force: true })))
  }

  /** A health check: files can be written. */
  readonly check = async (): Promise<void> => {
    await mkdir(this.#path, { recursive: true })
    await access(this.#path, constants.W_OK)
  }
}
