/** Makes the plan of a saga from what was declared, and lists everything that is wrong with it. */
import { AsyncEndpointsError } from '../core/errors.ts'
import { OptionProblems, readOptions, type OptionsSchema } from '../core/options.ts'
import { compileBackoff, type BackoffOptions, type CustomBackoff } from '../jobs/backoff.ts'
import { retrySchema } from '../jobs/compile-definition.ts'
import {
  MAX_EACH_ITEMS, type AnyStepFunction, type EachPlan, type GroupPlan, type OnExhausted, type SagaHistory,
  type SagaNode, type SagaPlan, type SignalPlan, type SleepPlan, type StepPlan, type TryPlan
} from '../jobs/saga-plan.ts'
import { declareSteps, type DeclaredNode, type DeclaredStep } from './builder.ts'
import { STEP_NAME, STEP_NAME_RULE } from './step-name.ts'
import { MAX_RESULTS_BYTES, MAX_STEP_RESULT_BYTES } from './step-result.ts'

const MAX_NODES = 1_000
/** The longest time that an option of a saga can have: a year. */
export const YEAR_MS = 31_536_000_000

/** The options of a saga that are about its steps. */
export interface SagaPlanOptions {
  /**
   * The version of the definition. Raise it when you change the steps. It is stored with every saga: see
   * `versionWaitMs`.
   *
   * @defaultValue 1
   */
  readonly version?: number | undefined
  /**
   * How long a saga whose stored steps do not fit this definition waits for a worker that still has the older one.
   * After that it fails with `FAE_SAGA_CHANGED`, and its steps are undone by name.
   *
   * @defaultValue 600000 (10 min)
   */
  readonly versionWaitMs?: number | undefined
  /**
   * Converts what an older definition has stored. Return the steps that are done under their new names, with the
   * results; `undefined`: it cannot be converted.
   */
  readonly upgrade?: ((stored: SagaHistory) => SagaHistory | undefined) | undefined
  /** The largest result of one step as JSON, in bytes. @defaultValue 262144 (256 KiB) */
  readonly maxStepResultBytes?: number | undefined
  /** The largest sum of the results of all steps as JSON, in bytes. @defaultValue 4194304 (4 MiB) */
  readonly maxResultsBytes?: number | undefined
}

/** The schema of {@link SagaPlanOptions}, for the schema of all options. */
export const sagaPlanProperties: OptionsSchema = {
  version: { type: 'integer', minimum: 0 },
  versionWaitMs: { type: 'number', minimum: 0, maximum: YEAR_MS },
  upgrade: { isFunction: true },
  maxStepResultBytes: { type: 'integer', minimum: 1 },
  maxResultsBytes: { type: 'integer', minimum: 1 }
}

export interface SagaSource extends SagaPlanOptions {
  readonly name: string
  readonly steps: unknown
  readonly timeoutMs: number
  readonly graceMs: number
  readonly retry: { readonly attempts: number, readonly backoff?: BackoffOptions | CustomBackoff | undefined }
  /** Compiles the schema of a signal when the application is ready, and answers with what validates. */
  readonly signalValidator: (signal: string, schema: unknown) => SignalPlan['validate']
}

/**
 * @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS`: one message with every fault of every step
 */
export function compileSaga (source: SagaSource): SagaPlan {
  const problems = new OptionProblems()
  const declared = declareSteps(source.steps, problems)
  const compiler = new PlanCompiler(source, problems)
  const nodes = compiler.nodes(declared.nodes)
  problems.throwIfAny(`saga "${source.name}"`)
  const {
    name, version = 1, versionWaitMs = 600_000, upgrade, timeoutMs, graceMs, retry,
    maxStepResultBytes = MAX_STEP_RESULT_BYTES, maxResultsBytes = MAX_RESULTS_BYTES
  } = source
  return Object.freeze({
    name,
    version,
    nodes: Object.freeze(nodes),
    returns: declared.returns as AnyStepFunction | undefined,
    timeoutMs,
    graceMs,
    maxCrashes: retry.attempts,
    crashBackoff: compileBackoff(retry.backoff),
    versionWaitMs,
    upgrade,
    maxStepResultBytes,
    maxResultsBytes
  })
}

