/** What the store gives to each of its consumers. */
import type { ClaimPace } from './claim-pace.ts'
import type { Bull, Client, Script } from './internals.ts'
import type { ResolvedRedisStoreOptions } from './options.ts'
import type { QueueHandle } from './queues.ts'
import type { ServerClock } from './server-clock.ts'
import type { Publisher } from './updates.ts'

/** What a consumer of one queue is made of. */
export interface ConsumerParts {
  readonly bull: Bull
  /** Hears what the installed release of BullMQ lacks and can do without. */
  readonly warn: (message: string) => void
  readonly clock: ServerClock
  readonly client: Client
  readonly pace: ClaimPace
  readonly handle: QueueHandle
  readonly settings: ResolvedRedisStoreOptions
  readonly publisher: Publisher
  /** Ends jobs. */
  readonly finish: Script
  /** A script of BullMQ's stumbled over a job of this queue. */
  readonly onFault: (handle: QueueHandle) => void
  readonly onClosed: () => void
}
