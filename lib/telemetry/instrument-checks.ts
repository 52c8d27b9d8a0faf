import { invalidOptions } from '../core/options.ts'
import type { InstrumentDefinition } from './metric-catalogue/row.ts'

const KINDS: readonly string[] = ['counter', 'gauge', 'histogram']
const NAME = /^[a-zA-Z][a-zA-Z0-9_.\-/]{0,254}$/
const LABEL = /^[a-zA-Z_][a-zA-Z0-9_.]{0,99}$/

/** @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS`, a message that lists everything that is wrong */
export function checkDefinition (definition: InstrumentDefinition): void {
  const problems: string[] = []
  if (!KINDS.includes(definition.kind)) problems.push('kind must be "counter", "gauge" or "histogram"')
  if (typeof definition.unit !== 'string') problems.push('unit is missing: "s", "By", "1", or a word in braces such as "{order}"')
  if (typeof definition.description !== 'string') problems.push('description is missing')
  const labels = Array.isArray(definition.labels) ? definition.labels : []
  if (!Array.isArray(definition.labels)) problems.push('labels must be a list of names; [] for a metric without labels')
  if (!NAME.test(definition.name)) {
    problems.push('the name must start with a letter and have only letters, digits, "_", ".", "-", "/", at most 255')
  }
  for (const label of labels) {
    if (LABEL.test(label) && label !== 'le') continue
    problems.push(`"${label}" is not a valid label: letters, digits, "_" and ".", not "le"`)
  }
  if (new Set(labels).size !== labels.length) problems.push('a label is in the list twice')
  if (problems.length > 0) throw invalidOptions(`metric "${definition.name}"`, problems)
  if (definition.buckets !== undefined) checkBuckets(`metric "${definition.name}"`, definition.buckets)
}

/** @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS` */
export function checkBuckets (where: string, buckets: readonly number[]): void {
  const ascending = buckets.every((bound, index) => Number.isFinite(bound) && bound > (buckets[index - 1] ?? -Infinity))
  if (buckets.length > 0 && ascending) return
  throw invalidOptions(where, ['buckets must be one or more finite numbers in ascending order'])
}
