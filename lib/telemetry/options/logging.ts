import { readOptions, type OptionsSchema } from '../../core/options.ts'
import { LOG_LEVELS, ORIGIN_FIELDS, type LogLevel } from '../log-events.ts'

/** What a request says about its sender, for the log lines of its submission. */
export type LogEnrichment = keyof typeof ORIGIN_FIELDS
export const LOG_ENRICHMENTS = Object.freeze(Object.keys(ORIGIN_FIELDS)) as readonly LogEnrichment[]

export interface LoggingOptions {
  /** Lifecycle events below this level are not written, whatever the logger's own level. @defaultValue 'debug' */
  level?: LogLevel
  /**
   * What the lines of a submission tell of its request. `user_id` is the owner, `client_ip` is Fastify's `request.ip`
   * (set `trustProxy` behind a proxy). @defaultValue all four
   */
  enrich?: readonly LogEnrichment[]
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

export type ReadLoggingOptions = Readonly<Required<LoggingOptions>>

/** @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS` */
export function readLoggingOptions (given: LoggingOptions): ReadLoggingOptions {
  return readOptions<LoggingOptions, Required<LoggingOptions>>('observability.logging', loggingSchema, LOGGING_DEFAULTS, given)
}
