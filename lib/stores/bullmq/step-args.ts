/** How scripts take checkpoints, and how they answer with what steps have stored. */
import type { StepsFacts } from '../../jobs/job.ts'
import type { Checkpoint } from '../../jobs/steps.ts'
import { STEP_FIELDS } from './layout.ts'

type StepArgs = [undo: string, since: string | number, drop: string, progress: string, ...fields: string[]]

/**
 * A checkpoint as scripts take it: whether there is something to undo, since when it is undone, whether results are
 * dropped, the progress, then the fields and their texts.
 */
export function stepArgs ({ facts, values, dropValues, undo, compensatingSince, progress }: Checkpoint): StepArgs {
  return [
    undo === undefined ? '' : undo ? '1' : '0',
    compensatingSince === undefined ? '' : compensatingSince ?? 'none',
    dropValues === true ? '1' : '',
    progress === undefined ? '' : JSON.stringify(progress),
    ...fieldsOf(STEP_FIELDS.fact, facts),
    ...fieldsOf(STEP_FIELDS.value, values)
  ]
}

/** The small texts of a job's steps in the answer of `lua/lookup.lua`; `undefined`: it has no steps. */
export function factsIn (texts: unknown): StepsFacts | undefined {
  return Array.isArray(texts) ? textsOf(texts, STEP_FIELDS.fact) : undefined
}

function fieldsOf (prefix: string, texts: StepsFacts | undefined): string[] {
  return texts === undefined ? [] : Object.entries(texts).flatMap(([key, text]) => [prefix + key, text])
}

/** The texts under fields with this prefix, by what follows it. */
export function textsOf (answer: unknown, prefix: string): Record<string, string> {
  const found: Array<[string, string]> = []
  if (!Array.isArray(answer)) return {}
  for (let at = 0; at + 1 < answer.length; at += 2) {
    const field = String(answer[at])
    if (field.startsWith(prefix)) found.push([field.slice(prefix.length), String(answer[at + 1])])
  }
  return Object.fromEntries(found)
}
