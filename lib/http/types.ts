import type { FastifyTypeProvider } from 'fastify'
import type { JobContext, JobTypes, SpanAttributesOptions } from '../jobs/definition.ts'
import type { Outcome } from '../jobs/outcome.ts'
import type { DefaultCapturedHeader } from './captured-headers.ts'
import type { BaseEndpointOptions } from './options.ts'

/**
 * Schemas of an endpoint, in whatever language the application's type provider speaks (JSON Schema without one). Other
 * members (`tags`, `summary`, `description`, `security`, …) are OpenAPI's and go to the route as they are.
 */
export interface EndpointSchema {
  /** What a client sends. A body that does not fit it is answered with 400. */
  body?: unknown
  params?: unknown
  querystring?: unknown
  headers?: unknown
  /**
   * What the handler returns. The result is serialized by this schema: a member that it does not name never reaches a
   * client.
   */
  result?: unknown
  /** More responses for the OpenAPI document, by status code; they replace those of this package. */
  response?: Readonly<Record<string, unknown>> | undefined
  tags?: readonly string[] | undefined
  summary?: string | undefined
  description?: string | undefined
  operationId?: string | undefined
  [member: string]: unknown
}

/** The type that a type provider infers from a schema of input; `Fallback` where it infers nothing. */
type Validated<Provider extends FastifyTypeProvider, Schema, Fallback> = Known<(Provider & { readonly schema: Schema })['validator'], Fallback>
type Serialized<Provider extends FastifyTypeProvider, Schema> = (Provider & { readonly schema: Schema })['serializer']
type Known<T, Fallback> = unknown extends T ? Fallback : T
type Loose = Readonly<Record<string, unknown>>
/** A member that a literal schema may lack. */
type Member<Schema, Key extends string> = Key extends keyof Schema ? Schema[Key] : undefined

/** The input type of a Standard Schema (Zod, Valibot, …): a schema that converts takes another type than it makes. */
type InputOf<Schema> = Schema extends { readonly '~standard': { readonly types?: { readonly input: infer I } | undefined } } ? I : unknown

// A type given by hand wins over the schema's, as in Fastify's own route generics.
type HandledBody<P extends FastifyTypeProvider, S, T> = T extends { body: infer B } ? B : Validated<P, Member<S, 'body'>, unknown>
type HandledParams<P extends FastifyTypeProvider, S, T> = T extends { params: infer V } ? V : Validated<P, Member<S, 'params'>, Loose>
type HandledQuery<P extends FastifyTypeProvider, S, T> = T extends { query: infer V } ? V : Validated<P, Member<S, 'querystring'>, Loose>
type HandledHeaders<H extends string, T> = T extends { headers: infer V }
  ? V
  : string extends H ? Readonly<Record<string, string | undefined>> : Readonly<Partial<Record<DefaultCapturedHeader | Lowercase<H>, string>>>
/** What the handler must return, as a generic or the schema says. */
export type ResultBound<P extends FastifyTypeProvider, S, T> = T extends { result: infer V } ? V : Serialized<P, Member<S, 'result'>>

type SubmittedBody<P extends FastifyTypeProvider, S, T> = T extends { body: infer B } ? B : Known<InputOf<Member<S, 'body'>>, Validated<P, Member<S, 'body'>, unknown>>
type StoredResult<P extends FastifyTypeProvider, S, T, R> = T extends { result: infer V } ? V : Validated<P, Member<S, 'result'>, R>

/** The options of `app.asyncEndpoint()`. */
export interface EndpointOptions<
  Provider extends FastifyTypeProvider,
  Types extends JobTypes,
  Schema extends EndpointSchema,
  Header extends string,
  Result = ResultBound<Provider, Schema, Types>
> extends BaseEndpointOptions {
  schema?: Schema | undefined
  /** More request headers to keep with the job. Never credentials. */
  headers?: readonly Header[] | undefined
  /**
   * Does the work, in a worker, some time after the 202. Left out: the handler is in the worker of another process,
   * and the endpoint only submits. A process whose worker would run the job refuses an endpoint without one.
   */
  handler?: ((job: JobContext<HandlerTypes<Provider, Types, Schema, Header>>) => Promise<Result | Outcome> | Result | Outcome) | undefined
  /** Attributes of your own on the spans of this job. */
  spanAttributes?: SpanAttributesOptions<HandlerTypes<Provider, Types, Schema, Header> & { result: Result }> | undefined
}

/** An object type as an editor shows it best: its members, without the name of the helper that made it. */
type Plain<T> = { [K in keyof T]: T[K] } & {}

/** What the handler of an endpoint takes. */
export type HandlerTypes<Provider extends FastifyTypeProvider, Types extends JobTypes, Schema extends EndpointSchema, Header extends string> = Plain<{
  body: HandledBody<Provider, Schema, Types>
  params: HandledParams<Provider, Schema, Types>
  query: HandledQuery<Provider, Schema, Types>
  headers: HandledHeaders<Header, Types>
}>

/**
 * The types of the definition that `app.asyncEndpoint()` returns: what is submitted from code, and what is read as
 * the result.
 */
export type DefinedTypes<Provider extends FastifyTypeProvider, Types extends JobTypes, Schema extends EndpointSchema, Result> = Plain<{
  body: SubmittedBody<Provider, Schema, Types>
  result: StoredResult<Provider, Schema, Types, Result>
}>
