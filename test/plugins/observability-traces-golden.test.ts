/** The traces of our own, whole: two processes over a real Redis, exported by OTLP to a small collector. */
import t from 'tap'
import type { TracingOptions } from '../../plugins/async-endpoints.ts'
import type { ReceivedSpan } from '../support/otlp-receiver.ts'
import { sharedRedis } from '../support/redis.ts'
import { inOrder, KINDS, startPair, submitReport, treeOf, type TracedPair } from '../support/traced-processes.ts'

const redis = await sharedRedis()
t.teardown(() => redis.stop())

/** @returns the id of the job, when the spans of all attempts have arrived */
async function oneJob (pair: TracedPair, failTimes: number, headers: Record<string, string> = {}): Promise<string> {
  const id = await submitReport(pair, { failTimes }, { 'x-correlation-id': 'corr-1', ...headers })
  await pair.receiver.until('all spans of the job', (receiver) => receiver.spans().length === 5 + 2 * failTimes)
  return id
}

/** A span as it must be: what changes from run to run is replaced by what it is. */
function golden (span: ReceivedSpan, all: readonly ReceivedSpan[], jobId: string): object {
  const nameOf = (spanId: string | undefined): string | undefined => all.find((other) => other.spanId === spanId)?.name
  const known = (value: unknown): unknown => value === jobId ? '<job id>' : value
  const { 'job.queue.duration': wait, 'job.available_at': since, ...attributes } = span.attributes
  const waited = wait === undefined ? {} : { wait: typeof wait === 'number' && wait >= 0 && wait < 60, since: typeof since === 'string' && !Number.isNaN(Date.parse(since)) }
  return {
    name: span.name,
    kind: KINDS[span.kind],
    parent: nameOf(span.parentSpanId),
    links: span.links.map(({ spanId }) => nameOf(spanId)),
    status: span.status.code === 0 ? 'unset' : span.status,
    ...waited,
    attributes: Object.fromEntries(Object.entries(attributes).map(([key, value]) => [key, known(value)])),
    events: span.events.map(({ name, attributes }) => [name, { ...attributes, ...(attributes['exception.stacktrace'] === undefined ? {} : { 'exception.stacktrace': '<stack>' }) }]),
    service: span.resource['service.name']
  }
}

const CORRELATION = { 'messaging.message.conversation_id': 'corr-1' }
const MESSAGING = { 'messaging.system': 'bullmq', 'messaging.destination.name': 'default', 'messaging.message.id': '<job id>', ...CORRELATION }
const JOB = { 'job.id': '<job id>', 'job.name': 'report', 'store.type': 'bullmq', 'handler.type': 'function' }
const ERROR = { code: 2, message: 'not yet, password=[FILTERED]' }
const applied = (stateOld: string | undefined, stateNew: string, more: object = {}): unknown => [`State Applied: ${stateNew}`, { ...(stateOld === undefined ? {} : { 'state.old': stateOld }), 'state.new': stateNew, ...more }]

const processed = { name: 'process default', kind: 'consumer', wait: true, since: true, service: 'shop-worker' }
const handled = { name: 'report', kind: 'internal', parent: 'process default', links: [], service: 'shop-worker' }
const processAttributes = { ...MESSAGING, ...JOB, 'messaging.operation.name': 'process', 'messaging.operation.type': 'process', 'messaging.client.id': 'worker-1', 'worker.id': 'worker-1', 'report.year': '2026' }
const handlerAttributes = { ...CORRELATION, ...JOB, 'job.status': 'in-progress', 'worker.id': 'worker-1', 'report.year': '2026' }

/** HTTP → job → error → retry → success. */
const GOLDEN = [
  {
    name: 'POST /reports/:year',
    kind: 'server',
    parent: undefined,
    links: [],
    status: 'unset',
    attributes: { ...CORRELATION, 'http.request.method': 'POST', 'http.route': '/reports/:year', 'http.response.status_code': 202, 'url.path': '/reports/2026', 'url.scheme': 'http', 'job.id': '<job id>', 'job.name': 'report' },
    events: [],
    service: 'shop-api'
  },
  {
    name: 'send default',
    kind: 'producer',
    parent: 'POST /reports/:year',
    links: [],
    status: 'unset',
    attributes: { ...MESSAGING, ...JOB, 'messaging.operation.name': 'send', 'messaging.operation.type': 'send', 'job.status': 'queued' },
    events: [applied(undefined, 'queued')],
    service: 'shop-api'
  },
  {
    ...processed,
    parent: 'send default',
    links: [],
    status: ERROR,
    attributes: { ...processAttributes, 'job.status': 'scheduled', 'retry.count': 0, 'error.type': 'E_NOT_YET' },
    events: [applied('queued', 'in-progress'), applied('in-progress', 'scheduled', { 'job.delay_ms': 20 })]
  },
  {
    ...handled,
    status: ERROR,
    attributes: { ...handlerAttributes, 'retry.count': 0, 'error.type': 'E_NOT_YET' },
    events: [['exception', { 'exception.type': 'E_NOT_YET', 'exception.message': 'not yet, password=[FILTERED]', 'exception.stacktrace': '<stack>' }]]
  },
  {
    ...processed,
    parent: undefined,
    links: ['send default'],
    status: 'unset',
    attributes: { ...processAttributes, 'job.status': 'completed', 'retry.count': 1, 'report.rows': 3 },
    events: [applied('queued', 'in-progress'), applied('in-progress', 'completed')]
  },
  { ...handled, status: 'unset', attributes: { ...handlerAttributes, 'retry.count': 1, 'report.rows': 3 }, events: [] },
  { name: 'load rows', kind: 'internal', parent: 'report', links: [], status: 'unset', attributes: { ...CORRELATION, 'job.id': '<job id>', 'job.name': 'report' }, events: [], service: 'shop-worker' }
]

