/** Keeps capability links out of the log lines that Fastify writes about requests, and out of the spans of @fastify/otel. */
import type { FastifyInstance, FastifyRequest, RouteOptions } from 'fastify'

/** A parser of queries decodes names, too. */
const SIG = /([?&](?:s|%73)(?:i|%69)(?:g|%67)=)[^&#\s]*/g
/** Where pino keeps the serializers of a logger (`pino.symbols.serializersSym`). */
const SERIALIZERS = Symbol.for('pino.serializers')

/** The text without the values of its parameters `sig`. */
export function withoutSig (text: string): string { return text.replace(SIG, '$1[redacted]') }

/**
 * What a route needs so that the address of a request is logged without its `sig`: the application's own serializer of
 * requests, whose texts are changed. Nothing without links, because a logger of its own for each request costs a little.
 */
export function hiddenSig (app: FastifyInstance, { signer }: { readonly signer: object | undefined }): Pick<RouteOptions, 'logSerializers'> {
  if (signer === undefined) return {}
  const serialize = requestSerializer(app.log)
  return { logSerializers: { req: (request: unknown) => hidden(serialize(request), 0) } }
}

/** What `@fastify/otel` adds to a request. */
interface InstrumentedRequest {
  opentelemetry? (): { readonly span?: { setAttribute (name: string, value: string): unknown } | null } | undefined
}

/** Its span has the whole address under `url.path`, where the conventions want only the path. */
export function hideSigInSpan (request: FastifyRequest & InstrumentedRequest): void {
  const { url } = request
  if (typeof request.opentelemetry !== 'function' || !url.includes('?')) return
  request.opentelemetry()?.span?.setAttribute('url.path', url.slice(0, url.indexOf('?')))
}

function requestSerializer (logger: object): (request: unknown) => unknown {
  const serializers: unknown = Reflect.get(logger, SERIALIZERS)
  const own: unknown = Reflect.get(Object(serializers), 'req')
  return typeof own === 'function' ? (request) => own(request) as unknown : basics
}

/** For a logger without a serializer of requests. */
function basics (request: unknown): unknown {
  const { method, url } = request as { readonly method?: unknown, readonly url?: unknown }
  return { method, url }
}

/** Goes two levels deep: an address may be in a text, in a member, or in a header (`referer`). */
function hidden (value: unknown, depth: number): unknown {
  if (typeof value === 'string') return withoutSig(value)
  if (depth > 2 || typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map((entry: unknown) => hidden(entry, depth + 1))
  // What was made by a class may not be copied: it keeps its own way of being written.
  const prototype: unknown = Object.getPrototypeOf(value)
  if (prototype !== Object.prototype && prototype !== null) return value
  return Object.fromEntries(Object.entries(value).map(([key, entry]) => [key, hidden(entry, depth + 1)]))
}
