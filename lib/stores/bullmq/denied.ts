import type { Clock } from '../../core/context.ts'
import { withDeadline } from '../../core/deadline.ts'
import type { Connections } from './connections.ts'
import { deniedWhat } from './denied-text.ts'
import type { Client } from './internals.ts'
import type { Report } from './queues.ts'

/** Blocks no longer than this, on a key that nobody writes. */
const SHORTEST_BLOCK_S = '0.001'

export interface DeniedParts {
  readonly connections: Connections
  readonly clock: Clock
  readonly prefix: string
  readonly channel: string
  /** A submission on trial. */
  readonly probe: () => Promise<void>
  readonly report: Report
  readonly timeoutMs: number
}

/**
 * Looks once, when the server is there, for what its user may not do, and says so. Without it a worker would wait for jobs
 * for ever and a client for the end of its job, and nothing would be wrong to see.
 */
export class DeniedCheck {
  readonly #parts: DeniedParts
  readonly #reported = new Set<string>()

  constructor (parts: DeniedParts) {
    this.#parts = parts
  }

  async look (): Promise<void> {
    const { connections, prefix, channel, probe } = this.#parts
    await this.#try('submissions', probe)
    await this.#try('workers: they look for jobs only every few seconds', () => connections.run((client) => client.call('BZPOPMIN', `${prefix}::probe`, SHORTEST_BLOCK_S)), 'BZPOPMIN')
    await this.#try('news of jobs: who waits for the end of one learns of it late', () => connections.run((client) => client.publish(channel, '')), 'PUBLISH')
    await this.#try('news of jobs: who waits for the end of one learns of it late', () => this.#subscribe(channel), 'SUBSCRIBE')
  }

  /** @param command what was tried, where the server does not name it */
  async #try (what: string, attempt: () => Promise<unknown>, command = ''): Promise<void> {
    try {
      await attempt()
      this.#reported.delete(what + command)
    } catch (error) {
      const denied = deniedWhat(error)
      if (denied === undefined || this.#reported.has(what + command)) return
      this.#reported.add(what + command)
      const named = [command, denied === command ? '' : denied].filter((part) => part !== '').join(', ')
      this.#parts.report('denied', `The user of the Redis server may not use ${named === '' ? 'a command' : named} on keys and channels that begin with "${this.#parts.prefix}:". It is needed for ${what}. The command doctor names everything that is needed`)
    }
  }

  /** On a connection of its own: one that listens takes no other commands. */
  async #subscribe (channel: string): Promise<void> {
    const { connections, clock, timeoutMs } = this.#parts
    const client: Client = connections.temporary()
    try {
      await withDeadline(clock, timeoutMs, client.subscribe(channel))
    } finally {
      connections.release(client)
    }
  }
}
