/** The results of steps as later steps see them. */
import { parseValue, type StepJournal } from './journal.ts'
import type { EachPlan, GroupPlan, SagaPlan } from '../jobs/saga-plan.ts'

/** Where a name of `results` comes from. */
type Source = { readonly path: string } | { readonly group: GroupPlan } | { readonly each: EachPlan }

export type ResultSources = ReadonlyMap<string, Source>

/** The names of a saga's results, once per definition: steps of a saga may be many, and each makes a view. */
export function resultSources (plan: SagaPlan): ResultSources {
  const sources = new Map<string, Source>()
  for (const node of plan.nodes) {
    if (node.kind === 'parallel') sources.set(node.path, { group: node })
    else if (node.kind === 'each') sources.set(node.path, { each: node })
    else if (node.kind !== 'sleep') sources.set(node.path, { path: node.path })
  }
  return sources
}

/**
 * A read-only view on the results so far. A result is parsed when it is read, once per view: so that what a step does
 * to it harms no other step, and a first run sees the same as one that was resumed. A step that was skipped, failed or
 * is yet to come has none.
 */
export function resultsView (sources: ResultSources, journal: StepJournal): Readonly<Record<string, unknown>> {
  const read = new Map<string, unknown>()
  const has = (name: string | symbol): name is string => typeof name === 'string' && sources.has(name)
  const get = (name: string): unknown => {
    if (read.has(name)) return read.get(name)
    const source = sources.get(name)
    const value = source === undefined ? undefined : valueOf(source, journal)
    read.set(name, value)
    return value
  }
  return new Proxy(Object.create(null) as Record<string, unknown>, {
    get: (_, name) => has(name) ? get(name) : undefined,
    has: (_, name) => has(name) && get(name) !== undefined,
    ownKeys: () => [...sources.keys()].filter((name) => get(name) !== undefined),
    getOwnPropertyDescriptor: (_, name) => has(name) && get(name) !== undefined
      ? { value: get(name), enumerable: true, configurable: true, writable: false }
      : undefined,
    set: () => false,
    deleteProperty: () => false,
    defineProperty: () => false
  })
}

function valueOf (source: Source, journal: StepJournal): unknown {
  if ('path' in source) return completed(source.path, journal)
  if ('group' in source) {
    const members: Record<string, unknown> = {}
    for (const { name, path } of source.group.steps) members[name] = completed(path, journal)
    return members
  }
  const { path } = source.each
  const count = journal.names?.g?.[path]
  return count === undefined
    ? undefined
    : Array.from({ length: count }, (_, index) => completed(`${path}/${index}`, journal))
}

function completed (path: string, journal: StepJournal): unknown {
  const text = journal.step(path)?.y === undefined ? undefined : journal.value(path)
  return text === undefined ? undefined : parseValue(path, text)
}
