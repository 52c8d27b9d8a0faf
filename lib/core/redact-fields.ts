import { shortened } from './text.ts'

type Hides = (name: string) => boolean
type Clean = (text: string) => string

const MAX_DEPTH = 8
/** The most values of one object, including nested ones. */
const MAX_VALUES = 5_000
const MAX_ITEMS = 1_000
/** The most characters of an error's message and stack. */
const MAX_TEXT = 16_384
/**
 * A longer text in a field is cut to {@link MAX_TEXT}: searching it would take milliseconds, and nobody reads it in a
 * log.
 */
const MAX_SEARCHED = 1 << 20
/** Every credential that can be found comes after one of these. Most texts have none of them and are not searched. */
const SEPARATOR = /[:= \t]/
/** A job may be named `password:reset`, which is not a credential. The pattern is that of job names. */
const OWN_NAME = 'job_name'
const JOB_NAME = /^[\w.:-]{1,100}$/

export const TOO_DEEP = '[TOO DEEP]'
export const TOO_MANY = '[TOO MANY]'
export const CIRCULAR = '[CIRCULAR]'
export const UNREADABLE = '[UNREADABLE]'

/**
 * The rest of the budget of one walk. The walk enters arrays, errors and plain objects, and of a class instance only
 * its own fields: what those refer to (sockets, streams, whole frameworks) would be endless.
 */
interface Walk {
  values: number
}

/**
 * Makes the function that removes the values of hidden names from an object. It first only searches: an object that
 * needs no change, which is nearly every one, is returned as it is, and nothing is allocated.
 */
export function fieldRedactor (hides: Hides, clean: Clean, mask: string): FieldRedactor {
  const copier = new Copier(hides, clean, mask)
  return {
    fields: <T extends object>(value: T): T => {
      try {
        return copier.needsCopy(value, 0, { values: MAX_VALUES }) ? copier.copy(value) : value
      } catch {
        // A proxy that throws on every access.
        return { value: UNREADABLE } as unknown as T
      }
    },
    fieldText: (text) => copier.text(text)
  }
}

export interface FieldRedactor {
  readonly fields: <T extends object>(value: T) => T
  /** The same for a text that is logged as an argument of a message. */
  readonly fieldText: (text: string) => string
}

class Copier {
  readonly #hides: Hides
  readonly #clean: Clean
  readonly #mask: string

  constructor (hides: Hides, clean: Clean, mask: string) {
    this.#hides = hides
    this.#clean = clean
    this.#mask = mask
  }

