type Hides = (name: string) => boolean
type Clean = (text: string) => string

const MAX_DEPTH = 8
/** Of one object with everything in it. */
const MAX_VALUES = 5_000
const MAX_ITEMS = 1_000
/** Of the message and the stack of an error. */
const MAX_TEXT = 16_384

export const TOO_DEEP = '[TOO DEEP]'
export const TOO_MANY = '[TOO MANY]'
export const CIRCULAR = '[CIRCULAR]'
export const UNREADABLE = '[UNREADABLE]'

/**
 * What a walk has left. Looked into are arrays, errors and plain objects, of an instance of a class its own fields: what
 * lies behind those (sockets, streams, whole frameworks) has no end.
 */
interface Walk {
  values: number
}

/**
 * Makes the function that takes the values of hidden names out of an object. First it only looks: an object that needs
 * no change, which is nearly every one, is returned as it is and nothing is allocated for it.
 */
export function fieldRedactor (hides: Hides, clean: Clean, mask: string): <T extends object>(value: T) => T {
  const copier = new Copier(hides, clean, mask)
  return <T extends object>(value: T): T => {
    try {
      return copier.needsCopy(value, 0, { values: MAX_VALUES }) ? copier.copy(value) : value
    } catch {
      // A proxy that throws at every touch.
      return { value: UNREADABLE } as unknown as T
    }
  }
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
    // A circle is too deep as well.
    if (depth > MAX_DEPTH) return true
    if (Array.isArray(value)) return this.#arrayNeedsCopy(value, depth, walk)
    const isError = value instanceof Error
    if (isError && this.#errorNeedsCopy(value, depth, walk)) return true
    const looksInside = isError || isPlain(value)
    if (!looksInside && speaksForItself(value)) return false
    for (const key in value) {
      if (!Object.hasOwn(value, key)) continue
      if (--walk.values < 0) return true
      const entry: unknown = read(value, key)
      if (entry === undefined || entry === null) continue
      if (this.#hides(key) || entry === UNREADABLE) return true
      if (looksInside && typeof entry === 'object' && this.needsCopy(entry, depth + 1, walk)) return true
    }
    return false
  }

  #arrayNeedsCopy (values: readonly unknown[], depth: number, walk: Walk): boolean {
    if (values.length > MAX_ITEMS) return true
    for (let index = 0; index < values.length; index++) {
      if (--walk.values < 0) return true
      const entry = values[index]
      if (typeof entry === 'object' && entry !== null && this.needsCopy(entry, depth + 1, walk)) return true
    }
    return false
  }

  #errorNeedsCopy (error: Error, depth: number, walk: Walk): boolean {
    const message = read(error, 'message')
    const stack = read(error, 'stack')
    if (typeof message === 'string' && this.#text(message) !== message) return true
    if (typeof stack === 'string' && this.#text(stack) !== stack) return true
    if (message === UNREADABLE || stack === UNREADABLE) return true
    // Neither is enumerable.
    return [read(error, 'cause'), read(error, 'errors')].some((inner) => typeof inner === 'object' && inner !== null && this.needsCopy(inner, depth + 1, walk))
  }

  copy<T extends object> (value: T): T {
    return this.#copyOf(value, [], { values: MAX_VALUES }) as T
  }

  #copyOf (value: unknown, above: readonly object[], walk: Walk): unknown {
    if (typeof value !== 'object' || value === null) return value
    if (above.includes(value)) return CIRCULAR
    if (above.length > MAX_DEPTH) return TOO_DEEP
    const path = [...above, value]
    if (Array.isArray(value)) return this.#copyOfArray(value, path, walk)
    const isError = value instanceof Error
    const looksInside = isError || isPlain(value)
    if (!looksInside && (speaksForItself(value) || !this.needsCopy(value, above.length, { values: MAX_VALUES }))) return value
    const copy: object = looksInside && !isError ? {} : Object.create(Object.getPrototypeOf(value) as object) as object
    if (isError) this.#copyErrorTexts(value, copy, path, walk)
    for (const key of Object.keys(value)) {
      // Assigned, it would change the prototype.
      if (key === '__proto__') continue
      if (walk.values-- <= 0) {
        define(copy, TOO_MANY, TOO_MANY)
        break
      }
      const entry = read(value, key)
      define(copy, key, entry !== undefined && entry !== null && this.#hides(key) ? this.#mask : looksInside ? this.#copyOf(entry, path, walk) : entry)
    }
    return copy
  }

  #copyOfArray (values: readonly unknown[], path: readonly object[], walk: Walk): unknown[] {
    const copy: unknown[] = []
    for (const entry of values.slice(0, MAX_ITEMS)) {
      if (walk.values-- <= 0) return [...copy, TOO_MANY]
      copy.push(this.#copyOf(entry, path, walk))
    }
    return values.length > MAX_ITEMS ? [...copy, TOO_MANY] : copy
  }

  /** What an error has is not enumerable, and stays so: serializers look for it by name. */
  #copyErrorTexts (error: Error, copy: object, path: readonly object[], walk: Walk): void {
    for (const key of ['message', 'stack']) {
      const text = read(error, key)
      if (typeof text === 'string') define(copy, key, this.#text(text), false)
    }
    for (const key of ['name', 'cause', 'errors']) {
      if (Object.hasOwn(error, key)) define(copy, key, this.#copyOf(read(error, key), path, walk), false)
    }
  }

  #text (text: string): string {
    return this.#clean(text.length > MAX_TEXT ? `${text.slice(0, MAX_TEXT)}…` : text)
  }
}

/** Getters of strangers may throw. */
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

/** Dates, buffers, and whatever decides itself what is logged of it. */
function speaksForItself (value: object): boolean {
  return ArrayBuffer.isView(value) || typeof read(value, 'toJSON') === 'function'
}
