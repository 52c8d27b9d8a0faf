import { JOB_STATES } from '../jobs/states.ts'

/**
 * JSON Schemas of what our routes answer, for OpenAPI. They document; they do not serialise: our bodies are built field
 * by field and written by `JSON.stringify`, so that an application with another serializer compiler (Zod, …) is served
 * the same documents.
 */
type Schema = Readonly<Record<string, unknown>>

const uri: Schema = { type: 'string' }
const time: Schema = { type: 'string', format: 'date-time' }

const links: Schema = {
  type: 'object',
  description: 'Where to go from here; only what makes sense in the present state',
  required: ['self'],
  properties: { self: uri, result: uri, cancel: uri, redrive: uri }
}

const submittedProperties: Schema = {
  id: { type: 'string' },
  name: { type: 'string', description: 'The kind of job' },
  status: { type: 'string', enum: [...JOB_STATES] },
  createdAt: time
}

export const submittedSchema: Schema = {
  type: 'object',
  required: ['id', 'name', 'status', 'createdAt', 'links'],
  properties: { ...submittedProperties, links }
}

export const statusSchema: Schema = {
  type: 'object',
  required: ['id', 'name', 'status', 'createdAt', 'attempts', 'cancelRequested', 'correlationId', 'links'],
  properties: {
    ...submittedProperties,
    scheduledFor: { ...time, description: 'When a scheduled job may run (again)' },
    startedAt: time,
    finishedAt: time,
    attempts: { type: 'object', required: ['made', 'max'], properties: { made: { type: 'integer' }, max: { type: 'integer' } } },
    progress: { type: 'object', properties: { done: { type: 'number' }, total: { type: 'number' }, message: { type: 'string' } } },
    error: { type: 'object', required: ['code', 'message'], properties: { code: { type: 'string' }, message: { type: 'string' } } },
    cancelRequested: { type: 'boolean', description: 'The running attempt was asked to stop' },
    correlationId: { type: 'string' },
    traceId: { type: 'string' },
    links
  }
}

const problemSchema: Schema = {
  type: 'object',
  description: 'Problem details (RFC 9457)',
  required: ['type', 'title', 'status', 'instance'],
  properties: {
    type: uri,
    title: { type: 'string' },
    status: { type: 'integer' },
    detail: { type: 'string' },
    instance: uri,
    code: { type: 'string' },
    errors: {
      type: 'array',
      items: {
        type: 'object',
        required: ['detail', 'pointer', 'in'],
        properties: { detail: { type: 'string' }, pointer: { type: 'string' }, in: { type: 'string' } }
      }
    }
  },
  additionalProperties: true
}

/** A response with a JSON body. */
export function jsonResponse (description: string, schema: unknown): Schema {
  return { description, content: { 'application/json': { schema } } }
}

export function problemResponse (description: string): Schema {
  return { description, content: { 'application/problem+json': { schema: problemSchema } } }
}

type Responses = Readonly<Record<string | number, Schema>>

/** The header that all answers of our routes have. */
export function withCorrelation (header: string, responses: Responses): Responses {
  const headers = { [header]: { type: 'string', description: 'Ties the request, its job and their log lines together: the id that the client has sent, or a new one' } }
  return Object.fromEntries(Object.entries(responses).map(([status, response]) => [status, { ...response, headers }]))
}

/** The same header on a request. */
export function correlationHeader (header: string): Schema {
  return { [header.toLowerCase()]: { type: 'string', description: 'Your own correlation id: up to 128 letters, digits, `.`, `_`, `-`; any other is replaced by a new one' } }
}

/** A response without a body. */
export function emptyResponse (description: string): Schema {
  return { description, type: 'null' }
}

export const idParams: Schema = {
  type: 'object',
  required: ['id'],
  properties: { id: { type: 'string', description: 'The id of the job' } }
}

export const preferHeader: Schema = {
  prefer: { type: 'string', description: '`wait=N`: answer when something has changed, at the latest after N seconds (RFC 7240)' }
}

export const ifNoneMatchHeader: Schema = {
  'if-none-match': { type: 'string', description: 'The ETag of the document you have; 304 when it has not changed' }
}
