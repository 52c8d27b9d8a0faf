/** How scripts take checkpoints, and how they answer with what steps have stored. */
import type { JobProgress, StepsFacts } from '../../jobs/job.ts'
import type { Checkpoint, StepText } from '../../jobs/steps.ts'
import { STEP_FIELDS } from './layout.ts'

/**
 * A checkpoint as scripts take it: whether there is something to undo, since when it is undone or could not be undone,
 * whether results are dropped, the progress, then the fields and their texts.
 */
export function stepArgs (checkpoint: Checkpoint): Array<StepText | number> {
  const { facts, values, dropValues, undo, progress } = checkpoint
  const args: Array<StepText | number> = [
    undo === undefined ? '' : undo ? '1' : '0',
    undoingOf(checkpoint),
    dropValues === true ? '1' : '',
    progressText(progress)
  ]
  pushFields(args, STEP_FIELDS.fact, facts)
  if (values !== undefined) pushFields(args, STEP_FIELDS.value, values)
  return args
}

/** Two moments in one argument, because both are rare: a checkpoint without them sends nothing. */
function undoingOf ({ compensatingSince, notUndoneSince }: Checkpoint): string | number {
  const since = compensatingSince === undefined ? '' : compensatingSince ?? 'none'
  return notUndoneSince === undefined ? since : `${since} ${notUndoneSince ?? 'none'}`
}

/** The last checkpoint of a job, as the script that completes it takes it: its results go with it, so they are not sent. */
export function lastStepArgs ({ facts, progress }: Checkpoint): string[] {
  const args = [progressText(progress)]
  pushFields(args, STEP_FIELDS.fact, facts)
  return args
}

function progressText (progress: JobProgress | undefined): string {
  return progress === undefined ? '' : JSON.stringify(progress)
}

function pushFields<A> (args: Array<A | string>, prefix: string, texts: Readonly<Record<string, A | string>>): void {
  for (const [key, text] of Object.entries(texts)) args.push(prefix + key, text)
}

/** The small texts of a job's steps in the answer of `lua/lookup.lua`; `undefined`: it has no steps. */
export function factsIn (texts: unknown): StepsFacts | undefined {
  return Array.isArray(texts) ? textsOf(texts, STEP_FIELDS.fact) : undefined
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