const tryProperties: OptionsSchema = {
  ...(retrySchema['properties'] as Record<string, OptionsSchema>),
  timeoutMs: { type: 'number', minimum: 0, maximum: YEAR_MS }
}
const onExhausted: OptionsSchema = { enum: ['compensate', 'fail', 'continue'] satisfies OnExhausted[] }
const compensate: OptionsSchema = {
  anyOf: [
    { isFunction: true },
    {
      type: 'object', additionalProperties: false, required: ['run'],
      properties: { ...tryProperties, run: { isFunction: true } }
    }
  ]
}
const stepSchema: OptionsSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['run'],
  properties: { ...tryProperties, run: { isFunction: true }, when: { isFunction: true }, compensate, onExhausted }
}
const groupProperties: OptionsSchema = {
  onError: { enum: ['abort', 'await-all'] },
  concurrency: { type: 'integer', minimum: 1, maximum: 1_000 }
}
const groupSchema: OptionsSchema = { type: 'object', additionalProperties: false, properties: groupProperties }
const eachSchema: OptionsSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['run'],
  properties: {
    ...tryProperties,
    ...groupProperties,
    run: { isFunction: true },
    compensate,
    onExhausted: { enum: ['compensate', 'fail'] satisfies OnExhausted[] },
    maxItems: { type: 'integer', minimum: 1, maximum: MAX_EACH_ITEMS }
  }
}
const signalSchema: OptionsSchema = {
  type: 'object',
  additionalProperties: false,
  properties: {
    schema: {}, parse: { isFunction: true }, timeoutMs: { type: 'number', minimum: 0, maximum: YEAR_MS }, onExhausted
  }
}

interface TryInput {
  readonly attempts?: number
  readonly backoff?: BackoffOptions | CustomBackoff
  readonly timeoutMs?: number
}

interface StepInput extends TryInput {
  readonly run: AnyStepFunction
  readonly when?: AnyStepFunction
  readonly compensate?: AnyStepFunction | (TryInput & { readonly run: AnyStepFunction })
  readonly onExhausted?: OnExhausted
}

interface GroupInput {
  readonly onError?: 'abort' | 'await-all'
  readonly concurrency?: number
}

/** What a step is called, and where it stands. */
type StepPlace = Pick<StepPlan, 'path' | 'name' | 'group' | 'order'>

const UNDO = { attempts: 5, backoff: { type: 'exponential', delayMs: 500 }, timeoutMs: 30_000 } as const
const STEP = { attempts: 3, backoff: { type: 'exponential', delayMs: 1_000 }, timeoutMs: 300_000 } as const

class PlanCompiler {
  readonly #source: SagaSource
  readonly #problems: OptionProblems
  #order = 0

  constructor (source: SagaSource, problems: OptionProblems) {
    this.#source = source
    this.#problems = problems
  }

