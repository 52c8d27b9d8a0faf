/** An application's own SDK, started by `--import` beside the instrumentation of http, ioredis and Fastify: real processes over a real Redis. */
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import type { OtlpReceiver, ReceivedSpan } from '../support/otlp-receiver.ts'
import { sharedRedis } from '../support/redis.ts'
import { runReport, startPair, treeOf } from '../support/traced-processes.ts'

const redis = await sharedRedis()
t.teardown(() => redis.stop())

/** Somebody that the handler asks over HTTP; remembers the trace context that it was asked with. */
async function asked (test: Pick<typeof t, 'teardown'>): Promise<{ url: string, traceparents: Array<string | undefined> }> {
  const traceparents: Array<string | undefined> = []
  const server = createServer((request, response) => {
    traceparents.push(request.headers.traceparent as string | undefined)
    response.end('ok')
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  test.teardown(() => { server.close() })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, traceparents }
}

/** Without the requests that only look. */
const told = (receiver: OtlpReceiver): ReceivedSpan[] => receiver.spans().filter(({ name, parentSpanId }) => parentSpanId !== undefined || !name.startsWith('GET'))
/** Each span is sent by itself, and they may arrive in any order. */
const arrived = (receiver: OtlpReceiver, count: number): Promise<void> => receiver.until(`${count} spans`, (receiver) => told(receiver).length >= count)

const JOB = ['consumer process default', '  internal report', '    client incr', '    client GET', '    internal load rows']
const RETRY = ['consumer process default → send default', ...JOB.slice(1)]
const FAILED = JOB.slice(0, -1)
const under = (lines: readonly string[], depth: number): string[] => lines.map((line) => '  '.repeat(depth) + line)

t.test('one trace from the request to the clients that the handler uses; one server span, and none of our own Redis commands', async (t) => {
  const server = await asked(t)
  const variants: ReadonlyArray<readonly [sdk: string, above: readonly string[]]> = [
    ['http', ['server POST']],
    ['http,fastify', ['server POST /reports/:year', '  internal request', '    internal handler - handler']],
    ['fastify', ['server request', '  internal handler - handler']],
    // Nobody made a server span: it is ours.
    ['', ['server POST /reports/:year']]
  ]
  for (const [sdk, above] of variants) {
    const pair = await startPair(t, { url: redis.url, sdk })
    const { receiver } = pair
    server.traceparents.length = 0
    await runReport(pair, { failTimes: 1, ask: server.url })
    const client = (lines: readonly string[]): string[] => lines.filter((line) => sdk.startsWith('http') || !line.endsWith('client GET'))
    const expected = [...above, ...under(['producer send default', ...client(under(FAILED, 1))], above.length), ...client(RETRY)]
    // What instrumentation of Fastify says about hooks is its own matter.
    const spansBut = (receiver: OtlpReceiver): ReceivedSpan[] => told(receiver).filter(({ name }) => !name.startsWith('onRequest - '))
    await receiver.until(`${expected.length} spans`, (receiver) => spansBut(receiver).length >= expected.length)
    const spans = spansBut(receiver)
    t.same(treeOf(spans), expected, sdk)
    t.equal(spans.filter(({ kind }) => kind === 2).length, 1, 'one server span')
    const sent = spans.find(({ name }) => name === 'send default')
    t.equal(spans.filter(({ traceId }) => traceId === sent?.traceId).length, expected.length - client(RETRY).length, 'one trace, and the retry\'s')
    t.equal(new Set(spans.map(({ traceId }) => traceId)).size, 2)
    if (sdk.startsWith('http')) {
      const requests = spans.filter(({ name }) => name === 'GET')
      t.same(server.traceparents, requests.map(({ traceId, spanId }) => `00-${traceId}-${spanId}-01`), 'and on to whoever was asked')
    }
    // Scripts have whole jobs as arguments, and instrumentation writes arguments down.
    t.notMatch(JSON.stringify(receiver.spans(), (_, value: unknown) => typeof value === 'bigint' ? String(value) : value), /payload|failTimes|hunter2/, 'no payload, no result, no credentials')
  }
})

t.test('idle processes leave no spans: no claims, no polls', async (t) => {
  const pair = await startPair(t, { url: redis.url, sdk: 'http', observability: { metrics: { gaugesIntervalMs: 100 } } })
  const { receiver, api, worker } = pair
  receiver.clear()
  // Each asks for counts, or claims, more than once before the fixture's next own span.
  for (let look = 0; look < 10; look++) {
    for (const { port } of [api, worker]) await (await fetch(`http://127.0.0.1:${port}/health`)).arrayBuffer()
  }
  await runReport(pair, {})
  await arrived(receiver, 6)
  const redisSpans = receiver.spans().filter(({ scope }) => scope.includes('ioredis')).map(({ name }) => name)
  t.same(redisSpans, ['incr'], 'the handler\'s own command')
})
