/** Reads the options of a job, and makes its definition. */
import { checkOptionProperties } from '../core/health-check.ts'
import { invalidOptions, readOptions, type OptionsSchema } from '../core/options.ts'
import { compileBackoff } from './backoff.ts'
import {
  PROPAGATIONS, type JobDefinition, type JobDefinitionInput, type JobHandler, type JobOptions, type JobTypes,
  type SpanAttributesOptions
} from './definition.ts'
import { DEFAULT_QUEUE } from './job.ts'
import type { SagaPlan } from './saga-plan.ts'
import { CompiledSchemas, jobSchemasProperty, type SchemaCompilers } from './schemas.ts'
import type { JobRunner } from './seams.ts'

export const JOB_NAME = '^[A-Za-z0-9][A-Za-z0-9_.:-]{0,99}$'
/** The names of queues that every store accepts. */
export const QUEUE_NAME = '^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$'

export const retrySchema: OptionsSchema = {
  type: 'object',
  additionalProperties: false,
  properties: {
    attempts: { type: 'integer', minimum: 1, maximum: 1000 },
    backoff: {
      anyOf: [
        { isFunction: true },
        {
          type: 'object',
          additionalProperties: false,
          properties: {
            type: { type: 'string', enum: ['fixed', 'exponential'] },
            delayMs: { type: 'number', minimum: 0 },
            maxDelayMs: { type: 'number', minimum: 0 },
            jitter: { type: 'number', minimum: 0, maximum: 1 }
          }
        }
      ]
    }
  }
}

export const jobNameProperty: OptionsSchema = {
  type: 'string', pattern: JOB_NAME,
  description: '1 to 100 letters, digits, "_", ".", ":" or "-", the first a letter or digit'
}

/** The properties of {@link JobOptions}, for schemas that include them. */
export const jobOptionProperties: OptionsSchema = {
  queue: {
    type: 'string', pattern: QUEUE_NAME,
    description: '1 to 64 letters, digits, "_", "." or "-", the first a letter or digit'
  },
  retry: retrySchema,
  timeoutMs: { type: 'number', minimum: 0 },
  graceMs: { type: 'number', minimum: 0 },
  priority: { type: 'integer', minimum: 0, maximum: 1_000_000 },
  maxResultBytes: { type: 'integer', minimum: 0 },
  slaMs: { type: 'number', minimum: 0 }
}

export const propagationProperty: OptionsSchema = { type: 'string', enum: [...PROPAGATIONS] }
export const jobTracingProperty: OptionsSchema = {
  type: 'object', additionalProperties: false, properties: { sampleRate: { type: 'number', minimum: 0, maximum: 1 } }
}
export const spanAttributesProperty: OptionsSchema = {
  type: 'object', additionalProperties: false, properties: { input: { isFunction: true }, result: { isFunction: true } }
}

/** `ready` would be a tag that makes it part of readiness. */
export const requiresProperty: OptionsSchema = {
  type: 'object',
  propertyNames: {
    pattern: '^(?!ready$)[A-Za-z0-9_.:-]{1,50}$',
    description: '1 to 50 letters, digits, "_", ".", ":" or "-", and not "ready"'
  },
  maxProperties: 50,
  additionalProperties: {
    anyOf: [
      { isFunction: true },
      {
        type: 'object', additionalProperties: false, required: ['check'],
        properties: { ...checkOptionProperties, check: { isFunction: true } }
      }
    ]
  }
}

const definitionSchema: OptionsSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['name'],
  properties: {
    ...jobOptionProperties, name: jobNameProperty, handler: { isFunction: true }, schema: jobSchemasProperty,
    propagation: propagationProperty, tracing: jobTracingProperty, spanAttributes: spanAttributesProperty,
    requires: requiresProperty
  }
}

/** What makes a job a saga. */
export interface SagaPart {
  readonly plan: SagaPlan
  readonly runner: JobRunner
  /** The schemas of its signals. They are compiled together with those of the job. */
  readonly signalSchemas: readonly CompiledSchemas[]
}

/** The defaults of every job, before an application's own. */
export const DEFAULT_JOB_OPTIONS: Readonly<Required<JobOptions>> = Object.freeze({
  queue: DEFAULT_QUEUE,
  retry: Object.freeze({ attempts: 3 }),
  timeoutMs: 1_800_000,
  graceMs: 2_000,
  priority: 0,
  maxResultBytes: 1_048_576,
  slaMs: 0
})

/**
 * Validates a definition and fills in the defaults, the application's own (`defaults`) over ours.
 *
 * @param compilers of the schemas, which are compiled later: an application may set its own until it is ready
 * @param saga of a saga: its steps, and what runs them in the place of a handler
 * @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS`
 */
export function compileDefinition<T extends JobTypes> (
  input: JobDefinitionInput<T>, defaults: JobOptions = {}, compilers?: SchemaCompilers, saga?: SagaPart
): JobDefinition<T> {
  const where = `job "${String(input?.name)}"`
  if (typeof input !== 'object' || input === null) throw invalidOptions(where, ['options must be an object'])
  const options = readOptions<JobDefinitionInput<T>, Required<JobOptions>>(
    where, definitionSchema, { ...DEFAULT_JOB_OPTIONS, ...defaults } as Required<JobOptions>, input
  )
  const retry = { ...DEFAULT_JOB_OPTIONS.retry, ...defaults.retry, ...options.retry }
  return Object.freeze({
    name: options.name,
    queue: options.queue,
    handler: options.handler as unknown as JobHandler | undefined,
    maxAttempts: retry.attempts ?? 1,
    backoff: compileBackoff(retry.backoff),
    timeoutMs: options.timeoutMs,
    graceMs: options.graceMs,
    priority: options.priority,
    maxResultBytes: options.maxResultBytes,
    slaMs: options.slaMs,
    handlerType: saga === undefined ? 'function' : 'saga',
    saga: saga?.plan,
    propagation: options.propagation,
    sampleRate: options.tracing?.sampleRate,
    spanAttributes: options.spanAttributes as unknown as SpanAttributesOptions | undefined,
    requires: Object.freeze({ ...options.requires }),
    schemas: new CompiledSchemas(options.name, options.schema, compilers)
  })
}
