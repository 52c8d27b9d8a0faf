import { exposedName } from '../../lib/exposition/prometheus-names.ts'
import { INSTRUMENTS, type InstrumentDefinition } from '../../lib/telemetry/instruments.ts'
import type { Ended } from './jobs.ts'
import { parseExposition, type Format, type ParsedFamily } from './support/openmetrics-parser.ts'

const ANSWER_MS = 30_000
const ACCEPT: Readonly<Record<Format, string>> = { text: 'text/plain; version=0.0.4', openmetrics: 'application/openmetrics-text; version=1.0.0' }

export type Page = ReadonlyMap<string, ParsedFamily>

/** One process's `/metrics`. @throws for anything that the format does not allow */
export async function readPage (url: string, format: Format): Promise<Page> {
  const response = await fetch(`${url}/metrics`, { headers: { accept: ACCEPT[format] }, signal: AbortSignal.timeout(ANSWER_MS) })
  const type = response.headers.get('content-type') ?? 'none'
  if (!response.ok) throw new Error(`${url}/metrics was answered ${response.status}`)
  if (!type.startsWith(ACCEPT[format])) throw new Error(`${url}/metrics: asked for ${ACCEPT[format]}, its content type is ${type}`)
  return parseExposition(new Uint8Array(await response.arrayBuffer()), format)
}

/** What identifies a process: to Prometheus, and in traces. */
export function resourceOf (page: Page): Readonly<Record<string, string>> {
  return Object.fromEntries(page.get('target')?.samples[0]?.labels ?? [])
}

const BY_FAMILY: ReadonlyMap<string, InstrumentDefinition> = new Map(Object.values<InstrumentDefinition>(INSTRUMENTS).map((definition) => [exposedName(definition).family, definition]))
/** `otel_metric_overflow` is the label of the series that stands for all beyond the cap. */
const ALWAYS = new Set(['otel_metric_overflow'])

/** Where an OpenMetrics page differs from the table of instruments. */
export function differences (page: Page): string[] {
  return [...page.values()].filter(({ name }) => name !== 'target').flatMap(({ name, type, unit, help, samples }) => {
    const definition = BY_FAMILY.get(name)
    if (definition === undefined) return [`${name} is not in the table of instruments`]
    const expected = exposedName(definition).unit
    const labels = new Set([...definition.labels, ...definition.kind === 'histogram' ? ['le'] : []])
    const strange = new Set(samples.flatMap((sample) => [...sample.labels.keys()]).filter((label) => !labels.has(label) && !ALWAYS.has(label)))
    const bounds = new Set(samples.flatMap(({ labels }) => labels.get('le') ?? []).filter((le) => le !== '+Inf').map(Number))
    return [
      ...(type === definition.kind ? [] : [`${name} is a ${type}, not a ${definition.kind}`]),
      ...(unit === expected ? [] : [`${name} has the unit ${unit ?? 'none'}, not ${expected ?? 'none'}`]),
      ...(help === definition.description ? [] : [`${name} is described as "${help ?? ''}"`]),
      ...[...strange].map((label) => `${name} has a label ${label}`),
      ...(definition.kind === 'histogram' && bounds.size === 0 ? [`${name} has no buckets`] : [])
    ]
  })
}

/** Series of one page that another of the same process lacks, whatever their values. */
export function lacking (page: Page, other: Page): string[] {
  const there = new Set([...other.values()].flatMap(({ samples }) => samples.map(keyOf)))
  return [...page.values()].flatMap(({ samples }) => samples.map(keyOf)).filter((key) => !there.has(key))
}

function keyOf ({ name, labels }: { readonly name: string, readonly labels: ReadonlyMap<string, string> }): string {
  return name + JSON.stringify([...labels].sort())
}

/** The sum of a sample over all processes, for series with these labels. */
export function sumOf (pages: readonly Page[], sample: string, labels: Readonly<Record<string, string>> = {}): number {
  let sum = 0
  for (const page of pages) {
    for (const family of page.values()) {
      for (const { name, labels: has, value } of family.samples) {
        if (name === sample && Object.entries(labels).every(([label, wanted]) => has.get(label) === wanted)) sum += value
      }
    }
  }
  return sum
}

export interface Expected { readonly sample: string, readonly labels: Readonly<Record<string, string>>, readonly by: number }

/** By how much each counter must have moved after these jobs. */
export function expectedOf (jobs: readonly Ended[]): Expected[] {
  return [...new Set(jobs.map(({ kind }) => kind.job))].flatMap((job) => {
    const ours = jobs.map(({ kind }) => kind).filter((kind) => kind.job === job)
    const count = (key: keyof typeof INSTRUMENTS, by: number, labels: Readonly<Record<string, string>> = {}): Expected => {
      const definition: InstrumentDefinition = INSTRUMENTS[key]
      return { sample: exposedName(definition).sample + (definition.kind === 'histogram' ? '_count' : ''), labels: { job_name: job, ...labels }, by }
    }
    const ended = (status: string): number => ours.filter(({ ends }) => ends === status).length
    const attempts = ours.reduce((sum, kind) => sum + kind.attempts, 0)
    const completed = ended('completed')
    return [
      count('jobCreated', ours.length),
      count('jobProcessed', completed, { status: 'completed' }),
      count('jobProcessed', ended('failed'), { status: 'failed' }),
      count('jobFailed', ended('failed')),
      count('jobRetried', attempts - ours.length),
      count('jobQueueDuration', attempts),
      count('jobProcessingDuration', completed, { status: 'completed' }),
      count('jobProcessingDuration', attempts - completed, { status: 'failed' }),
      count('jobSubmitDuration', ours.length),
      count('jobEndToEndDuration', ours.length),
      count('handlerDuration', attempts),
      count('handlerError', attempts - completed)
    ]
  })
}

/** Which of them moved by something else. */
export function unmet (expected: readonly Expected[], before: readonly Page[], after: readonly Page[]): string[] {
  return expected.flatMap(({ sample, labels, by }) => {
    const moved = sumOf(after, sample, labels) - sumOf(before, sample, labels)
    return moved === by ? [] : [`${sample}${JSON.stringify(labels)} moved by ${moved} instead of ${by}`]
  })
}
