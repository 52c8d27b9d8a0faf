/**
 * Type guards for what other processes wrote to the store. They may run another version, so nothing they wrote is used
 * before it is checked.
 */

export function isCount (value: unknown): value is number {
  return typeof value === 'number' && value >= 0 && Number.isFinite(value)
}

export function isArrayOf<T> (value: unknown, is: (entry: unknown) => entry is T): value is T[] {
  return Array.isArray(value) && value.every(is)
}

export function isNamedCount (value: unknown): value is readonly [name: string, count: number] {
  return Array.isArray(value) && typeof value[0] === 'string' && isCount(value[1])
}

export function isRecord (value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
