import type { Arguments } from './arguments.ts'
import { KINDS, misfits, reach, run, type Ended } from './jobs.ts'
import { differences, expectedOf, lacking, readPage, resourceOf, unmet, type Page } from './pages.ts'
import { measure, pagesOf } from './performance.ts'
import { connectPrometheus, deviations, downOf, type FoundPrometheus } from './prometheus.ts'
import type { Findings } from './report.ts'
import type { Target } from './target.ts'
import { checkTraces, jaegerServices, jaegerSource, receiverSource, type TraceSource } from './traces.ts'
import { eventually } from './waiting.ts'

const ANSWER_MS = 30_000
const CANNOT_READ = 'Something else than this library printed it, or a proxy changed it. `promtool check metrics` on the page may say more.'

/** Every check, in an order in which the first that fails explains the ones after it. @throws {CannotRun} */
export async function validate (options: Arguments, target: Target, findings: Findings): Promise<void> {
  for (const url of target.processes) await reach(url)
  // One of our own takes some seconds to find its targets, so it is started before all else.
  const prometheus = connectPrometheus(options, target.processes)
  // An error of it is reported where its result is awaited.
  prometheus.catch(() => {})
  try {
    await check(options, target, findings, prometheus)
  } finally {
    await (await prometheus).stop()
  }
}

async function check (options: Arguments, target: Target, findings: Findings, prometheus: Promise<FoundPrometheus>): Promise<void> {
  const { timeoutMs } = options
  await findings.attempt('ready', 'Ask /health: it says which check keeps it from being ready.', async () => { await checkReady(target, findings, timeoutMs) })

  let before: readonly Page[] | undefined
  await findings.attempt('metrics page', CANNOT_READ, async () => {
    before = await pagesOf(target.processes)
    await checkPages(target, findings)
  })
  // Without pages there is nothing to compare.
  if (before === undefined) return

  let jobs: Ended[] = []
  await findings.attempt('jobs', 'Look at the log of the server; /health says whether its store answers.', async () => {
    jobs = await Promise.all(KINDS.flatMap((kind) => Array.from({ length: options.jobs }, async () => await run(target.url, kind, timeoutMs))))
    findings.judge('jobs', misfits(jobs), `${jobs.length} ended as they should, in ${KINDS.length} ways`, 'Is there a worker for their queues? Jobs that others submitted, or a worker that is no example server, disturb this.')
  })
  if (jobs.length === 0) return

  const after = await checkCounters(options, target, findings, before, jobs)
  await checkPrometheus(options, await prometheus, findings, after)
  const traces = await checkTraced(options, target, findings, after, jobs)
  if (options.performance) {
    await findings.attempt('performance', 'Look at the log of the server.', async () => { await measure(findings, { ...target, traces }, options) })
  }
}

async function checkReady ({ processes }: Target, findings: Findings, timeoutMs: number): Promise<void> {
  const problems = await Promise.all(processes.map(async (url) => {
    let last = ''
    const ready = await eventually(timeoutMs, async () => {
      const response = await fetch(`${url}/health/ready`, { signal: AbortSignal.timeout(ANSWER_MS) })
      last = `${url}/health/ready is ${response.status}: ${(await response.text()).slice(0, 300)}`
      return response.ok ? true : undefined
    })
    return ready === undefined ? [last] : []
  }))
  findings.judge('ready', problems.flat(), `${processes.length} ${processes.length === 1 ? 'process' : 'processes'} ready`, 'Ask /health: it says which check keeps it from being ready.')
}

async function checkPages ({ processes }: Target, findings: Findings): Promise<void> {
  const problems: string[] = []
  let families = 0
  let series = 0
  for (const url of processes) {
    // Reading makes series as well, so the OpenMetrics page is read between two of the other.
    const text = await readPage(url, 'text')
    const open = await readPage(url, 'openmetrics')
    const later = await readPage(url, 'text')
    problems.push(...differences(open))
    problems.push(...lacking(text, open).map((key) => `${key} is on the page of text 0.0.4, and not on that of OpenMetrics`))
    problems.push(...lacking(open, later).map((key) => `${key} is on the page of OpenMetrics, and not on that of text 0.0.4`))
    families += open.size
    series += [...open.values()].reduce((sum, { samples }) => sum + samples.length, 0)
  }
  findings.judge('metrics page', problems, `text and OpenMetrics are well formed; ${families} families, ${series} samples, all as in the table of instruments`, 'Update one of the two: the table (lib/telemetry/instruments.ts) and the server are of different versions, or the application prints metrics of its own.')
}