  nodes (declared: readonly DeclaredNode[]): SagaNode[] {
    if (declared.length === 0 && typeof this.#source.steps === 'function') this.#problems.add('it has no steps')
    const count = declared.reduce((sum, node) => sum + (node.kind === 'parallel' ? node.steps.length : 1), 0)
    if (count > MAX_NODES) {
      this.#problems.add(`it has ${count} steps; ${MAX_NODES} are the most, put more work into each or use each()`)
    }
    this.#names('the saga', declared)
    return declared.flatMap((node) => this.#node(node) ?? [])
  }

  #node (node: DeclaredNode): SagaNode | undefined {
    switch (node.kind) {
      case 'step': return this.#step(node)
      case 'parallel': return this.#group(node)
      case 'each': return this.#each(node)
      case 'sleep': return this.#sleep(node)
      case 'signal': return this.#signal(node)
    }
  }

  #step ({ name, options }: DeclaredStep, group?: string): StepPlan | undefined {
    const path = group === undefined ? String(name) : `${group}/${String(name)}`
    const input = this.#read<StepInput>(
      `step "${path}"`, stepSchema, typeof options === 'function' ? { run: options } : options
    )
    const order = ++this.#order
    return input && this.#stepPlan({ path, name: String(name), group, order, input })
  }

  #stepPlan ({ input, ...node }: StepPlace & { readonly input: StepInput }): StepPlan {
    const undo = typeof input.compensate === 'object' ? input.compensate : undefined
    return Object.freeze({
      kind: 'step',
      ...node,
      ...tryPlan(input, STEP),
      run: input.run,
      when: input.when,
      compensate: undo?.run ?? input.compensate as AnyStepFunction | undefined,
      onExhausted: input.onExhausted ?? 'compensate',
      undo: Object.freeze(tryPlan(undo ?? {}, UNDO))
    })
  }

  #group ({ name, steps, options }: DeclaredNode & { kind: 'parallel' }): GroupPlan | undefined {
    const path = String(name)
    const where = `parallel "${path}"`
    const input = this.#read<GroupInput>(where, groupSchema, options)
    if (steps.length === 0) this.#problems.add(`${where} has no steps`)
    this.#names(where, steps)
    // `group/0` is an item of an `each`, in labels too.
    for (const { name } of steps) {
      if (typeof name !== 'string' || !/^\d+$/.test(name)) continue
      this.#problems.add(`the name "${name}" in ${where} must have a letter: numbers name the items of an each`)
    }
    const order = this.#order + 1
    const siblings = steps.flatMap((step) => this.#step(step, path) ?? [])
    if (input === undefined) return undefined
    const { onError = 'abort', concurrency = Math.max(1, steps.length) } = input
    return Object.freeze({ kind: 'parallel', path, order, steps: Object.freeze(siblings), onError, concurrency })
  }

  #each ({ name, list, options }: DeclaredNode & { kind: 'each' }): EachPlan | undefined {
    const path = String(name)
    const where = `each "${path}"`
    if (typeof list !== 'function') this.#problems.add(`${where}: the list must be a function`)
    const input = this.#read<StepInput & GroupInput & { readonly maxItems?: number }>(where, eachSchema, options)
    const order = ++this.#order
    if (input === undefined) return undefined
    const { onError = 'abort', concurrency = 10, maxItems = 100 } = input
    const step = this.#stepPlan({ path, name: path, group: path, order, input })
    return Object.freeze({
      kind: 'each', path, order, list: list as AnyStepFunction, step, maxItems, onError, concurrency
    })
  }

  #sleep ({ name, ms }: DeclaredNode & { kind: 'sleep' }): SleepPlan {
    const path = String(name)
    const fits = typeof ms === 'function' || (typeof ms === 'number' && ms >= 0 && ms <= YEAR_MS)
    if (!fits) this.#problems.add(`sleep "${path}" takes a number of milliseconds, 0 to ${YEAR_MS}, or a function`)
    return Object.freeze({ kind: 'sleep', path, order: ++this.#order, ms: ms as SleepPlan['ms'] })
  }

  #signal ({ name, options }: DeclaredNode & { kind: 'signal' }): SignalPlan | undefined {
    const path = String(name)
    const input = this.#read<{
      schema?: unknown, parse?: (value: unknown) => unknown, timeoutMs?: number, onExhausted?: OnExhausted
    }>(`signal "${path}"`, signalSchema, options)
    const order = ++this.#order
    if (input === undefined) return undefined
    const { schema, parse, timeoutMs = 0, onExhausted: failed = 'compensate' } = input
    const check = schema === undefined ? undefined : this.#source.signalValidator(path, schema)
    const validate: SignalPlan['validate'] = async (value) => {
      const checked = check === undefined ? value : await check(value)
      return parse === undefined ? checked : await parsed(path, parse, checked)
    }
    return Object.freeze({ kind: 'signal', path, order, timeoutMs, onExhausted: failed, validate })
  }

  #read<T extends object> (where: string, schema: OptionsSchema, given: unknown): T | undefined {
    const problems = this.#problems
    if (given !== undefined && (typeof given !== 'object' || given === null)) {
      problems.add(`${where}: its options must be an object`)
      return undefined
    }
    return problems.collect(`${where}: `, () => readOptions<T, Partial<T>>(where, schema, {}, given as T | undefined))
  }

  #names (where: string, declared: ReadonlyArray<{ readonly name: unknown }>): void {
    const seen = new Set<unknown>()
    const twice = new Set<unknown>()
    for (const { name } of declared) {
      if (typeof name !== 'string' || !STEP_NAME.test(name)) {
        this.#problems.add(`the name ${JSON.stringify(name) ?? String(name)} in ${where} must be ${STEP_NAME_RULE}`)
      }
      if (seen.has(name)) twice.add(name)
      seen.add(name)
    }
    for (const name of twice) this.#problems.add(`the name "${String(name)}" is used twice in ${where}`)
  }
}

function tryPlan ({ attempts, backoff, timeoutMs }: TryInput, defaults: typeof STEP | typeof UNDO): TryPlan {
  return {
    attempts: attempts ?? defaults.attempts,
    backoff: compileBackoff(typeof backoff === 'function' ? backoff : { ...defaults.backoff, ...backoff }),
    timeoutMs: timeoutMs ?? defaults.timeoutMs
  }
}

/** @throws {AsyncEndpointsError} `FAE_INVALID_SUBMISSION` for what `parse` refuses */
async function parsed (signal: string, parse: (value: unknown) => unknown, value: unknown): Promise<unknown> {
  try {
    return await parse(value)
  } catch (error) {
    throw new AsyncEndpointsError(
      'FAE_INVALID_SUBMISSION',
      `The signal "${signal}" is not valid: ${error instanceof Error ? error.message : String(error)}`
    )
  }
}
