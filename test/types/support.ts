import type { FastifyTypeProvider } from 'fastify'

/** Exactly the same type, not merely assignable. */
export type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true : false

/** Compiles only when the two types are the same: `same<string, typeof x>(true)`. */
export function same<A, B> (_proof: Equal<A, B>): void {}

/** A type provider over literal JSON Schema, small enough to stand here: what `json-schema-to-ts` does for the real one. */
type FromSchema<S> =
  S extends { readonly type: 'integer' | 'number' } ? number
    : S extends { readonly type: 'string' } ? string
      : S extends { readonly type: 'object', readonly properties: infer P } ? { [K in keyof P]: FromSchema<P[K]> }
        : unknown

export interface JsonSchemaProvider extends FastifyTypeProvider {
  validator: FromSchema<this['schema']>
  serializer: FromSchema<this['schema']>
}