/** @returns the pages once they stand still */
async function checkCounters ({ timeoutMs }: Arguments, { processes }: Target, findings: Findings, before: readonly Page[], jobs: readonly Ended[]): Promise<readonly Page[]> {
  const expected = expectedOf(jobs)
  let after = before
  // The answer that a job is over may be quicker than the count of it.
  await eventually(Math.min(timeoutMs, 10_000), async () => {
    after = await pagesOf(processes)
    return unmet(expected, before, after).length === 0 ? true : undefined
  })
  findings.judge('counters', unmet(expected, before, after), `${expected.length} sums moved by exactly what was submitted`, 'Is every process over this store named (--worker URL), and does nobody else submit jobs?')
  return after
}

async function checkPrometheus ({ timeoutMs }: Arguments, found: FoundPrometheus, findings: Findings, pages: readonly Page[]): Promise<void> {
  const { client } = found
  if (client === undefined) {
    findings.skip('prometheus', 'prometheus', found.why, 'Name one that scrapes these processes (--prometheus URL), or install one.')
    return
  }
  const hint = 'Open /targets of Prometheus: is each process scraped, once, and with which error?'
  // Whatever it scrapes from now on is of after the jobs.
  let after: number | undefined
  await findings.attempt('prometheus: up', hint, async () => {
    after = await client.now()
    findings.judge('prometheus: up', await downOf(client, pages, after, timeoutMs), `${found.what} scrapes ${pages.length} ${pages.length === 1 ? 'process' : 'processes'}`, hint)
  })
  await findings.attempt('prometheus: values', hint, async () => {
    const { problems, compared } = await deviations(client, pages, after ?? await client.now(), timeoutMs)
    findings.judge('prometheus: values', compared === 0 ? ['there was nothing to compare'] : problems, `${compared} samples are what the pages say`, 'Relabelling that drops labels, two targets with the same job and instance, or jobs of somebody else in between.')
  })
}

async function checkTraced ({ jaeger, timeoutMs }: Arguments, { receiver, single }: Target, findings: Findings, pages: readonly Page[], jobs: readonly Ended[]): Promise<TraceSource | undefined> {
  const source = jaeger !== undefined ? jaegerSource(jaeger) : receiver !== undefined ? receiverSource(receiver) : undefined
  if (source === undefined) {
    const how = 'Give the address of Jaeger (--jaeger URL), or let a server be started (no --url).'
    findings.skip('traces', 'traces', 'a server that runs sends its traces elsewhere', how)
    return undefined
  }
  const hint = 'Does the server have OTEL_EXPORTER_OTLP_ENDPOINT, the exporter installed, and a sampler that lets these through? Does the worker have them too?'
  await findings.attempt('traces', hint, async () => {
    if (jaeger !== undefined) {
      const names = pages.map((page) => resourceOf(page)['service_name'] ?? '')
      let known: readonly string[] = []
      const all = await eventually(timeoutMs, async () => {
        known = await jaegerServices(jaeger)
        return names.every((name) => known.includes(name)) ? true : undefined
      })
      findings.judge('jaeger: services', all === undefined ? [`Jaeger knows ${known.join(', ') || 'no service'}, not all of ${names.join(', ')}`] : [], names.join(' and '), hint)
    }
    const { problems, complete, crossing, spans } = await checkTraces(source, jobs, timeoutMs)
    findings.judge('traces', problems, `${complete} jobs, each one trace from the request through the queue to the handler (${spans} spans)`, hint)
    if (single !== undefined) {
      findings.skip('traces across processes', 'redis', `API and worker are one process: ${single}`, 'Install redis-server or set REDIS_URL; with --url, name the worker (--worker URL).')
    } else {
      findings.judge('traces across processes', crossing === complete && complete > 0 ? [] : [`${crossing} of ${complete} traces have their attempt in another process than their submission`], `${crossing} traces go from one process into another`, 'The process that takes submissions runs jobs as well: ROLE=api keeps it from that.')
    }
  })
  return source
}
