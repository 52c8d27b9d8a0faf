/** A duration for people: `3.2 ms`, `45 s`, `12 min`, `2.5 h`. */
export function durationText (ms: number): string {
  if (ms < 1_000) return `${ms < 10 ? Math.round(ms * 10) / 10 : Math.round(ms)} ms`
  if (ms < 90_000) return `${Math.round(ms / 100) / 10} s`
  const minutes = Math.round(ms / 60_000)
  return minutes < 90 ? `${minutes} min` : `${Math.round(ms / 360_000) / 10} h`
}
