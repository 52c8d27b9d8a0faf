import { STATUS_CODES } from 'node:http'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { ERROR_TABLE, isAsyncEndpointsError, type ErrorCode } from '../core/errors.ts'
import { cut } from '../core/text.ts'

/** One thing that is wrong with a request. */
export interface ProblemError {
  readonly detail: string
  /** JSON Pointer (RFC 6901, as a URI fragment) to what is wrong, within the part that `in` names. */
  readonly pointer: string
  readonly in: string
}

/** RFC 9457 problem details. */
export interface Problem {
  /** Identifies the kind of problem; stable. `about:blank`: nothing more than the HTTP status says. */
  readonly type: string
  readonly title: string
  readonly status: number
  readonly detail?: string
  /** The path of the request. */
  readonly instance: string
  readonly code?: string
  readonly errors?: readonly ProblemError[]
  readonly [member: string]: unknown
}

export const PROBLEM_MEDIA_TYPE = 'application/problem+json'
const TYPE_PREFIX = 'urn:fastify-async-endpoints:problem:'
const MAX_ERRORS = 50
const MAX_INSTANCE = 300
/** Half a character, which a JSON string can hold and a URI cannot. */
const LONE_SURROGATE = /\p{Surrogate}/gu

/** When trying again makes sense, for errors that do not say so themselves. Seconds. */
const RETRY_AFTER: Partial<Record<ErrorCode, number>> = { FAE_QUEUE_FULL: 5, FAE_OVERLOADED: 10, FAE_STORE_UNAVAILABLE: 2, FAE_STORE_FULL: 30, FAE_CLOSED: 5 }

/** Errors of Fastify and its plugins that have a name of ours. */
const FOREIGN: Readonly<Record<string, ErrorCode>> = {
  FST_ERR_VALIDATION: 'FAE_INVALID_REQUEST',
  FST_ERR_CTP_INVALID_JSON_BODY: 'FAE_INVALID_REQUEST',
  FST_ERR_CTP_EMPTY_JSON_BODY: 'FAE_INVALID_REQUEST',
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: 'FAE_INVALID_REQUEST',
  FST_ERR_CTP_BODY_TOO_LARGE: 'FAE_PAYLOAD_TOO_LARGE',
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 'FAE_UNSUPPORTED_MEDIA_TYPE',
  FST_UNDER_PRESSURE: 'FAE_OVERLOADED'
}

/** The part of a problem type's URI that differs: `FAE_QUEUE_FULL` is `queue-full`. Also the `reason` of `job.rejected`. */
export function problemSlug (code: ErrorCode): string {
  return code.slice(4).toLowerCase().replaceAll('_', '-')
}

/** How an error is told to the client. */
export interface ProblemReply {
  readonly problem: Problem
  /** Our code, when the error has one (its own, or the name we give to Fastify's). */
  readonly code: ErrorCode | undefined
  readonly retryAfterSeconds: number | undefined
}

/**
 * Describes whatever was thrown. Its message is shown when it was thrown for the client: with a status of its own below 500, or
 * with `expose: true`; never with `expose: false`. Anything else (a driver's error, a store that is away) is for the log, and the
 * client reads fixed text.
 */
export function describeError (error: unknown, request: FastifyRequest, reply: FastifyReply): ProblemReply {
  const instance = pathOf(request.url)
  const code = codeOf(error)
  if (code === undefined) {
    const status = statusOf(error, reply.statusCode)
    const base = { type: 'about:blank', title: STATUS_CODES[status] ?? 'Error', status }
    if (!isForClients(error)) return { problem: { ...base, instance }, code, retryAfterSeconds: undefined }
    const { message, code: foreign } = fieldsOf(error)
    return { problem: { ...base, detail: textOf(message), instance, code: textOf(foreign) }, code, retryAfterSeconds: undefined }
  }
  const own = isAsyncEndpointsError(error) ? error : undefined
  const { statusCode: status, title } = ERROR_TABLE[code]
  const errors = validationErrors(error)
  return {
    problem: {
      // First, so that no detail can take the name of a member that the standard defines.
      ...(status < 500 ? own?.details : undefined),
      type: TYPE_PREFIX + problemSlug(code),
      title,
      status,
      detail: status < 500 || own?.expose === true ? textOf(fieldsOf(error).message) : undefined,
      instance,
      code,
      errors
    },
    code,
    retryAfterSeconds: own?.retryAfterSeconds ?? RETRY_AFTER[code]
  }
}

/** The problem of an error inside one of the response factories, or of anything else that must not be told. */
export function unexpectedProblem (request: FastifyRequest): Problem {
  return { type: 'about:blank', title: STATUS_CODES[500] ?? 'Internal Server Error', status: 500, instance: pathOf(request.url) }
}

function codeOf (error: unknown): ErrorCode | undefined {
  const { code, validation, statusCode } = fieldsOf(error)
  // A code of ours from another copy of the package is as good as one of this copy's.
  if (isAsyncEndpointsError(error)) return error.code in ERROR_TABLE ? error.code : undefined
  if (typeof code === 'string' && Object.hasOwn(FOREIGN, code)) return FOREIGN[code]
  if (Array.isArray(validation)) return 'FAE_INVALID_REQUEST'
  // secure-json-parse throws a plain SyntaxError for a poisoned prototype; Fastify makes it a 400.
  if (error instanceof SyntaxError && statusCode === 400) return 'FAE_INVALID_REQUEST'
  return undefined
}

/** As Fastify's own error handler finds it: the error's, else one that a hook has set before it threw. */
function statusOf (error: unknown, present: number): number {
  const { statusCode, status } = fieldsOf(error)
  for (const candidate of [statusCode, status, present]) {
    if (typeof candidate === 'number' && candidate >= 400 && candidate <= 599) return candidate
  }
  return 500
}

/** As `http-errors` has it: what has a status below 500 is for the client, unless it says otherwise. */
function isForClients (error: unknown): boolean {
  const { expose, statusCode, status } = fieldsOf(error)
  if (typeof expose === 'boolean') return expose
  return [statusCode, status].some((own) => typeof own === 'number' && own >= 400 && own < 500)
}

function validationErrors (error: unknown): ProblemError[] | undefined {
  const { validation, validationContext } = fieldsOf(error)
  if (!Array.isArray(validation)) return undefined
  const part = textOf(validationContext) ?? 'body'
  return validation.slice(0, MAX_ERRORS).map((entry: unknown) => {
    const { instancePath, message, params } = fieldsOf(entry)
    const missing = textOf(fieldsOf(params).missingProperty)
    // A lone slash would be the member with the empty name (RFC 6901 §5); some validators mean the whole by it.
    const at = textOf(instancePath) ?? ''
    const path = `${at === '/' ? '' : at}${missing === undefined ? '' : `/${missing.replaceAll('~', '~0').replaceAll('/', '~1')}`}`
    return { detail: textOf(message) ?? 'is not valid', pointer: `#${encodeURI(path.replace(LONE_SURROGATE, '\ufffd'))}`, in: part }
  })
}

/** Own text only as long as a person would read it. */
function textOf (value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? cut(value, 1_000) : undefined
}

function fieldsOf (value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? value as Record<string, unknown> : {}
}

/** Without the query: it may hold what nobody should see again, and says nothing about where the problem is. */
function pathOf (url: string): string {
  const query = url.indexOf('?')
  return cut(query === -1 ? url : url.slice(0, query), MAX_INSTANCE)
}