  needsCopy (value: object, depth: number, walk: Walk): boolean {
    // This also ends the walk through a circular reference.
    if (depth > MAX_DEPTH) return true
    if (Array.isArray(value)) return this.#arrayNeedsCopy(value, depth, walk)
    const isError = value instanceof Error
    if (isError && this.#errorNeedsCopy(value, depth, walk)) return true
    const looksInside = isError || isPlain(value)
    if (!isError) {
      const said = saidByItself(value)
      if (said !== undefined) return said !== value && this.#entryNeedsCopy(said, depth, walk)
    }
    for (const key in value) {
      if (!Object.hasOwn(value, key)) continue
      if (--walk.values < 0) return true
      const entry: unknown = read(value, key)
      if (entry === undefined || entry === null) continue
      if (this.#hides(key) || entry === UNREADABLE) return true
      if (typeof entry === 'string' ? this.#shows(key, entry) !== entry : looksInside && this.#entryNeedsCopy(entry, depth, walk)) return true
    }
    return false
  }

  #entryNeedsCopy (entry: unknown, depth: number, walk: Walk): boolean {
    if (typeof entry === 'string') return this.text(entry) !== entry
    return typeof entry === 'object' && entry !== null && this.needsCopy(entry, depth + 1, walk)
  }

  #arrayNeedsCopy (values: readonly unknown[], depth: number, walk: Walk): boolean {
    if (values.length > MAX_ITEMS) return true
    for (let index = 0; index < values.length; index++) {
      if (--walk.values < 0) return true
      if (this.#entryNeedsCopy(values[index], depth, walk)) return true
    }
    return false
  }

  #errorNeedsCopy (error: Error, depth: number, walk: Walk): boolean {
    const message = read(error, 'message')
    const stack = read(error, 'stack')
    if (typeof message === 'string' && this.#errorText(message) !== message) return true
    if (typeof stack === 'string' && this.#errorText(stack) !== stack) return true
    if (message === UNREADABLE || stack === UNREADABLE) return true
    // Neither is enumerable.
    return [read(error, 'cause'), read(error, 'errors')].some((inner) => this.#entryNeedsCopy(inner, depth, walk))
  }

  copy<T extends object> (value: T): T {
    return this.#copyOf(value, [], { values: MAX_VALUES }) as T
  }

  #copyOf (value: unknown, above: readonly object[], walk: Walk): unknown {
    if (typeof value === 'string') return this.text(value)
    if (typeof value !== 'object' || value === null) return value
    if (above.includes(value)) return CIRCULAR
    if (above.length > MAX_DEPTH) return TOO_DEEP
    const path = [...above, value]
    if (Array.isArray(value)) return this.#copyOfArray(value, path, walk)
    const isError = value instanceof Error
    const looksInside = isError || isPlain(value)
    const said = isError ? undefined : saidByItself(value)
    if (said !== undefined) {
      return said !== value && this.#entryNeedsCopy(said, above.length, { values: MAX_VALUES }) ? this.#copyOf(said, path, walk) : value
    }
    if (!looksInside && !this.needsCopy(value, above.length, { values: MAX_VALUES })) return value
    const copy: object = looksInside && !isError ? {} : Object.create(Object.getPrototypeOf(value) as object) as object
    if (isError) this.#copyErrorTexts(value, copy, path, walk)
    for (const key of Object.keys(value)) {
      // Assigning this key would change the prototype.
      if (key === '__proto__') continue
      if (walk.values-- <= 0) {
        define(copy, TOO_MANY, TOO_MANY)
        break
      }
      const entry = read(value, key)
      define(copy, key, this.#shown(key, entry, looksInside, path, walk))
    }
    return copy
  }

  /** The value of a field in the copy. */
  #shown (key: string, entry: unknown, looksInside: boolean, path: readonly object[], walk: Walk): unknown {
    if (entry !== undefined && entry !== null && this.#hides(key)) return this.#mask
    if (typeof entry === 'string') return this.#shows(key, entry)
    return looksInside ? this.#copyOf(entry, path, walk) : entry
  }

  #copyOfArray (values: readonly unknown[], path: readonly object[], walk: Walk): unknown[] {
    const copy: unknown[] = []
    for (const entry of values.slice(0, MAX_ITEMS)) {
      if (walk.values-- <= 0) return [...copy, TOO_MANY]
      copy.push(this.#copyOf(entry, path, walk))
    }
    return values.length > MAX_ITEMS ? [...copy, TOO_MANY] : copy
  }

  /** Message and stack of an error are not enumerable, and stay so: serializers read them by name. */
  #copyErrorTexts (error: Error, copy: object, path: readonly object[], walk: Walk): void {
    for (const key of ['message', 'stack']) {
      const text = read(error, key)
      if (typeof text === 'string') define(copy, key, this.#errorText(text), false)
    }
    for (const key of ['name', 'cause', 'errors']) {
      if (Object.hasOwn(error, key)) define(copy, key, this.#copyOf(read(error, key), path, walk), false)
    }
  }

  #errorText (text: string): string {
    return this.#clean(shortened(text, MAX_TEXT + 1))
  }

  #shows (key: string, text: string): string {
    return key === OWN_NAME && JOB_NAME.test(text) ? text : this.text(text)
  }

  /** The text of a field without credentials. */
  text (text: string): string {
    if (text.length > MAX_SEARCHED) return this.#errorText(text)
    return SEPARATOR.test(text) ? this.#clean(text) : text.toWellFormed()
  }
}

/** Reads a property; a getter may throw. */
function read (value: object, key: string): unknown {
  try {
    return Reflect.get(value, key)
  } catch {
    return UNREADABLE
  }
}

function define (target: object, key: string, value: unknown, enumerable = true): void {
  Object.defineProperty(target, key, { value, enumerable, writable: true, configurable: true })
}

function isPlain (value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null
}

/**
 * What an object's `toJSON` returns for logging: the text of a URL, a plain object for the headers of an HTTP client.
 * `undefined` if it has no `toJSON`; the object itself if there is nothing to search (dates, buffers, a `toJSON` that
 * throws).
 */
function saidByItself (value: object): unknown {
  if (value instanceof Date || ArrayBuffer.isView(value)) return value
  const toJSON = read(value, 'toJSON')
  if (typeof toJSON !== 'function') return undefined
  try {
    // The logger calls `toJSON` again later, and only then its result is final.
    return Reflect.apply(toJSON, value, ['']) ?? value
  } catch {
    return value
  }
}
