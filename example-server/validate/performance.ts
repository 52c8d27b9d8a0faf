import { exposedName } from '../../lib/exposition/prometheus-names.ts'
import { INSTRUMENTS } from '../../lib/telemetry/instruments.ts'
import type { Arguments } from './arguments.ts'
import { misfits, run, type Ended, type Kind } from './jobs.ts'
import { readPage, sumOf, type Page } from './pages.ts'
import type { Findings } from './report.ts'
import type { TraceSource } from './traces.ts'
import { eventually } from './waiting.ts'

const KIND: Kind = { what: 'jobs at a time', path: '/demo/sleep', job: 'demo-sleep', body: { ms: 50 }, ends: 'completed', attempts: 1 }
const TRACES_MS = 10_000

export interface Subject {
  readonly url: string
  readonly processes: readonly string[]
  readonly traces: TraceSource | undefined
}

/**
 * Many jobs at a time: how long they take, how many are slow, and whether the metrics agree with the client's clock.
 */
export async function measure (findings: Findings, { url, processes, traces }: Subject, { requests, maxSlow, slowMs, p95Ms, timeoutMs }: Arguments): Promise<void> {
  const before = await pagesOf(processes)
  const begun = performance.now()
  const jobs = await Promise.all(Array.from({ length: requests }, async () => await run(url, KIND, timeoutMs)))
  const seconds = (performance.now() - begun) / 1_000
  const times = jobs.map(({ tookMs }) => tookMs).sort((a, b) => a - b)
  const [p50, p95] = [0.5, 0.95].map((q) => times[Math.max(0, Math.ceil(q * times.length) - 1)] ?? 0) as [number, number]
  const wrong = misfits(jobs)
  const data = { requests, jobsPerSecond: round(requests / seconds), p50Ms: round(p50), p95Ms: round(p95), slowestMs: round(times.at(-1) ?? 0), failed: wrong.length }
  const figures = `${requests} jobs at a time: ${data.jobsPerSecond} a second, half within ${data.p50Ms} ms, 95 % within ${data.p95Ms} ms, the slowest ${data.slowestMs} ms`
  findings.judge('performance', [...wrong, ...(p95 <= p95Ms ? [] : [`${figures}; --p95-ms is ${p95Ms}`])], figures, 'Look at the queue wait first: too few workers, or a slow store?', data)
  await judgeSlow(findings, traces, jobs, slowMs, maxSlow)
  await judgeHistogram(findings, processes, before, requests, times.at(-1) ?? 0)
}

/** By their traces where there are any: that is what somebody would search for. */
async function judgeSlow (findings: Findings, traces: TraceSource | undefined, jobs: readonly Ended[], slowMs: number, maxSlow: number): Promise<void> {
  let slow = jobs.filter(({ tookMs }) => tookMs > slowMs).map(({ id, tookMs }) => `job ${id}: ${round(tookMs)} ms`)
  if (traces !== undefined) {
    const lengths = await Promise.all(jobs.map(async ({ traceId = '', id }) => {
      // From its beginning to its end no span is longer than the trace.
      const spans = await eventually(TRACES_MS, async () => {
        const spans = await traces.spansOf(traceId)
        return spans.some(({ kind }) => kind === 'consumer') ? spans : undefined
      })
      return { id, traceId, longest: Math.max(0, ...(spans ?? []).map(({ durationMs }) => durationMs)), arrived: spans !== undefined }
    }))
    slow = lengths.filter(({ longest, arrived }) => !arrived || longest > slowMs).map(({ id, traceId, longest, arrived }) => arrived ? `trace ${traceId} of job ${id}: a span of ${round(longest)} ms` : `trace ${traceId} of job ${id} has not arrived`)
  }
  const what = traces === undefined ? 'jobs' : 'traces'
  findings.judge(`slow ${what}`, slow.length > maxSlow ? [`${slow.length} of ${jobs.length} are slower than ${slowMs} ms; ${maxSlow} may be`, ...slow] : [], `${slow.length} of ${jobs.length} are slower than ${slowMs} ms (${maxSlow} may be)`, 'Look at such a trace: is the time spent waiting, in the handler, or in the store?', { slow: slow.length })
}

/**
 * The quantile that a dashboard would show cannot be larger than what the slowest client waited for, up to its bucket.
 */
async function judgeHistogram (findings: Findings, processes: readonly string[], before: readonly Page[], requests: number, slowestMs: number): Promise<void> {
  const sample = exposedName(INSTRUMENTS.jobEndToEndDuration).sample
  const labels = { job_name: KIND.job, status: KIND.ends }
  let after: readonly Page[] = before
  const all = await eventually(TRACES_MS, async () => {
    after = await pagesOf(processes)
    return sumOf(after, `${sample}_count`, labels) - sumOf(before, `${sample}_count`, labels) >= requests ? true : undefined
  })
  const bound = INSTRUMENTS.jobEndToEndDuration.buckets.find((le) => le * 1_000 >= slowestMs) ?? Infinity
  const inBuckets = INSTRUMENTS.jobEndToEndDuration.buckets.filter((le) => le <= bound).map((le) => ({ le, count: bucket(after, sample, labels, le) - bucket(before, sample, labels, le) }))
  const p95 = inBuckets.find(({ count }) => count >= 0.95 * requests)?.le
  const problems = all === undefined ? ['the histogram did not count all of them'] : p95 === undefined ? [`the histogram has ${inBuckets.at(-1)?.count ?? 0} of ${requests} jobs up to ${bound} s, but no client waited longer`] : []
  findings.judge('histogram of latency', problems, `its 95th percentile is in the bucket up to ${p95} s, within what clients saw`, 'Compare the clocks of the processes: end to end is measured from the submission in one to the end in another.')
}

function bucket (pages: readonly Page[], sample: string, labels: Readonly<Record<string, string>>, le: number): number {
  const names = new Set(pages.flatMap((page) => [...page.get(sample)?.samples ?? []]).map(({ labels }) => labels.get('le')).filter((text): text is string => text !== undefined && Number(text) === le))
  return [...names].reduce((sum, text) => sum + sumOf(pages, `${sample}_bucket`, { ...labels, le: text }), 0)
}

export async function pagesOf (processes: readonly string[]): Promise<readonly Page[]> {
  return await Promise.all(processes.map(async (url) => await readPage(url, 'openmetrics')))
}

function round (value: number): number { return Math.round(value * 10) / 10 }
