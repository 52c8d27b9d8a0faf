import { types } from 'node:util'

/** The deepest nesting that is accepted. `JSON.stringify` fails some thousand levels further down. */
const MAX_DEPTH = 1_000
const SHOWN_PATH = 60

/**
 * Finds the first part of a value that JSON would lose silently: `JSON.stringify` writes `{}` for a `Map`, a stream
 * or an `Error`, and a list of numbers for a `Buffer`. The rest is left to `JSON.stringify`, which leaves out
 * functions and `undefined`, writes `null` for `NaN` and `Infinity`, and throws for circular references.
 *
 * @param path the name of the value, for the sentence
 * @returns for example `body.photo is a Buffer`; `undefined` if nothing would be lost
 */
export function lostInJson (value: unknown, path: string): string | undefined {
  try {
    return lostIn(value, path, [])
  } catch {
    // A getter throws. `JSON.stringify` throws the same error later, and the caller reports it.
    return undefined
  }
}

function lostIn (value: unknown, path: string, above: object[]): string | undefined {
  if (typeof value === 'bigint' && !('toJSON' in BigInt.prototype)) return `${path} is a BigInt`
  if (typeof value !== 'object' || value === null) return undefined
  const kind = unwritable(value)
  if (kind !== undefined) return `${path} is ${kind}`
  if (above.includes(value)) return undefined
  if (above.length === MAX_DEPTH) return `${path.slice(0, SHOWN_PATH)}… is nested more than ${MAX_DEPTH} deep`
  above.push(value)
  let found: string | undefined
  if (Array.isArray(value)) {
    for (let index = 0; index < value.length && found === undefined; index++) {
      found = lostIn(value[index], `${path}.${index}`, above)
    }
  } else if (typeof Reflect.get(value, 'toJSON') !== 'function') {
    for (const name of Object.keys(value)) {
      found = lostIn(Reflect.get(value, name), `${path}.${shown(name)}`, above)
      if (found !== undefined) break
    }
  }
  above.pop()
  return found
}

/**
 * Names a value that JSON cannot represent. Plain objects and arrays, which are nearly all values, are handled first.
 */
function unwritable (value: object): string | undefined {
  const prototype: unknown = Object.getPrototypeOf(value)
  if (prototype === Object.prototype || prototype === null || Array.isArray(value)) return undefined
  if (Buffer.isBuffer(value)) return 'a Buffer'
  if (ArrayBuffer.isView(value) || types.isAnyArrayBuffer(value)) return `a ${nameOf(value)}`
  // An object with `toJSON` decides itself how it is written.
  if (typeof Reflect.get(value, 'toJSON') === 'function') return undefined
  if (typeof Reflect.get(value, 'pipe') === 'function' || typeof Reflect.get(value, 'getReader') === 'function') return 'a stream'
  if (types.isPromise(value) || typeof Reflect.get(value, 'then') === 'function') return 'a Promise; await it'
  if (types.isNativeError(value) || value instanceof Error) return 'an Error'
  if (types.isRegExp(value) || types.isWeakMap(value) || types.isWeakSet(value) || typeof Reflect.get(value, 'arrayBuffer') === 'function') return `a ${nameOf(value)}`
  return Symbol.iterator in value || Symbol.asyncIterator in value ? `a ${nameOf(value)}` : undefined
}

function nameOf (value: object): string {
  const name: unknown = Reflect.get(value, Symbol.toStringTag) ?? value.constructor?.name
  return typeof name === 'string' && /^[\w ]{1,40}$/.test(name) ? name : 'value with an iterator'
}

/** The name of a member for a message. It comes from outside and may be anything. */
function shown (name: string): string {
  return /^[\w$-]{1,60}$/.test(name) ? name : '…'
}

/**
 * The type of a value after it has travelled as JSON: a `Date` becomes a string, an object with `toJSON` becomes what
 * that returns, and members that JSON leaves out are missing. A type that cannot be submitted (`Map`, `Set`,
 * `bigint`, …) becomes `never`. A type that JSON does not change stays itself, so that an editor shows its name.
 */
export type Travelled<T> = Same<T, Arriving<T>> extends true ? T : Arriving<T>

/**
 * What can be submitted where `T` is expected: `T`, with `never` for parts that JSON would lose (`Map`, `Set`,
 * `bigint`, …).
 */
export type Submittable<T> = [T] extends [Sendable<T>] ? T : Sendable<T>

type Same<A, B> = [A, B] extends [B, A] ? true : false
type Primitive = string | number | boolean | null | undefined
type Unwritten = symbol | ((...values: never[]) => unknown)

type Arriving<T> =
  unknown extends T ? T
    : T extends Primitive ? T
      : T extends { toJSON (...key: never[]): infer R } ? Arriving<R>
        : T extends bigint | Unwritten | Lost ? never
          : T extends readonly unknown[] ? { [K in keyof T]: Arriving<T[K]> }
            : T extends object ? { [K in keyof T as T[K] extends Unwritten ? never : K]: Arriving<T[K]> }
              : T

type Sendable<T> =
  unknown extends T ? T
    : T extends Primitive | Unwritten | { toJSON (...key: never[]): unknown } ? T
      : T extends bigint | Lost ? never
        : T extends object ? { [K in keyof T]: Sendable<T[K]> }
          : T

type Lost = ReadonlyMap<unknown, unknown> | ReadonlySet<unknown> | WeakMap<WeakKey, unknown> | WeakSet<WeakKey> | ArrayBufferView | ArrayBufferLike | PromiseLike<unknown> | Error | RegExp
