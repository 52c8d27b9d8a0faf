/**
 * How BullMQ keeps a queue on the server: the names of its keys and of the fields of a job. The Lua in `lua/` uses
 * the same names; `test/stores/bullmq-lua.test.ts` holds the two together. Keys of the store's own are in
 * `keeping.ts`.
 */

/** Fields of a job's hash. */
export const FIELD = {
  name: 'name',
  data: 'data',
  opts: 'opts',
  timestamp: 'timestamp',
  delay: 'delay',
  priority: 'priority',
  progress: 'progress',
  processedOn: 'processedOn',
  finishedOn: 'finishedOn',
  failedReason: 'failedReason',
  returnvalue: 'returnvalue',
  stacktrace: 'stacktrace',
  /** Attempts that ended. */
  attemptsMade: 'atm',
  /** Attempts that began. */
  attemptsStarted: 'ats',
  /** Leases that ran out. */
  stalls: 'stc',
  /**
   * BullMQ's deferred failure. The store writes a request to cancel into it, because every worker looks at it first.
   */
  deferredFailure: 'defa',
  /** How often the job was redriven. The store's own field. */
  redrives: 'rdr',
  /**
   * '1': its steps have done something that must be undone before it may end as cancelled. There from the first step or
   * signal on, '0' otherwise. The store's own field, like those that follow.
   */
  undo: 'und',
  /** The signal that a suspended job waits for. */
  awaits: 'aws',
  /** Changes that neither begin nor end a claim: see `versionOf` in `record.ts`. The store's own field. */
  changes: 'ver',
  /** The fact that is about all of its steps. */
  stepsHead: 's:'
} as const

/** Fields of the steps of a job; the key of a fact or a result, or the name of a signal, follows. */
export const STEP_FIELDS = { fact: 's:', value: 'r:', signal: 'g:' } as const

/**
 * What follows a job's key. BullMQ calls a lease a lock: the key holds the token of the claim for as long as the
 * lease lasts. The log is deleted together with the job, so the store keeps the result there.
 */
export const LOCK = ':lock'
export const LOG = ':logs'

/** What follows a queue's prefix. `wait` and `active` are lists (new jobs at the head), the others sorted sets. */
export const KEY = {
  wait: 'wait',
  active: 'active',
  prioritized: 'prioritized',
  delayed: 'delayed',
  completed: 'completed',
  failed: 'failed',
  stalled: 'stalled',
  /** Wakes a blocked worker. */
  marker: 'marker',
  meta: 'meta',
  /** Counts prioritized jobs, for the order among equals. */
  priorityCounter: 'pc'
} as const

/** Scores: the time in milliseconds times this for `delayed`, the priority times that for `prioritized`. */
export const DELAYED_SCORE = 0x1000
export const PRIORITY_SCORE = 0x100000000

export function queuePrefix (prefix: string, queue: string): string {
  return `${prefix}:${queue}:`
}

/** How a job is added: the script of BullMQ's that does it, and the keys of the queue that the script takes. */
export const ADD_SCRIPTS = {
  standard: { name: 'addStandardJob', keys: ['wait', 'paused', 'meta', 'id', 'completed', 'delayed', 'active', 'events', 'marker'] },
  delayed: { name: 'addDelayedJob', keys: ['marker', 'meta', 'id', 'delayed', 'completed', 'events'] },
  prioritized: { name: 'addPrioritizedJob', keys: ['marker', 'meta', 'id', 'prioritized', 'delayed', 'completed', 'active', 'events', 'pc'] }
} as const satisfies Record<string, { readonly name: string, readonly keys: readonly string[] }>

export type AddKind = keyof typeof ADD_SCRIPTS
export const ADD_KINDS = Object.keys(ADD_SCRIPTS) as AddKind[]

export function addKeys (kind: AddKind, queuePrefix: string): string[] {
  return ADD_SCRIPTS[kind].keys.map((key) => queuePrefix + key)
}
