/** The JSON Schema of the answer of `GET /metrics/bottlenecks`, for OpenAPI. A test checks real reports against it. */
import { CAUSES, SEVERITIES } from './bottleneck-report.ts'

type Schema = Readonly<Record<string, unknown>>

const text: Schema = { type: 'string' }
const number: Schema = { type: 'number' }
const count: Schema = { type: 'integer' }
const time: Schema = { type: 'string', format: 'date-time' }
const orNull = (schema: Schema, description?: string): Schema => ({ ...schema, type: [schema.type, 'null'], ...(description === undefined ? {} : { description }) })

function object (properties: Readonly<Record<string, Schema>>, description?: string, optional: readonly string[] = []): Schema {
  return {
    type: 'object',
    ...(description === undefined ? {} : { description }),
    required: Object.keys(properties).filter((name) => !optional.includes(name)),
    properties,
    additionalProperties: false
  }
}

function list (items: Schema, description: string): Schema { return { type: 'array', description, items } }

const durations = object({
  count,
  meanMs: number,
  p50Ms: number,
  p95Ms: number,
  p95FromMs: { ...number, description: 'The true 95th percentile lies between this and `p95ToMs`; `p95Ms` is an estimate' },
  p95ToMs: orNull(number, '`null`: beyond the last bound of the histogram')
}, 'Measured in the window')

const finding = object({
  cause: { ...text, enum: [...CAUSES] },
  severity: { ...text, enum: [...SEVERITIES] },
  subject: orNull(text, 'The queue, job, operation or reason that it is about; `null`: this process'),
  value: number,
  threshold: number,
  unit: { ...text, enum: ['ms', '%', 'count'] },
  sentence: { ...text, description: 'What is wrong and what to do about it' }
})

const slow: Readonly<Record<string, Schema>> = { at: time, operation: text, durationMs: number }

export const bottleneckSchema: Schema = object({
  verdict: { ...text, description: 'What limits the throughput now, in one sentence' },
  limitedBy: { ...orNull(text, '`null`: nothing does'), enum: [...CAUSES, null] },
  findings: list(finding, 'What a person should know, the worst first'),
  asOf: time,
  windowMs: { ...number, description: 'How far back "now" reaches' },
  coveredMs: { ...count, description: 'How far back the numbers reach yet: less than `windowMs` in a process that has just started' },
  queues: list(object({
    queue: text,
    wait: orNull(durations, 'How long the jobs waited that this process claimed in the window'),
    oldestWaitingMs: orNull(number, 'How long the job that waits longest in the whole store has been ready to run, when jobs were last counted'),
    active: orNull(count, 'Attempts of this process; `null`: it does not work on this queue'),
    concurrency: orNull(count),
    busyPercent: orNull(number, 'The share of slots that were busy, on average over the window')
  }), 'By name'),
  handlers: list(object({
    name: text,
    queue: orNull(text),
    duration: durations,
    errors: count,
    errorCode: orNull(text, 'The most frequent error code'),
    timePercent: { ...number, description: 'The share of this handler in the time of all handlers of this process' }
  }), 'The slowest first'),
  store: object({
    countsAgeMs: orNull(number, 'How long ago the jobs of the store were last counted; `null`: not yet'),
    waitingJobs: orNull(count),
    jobsInProgress: orNull(count),
    stuckJobs: orNull(count),
    operations: list(object({ operation: text, duration: durations, errors: count }), 'The slowest first')
  }),
  eventLoop: object({
    lagMs: orNull(number, 'The delay that 99 % of all moments did not exceed, in the last sample'),
    highestLagMs: orNull(number, 'The same, in the worst sample of the window'),
    meanLagMs: orNull(number),
    worstMs: orNull(number, 'The longest single block'),
    utilizationPercent: orNull(number)
  }),
  pressure: object({
    retries: count,
    refused: list(object({ reason: text, count }), 'Submissions that were refused, the most frequent reason first')
  }),
  slowOperations: list(object({
    ...slow,
    context: { type: 'object', description: 'Only with `metrics.authorize`', additionalProperties: { type: ['string', 'number', 'boolean'] } }
  }, undefined, ['context']), 'The newest first'),
  slowQueries: list(object({
    ...slow, system: text, target: text, statement: { ...text, description: 'Without its values; only with `metrics.authorize`' }
  }, undefined, ['statement']), 'The newest first')
})
