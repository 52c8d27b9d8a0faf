import { SSE_MEDIA_TYPE } from '../channels/sse-frame.ts'
import { SHOWN_STEP_STATES } from '../jobs/saga-facts.ts'
import { LISTENING } from './listening.ts'
import { JOB_STATES } from '../jobs/states.ts'

/**
 * JSON Schemas of the responses, for OpenAPI. They only document: the bodies are built field by field and written
 * with `JSON.stringify`, so that an application with another serializer compiler (Zod, …) sends the same documents.
 */
type Schema = Readonly<Record<string, unknown>>

const uri: Schema = { type: 'string' }
const time: Schema = { type: 'string', format: 'date-time' }

const signalLinks: Schema = {
  type: 'object', description: 'POST there what the saga waits for; by the name of the signal', additionalProperties: uri
}

const links: Schema = {
  type: 'object',
  description: 'Links of the job; only those that are useful in its present state',
  required: ['self'],
  properties: { self: uri, result: uri, cancel: uri, events: uri, socket: uri, redrive: uri, signals: signalLinks }
}

const submittedProperties: Schema = {
  id: { type: 'string' },
  name: { type: 'string', description: 'The name of the job\'s definition' },
  status: { type: 'string', enum: [...JOB_STATES] },
  createdAt: time
}

export const submittedSchema: Schema = {
  type: 'object',
  required: ['id', 'name', 'status', 'createdAt', 'links'],
  properties: {
    ...submittedProperties,
    links,
    webhook: {
      type: 'boolean',
      description: 'Whether a webhook will be called when the job has ended; absent if the endpoint has none to offer'
    },
    listening: {
      type: 'object',
      description: 'The channel that the header `Listening` asked for, and where it is',
      required: ['channel'],
      properties: { channel: { type: 'string', enum: [...LISTENING] }, url: uri }
    }
  }
}

export const signalledSchema: Schema = {
  type: 'object',
  required: ['id', 'signal', 'status', 'links'],
  properties: {
    id: { type: 'string', description: 'The id of the job' },
    signal: { type: 'string' },
    status: { type: 'string', enum: ['stored', 'repeated'], description: '`repeated`: the same signal was sent before' },
    links
  }
}

const error: Schema = { type: 'object', required: ['code', 'message'], properties: { code: { type: 'string' }, message: { type: 'string' } } }

const stepSchema: Schema = {
  type: 'object',
  required: ['name', 'state', 'attempt'],
  properties: {
    name: { type: 'string' },
    group: { type: 'string' },
    state: { type: 'string', enum: [...SHOWN_STEP_STATES] },
    attempt: { type: 'integer', description: 'Tries that have ended' },
    attempts: { type: 'integer', description: 'Tries that are allowed' },
    startedAt: time,
    durationMs: { type: 'number', description: 'Of its newest try, or of the newest try of its undo' },
    waitsUntil: time,
    error
  }
}

export const statusSchema: Schema = {
  type: 'object',
  required: ['id', 'name', 'status', 'createdAt', 'attempts', 'cancelRequested', 'correlationId', 'links'],
  properties: {
    ...submittedProperties,
    scheduledFor: { ...time, description: 'The earliest moment at which a scheduled job runs' },
    startedAt: time,
    finishedAt: time,
    attempts: { type: 'object', required: ['made', 'max'], properties: { made: { type: 'integer' }, max: { type: 'integer' } } },
    progress: { type: 'object', properties: { done: { type: 'number' }, total: { type: 'number' }, message: { type: 'string' } } },
    phase: {
      type: 'string',
      enum: ['forward', 'compensating', 'compensated', 'compensation-failed'],
      description: 'Of a saga: whether its steps go forward or are undone'
    },
    steps: { type: 'array', description: 'Of a job with steps: each of them, in order', items: stepSchema },
    error,
    cancelRequested: { type: 'boolean', description: 'Somebody asked to cancel the job, and its running attempt has not stopped yet' },
    correlationId: { type: 'string' },
    traceId: { type: 'string' },
    links
  }
}

export const listSchema: Schema = {
  type: 'object',
  required: ['jobs'],
  properties: {
    jobs: { type: 'array', items: statusSchema },
    cursor: { type: 'string', description: 'The parameter `cursor` of the next page; absent on the last one' }
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

/** What a stream of server-sent events answers: all of it, or an addition to `more`. */
export function eventsResponse (description: string, more?: Schema): Schema {
  const content: unknown = more?.['content']
  const schema = { type: 'string', description: 'Events `status`, `progress`, `step`, `end`, `gone`, `ping`, `bye`' }
  const events = { [SSE_MEDIA_TYPE]: { schema } }
  return { description, content: { ...Object(content) as object, ...events } }
}

/** A response with a JSON body. */
export function jsonResponse (description: string, schema: unknown): Schema {
  return { description, content: { 'application/json': { schema } } }
}

export function problemResponse (description: string): Schema {
  return { description, content: { 'application/problem+json': { schema: problemSchema } } }
}

type Responses = Readonly<Record<string | number, Schema>>

/** Adds the correlation header, which all responses have. */
export function withCorrelation (header: string, responses: Responses): Responses {
  const headers = { [header]: { type: 'string', description: 'Connects the request, its job and their log lines: the id that the client has sent, or a new one' } }
  return Object.fromEntries(Object.entries(responses).map(([status, response]) => [status, { ...response, headers }]))
}

/** The correlation header of a request. */
export function correlationHeader (header: string): Schema {
  return { [header.toLowerCase()]: { type: 'string', description: 'Your own correlation id: up to 128 letters, digits, `.`, `_`, `-`; any other value is replaced by a new id' } }
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

/** In the query, where a capability link is enough. */
export const sigParameter: Schema = {
  sig: { type: 'string', description: 'The signature of a link; also as `Authorization: Bearer`' }
}

/** How a client comes back to a stream. */
export const lastEventIdHeader: Schema = {
  'last-event-id': { type: 'string', description: 'The `id` of the last event that the client has got' }
}

export const lastEventIdParameter: Schema = {
  last_event_id: { type: 'string', description: 'What `Last-Event-ID` would say, for clients that cannot set it' }
}

export const preferHeader: Schema = {
  prefer: { type: 'string', description: '`wait=N`: answer when the job has changed, after N seconds at the latest (RFC 7240)' }
}

export const ifNoneMatchHeader: Schema = {
  'if-none-match': { type: 'string', description: 'The ETag of the document that the client has; the answer is 304 if it has not changed' }
}
