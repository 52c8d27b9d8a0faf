import { takeRejection } from '../core/rejections.ts'
import { invalidOptions, type OptionsSchema } from '../core/options.ts'

/** Schemas of what a job takes and gives, in whatever language the application's compilers understand: JSON Schema without any. */
export interface JobSchemas {
  /** Of what is submitted, by HTTP and from code. */
  body?: unknown
  /** Of what the handler returns. A result that does not fit it fails the job; what it does not name never reaches a client. */
  result?: unknown
}

export const jobSchemasProperty: OptionsSchema = { type: 'object', additionalProperties: false, properties: { body: {}, result: {} } }

/** Makes a function of a schema, as Fastify has it made. */
export type SchemaCompiler = (route: { readonly schema: unknown, readonly method: string, readonly url: string, readonly httpPart?: string, readonly httpStatus?: string }) => unknown

/** What compiles the schemas of one context. */
export interface SchemaCompilers {
  readonly validatorCompiler?: SchemaCompiler | undefined
  readonly serializerCompiler?: SchemaCompiler | undefined
}

/** Says what is wrong with a body, or gives the body with defaults and conversions of the schema. */
export type BodyReader = (body: unknown) => Promise<{ readonly value: unknown } | { readonly problem: string }>

/** @returns the JSON text. @throws when the result does not fit its schema */
export type ResultWriter = (result: unknown) => string

/** The schemas of a job as functions: compiled when they are first needed, or all at once by `compile`. */
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
      if (typeof text !== 'string') throw new TypeError('the serializer of schema.result gave no text at once')
      return text
    }
    return this.#writer
  }

  #function (which: 'body' | 'result', compiler: SchemaCompiler | undefined, about: { httpPart?: string, httpStatus?: string }): (value: unknown) => unknown {
    try {
      if (compiler === undefined) throw new TypeError('there is no compiler for it')
      const made = compiler({ schema: this.#schemas[which], method: 'POST', url: this.#job, ...about })
      if (typeof made !== 'function') throw new TypeError('its compiler gives no function')
      return made as (value: unknown) => unknown
    } catch (error) {
      throw invalidOptions(`job "${this.#job}"`, [`schema.${which} cannot be compiled: ${error instanceof Error ? error.message : String(error)}`])
    }
  }
}

/** A validator of Fastify's says `false` and has `errors`, or gives `{ value }` or `{ error }`; any of it later. */
function readerOf (validate: ((body: unknown) => unknown) & { errors?: unknown }): BodyReader {
  return async (body) => {
    const answer: unknown = await validate(body)
    if (answer === false) return { problem: problemsOf(validate.errors) }
    if (typeof answer !== 'object' || answer === null) return { value: body }
    const { error, value } = answer as { readonly error?: unknown, readonly value?: unknown }
    if (error !== undefined && error !== null) return { problem: problemsOf(error) }
    return { value: 'value' in answer ? value : body }
  }
}

const MAX_SHOWN = 10

function problemsOf (errors: unknown): string {
  if (!Array.isArray(errors)) return errors instanceof Error ? errors.message : 'it does not fit its schema'
  return errors.slice(0, MAX_SHOWN).map((error: unknown) => {
    const { instancePath, message } = (typeof error === 'object' && error !== null ? error : {}) as { readonly instancePath?: unknown, readonly message?: unknown }
    return `body${typeof instancePath === 'string' ? instancePath.replaceAll('/', '.') : ''} ${typeof message === 'string' ? message : 'is not valid'}`
  }).join('; ')
}
