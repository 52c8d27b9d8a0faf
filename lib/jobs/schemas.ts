import { takeRejection } from '../core/rejections.ts'
import { invalidOptions, type OptionsSchema } from '../core/options.ts'

/** The schemas of a job, in the language of the application's compilers; JSON Schema if it has set none. */
export interface JobSchemas {
  /** The schema of the body, for submissions over HTTP and from code. */
  body?: unknown
  /**
   * The schema of the result. A result that does not match fails the job. Properties that it does not name never
   * reach a client.
   */
  result?: unknown
}

export const jobSchemasProperty: OptionsSchema = { type: 'object', additionalProperties: false, properties: { body: {}, result: {} } }

/** Compiles a schema to a function, like Fastify's compilers. */
export type SchemaCompiler = (route: { readonly schema: unknown, readonly method: string, readonly url: string, readonly httpPart?: string, readonly httpStatus?: string }) => unknown

/** The compilers of one context. */
export interface SchemaCompilers {
  readonly validatorCompiler?: SchemaCompiler | undefined
  readonly serializerCompiler?: SchemaCompiler | undefined
}

/** What is wrong with a body: in a sentence, and as the validator says it, if that is a list. */
export interface BodyProblem { readonly problem: string, readonly errors?: readonly unknown[] | undefined }

/** Validates a body. Returns the body with the schema's defaults and conversions, or what is wrong with it. */
export type BodyReader = (body: unknown) => Promise<{ readonly value: unknown } | BodyProblem>

/** @returns the JSON text. @throws if the result does not match its schema */
export type ResultWriter = (result: unknown) => string

/** The compiled schemas of a job. They are compiled when they are first needed, or by `compile`. */
export class CompiledSchemas {
  readonly #job: string
  readonly #schemas: JobSchemas
  readonly #compilers: SchemaCompilers
  #reader: BodyReader | undefined
  #writer: ResultWriter | undefined

  constructor (job: string, schemas: JobSchemas = {}, compilers: SchemaCompilers = {}) {
    this.#job = job
    this.#schemas = schemas
    this.#compilers = compilers
  }

  get readBody (): BodyReader | undefined { return this.#schemas.body === undefined ? undefined : this.#reader ?? this.#compileBody() }

  get writeResult (): ResultWriter | undefined { return this.#schemas.result === undefined ? undefined : this.#writer ?? this.#compileResult() }

  /** @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS` for a schema that cannot be compiled */
  compile (): void {
    if (this.#schemas.body !== undefined) this.#compileBody()
    if (this.#schemas.result !== undefined) this.#compileResult()
  }

  #compileBody (): BodyReader {
    this.#reader = readerOf(this.#function('body', this.#compilers.validatorCompiler, { httpPart: 'body' }))
    return this.#reader
  }

  #compileResult (): ResultWriter {
    const write = this.#function('result', this.#compilers.serializerCompiler, { httpStatus: '200' })
    this.#writer = (result) => {
      const text = write(result)
      takeRejection(text)
      if (typeof text !== 'string') throw new TypeError('the serializer of schema.result must return a string, and not a promise')
      return text
    }
    return this.#writer
  }

  #function (which: 'body' | 'result', compiler: SchemaCompiler | undefined, about: { httpPart?: string, httpStatus?: string }): (value: unknown) => unknown {
    try {
      if (compiler === undefined) throw new TypeError('the application has no compiler for it')
      const made = compiler({ schema: this.#schemas[which], method: 'POST', url: this.#job, ...about })
      if (typeof made !== 'function') throw new TypeError('its compiler does not return a function')
      return made as (value: unknown) => unknown
    } catch (error) {
      throw invalidOptions(`job "${this.#job}"`, [`schema.${which} cannot be compiled: ${error instanceof Error ? error.message : String(error)}`])
    }
  }
}

/**
 * Adapts a validator of Fastify, which returns `false` and has `errors`, or returns `{ value }` or `{ error }`, or a
 * promise of these.
 */
function readerOf (validate: ((body: unknown) => unknown) & { errors?: unknown }): BodyReader {
  return async (body) => {
    const answer: unknown = await validate(body)
    if (answer === false) return problemOf(validate.errors)
    if (typeof answer !== 'object' || answer === null) return { value: body }
    const { error, value } = answer as { readonly error?: unknown, readonly value?: unknown }
    if (error !== undefined && error !== null) return problemOf(error)
    return { value: 'value' in answer ? value : body }
  }
}

const MAX_SHOWN = 10

function problemOf (errors: unknown): BodyProblem {
  return { problem: problemsOf(errors), errors: Array.isArray(errors) ? errors : undefined }
}

function problemsOf (errors: unknown): string {
  if (!Array.isArray(errors)) return errors instanceof Error ? errors.message : 'the body does not match its schema'
  return errors.slice(0, MAX_SHOWN).map((error: unknown) => {
    const { instancePath, message } = (typeof error === 'object' && error !== null ? error : {}) as { readonly instancePath?: unknown, readonly message?: unknown }
    return `body${typeof instancePath === 'string' ? instancePath.replaceAll('/', '.') : ''} ${typeof message === 'string' ? message : 'is not valid'}`
  }).join('; ')
}
