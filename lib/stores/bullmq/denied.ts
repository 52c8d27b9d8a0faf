/** Finds out which commands the server denies to its user, and reports them. */
import type { Clock } from '../../core/context.ts'
import { withDeadline } from '../../core/deadline.ts'
import { FirstOnly } from '../../core/first-only.ts'
import { askDenied, LISTENING, requiredCommands, shardedCalls, withoutSharded, type CommandCall } from './commands.ts'
import type { Connections } from './connections.ts'
import { deniedWhat, saysDenied } from './denied-text.ts'
import type { Client } from './internals.ts'
import type { Report } from './queues.ts'

/** Blocks no longer than this, on a key that nobody writes. */
const SHORTEST_BLOCK_S = '0.001'

export interface DeniedParts {
  readonly connections: Connections
  readonly clock: Clock
  readonly prefix: string
  readonly channel: string
  readonly acknowledge: 'primary' | 'replica'
  /** A submission on trial. */
  readonly probe: () => Promise<void>
  readonly report: Report
  readonly timeoutMs: number
}

/**
 * Finds out, each time the server is connected, which commands its user may not run, and reports them. Without it a
 * worker that may not block for jobs, or a client that may not subscribe, would wait for ever without an error.
 */
export class DeniedCheck {
  readonly #parts: DeniedParts
  readonly #reported = new FirstOnly()

  constructor (parts: DeniedParts) {
    this.#parts = parts
  }

  async look (): Promise<void> {
    const { connections, prefix, channel, acknowledge } = this.#parts
    const listening = LISTENING.map((command): CommandCall => [command, channel])
    if (connections.sharded) listening.push(...shardedCalls(channel))
    let denied: string[] | undefined
    try {
      denied = await connections.run((client) => askDenied(client, [...requiredCommands(prefix, channel, acknowledge), ...listening]))
    } catch (error) {
      if (!saysDenied(error)) return
      denied = ['EVAL']
    }
    if (denied === undefined) return await this.#tryOut()
    denied = withoutSharded(denied)
    if (denied.length > 0) this.#say(denied.join(', '))
    else this.#reported.forgetAll()
  }

  /**
   * The commands that are denied now, for an error that does not name the command; empty when the server cannot be
   * asked.
   */
  async names (): Promise<readonly string[]> {
    const { connections, prefix, channel, acknowledge } = this.#parts
    return await connections.run((client) => askDenied(client, requiredCommands(prefix, channel, acknowledge))).catch(() => undefined) ?? []
  }

  /** A server that cannot be asked. */
  async #tryOut (): Promise<void> {
    const { connections, prefix, channel, probe } = this.#parts
    await this.#try(probe)
    await this.#try(() => connections.run((client) => client.call('BZPOPMIN', `${prefix}::probe`, SHORTEST_BLOCK_S)), 'BZPOPMIN')
    await this.#try(() => connections.run((client) => client.publish(channel, '')), 'PUBLISH')
    await this.#try(() => this.#subscribe(channel), 'SUBSCRIBE')
  }

  #say (what: string): void {
    if (!this.#reported.note(what)) return
    const { prefix, report } = this.#parts
    report('denied', `The user of the Redis server may not use ${what} on keys and channels that begin with "${prefix}:". Jobs cannot be submitted, run or heard of without it: docs/stores.md has the rules that the user needs`)
  }

  /** @param command what was tried, where the server does not name it */
  async #try (attempt: () => Promise<unknown>, command = 'a command'): Promise<void> {
    try {
      await attempt()
    } catch (error) {
      if (deniedWhat(error) !== undefined || saysDenied(error)) this.#say(command)
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
