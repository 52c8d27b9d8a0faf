/** Processes of a traced application, and the traces that they sent as trees. */
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { AppMessage, AppSettings, ReportRequest } from '../plugins/fixtures/traced-app.ts'
import { startOtlpReceiver, type OtlpReceiver, type ReceivedSpan } from './otlp-receiver.ts'
import { uniquePrefix } from './redis.ts'

const WAIT_MS = 60_000
const at = (path: string): string => fileURLToPath(new URL(path, import.meta.url))

export class TracedProcess {
  readonly #child: ChildProcess
  readonly #exited: Promise<unknown>
  readonly #told: AppMessage[] = []
  port = 0

  /** @param sdk what an SDK of the application's instruments, started by `--import`; `undefined`: it has none */
  constructor (settings: AppSettings, env: Readonly<Record<string, string>>, sdk?: string) {
    this.#child = fork(at('../plugins/fixtures/traced-app.js'), [JSON.stringify(settings)], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      execArgv: [...(sdk === undefined ? [] : ['--import', at('../plugins/fixtures/otel-sdk.js')])],
      env: { ...process.env, OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json', OTEL_BSP_SCHEDULE_DELAY: '20', OTEL_EXPORTER_OTLP_TIMEOUT: '1000', OTEL_METRICS_EXPORTER: 'none', OTEL_LOGS_EXPORTER: 'none', ...(sdk === undefined ? {} : { SDK_PARTS: sdk }), ...env }
    })
    this.#exited = once(this.#child, 'exit')
    this.#child.on('message', (message: AppMessage) => { this.#told.push(message) })
  }

  async tells<K extends AppMessage['kind']> (kind: K): Promise<Extract<AppMessage, { kind: K }>> {
    const signal = AbortSignal.timeout(WAIT_MS)
    for (;;) {
      const found = this.#told.find((message): message is Extract<AppMessage, { kind: K }> => message.kind === kind)
      if (found !== undefined) return found
      try {
        await once(this.#child, 'message', { signal })
      } catch (cause) {
        throw new Error(`waited ${WAIT_MS} ms for the process to tell "${kind}"`, { cause })
      }
    }
  }

  send (message: string): void { this.#child.send(message) }

  /** Lets it end by itself. @returns its exit code */
  async end (): Promise<number | null> {
    if (this.#child.connected) this.#child.disconnect()
    const timer = setTimeout(() => { this.#child.kill('SIGKILL') }, WAIT_MS)
    await this.#exited
    clearTimeout(timer)
    return this.#child.exitCode
  }
}

/** A process that only takes jobs, one that only runs them, and the collector that both send to. */
export interface TracedPair { readonly receiver: OtlpReceiver, readonly api: TracedProcess, readonly worker: TracedProcess }

export interface PairSettings {
  /** Of the Redis server. */
  readonly url: string
  readonly observability?: AppSettings['observability']
  /** Variables say where to send spans to; otherwise an option does, or an SDK of the application's. @defaultValue 'variables' */
  readonly exporters?: 'variables' | 'option'
  /** See {@link TracedProcess}. */
  readonly sdk?: string
  /** False: the collector never answers. */
  readonly answers?: boolean
}

/** Both must end by themselves, and well, after the test. */
export async function startPair (test: { teardown (end: () => Promise<void>): void }, { url, observability, exporters = 'variables', sdk, answers }: PairSettings): Promise<TracedPair> {
  const receiver = await startOtlpReceiver({ answers })
  const settings = { url, prefix: uniquePrefix(), observability, exportTo: exporters === 'option' ? receiver.url : undefined }
  const start = async (role: 'api' | 'worker'): Promise<TracedProcess> => {
    const env = { OTEL_SERVICE_NAME: `shop-${role}`, ...(exporters === 'variables' ? { OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url } : {}) }
    const started = new TracedProcess({ ...settings, role }, env, sdk)
    started.port = (await started.tells('ready')).port
    return started
  }
  const [api, worker] = await Promise.all([start('api'), start('worker')])
  test.teardown(async () => {
    const codes = await Promise.all([api.end(), worker.end()])
    await receiver.stop()
    if (codes.some((code) => code !== 0)) throw new Error(`the processes ended with ${codes.join(' and ')}`)
  })
  return { receiver, api, worker }
}

/** Submits a report. @returns the id of its job */
export async function submitReport ({ api }: TracedPair, body: ReportRequest, headers: Record<string, string> = {}): Promise<string> {
  const response = await fetch(`http://127.0.0.1:${api.port}/reports/2026?token=secret`, { method: 'POST', body: JSON.stringify(body), headers: { 'content-type': 'application/json', ...headers } })
  if (response.status !== 202) throw new Error(`${response.status} ${await response.text()}`)
  return (await response.json() as { id: string }).id
}

/** Submits a report and waits until it is done: the request that waits is a request of its own. */
export async function runReport (pair: TracedPair, body: ReportRequest, headers?: Record<string, string>): Promise<void> {
  const id = await submitReport(pair, body, headers)
  const answer = await fetch(`http://127.0.0.1:${pair.api.port}/jobs/${id}`, { headers: { prefer: 'wait=15' } })
  const { status } = await answer.json() as { status: string }
  if (status !== 'completed') throw new Error(`the job is ${status}`)
}

export const KINDS = ['unspecified', 'internal', 'server', 'client', 'producer', 'consumer'] as const

/** Parents before their children, and these in the order of their start: clocks of spans tick in milliseconds. */
export function inOrder (spans: readonly ReceivedSpan[]): Array<{ readonly span: ReceivedSpan, readonly depth: number }> {
  const sorted = [...spans].sort((a, b) => Number(a.startedAt - b.startedAt))
  const ids = new Set(spans.map(({ spanId }) => spanId))
  const below = (parents: readonly ReceivedSpan[], depth: number): Array<{ span: ReceivedSpan, depth: number }> =>
    parents.flatMap((span) => [{ span, depth }, ...below(sorted.filter(({ parentSpanId }) => parentSpanId === span.spanId), depth + 1)])
  return below(sorted.filter(({ parentSpanId }) => parentSpanId === undefined || !ids.has(parentSpanId)), 0)
}

/** One line per span, `kind name`, indented under its parent. `→` names what a span links to. */
export function treeOf (spans: readonly ReceivedSpan[]): string[] {
  const nameOf = (spanId: string): string => spans.find((span) => span.spanId === spanId)?.name ?? 'unknown'
  return inOrder(spans).map(({ span: { kind, name, parentSpanId, links }, depth }) => {
    const remote = parentSpanId !== undefined && depth === 0 ? ' < remote' : ''
    return `${'  '.repeat(depth)}${KINDS[kind]} ${name}${remote}${links.map(({ spanId }) => ` → ${nameOf(spanId)}`).join('')}`
  })
}
