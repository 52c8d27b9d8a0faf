import type { Logger } from './context.ts'
import type { FieldRedactor } from './redact-fields.ts'

type Method = (this: object, ...values: unknown[]) => unknown

/** The levels of a logger that does not list its own. */
const LEVELS: readonly string[] = ['trace', 'debug', 'info', 'warn', 'error', 'fatal']
/** Public in pino as `pino.symbols.serializersSym`. Fastify recognises a pino logger by it, too. */
const PINO = Symbol.for('pino.serializers')

/**
 * Makes the function that puts a thin layer over a logger. The layer redacts objects that are logged or bound by
 * `child`, and arguments of messages, before the logger's own methods get them. Serializers, formatters, mixins,
 * hooks and a `redact` option of the logger are not changed and see the redacted values.
 *
 * A pino child inherits from its parent, so one layer over the parent covers all its children, and a job's logger
 * costs no more than pino's own child. For any other logger, each child gets a layer.
 */
export function loggerRedactor (redactor: FieldRedactor): (logger: Logger) => Logger {
  const layers = new WeakMap<Logger, Logger>()
  return (logger) => {
    let layer = layers.get(logger)
    if (layer === undefined) {
      // Fastify's stand-in when there is no logger. A silent pino is different: its level may be changed later.
      layer = isMute(logger) ? logger : cover(logger, redactor)
      layers.set(logger, layer)
      // A layer over a layer would redact twice.
      layers.set(layer, layer)
    }
    return layer
  }
}

function isMute (logger: Logger): boolean {
  return logger.info === logger.error && !(PINO in logger)
}

function cover (base: Logger, redactor: FieldRedactor): Logger {
  const inherits = PINO in base
  const methods = base as unknown as Readonly<Record<string, unknown>>
  const layer = Object.create(base) as Logger
  for (const level of levelsOf(base)) {
    define(layer, level, function (this: object, ...values: unknown[]): unknown {
      // Looked up at every call, because the logger's level may change. For a level that is off, pino's method is
      // `silent`.
      const method = methods[level]
      if (typeof method !== 'function' || method === methods.silent || (!inherits && isOff(base, level))) return undefined
      return Reflect.apply(method, inherits ? this : base, redactAll(values, redactor))
    })
  }
  define(layer, 'child', function (this: Logger, bindings: unknown, ...options: unknown[]): unknown {
    const given: unknown[] = [isObject(bindings) ? redactor.fields(bindings) : bindings, ...options]
    const child = Reflect.apply(base.child as unknown as Method, inherits ? this : base, given) as Logger
    if (!inherits) return cover(child, redactor)
    // A child with its own level has its own methods.
    coverOwn(child, redactor)
    return child
  })
  Object.defineProperty(layer, 'level', {
    configurable: true,
    enumerable: true,
    get (this: object): unknown { return Reflect.get(base, 'level', inherits ? this : base) },
    set (this: object, level: unknown) {
      Reflect.set(base, 'level', level, inherits ? this : base)
      if (inherits) coverOwn(this, redactor)
    }
  })
  return layer
}

/** Setting the level of a pino logger gives it its own methods; the layer wraps those in place. */
function coverOwn (logger: object, redactor: FieldRedactor): void {
  for (const level of levelsOf(logger)) {
    if (!Object.hasOwn(logger, level)) continue
    const method: unknown = Reflect.get(logger, level)
    if (typeof method !== 'function' || method === Reflect.get(logger, 'silent')) continue
    define(logger, level, function (this: object, ...values: unknown[]): unknown {
      return Reflect.apply(method, this, redactAll(values, redactor))
    })
  }
}

/**
 * Redacts objects and the texts that are arguments of the message. The message itself is left as its author wrote it.
 */
function redactAll (values: unknown[], { fields, fieldText }: FieldRedactor): unknown[] {
  const message = typeof values[0] === 'string' ? 0 : 1
  for (let index = 0; index < values.length; index++) {
    const value = values[index]
    if (isObject(value)) values[index] = fields(value)
    else if (typeof value === 'string' && index > message) values[index] = fieldText(value)
  }
  return values
}

function levelsOf (logger: object): readonly string[] {
  const levels: unknown = Reflect.get(logger, 'levels')
  const values: unknown = isObject(levels) ? Reflect.get(levels, 'values') : undefined
  return isObject(values) ? Object.keys(values) : LEVELS
}

function isOff (logger: object, level: string): boolean {
  const isLevelEnabled: unknown = Reflect.get(logger, 'isLevelEnabled')
  return typeof isLevelEnabled === 'function' && Reflect.apply(isLevelEnabled, logger, [level]) === false
}

function define (target: object, key: string, value: unknown): void {
  Object.defineProperty(target, key, { value, writable: true, configurable: true, enumerable: true })
}

function isObject (value: unknown): value is object {
  return typeof value === 'object' && value !== null
}
