/**
 * Whether a version is in a range. It supports the kinds of range that this package's manifest uses: `^`, `>=`,
 * `<`, an exact version, a space for *and*, `||` for *or*. A test checks every range of the manifest.
 */
type Version = readonly [major: number, minor: number, patch: number]

/** @throws if the range is of another kind */
export function inRange (version: string, range: string): boolean {
  const parsed = parseVersion(version)
  const verdicts = range.split('||').map((part) => part.trim().split(/\s+/).map((comparator) => matches(parsed, comparator)))
  return verdicts.some((all) => all.every(Boolean))
}

/** A release candidate counts as its release. */
function parseVersion (text: string): Version {
  const match = /^v?(\d+)(?:\.(\d+))?(?:\.(\d+))?(?:[-+].*)?$/.exec(text.trim())
  if (match === null) throw new Error(`${JSON.stringify(text.slice(0, 40))} is not a version`)
  return [Number(match[1]), Number(match[2] ?? 0), Number(match[3] ?? 0)]
}

function matches (version: Version, comparator: string): boolean {
  const match = /^(\^|>=|<|)(\d.*)$/.exec(comparator)
  if (match === null) throw new Error(`${JSON.stringify(comparator.slice(0, 40))} is a kind of version range that is not supported here`)
  const limit = parseVersion(match[2] ?? '')
  const order = compare(version, limit)
  switch (match[1]) {
    case '>=': return order >= 0
    case '<': return order < 0
    case '^': return order >= 0 && compare(version, afterCaret(limit)) < 0
    default: return order === 0
  }
}

/** The first version that `^` does not allow: the leftmost number that is not 0 must stay the same. */
function afterCaret ([major, minor, patch]: Version): Version {
  if (major > 0) return [major + 1, 0, 0]
  return minor > 0 ? [0, minor + 1, 0] : [0, 0, patch + 1]
}

function compare (a: Version, b: Version): number {
  return a[0] - b[0] || a[1] - b[1] || a[2] - b[2]
}
