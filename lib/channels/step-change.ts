/** Whether two status documents of one job differ in nothing but its steps. */

/** What a step event shows. */
export interface StepChange {
  readonly phase?: unknown
  readonly progress?: unknown
  /** The steps that have changed. */
  readonly steps: readonly unknown[]
}

/** Members that change together with the steps. */
const WITH_STEPS: ReadonlySet<string> = new Set(['steps', 'phase', 'progress', 'links'])

/**
 * @param before the document that the client has
 * @returns `undefined`: something else has changed, too, or these are no documents with steps
 */
export function stepChange (before: unknown, after: unknown): StepChange | undefined {
  const [known, now] = [stepsIn(before), stepsIn(after)]
  if (known === undefined || now === undefined || rest(before) !== rest(after)) return undefined
  const seen = new Set(known.map((step) => JSON.stringify(step)))
  const steps = now.filter((step) => !seen.has(JSON.stringify(step)))
  if (steps.length === 0) return undefined
  return { phase: member(after, 'phase'), progress: member(after, 'progress'), steps }
}

function stepsIn (document: unknown): readonly unknown[] | undefined {
  const steps = member(document, 'steps')
  return Array.isArray(steps) ? steps : undefined
}

function rest (document: unknown): string {
  return JSON.stringify(Object.entries(Object(document)).filter(([name]) => !WITH_STEPS.has(name)))
}

function member (document: unknown, name: string): unknown {
  return typeof document === 'object' && document !== null ? Reflect.get(document, name) : undefined
}
