import t from 'tap'
import { eventIds, sampledIds } from '../../lib/jobs/trace-ids.ts'

const TRACE = '0af7651916cd43dd8448eb211c80319c'
const SPAN = 'b7ad6b7169203331'

t.test('the ids of a traceparent that is sampled, and of no other', async (t) => {
  for (const flags of ['01', '03', 'ff']) t.same(sampledIds({ traceparent: `00-${TRACE}-${SPAN}-${flags}` }), { traceId: TRACE, spanId: SPAN }, flags)
  t.equal(sampledIds(undefined), undefined)
  for (const traceparent of [`00-${TRACE}-${SPAN}-00`, `00-${TRACE}-${SPAN}-02`, '', 'broken', `00-${TRACE}-${SPAN}-01\n`, `00-${TRACE.toUpperCase()}-${SPAN}-01`, `00-${TRACE}"} 1-${SPAN}-01`]) {
    t.equal(sampledIds({ traceparent }), undefined, JSON.stringify(traceparent))
  }
})

t.test('an event has the ids of its own span, else those of its submission, else none', async (t) => {
  const own = { traceId: 'a'.repeat(32), spanId: 'b'.repeat(16) }
  const submission = { traceparent: `00-${TRACE}-${SPAN}-01` }
  t.equal(eventIds(own, submission), own)
  t.strictSame(eventIds(undefined, submission), { traceId: TRACE, spanId: SPAN })
  const none = { traceId: undefined, spanId: undefined }
  for (const ids of [eventIds(undefined), eventIds(undefined, undefined), eventIds(undefined, { traceparent: `00-${TRACE}-${SPAN}-00` })]) t.strictSame(ids, none)
})
