const MAX_REMEMBERED = 1_000

/** Says whether a job is excluded. */
export type Exclusion = (jobName: string) => boolean

const none: Exclusion = () => false

/** Compiles names and patterns. A name is looked at once: the answer is remembered, for as many names as an application can have. */
export function compileExclusion (excluded: ReadonlyArray<string | RegExp> = []): Exclusion {
  if (excluded.length === 0) return none
  const names = new Set(excluded.filter((entry) => typeof entry === 'string'))
  // Without the flags that make `test` remember where it stopped.
  const patterns = excluded.filter((entry) => typeof entry !== 'string').map(({ source, flags }) => new RegExp(source, flags.replace(/[gy]/g, '')))
  const remembered = new Map<string, boolean>()
  return (jobName) => {
    const known = remembered.get(jobName)
    if (known !== undefined) return known
    const verdict = names.has(jobName) || patterns.some((pattern) => pattern.test(jobName))
    if (remembered.size < MAX_REMEMBERED) remembered.set(jobName, verdict)
    return verdict
  }
}
