/** Who is recorded and who is not, with an SDK of the application's in both processes. */
import t from 'tap'
import type { OtlpReceiver, ReceivedSpan } from '../support/otlp-receiver.ts'
import { sharedRedis } from '../support/redis.ts'
import { runReport, startPair, treeOf } from '../support/traced-processes.ts'

const CALLER = '0af7651916cd43dd8448eb211c80319c'
const redis = await sharedRedis()
t.teardown(() => redis.stop())

/** Without the requests that only look. */
const told = (receiver: OtlpReceiver): ReceivedSpan[] => receiver.spans().filter(({ name, parentSpanId }) => parentSpanId !== undefined || !name.startsWith('GET'))
/** Each span is sent by itself, and they may arrive in any order. */
const arrived = (receiver: OtlpReceiver, count: number): Promise<void> => receiver.until(`${count} spans`, (receiver) => told(receiver).length >= count)

const under = (lines: readonly string[], depth: number): string[] => lines.map((line) => '  '.repeat(depth) + line)

t.test('what the caller decided holds across the queue', async (t) => {
  const pair = await startPair(t, { url: redis.url, sdk: 'http' })
  const { receiver } = pair
  receiver.clear()
  await runReport(pair, { failTimes: 1 }, { traceparent: `00-${CALLER}-b7ad6b7169203331-00` })
  await runReport(pair, {}, { traceparent: `00-${CALLER}-b7ad6b7169203331-01`, tracestate: 'a=1', baggage: 'broken;;=,'.repeat(1_000) })
  await arrived(receiver, 6)
  t.same(treeOf(told(receiver)), ['server POST < remote', ...under(['producer send default', ...under(['consumer process default', '  internal report', '    client incr', '    internal load rows'], 1)], 1)], 'nothing of the first, retry included')
  t.same(new Set(told(receiver).map(({ traceId }) => traceId)), new Set([CALLER]))
  t.equal(told(receiver).find(({ name }) => name === 'process default')?.traceState, 'a=1')
})

t.test('excluded jobs have no spans of ours; what the handler itself does goes on in the caller\'s trace', async (t) => {
  const pair = await startPair(t, { url: redis.url, sdk: 'http', observability: { excludeJobs: ['report'] } })
  const { receiver } = pair
  receiver.clear()
  await runReport(pair, {})
  await arrived(receiver, 2)
  t.same(treeOf(told(receiver)), ['server POST', '  client incr'])
})

t.test('an SDK that is shut down before the application: requests and jobs go on', async (t) => {
  const pair = await startPair(t, { url: redis.url, sdk: 'http,ends-first' })
  const { receiver, api, worker } = pair
  for (const each of [api, worker]) {
    each.send('end the SDK')
    await each.tells('sdk-ended')
  }
  receiver.clear()
  await runReport(pair, { failTimes: 1 })
  t.same(receiver.spans(), [])
})
