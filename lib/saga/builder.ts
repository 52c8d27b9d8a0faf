/** The chain at run time: it notes what was declared. `compile.ts` checks it and makes the plan. */
import type { OptionProblems } from '../core/options.ts'

/** A step as it was declared; nothing of it has been checked. */
export interface DeclaredStep {
  readonly kind: 'step'
  readonly name: unknown
  readonly options: unknown
}

export type DeclaredNode =
  | DeclaredStep
  | {
    readonly kind: 'parallel'
    readonly name: unknown
    readonly steps: readonly DeclaredStep[]
    readonly options: unknown
  }
  | { readonly kind: 'each', readonly name: unknown, readonly list: unknown, readonly options: unknown }
  | { readonly kind: 'sleep', readonly name: unknown, readonly ms: unknown }
  | { readonly kind: 'signal', readonly name: unknown, readonly options: unknown }

/** What the function `steps` of a saga has declared. */
export interface Declared {
  readonly nodes: readonly DeclaredNode[]
  readonly returns: unknown
}

/** A method of the chain: it notes what it was called with, and returns the chain. */
type Add = (name?: unknown, ...rest: unknown[]) => Chain
interface Chain { readonly [method: string]: Add }

/** Calls the function `steps` of a saga, and notes what it declares. What is wrong goes to `problems`. */
export function declareSteps (steps: unknown, problems: OptionProblems): Declared {
  const nodes: DeclaredNode[] = []
  let returns: unknown
  let ended = false
  if (typeof steps !== 'function') {
    problems.add('steps must be a function: (s) => s.step(…)')
    return { nodes, returns }
  }
  const add = (node: DeclaredNode): Chain => {
    if (ended) problems.add(`${node.kind} "${String(node.name)}" comes after returns(), which ends the chain`)
    nodes.push(node)
    return chain
  }
  const chain: Chain = {
    step: (name, options) => add({ kind: 'step', name, options }),
    parallel: (name, siblings, options) => add({
      kind: 'parallel', name, steps: declareSiblings(name, siblings, problems), options
    }),
    each: (name, list, options) => add({ kind: 'each', name, list, options }),
    sleep: (name, ms) => add({ kind: 'sleep', name, ms }),
    signal: (name, options) => add({ kind: 'signal', name, options }),
    returns: (make) => {
      if (ended) problems.add('returns() is called twice')
      if (typeof make !== 'function') problems.add('returns() takes a function')
      ended = true
      returns = make
      return chain
    }
  }
  calling('steps', problems, () => {
    if (Reflect.apply(steps, undefined, [chain]) !== chain) {
      problems.add('steps must return its chain: (s) => s.step(…), or { return s.step(…) }')
    }
  })
  return { nodes, returns }
}

function declareSiblings (group: unknown, siblings: unknown, problems: OptionProblems): DeclaredStep[] {
  const steps: DeclaredStep[] = []
  if (typeof siblings !== 'function') {
    problems.add(`parallel "${String(group)}" takes a function: (g) => g.step(…)`)
    return steps
  }
  const refuse = (kind: string): Add => (name) => {
    problems.add(`${kind} "${String(name)}" is in the group "${String(group)}", which can have only steps`)
    return chain
  }
  const chain: Chain = {
    step: (name, options) => {
      steps.push({ kind: 'step', name, options })
      return chain
    },
    parallel: refuse('parallel'),
    each: refuse('each'),
    sleep: refuse('sleep'),
    signal: refuse('signal'),
    returns: refuse('returns')
  }
  calling(`parallel "${String(group)}"`, problems, () => { Reflect.apply(siblings, undefined, [chain]) })
  return steps
}

function calling (where: string, problems: OptionProblems, call: () => void): void {
  try {
    call()
  } catch (error) {
    problems.add(`${where} threw: ${error instanceof Error ? error.message : String(error)}`)
  }
}
