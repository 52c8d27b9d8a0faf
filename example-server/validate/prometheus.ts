import { exposedName } from '../../lib/exposition/prometheus-names.ts'
import { INSTRUMENTS } from '../../lib/telemetry/instruments.ts'
import { resourceOf, type Page } from './pages.ts'
import { messageOf } from './report.ts'
import { findPrometheus, PrometheusClient, startPrometheus } from './support/prometheus.ts'
import { eventually } from './waiting.ts'
import type { Arguments } from './arguments.ts'

/** `client`, or why there is none. */
export type FoundPrometheus = { readonly client: PrometheusClient, readonly what: string, stop (): Promise<void> } | { readonly client: undefined, readonly why: string, stop (): Promise<void> }

const nothing = async (): Promise<void> => {}

/** The one that was named, or one of our own that scrapes these processes. */
export async function connectPrometheus ({ prometheus }: Arguments, processes: readonly string[]): Promise<FoundPrometheus> {
  if (prometheus === false) return { client: undefined, why: '--no-prometheus', stop: nothing }
  if (prometheus !== undefined) return { client: new PrometheusClient(prometheus), what: prometheus, stop: nothing }
  const tools = await findPrometheus()
  if (tools.skip !== false) return { client: undefined, why: `it ${tools.skip}`, stop: nothing }
  try {
    const server = await startPrometheus(tools, [{ job: 'validate', targets: processes.map((url) => new URL(url).host) }])
    return { client: server, what: 'a Prometheus of its own', stop: () => server.stop() }
  } catch (error) {
    return { client: undefined, why: messageOf(error), stop: nothing }
  }
}

/** A process as Prometheus knows it. */
interface Scraped { readonly job: string, readonly instance: string }

/**
 * The process whose page this is, after it was scraped once more since `after` (seconds, by the clock of Prometheus).
 *
 * @throws when Prometheus does not know it, with what it has against its targets
 */
async function findScraped (client: PrometheusClient, page: Page, after: number, timeoutMs: number): Promise<Scraped> {
  const { service_instance_id: id } = resourceOf(page)
  if (id === undefined) throw new Error('the page has no target_info with a service_instance_id, by which Prometheus could know it')
  const found = await eventually(timeoutMs, async () => {
    const [newest] = await client.query(`timestamp(target_info{service_instance_id="${id}"})`)
    if (newest === undefined || newest.value <= after) return undefined
    return { job: newest.labels['job'] ?? '', instance: newest.labels['instance'] ?? '' }
  })
  if (found !== undefined) return found
  const targets = (await client.targets()).map(({ job, labels, health, lastError }) => `${job} ${labels['instance']} is ${health}${lastError === '' ? '' : ` (${lastError})`}`)
  throw new Error(`Prometheus has not scraped the process ${id} since the jobs ended; its targets: ${targets.join(', ') || 'none'}`)
}

/** Whether Prometheus counts these processes as up. */
export async function downOf (client: PrometheusClient, pages: readonly Page[], after: number, timeoutMs: number): Promise<string[]> {
  const problems: string[] = []
  for (const page of pages) {
    const { job, instance } = await findScraped(client, page, after, timeoutMs)
    const [up] = await client.query(`up{job="${job}",instance="${instance}"}`)
    if (up?.value !== 1) problems.push(`${job} ${instance} is down`)
  }
  return problems
}

/** Where Prometheus has other numbers than the pages, in what stands still once the jobs are over. */
export async function deviations (client: PrometheusClient, pages: readonly Page[], after: number, timeoutMs: number): Promise<{ readonly problems: string[], readonly compared: number }> {
  const problems: string[] = []
  let compared = 0
  for (const page of pages) {
    const { job, instance } = await findScraped(client, page, after, timeoutMs)
    const has = new Map((await client.query(`{__name__=~"asyncendpoints_.+",job="${job}",instance="${instance}"}`)).map(({ labels, value }) => [keyOf(labels['__name__'] ?? '', Object.entries(labels)), value]))
    for (const { name, type, samples } of page.values()) {
      if (type === 'gauge' || !STILL.has(name)) continue
      for (const { name: sample, labels, value } of samples) {
        compared++
        const stored = has.get(keyOf(sample, [...labels]))
        if (stored !== value) problems.push(`${sample} of ${instance} is ${stored ?? 'missing'} in Prometheus and ${value} on the page`)
      }
    }
  }
  return { problems, compared }
}

/** What only jobs move; the store's own counters go on. */
const STILL = new Set((['jobCreated', 'jobProcessed', 'jobFailed', 'jobRetried', 'jobQueueDuration', 'jobProcessingDuration', 'jobEndToEndDuration', 'jobSubmitDuration', 'handlerDuration', 'handlerError'] as const).map((key) => exposedName(INSTRUMENTS[key]).family))
/** Given by the scrape. */
const ADDED = new Set(['__name__', 'job', 'instance', 'app'])

function keyOf (name: string, labels: ReadonlyArray<readonly [string, string]>): string {
  return name + JSON.stringify(labels.filter(([label]) => !ADDED.has(label) && BY_JOBS.has(label)).map(([label, value]) => [label, label === 'le' && value !== '+Inf' ? Number(value) : value]).sort())
}

/** A Prometheus of somebody else may add labels of its own. */
const BY_JOBS = new Set<string>([...Object.values(INSTRUMENTS).flatMap(({ labels }): readonly string[] => labels), 'le'])
