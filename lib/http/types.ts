import type { FastifyTypeProvider } from 'fastify'
import type { JobHandler, JobTypes, SpanAttributesOptions } from '../jobs/definition.ts'
import type { DefaultCapturedHeader } from './captured-headers.ts'
import type { BaseEndpointOptions } from './options.ts'

/**
 * Schemas of an endpoint, in whatever language the application's type provider speaks (JSON Schema without one). Other
 * members (`tags`, `summary`, `description`, `security`, …) are OpenAPI's and go to the route as they are.
 */
export interface EndpointSchema {
  body?: unknown
  params?: unknown
  querystring?: unknown
  headers?: unknown
  /** What the handler returns. A result is written by this schema: what it does not name never reaches a client. */
  result?: unknown
  /** More responses for OpenAPI, or other words for ours. */
  response?: Readonly<Record<string, unknown>>
  tags?: readonly string[]
  summary?: string
  description?: string
  operationId?: string
  [member: string]: unknown
}

/** What a type provider makes of an input schema; `Fallback` where it knows nothing. */
type Validated<Provider extends FastifyTypeProvider, Schema, Fallback> = Known<(Provider & { readonly schema: Schema })['validator'], Fallback>
type Serialized<Provider extends FastifyTypeProvider, Schema> = (Provider & { readonly schema: Schema })['serializer']
type Known<T, Fallback> = unknown extends T ? Fallback : T
type Loose = Readonly<Record<string, unknown>>
/** A member that a literal schema may lack. */
type Member<Schema, Key extends string> = Key extends keyof Schema ? Schema[Key] : undefined

// A type given by hand wins over the schema's, as in Fastify's own route generics.
export type BodyOf<P extends FastifyTypeProvider, S, T> = T extends { body: infer B } ? B : Validated<P, Member<S, 'body'>, unknown>
export type ParamsOf<P extends FastifyTypeProvider, S, T> = T extends { params: infer V } ? V : Validated<P, Member<S, 'params'>, Loose>
export type QueryOf<P extends FastifyTypeProvider, S, T> = T extends { query: infer V } ? V : Validated<P, Member<S, 'querystring'>, Loose>
export type ResultOf<P extends FastifyTypeProvider, S, T> = T extends { result: infer R } ? R : Serialized<P, Member<S, 'result'>>
export type HeadersOf<H extends string, T> = T extends { headers: infer V } ? V : string extends H ? Readonly<Record<string, string | undefined>> : Readonly<Partial<Record<DefaultCapturedHeader | Lowercase<H>, string>>>

/** The options of `app.asyncEndpoint()`. */
export interface EndpointOptions<
  Provider extends FastifyTypeProvider,
  Types extends JobTypes,
  Schema extends EndpointSchema,
  Header extends string
> extends BaseEndpointOptions {
  schema?: Schema
  /** More request headers to keep with the job. Never credentials. */
  headers?: readonly Header[]
  /**
   * Does the work, in a worker, some time after the 202. Left out: the handler is in the worker of another process, and the
   * endpoint only submits. A process whose worker would run the job refuses an endpoint without one.
   */
  handler?: JobHandler<EndpointTypes<Provider, Types, Schema, Header>>
  /** Attributes of your own on the spans of this job. */
  spanAttributes?: SpanAttributesOptions<EndpointTypes<Provider, Types, Schema, Header>>
}

/** What the handler of an endpoint takes and gives. */
interface EndpointTypes<Provider extends FastifyTypeProvider, Types extends JobTypes, Schema extends EndpointSchema, Header extends string> extends JobTypes {
  body: BodyOf<Provider, Schema, Types>
  params: ParamsOf<Provider, Schema, Types>
  query: QueryOf<Provider, Schema, Types>
  headers: HeadersOf<Header, Types>
  result: ResultOf<Provider, Schema, Types>
}
