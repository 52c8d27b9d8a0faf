/** What the routes of existing jobs have in common. */
import type { FastifyInstance, FastifySchema } from 'fastify'
import { openApiMembers } from '../core/openapi.ts'
import type { HttpRuntime } from './http-runtime.ts'
import { OPENAPI_TAGS } from './options.ts'
import { correlationHeader, idParams, sigParameter, withCorrelation } from './schemas.ts'

/** What the OpenAPI document shows of a job route. */
export interface Described {
  readonly summary: string
  /** `true`: the route is not in the OpenAPI document. */
  readonly hide?: boolean
  /** The schema of the parameters in the path. @defaultValue the id of the job */
  readonly params?: Readonly<Record<string, unknown>>
  /** Headers by name. */
  readonly headers?: Readonly<Record<string, unknown>>
  /** Parameters in the query, by name. */
  readonly query?: Readonly<Record<string, unknown>>
  /** `true`: a capability link is enough for this route. */
  readonly linked?: boolean
  /** Responses by status code. */
  readonly response: Readonly<Record<number, Readonly<Record<string, unknown>>>>
}

/** @param operation the name of the operation, the same for every application */
export function described (
  app: Pick<FastifyInstance, 'prefix'>, http: HttpRuntime, operation: string, schema: Described
): FastifySchema & Record<string, unknown> {
  const { header } = http.correlation
  const { headers, params = idParams, response, summary, hide } = schema
  const query = { ...schema.query, ...(schema.linked === true && http.signer !== undefined ? sigParameter : undefined) }
  return {
    ...openApiMembers(http.options.openapi, OPENAPI_TAGS),
    operationId: operationId(operation, app.prefix + http.options.path),
    summary,
    ...(hide === true ? { hide } : undefined),
    params,
    ...(Object.keys(query).length === 0 ? undefined : { querystring: { type: 'object', properties: query } }),
    headers: { type: 'object', properties: { ...headers, ...correlationHeader(header) } },
    response: withCorrelation(header, response)
  }
}

/** Operation ids, which must differ if one document has two sets of job routes. */
function operationId (operation: string, path: string): string {
  return path === '/jobs' ? operation : `${operation}${path.replaceAll(/[^A-Za-z0-9]+/g, '_')}`
}
