/** What is published of changes of jobs, and the part of it that this process publishes itself. */
import type { Clock, TimerHandle } from '../../core/context.ts'
import type { JobProgress, JobUpdate } from '../../jobs/job.ts'
import { JOB_STATES, type JobState } from '../../jobs/states.ts'
import type { Connections } from './connections.ts'
import { runScript } from './scripts.ts'

/** At most one command in this time: what changes in between travels together. */
const GATHER_MS = 5
/** A command publishes no more changes than this. */
const MAX_CHANGES = 1_000
/** Messages of this store are shorter. A longer one comes from another program, and is ignored. */
const MAX_MESSAGE = 100_000

/** What is published on the channel of a job: one letter for the state that it has now … */
const LETTERS = { queued: 'q', scheduled: 's', 'in-progress': 'i', completed: 'c', failed: 'f', cancelled: 'x' } as const satisfies Record<JobState, string>
const STATES = new Map<string, JobState>(JOB_STATES.map((state) => [LETTERS[state], state]))
/** … or that it was removed, or that only a read can show what has changed … */
const READ_IT = new Set(['r', '?'])
/** … or its progress: `p`, the version, a space, the progress as JSON. */
const PROGRESS = /^p(\d{1,15}) (.*)$/s

/** On it the ids of running jobs are published that somebody asked to stop. */
export function controlChannel (prefix: string): string { return `${prefix}:control` }

/** The channel of a job; `lua/parts/publish.lua` has it, too. */
export function jobChannel (queuePrefix: string, id: string): string { return `${queuePrefix}changed:${id}` }

/** `undefined` for what this store has not published: any client may publish on a channel. */
export function parseUpdate (id: string, message: string): JobUpdate | undefined {
  if (message.length > MAX_MESSAGE) return undefined
  const state = STATES.get(message)
  if (state !== undefined) return { id, state }
  if (READ_IT.has(message)) return { id }
  const [, version, json] = PROGRESS.exec(message) ?? []
  const progress = json === undefined ? undefined : parseProgress(json)
  return progress === undefined ? undefined : { id, state: 'in-progress', version: Number(version), progress }
}

function parseProgress (json: string): JobProgress | undefined {
  try {
    const value: unknown = JSON.parse(json)
    return typeof value === 'object' && value !== null ? value : undefined
  } catch {
    return undefined
  }
}

/** Changes by the prefix of the queue, then by job. */
type Changes = Map<string, Map<string, JobState>>

/**
 * Publishes the changes that BullMQ's own scripts store: a job was claimed, put back, or is to be run again later. All
 * others are published by the scripts that store them. The first change goes out at once, changes of the next few
 * milliseconds follow in one command. That a job began is published only if it is still running some milliseconds
 * later: of a short job only the end is worth a message.
 */
export class Publisher {
  readonly #connections: Pick<Connections, 'run'>
  readonly #clock: Clock
  /** To be sent with the next command. */
  #next: Changes = new Map()
  /** Jobs that began since the last command, and those that began before it and are still running. */
  #young: Changes = new Map()
  #old: Changes = new Map()
  #timer: TimerHandle
  /** The timer runs although nothing was sent just before: what comes now need not wait for it. */
  #mayGo = false

  constructor (connections: Pick<Connections, 'run'>, clock: Clock) {
    this.#connections = connections
    this.#clock = clock
  }

  /** A job was claimed. */
  began (queuePrefix: string, id: string): void {
    put(this.#young, queuePrefix, id, 'in-progress')
    if (this.#timer === undefined) this.#arm(true)
  }

  /** The attempt of a job has ended, and with it, unless a script has published that, its state is this. */
  ended (queuePrefix: string, id: string, state?: 'queued' | 'scheduled'): void {
    this.#young.get(queuePrefix)?.delete(id)
    this.#old.get(queuePrefix)?.delete(id)
    if (state === undefined) return
    put(this.#next, queuePrefix, id, state)
    if (this.#timer === undefined || this.#mayGo) this.#sendNow()
  }

  /** Sends what is left. */
  close (): void {
    if (this.#timer !== undefined) this.#clock.clearTimeout(this.#timer)
    this.#timer = undefined
    this.#send(this.#next)
  }

  #arm (mayGo: boolean): void {
    this.#mayGo = mayGo
    this.#timer = this.#clock.setTimeout(this.#onTimer, GATHER_MS)
  }

  #sendNow (): void {
    if (this.#timer !== undefined) this.#clock.clearTimeout(this.#timer)
    this.#onTimer()
  }

  readonly #onTimer = (): void => {
    this.#timer = undefined
    const [next, old] = [this.#next, this.#old]
    const some = hasAny(next) || hasAny(old)
    if (!some && !hasAny(this.#young)) return
    this.#next = new Map()
    this.#old = this.#young
    this.#young = new Map()
    this.#send(old)
    this.#send(next)
    this.#arm(!some)
  }

  #send (all: Changes): void {
    for (const [queuePrefix, changes] of all) {
      const args: string[] = []
      for (const [id, state] of changes) args.push(id, LETTERS[state])
      for (let first = 0; first < args.length; first += 2 * MAX_CHANGES) {
        const some = args.slice(first, first + 2 * MAX_CHANGES)
        // Best effort: who follows a job reads it again now and then.
        this.#connections.run((client) => runScript(client, 'announce', [queuePrefix], ...some)).catch(() => {})
      }
    }
  }
}

function put (changes: Changes, queuePrefix: string, id: string, state: JobState): void {
  const ofQueue = changes.get(queuePrefix)
  if (ofQueue === undefined) changes.set(queuePrefix, new Map([[id, state]]))
  else ofQueue.set(id, state)
}

function hasAny (changes: Changes): boolean {
  for (const ofQueue of changes.values()) if (ofQueue.size > 0) return true
  return false
}