t.test('HTTP → job → retry → success, exporters by option: every span, whole', async (t) => {
  const pair = await startPair(t, { url: redis.url, exporters: 'option' })
  const id = await oneJob(pair, 1)
  const spans = inOrder(pair.receiver.spans()).map(({ span }) => span)
  t.same(spans.map((span) => golden(span, spans, id)), GOLDEN)
  const [request, , first, , second] = spans
  t.equal(first?.traceId, request?.traceId, 'one trace from request to first attempt')
  t.not(second?.traceId, request?.traceId, 'the retry has its own')
  for (const span of spans) t.ok(span.endedAt >= span.startedAt && span.scope === 'AsyncEndpoints', span.name)
  for (const span of spans) for (const { at, name } of span.events) t.ok(at >= span.startedAt && at <= span.endedAt, `${span.name}: ${name} lies inside`)
})

const ATTEMPT = ['consumer process default', '  internal report', '    internal load rows']
const FAILED = ATTEMPT.slice(0, 2)
const under = (lines: readonly string[], depth: number): string[] => lines.map((line) => '  '.repeat(depth) + line)
const linked = ([first = '', ...rest]: readonly string[]): string[] => [`${first} → send default`, ...rest]
const SENT = ['server POST /reports/:year', '  producer send default']

t.test('the three ways to tie an attempt to its submission, exporters by variables', async (t) => {
  const trees = {
    auto: [...SENT, ...under(FAILED, 2), ...linked(ATTEMPT)],
    parent: [...SENT, ...under(FAILED, 2), ...under(ATTEMPT, 2)],
    link: [...SENT, ...linked(FAILED), ...linked(ATTEMPT)]
  }
  for (const propagation of ['auto', 'parent', 'link'] as const) {
    const pair = await startPair(t, { url: redis.url, observability: { tracing: { propagation } } })
    await oneJob(pair, 1)
    t.same(treeOf(pair.receiver.spans()), trees[propagation], propagation)
    t.equal(new Set(pair.receiver.spans().map(({ traceId }) => traceId)).size, { auto: 2, parent: 1, link: 3 }[propagation])
  }
})

t.test('callers: followed, pointed at when they are not trusted, passed on unrecorded when they are too many', async (t) => {
  const caller = { traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01', tracestate: 'a=1' }
  const run = async (tracing: TracingOptions): Promise<{ spans: ReceivedSpan[], pair: TracedPair }> => {
    const pair = await startPair(t, { url: redis.url, observability: { tracing } })
    await oneJob(pair, 0, caller)
    return { spans: pair.receiver.spans(), pair }
  }
  const followed = await run({})
  t.same(new Set(followed.spans.map(({ traceId }) => traceId)), new Set([caller.traceparent.slice(3, 35)]))

  const pointedAt = await run({ trustInbound: false })
  const server = pointedAt.spans.find(({ kind }) => kind === 2)
  t.same([server?.parentSpanId, server?.links, server?.traceState], [undefined, [{ traceId: caller.traceparent.slice(3, 35), spanId: caller.traceparent.slice(36, 52) }], undefined])
  t.notOk(pointedAt.spans.some(({ traceId, traceState }) => traceId === caller.traceparent.slice(3, 35) || traceState === 'a=1'))

  const limited = await run({ maxRemoteTracesPerSecond: 0.001 })
  const before = limited.spans.length
  const submit = await fetch(`http://127.0.0.1:${limited.pair.api.port}/reports/2026`, { method: 'POST', body: '{}', headers: { 'content-type': 'application/json', prefer: 'wait=15', ...caller } })
  t.equal(submit.status, 200, 'the job ran')
  // A trace of our own comes after it, and nothing of the one before.
  await fetch(`http://127.0.0.1:${limited.pair.api.port}/reports/2026`, { method: 'POST', body: '{}', headers: { 'content-type': 'application/json' } })
  await limited.pair.receiver.until('the trace after it', (receiver) => receiver.spans().filter(({ name }) => name === 'process default').length === 2)
  t.equal(limited.pair.receiver.spans().slice(before).filter(({ traceId }) => traceId === caller.traceparent.slice(3, 35)).length, 0)
})

t.test('a collector that never answers: jobs run, and the processes close without it', async (t) => {
  const pair = await startPair(t, { url: redis.url, answers: false })
  const response = await fetch(`http://127.0.0.1:${pair.api.port}/reports/2026`, { method: 'POST', body: '{}', headers: { 'content-type': 'application/json', prefer: 'wait=15' } })
  t.equal(response.status, 200)
  for (const each of [pair.api, pair.worker]) {
    each.send('close')
    const { tookMs } = await each.tells('closed')
    // The SDK by itself takes eight seconds and more; two are ours, the rest is room for a busy machine.
    t.ok(tookMs < 6_000, `closed after ${Math.round(tookMs)} ms`)
  }
})
