import { readOptions, type OptionsSchema } from '../../core/options.ts'
import { LOG_LEVELS, ORIGIN_FIELDS, type LogLevel } from '../log-event.ts'

/** The log fields about the sender of a request. */
export type LogEnrichment = keyof typeof ORIGIN_FIELDS
export const LOG_ENRICHMENTS = Object.freeze(Object.keys(ORIGIN_FIELDS)) as readonly LogEnrichment[]

export interface LoggingOptions {
  /** Lifecycle events below this level are not logged, whatever level the logger has. @defaultValue 'debug' */
  level?: LogLevel | undefined
  /**
   * What the lines of a submission, and those of the handler of its job (`job.log`), say about the request: `user_id`
   * is the owner, else the header `X-User-Id`; `request_id` is the header `X-Request-Id`, else Fastify's
   * `request.id`; `client_ip` is Fastify's `request.ip` (set `trustProxy` behind a proxy). For the lines of the
   * handler these values are stored with the job until the job is over. By default the address is not stored, because
   * it is personal data, and the user agent is not repeated on every line of the handler.
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
/** The fields that are stored with a job unless `enrich` names others. */
const STORED_BY_DEFAULT: readonly LogEnrichment[] = Object.freeze(['request_id', 'user_id'] as const)

export interface ResolvedLoggingOptions extends Readonly<Required<LoggingOptions>> {
  /** The fields on the lines of a handler; their values are stored with its job. */
  readonly enrichJobs: readonly LogEnrichment[]
}

/** @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS` */
export function readLoggingOptions (given: LoggingOptions): ResolvedLoggingOptions {
  const options = readOptions<LoggingOptions, Required<LoggingOptions>>(
    'observability.logging', loggingSchema, LOGGING_DEFAULTS, given)
  return { ...options, enrichJobs: given.enrich ?? STORED_BY_DEFAULT }
}
