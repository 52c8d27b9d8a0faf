import { readOptions, type OptionsSchema } from '../../core/options.ts'
import { LOG_LEVELS, ORIGIN_FIELDS, type LogLevel } from '../log-events.ts'

/** What a request says about its sender, for the log lines of its submission. */
export type LogEnrichment = keyof typeof ORIGIN_FIELDS
export const LOG_ENRICHMENTS = Object.freeze(Object.keys(ORIGIN_FIELDS)) as readonly LogEnrichment[]

export interface LoggingOptions {
  /** Lifecycle events below this level are not written, whatever the logger's own level. @defaultValue 'debug' */
  level?: LogLevel | undefined
  /**
   * What the lines of a submission, and those of the handler of its job (`job.log`), tell of the request: `user_id` is the owner, without
   * one the header `X-User-Id`; `request_id` is the header `X-Request-Id`, without it Fastify's `request.id`; `client_ip` is Fastify's
   * `request.ip` (set `trustProxy` behind a proxy). For the handler's lines it is stored with the job, until the job is over. An address
   * is personal data and by default not stored; nor is the agent, which is among the headers of the job, repeated on every line.
   *
   * @defaultValue all four on the lines of the submission, `request_id` and `user_id` on those of the handler
   */
  enrich?: readonly LogEnrichment[] | undefined
}

const loggingSchema: OptionsSchema = {
  type: 'object',
  additionalProperties: false,
  properties: {
    level: { type: 'string', enum: [...LOG_LEVELS] },
    enrich: { type: 'array', uniqueItems: true, items: { type: 'string', enum: [...LOG_ENRICHMENTS] } }
  }
}

const LOGGING_DEFAULTS = Object.freeze({ level: 'debug' as LogLevel, enrich: LOG_ENRICHMENTS })
/** What is stored with a job unless somebody asks for more. */
const STORED_BY_DEFAULT: readonly LogEnrichment[] = Object.freeze(['request_id', 'user_id'] as const)

export interface ResolvedLoggingOptions extends Readonly<Required<LoggingOptions>> {
  /** What the lines of a handler tell, and so what is stored with its job. */
  readonly enrichJobs: readonly LogEnrichment[]
}

/** @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS` */
export function readLoggingOptions (given: LoggingOptions): ResolvedLoggingOptions {
  const options = readOptions<LoggingOptions, Required<LoggingOptions>>('observability.logging', loggingSchema, LOGGING_DEFAULTS, given)
  return { ...options, enrichJobs: given.enrich ?? STORED_BY_DEFAULT }
}
