import { STATUS_CODES } from 'node:http'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { ERROR_TABLE, isAsyncEndpointsError, type ErrorCode } from '../core/errors.ts'
import { cut } from '../core/text.ts'

/** One validation error of a request. */
export interface ProblemError {
  readonly detail: string
  /** A JSON Pointer (RFC 6901, as a URI fragment) to the wrong value, within the part that `in` names. */
  readonly pointer: string
  readonly in: string
}

/** A problem document (RFC 9457). */
export interface Problem {
  /** Identifies the kind of problem. Stable. `about:blank`: it says no more than the HTTP status. */
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
/** Half a surrogate pair: allowed in a JavaScript string, but not in a URI. */
const LONE_SURROGATE = /\p{Surrogate}/gu

/** `Retry-After` in seconds, for errors that do not have their own. */
const RETRY_AFTER: Partial<Record<ErrorCode, number>> = { FAE_QUEUE_FULL: 5, FAE_OVERLOADED: 10, FAE_TOO_MANY_CHANNELS: 10, FAE_STORE_UNAVAILABLE: 2, FAE_STORE_FULL: 30, FAE_CLOSED: 5 }

/** Errors of Fastify and its plugins that have a code of this package. */
const FOREIGN: Readonly<Record<string, ErrorCode>> = {
  FST_ERR_VALIDATION: 'FAE_INVALID_REQUEST',
  FST_ERR_CTP_INVALID_JSON_BODY: 'FAE_INVALID_REQUEST',
  FST_ERR_CTP_EMPTY_JSON_BODY: 'FAE_INVALID_REQUEST',
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: 'FAE_INVALID_REQUEST',
  FST_ERR_CTP_BODY_TOO_LARGE: 'FAE_PAYLOAD_TOO_LARGE',
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 'FAE_UNSUPPORTED_MEDIA_TYPE',
  FST_UNDER_PRESSURE: 'FAE_OVERLOADED'
}

/** Where the message of Fastify does not say what to do. */
const CLEARER: Partial<Record<ErrorCode, string>> = {
  FAE_UNSUPPORTED_MEDIA_TYPE: 'No body of this Content-Type is read here; JSON is sent with Content-Type: application/json'
}

/**
 * The last part of a problem's `type`: `queue-full` for `FAE_QUEUE_FULL`. It is also the `reason` of `job.rejected`.
 */
export function problemSlug (code: ErrorCode): string {
  return code.slice(4).toLowerCase().replaceAll('_', '-')
}

/** How a client is informed about an error. */
export interface ProblemReply {
  readonly problem: Problem
  /** The code of this package: the error's own, or the one for an error of Fastify. */
  readonly code: ErrorCode | undefined
  readonly retryAfterSeconds: number | undefined
}

/**
 * Describes a thrown value as a problem. Its message is shown if it is meant for the client: if the error has a
 * status below 500 or `expose: true`, and never with `expose: false`. All other messages (of drivers, or of an
 * unreachable store) are only for the log, and the client gets a fixed text.
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
      // First, so that a detail cannot replace a member that the standard defines.
      ...(status < 500 ? own?.details : undefined),
      type: TYPE_PREFIX + problemSlug(code),
      title,
      status,
      detail: status < 500 || own?.expose === true ? textOf(CLEARER[code] ?? fieldsOf(error).message) : undefined,
      instance,
      code,
      errors
    },
    code,
    retryAfterSeconds: own?.retryAfterSeconds ?? RETRY_AFTER[code]
  }
}

/** The problem for an error of a response factory, or for any other error that must not be shown. */
export function unexpectedProblem (request: FastifyRequest): Problem {
  return { type: 'about:blank', title: STATUS_CODES[500] ?? 'Internal Server Error', status: 500, instance: pathOf(request.url) }
}

function codeOf (error: unknown): ErrorCode | undefined {
  const { code, validation, statusCode } = fieldsOf(error)
  // An error of another copy of this package may have a code that this copy does not know.
  if (isAsyncEndpointsError(error)) return error.code in ERROR_TABLE ? error.code : undefined
  if (typeof code === 'string' && Object.hasOwn(FOREIGN, code)) return FOREIGN[code]
  if (Array.isArray(validation)) return 'FAE_INVALID_REQUEST'
  // For a body that tries to set the prototype, secure-json-parse throws a plain SyntaxError, which Fastify answers
  // with 400.
  if (error instanceof SyntaxError && statusCode === 400) return 'FAE_INVALID_REQUEST'
  return undefined
}

/** The status as Fastify's own error handler finds it: the error's, or else one that a hook has set before it threw. */
function statusOf (error: unknown, present: number): number {
  const { statusCode, status } = fieldsOf(error)
  for (const candidate of [statusCode, status, present]) {
    if (typeof candidate === 'number' && candidate >= 400 && candidate <= 599) return candidate
  }
  return 500
}

/** As `http-errors` defines it: an error with a status below 500 is meant for the client, unless it says otherwise. */
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
    // A single slash would point to the member with an empty name (RFC 6901 §5), but some validators use it for the
    // whole value.
    const at = textOf(instancePath) ?? ''
    const path = `${at === '/' ? '' : at}${missing === undefined ? '' : `/${missing.replaceAll('~', '~0').replaceAll('/', '~1')}`}`
    return { detail: textOf(message) ?? 'is not valid', pointer: `#${encodeURI(path.replace(LONE_SURROGATE, '\ufffd'))}`, in: part }
  })
}

/** Cuts a text to a length that a person would read. */
function textOf (value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? cut(value, 1_000) : undefined
}

function fieldsOf (value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? value as Record<string, unknown> : {}
}

/** The path without the query, which may hold secrets and does not help to find the problem. */
function pathOf (url: string): string {
  const query = url.indexOf('?')
  return cut(query === -1 ? url : url.slice(0, query), MAX_INSTANCE)
}
