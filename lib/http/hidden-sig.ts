/** Keeps capability links out of the log lines that Fastify writes about requests, and out of the spans of @fastify/otel. */
import type { FastifyInstance, FastifyRequest, RouteOptions } from 'fastify'
import { withoutLinkSignatures } from '../core/redact-text.ts'

/** A parser of queries decodes names, too. */
const SIG = /([?&](?:s|%73)(?:i|%69)(?:g|%67)=)[^&#\s]*/g
const HIDDEN = '[redacted]'
/** Where pino keeps the serializers of a logger (`pino.symbols.serializersSym`). */
const SERIALIZERS = Symbol.for('pino.serializers')

/** The text without the values of its parameters `sig`, and without signatures that stand elsewhere. */
export function withoutSig (text: string): string {
  return withoutLinkSignatures(text.replace(SIG, `$1${HIDDEN}`), HIDDEN)
}

/**
 * What a route needs so that no `sig` is logged: neither that of a request (its address, query, `referer` and
 * `authorization`) nor that of an answer (`location`). The application's own serializers are kept, and what they give
 * is changed. Nothing without links, because a logger of its own for each request costs a little.
 *
 * @param own serializers that the application gives to this route
 */
export function hiddenSig (
  app: FastifyInstance, { signer }: { readonly signer: object | undefined }, own: RouteOptions['logSerializers'] = {}
): Pick<RouteOptions, 'logSerializers'> {
  if (signer === undefined) return {}
  const given: Readonly<Record<string, unknown>> = { ...Object(Reflect.get(app.log, SERIALIZERS)) as object, ...own }
  const { req, res } = given
  const request = typeof req === 'function' ? req as Serializer : basics
  return {
    logSerializers: {
      ...own,
      req: (value: unknown) => hidden(request(value), 0),
      ...(typeof res === 'function' ? { res: (value: unknown) => hidden((res as Serializer)(value), 0) } : undefined)
    }
  }
}

/** Serializers that {@link hideLinksElsewhere} has made, so that a second registration does not wrap them again. */
const wrapped = new WeakSet<object>()

/**
 * Hides links in the request lines of all other routes, too. A browser asks `OPTIONS` with the whole address of a
 * signed link before it cancels a job of another origin, and the CORS plugin's route, not one of this package, answers.
 * Only signatures of links are hidden there: a `sig` of somebody else's stays. The serializers are those of the
 * application's own logger, which Fastify makes for it also from a given one.
 */
export function hideLinksElsewhere (app: FastifyInstance, { signer }: { readonly signer: object | undefined }): void {
  if (signer === undefined) return
  const held: unknown = Reflect.get(app.log, SERIALIZERS)
  if (typeof held !== 'object' || held === null) return
  const own: unknown = Reflect.get(held, 'req')
  if (typeof own !== 'function' || wrapped.has(own)) return
  const req = (value: unknown): unknown => {
    const shown = (own as Serializer)(value)
    // Nearly all requests have no link, and are written as they are.
    const { url } = Object(value) as { readonly url?: unknown }
    return typeof url === 'string' && withoutLinkSignatures(url, '') !== url ? hidden(shown, 0) : shown
  }
  wrapped.add(req)
  Reflect.set(held, 'req', req)
}

type Serializer = (value: unknown) => unknown

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

/** For a logger without a serializer of requests. */
function basics (request: unknown): unknown {
  const { method, url } = request as { readonly method?: unknown, readonly url?: unknown }
  return { method, url }
}

/** Deep enough for a parameter of a query, or a header, inside of what a serializer gives. */
const MAX_DEPTH = 4

function hidden (value: unknown, depth: number): unknown {
  if (typeof value === 'string') return withoutSig(value)
  if (depth > MAX_DEPTH || typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map((entry: unknown) => hidden(entry, depth + 1))
  // As JSON would write it: an object of a class, such as those of pino's own serializers, by its members.
  const toJSON: unknown = Reflect.get(value, 'toJSON')
  if (typeof toJSON === 'function') return hidden(toJSON.call(value), depth + 1)
  const entries = Object.entries(value).map(([key, entry]) => [key, key === 'sig' ? HIDDEN : hidden(entry, depth + 1)])
  return Object.fromEntries(entries)
}
