const MAX_REMEMBERED = 1_000

/** True for a job that `excludeJobs` excludes. */
export type Exclusion = (jobName: string) => boolean

const none: Exclusion = () => false

/**
 * Compiles names and patterns to a function. The answer for a name is remembered, for at most {@link MAX_REMEMBERED}
 * names, so that made-up names cannot fill the memory.
 */
export function compileExclusion (excluded: ReadonlyArray<string | RegExp> = []): Exclusion {
  if (excluded.length === 0) return none
  const names = new Set(excluded.filter((entry) => typeof entry === 'string'))
  // The flags g and y are dropped: they would make `test` continue where it stopped for another name.
  const patterns = excluded.filter((entry) => typeof entry !== 'string')
    .map(({ source, flags }) => new RegExp(source, flags.replace(/[gy]/g, '')))
  const remembered = new Map<string, boolean>()
  return (jobName) => {
    const known = remembered.get(jobName)
    if (known !== undefined) return known
    const verdict = names.has(jobName) || patterns.some((pattern) => pattern.test(jobName))
    if (remembered.size < MAX_REMEMBERED) remembered.set(jobName, verdict)
    return verdict
  }
}
