/** Sagas that could not undo all of their steps, as the store names them. */
import { readStep } from './saga-facts.ts'
import type { JobStore } from './store.ts'

/** A failed saga that somebody has to look at. */
export interface NotUndone {
  readonly jobId: string
  readonly jobName: string
  /** The steps that were not undone, with commas between them. `unknown`: what is stored of them cannot be read. */
  readonly steps: string
}

/** Characters of the names of steps that are shown: a saga may have a thousand steps. */
const MAX_STEPS = 200

/** The sagas with these ids, without those that were redriven or removed since the store has named them. */
export async function readNotUndone (store: Pick<JobStore, 'get'>, ids: readonly string[]): Promise<NotUndone[]> {
  const jobs = await Promise.all(ids.map((id) => store.get(id)))
  return jobs.flatMap((job) => {
    if (job?.state !== 'failed') return []
    const paths = Object.keys(job.facts ?? {}).filter((path) => readStep(job.facts, path)?.s === 'x')
    const all = paths.sort().join(', ') || 'unknown'
    const steps = all.length > MAX_STEPS ? `${all.slice(0, MAX_STEPS)}…` : all
    return [{ jobId: job.id, jobName: job.name, steps }]
  })
}
