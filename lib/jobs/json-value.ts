import { types } from 'node:util'

/** Deeper than this nothing is taken: nobody looks into it, and `JSON.stringify` gives up some thousand levels further down. */
const MAX_DEPTH = 1_000
const SHOWN_PATH = 60

/**
 * Says what JSON would lose of a value without a word: `JSON.stringify` makes `{}` of a `Map`, a stream or an `Error`, and a list of
 * numbers of a `Buffer`. What has no members of its own is left to it: it leaves out functions and `undefined`, writes `null` for what
 * is no finite number, and refuses what refers to itself.
 *
 * @param path what the value is called, for the sentence
 * @returns for example `body.photo is a Buffer`; `undefined` when nothing would be lost
 */
export function lostInJson (value: unknown, path: string): string | undefined {
  try {
    return lostIn(value, path, [])
  } catch {
    // A getter that throws: JSON cannot read it either, and says so.
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

/** The name of what JSON cannot write. Plain objects and arrays, which are nearly everything, are passed over at once. */
function unwritable (value: object): string | undefined {
  const prototype: unknown = Object.getPrototypeOf(value)
  if (prototype === Object.prototype || prototype === null || Array.isArray(value)) return undefined
  if (Buffer.isBuffer(value)) return 'a Buffer'
  if (ArrayBuffer.isView(value) || types.isAnyArrayBuffer(value)) return `a ${nameOf(value)}`
  // An object with `toJSON` decides itself what is written.
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

/** Names of members may be anything. */
function shown (name: string): string {
  return /^[\w$-]{1,60}$/.test(name) ? name : '…'
}

/**
 * What a value is once it has travelled as JSON text: a `Date` arrives as a text, what has a `toJSON` as what that returns, and members
 * that JSON leaves out are not there. What cannot be submitted at all (`Map`, `Set`, `bigint`, …) is `never`. A type that travels as it
 * is stays itself, so that an editor shows its name.
 */
export type Travelled<T> = Same<T, Arriving<T>> extends true ? T : Arriving<T>

/** What may be submitted where `T` is expected: `T` itself, with `never` for what JSON would lose (`Map`, `Set`, `bigint`, …). */
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
