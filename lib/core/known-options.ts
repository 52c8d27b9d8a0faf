import { invalidOptions } from './options.ts'

/**
 * An option that has no effect (`delay`, `attempts` of other libraries) is a mistake that nobody would notice. This
 * walks over the names of what was given and allocates nothing, so that it can stand on a hot path where
 * `readOptions` cannot.
 *
 * @param where for the message: `jobs.submit("mail")`
 * @param advice what to say about an option that does not exist, where something can be said
 * @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS`, which lists the options that exist
 */
export function assertKnown (where: () => string, known: Readonly<Record<string, true>>, given: object, advice?: (key: string) => string | undefined): void {
  if (typeof given !== 'object' || given === null) throw invalidOptions(where(), ['the options must be an object'])
  for (const key in given) {
    if (!Object.hasOwn(known, key)) throw unknownOptions(where(), known, given, advice)
  }
}

function unknownOptions (where: string, known: Readonly<Record<string, true>>, given: object, advice?: (key: string) => string | undefined): Error {
  const names: string[] = []
  // Inherited ones too: they are read like the object's own.
  for (const key in given) if (!Object.hasOwn(known, key)) names.push(key)
  const problems = names.map((key) => {
    const more = advice?.(key)
    return `${key} is not an option${more === undefined ? '' : ` (${more})`}`
  })
  return invalidOptions(where, [...problems.slice(0, -1), `${problems.at(-1)} (known: ${Object.keys(known).join(', ')})`])
}
