/**
 * The rooms of `lib/`: what each is for and what it may import. `test/rooms.test.ts` checks the imports of every source file
 * against this table, and `test/package/docs.test.ts` prints it into `docs/architecture.md`.
 */

/** What a room may import from other rooms: `rooms` anything, `types` only with `import type`. */
export interface Entry {
  readonly rooms: readonly string[] | '*'
  readonly types?: readonly string[]
}

export interface Room extends Entry {
  /** What a newcomer finds in it. */
  readonly about: string
  /** The file to open first. */
  readonly begin: string
}

export const ROOMS: Readonly<Record<string, Room>> = {
  core: {
    about: 'tools that know nothing of jobs: error codes, options, clock and ids, deadlines, services, redaction',
    begin: 'lib/core/context.ts',
    rooms: []
  },
  jobs: {
    about: 'what a job is: vocabulary, states, definitions, outcomes, and the contract of a store',
    begin: 'lib/jobs/job.ts',
    rooms: ['core']
  },
  stores: {
    about: 'where jobs live: in memory, or on Redis by means of BullMQ; and the wrapper that times every operation of a store',
    begin: 'lib/stores/bullmq/index.ts',
    rooms: ['core', 'jobs']
  },
  events: {
    about: 'the catalogue of lifecycle events, the bus that carries them, the router that hands them to the sinks',
    begin: 'lib/events/catalogue.ts',
    rooms: ['core'],
    types: ['jobs']
  },
  worker: {
    about: 'claims jobs and runs attempts; replaces consumers that stopped claiming',
    begin: 'lib/worker/worker.ts',
    rooms: ['core', 'jobs', 'events']
  },
  saga: {
    about: 'durable steps: the definition of sagas, and what runs, stores, resumes and undoes their steps',
    begin: 'lib/saga/runner.ts',
    // A step is run by the state machine that runs a handler.
    rooms: ['core', 'jobs', 'events', 'worker']
  },
  client: {
    about: 'what `app.jobs` does: submit, read, wait, cancel, redrive, remove',
    begin: 'lib/client/client.ts',
    rooms: ['core', 'jobs', 'events', 'channels']
  },
  http: {
    about: 'the routes: submit, status, result, cancel, redrive, list; whose job it is; problem documents',
    begin: 'lib/http/submit.ts',
    // It defines sagas, as it defines endpoints.
    rooms: ['core', 'jobs', 'events', 'channels', 'saga'],
    types: ['client']
  },
  channels: {
    about: 'how changes of jobs reach those in this process who wait for them',
    begin: 'lib/channels/backbone.ts',
    rooms: ['core', 'jobs', 'events']
  },
  telemetry: {
    about: 'turns events into metrics, spans and log lines; the bridge to OpenTelemetry',
    begin: 'lib/telemetry/telemetry.ts',
    rooms: ['core', 'events'],
    types: ['jobs']
  },
  exposition: {
    about: 'writes metrics as text: `/metrics`, JSON, CSV, files, push targets; adds up the processes on one store',
    begin: 'lib/exposition/exporter-registry.ts',
    rooms: ['core'],
    types: ['telemetry', 'events', 'jobs']
  },
  health: {
    about: 'health checks, and what `/health` answers',
    begin: 'lib/health/registry.ts',
    rooms: ['core', 'jobs', 'events']
  },
  monitor: {
    about: 'finds what is slow: operations, queries, bottlenecks; evaluates the alert rules and notifies people',
    begin: 'lib/monitor/monitor.ts',
    rooms: ['core', 'events'],
    types: ['telemetry', 'jobs']
  },
  // A program: it examines what the others need, with their own knowledge of it.
  doctor: {
    about: 'the program `fastify-async-endpoints doctor`, which checks Redis, packages and an application before a deployment',
    begin: 'lib/doctor/doctor.ts',
    rooms: ['core', 'stores', 'telemetry']
  },
  testing: {
    about: 'what is shipped for the tests of users: the conformance suite of stores, a clock to move, metrics that remember',
    begin: 'lib/testing/index.ts',
    rooms: '*'
  }
}

/**
 * Pure modules: tables and functions without state. Every room but `core` may import them at run time; the test of cycles keeps the
 * order. To pass their contents through parameters, or to repeat them, would say the same with more code.
 */
export const PURE: ReadonlySet<string> = new Set([
  'lib/jobs/not-undone.ts',
  'lib/jobs/outcome.ts',
  'lib/jobs/saga-document.ts',
  'lib/jobs/saga-facts.ts',
  'lib/jobs/saga-plan.ts',
  'lib/jobs/states.ts',
  'lib/jobs/store-clock.ts',
  'lib/jobs/stored-error.ts',
  'lib/telemetry/instruments.ts',
  'lib/telemetry/log-events.ts'
])

/** A single file that may import more than its room. */
export const FILES: Readonly<Record<string, Entry>> = {
  'lib/stores/observed.ts': { rooms: ['core', 'jobs', 'events'] }
}
