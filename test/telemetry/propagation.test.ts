import { createTraceState } from '@opentelemetry/api'
import t from 'tap'
import { cleanTracestate, decodeTraceparent, encodeTraceparent, flagsText, fromCarrier, isSampled, pointTo, toCarrier, unrecorded } from '../../lib/telemetry/propagation.ts'

const TRACE = '0af7651916cd43dd8448eb211c80319c'
const SPAN = 'b7ad6b7169203331'

t.test('valid traceparents', async (t) => {
  const valid: ReadonlyArray<readonly [text: string, flags: number]> = [
    [`00-${TRACE}-${SPAN}-01`, 1],
    [`00-${TRACE}-${SPAN}-00`, 0],
    [`00-${TRACE}-${SPAN}-03`, 3],
    [`00-${TRACE}-${SPAN}-02`, 2],
    // Unknown flags are there, and mean nothing to us.
    [`00-${TRACE}-${SPAN}-ff`, 3],
    [`00-${TRACE}-${SPAN}-08`, 0],
    // A version of the future: its known part counts.
    [`cc-${TRACE}-${SPAN}-01`, 1],
    [`cc-${TRACE}-${SPAN}-01-what-the-future-will-be-like`, 1],
    [`01-${TRACE}-${SPAN}-01-`, 1]
  ]
  for (const [text, traceFlags] of valid) t.same(decodeTraceparent(text), { traceId: TRACE, spanId: SPAN, traceFlags, isRemote: true }, text)
})

t.test('everything else is ignored', async (t) => {
  const invalid: readonly unknown[] = [
    undefined, null, 5, {}, ['00'], '', 'nonsense',
    `00-${TRACE}-${SPAN}`,
    `00-${TRACE}-${SPAN}-1`,
    `00-${TRACE}-${SPAN}-01-`,
    `00-${TRACE}-${SPAN}-01-more`,
    `00-${TRACE}-${SPAN}-01 `,
    ` 00-${TRACE}-${SPAN}-01`,
    `00-${TRACE.toUpperCase()}-${SPAN}-01`,
    `00-${TRACE}-${SPAN.toUpperCase()}-01`,
    `00-${TRACE}-${SPAN}-0G`,
    `00-${TRACE}-${SPAN}-0A`,
    `ff-${TRACE}-${SPAN}-01`,
    `FF-${TRACE}-${SPAN}-01`,
    `0-${TRACE}-${SPAN}-01`,
    `00-${'0'.repeat(32)}-${SPAN}-01`,
    `00-${TRACE}-${'0'.repeat(16)}-01`,
    `00-${TRACE.slice(1)}-${SPAN}-01`,
    `00-${TRACE}0-${SPAN}-01`,
    `00_${TRACE}_${SPAN}_01`,
    `cc-${TRACE}-${SPAN}-01.what`,
    `cc-${TRACE}-${SPAN}-01-${'x'.repeat(1_000)}`,
    `00-${TRACE}-${SPAN}-01\n`,
    `00-${TRACE}-${SPAN}-01, 00-${TRACE}-${SPAN}-01`
  ]
  for (const text of invalid) t.equal(decodeTraceparent(text), undefined, String(text))
})

t.test('what goes out comes back', async (t) => {
  const context = { traceId: TRACE, spanId: SPAN, traceFlags: 1 }
  t.equal(encodeTraceparent(context), `00-${TRACE}-${SPAN}-01`)
  t.equal(encodeTraceparent({ ...context, traceFlags: 0xff }), `00-${TRACE}-${SPAN}-03`)
  t.equal(flagsText(0), '00')
  t.same(toCarrier(context), { traceparent: `00-${TRACE}-${SPAN}-01` })
  const carrier = toCarrier({ ...context, traceState: createTraceState('a=1,b=2') })
  t.same(carrier, { traceparent: `00-${TRACE}-${SPAN}-01`, tracestate: 'a=1,b=2' })
  const back = fromCarrier(carrier)
  t.equal(back?.traceState?.get('b'), '2')
  t.ok(back !== undefined && isSampled(back))
  t.equal(fromCarrier(undefined), undefined)
  t.equal(fromCarrier({ traceparent: 'broken', tracestate: 'a=1' }), undefined, 'a tracestate is nothing without its traceparent')
  t.equal(fromCarrier({ ...carrier, tracestate: 'broken' })?.traceState, undefined, 'but not the other way round')
})

t.test('a caller that is not recorded here goes on under a parent-id of our own', async (t) => {
  const caller = { traceId: TRACE, spanId: SPAN, traceFlags: 3, isRemote: true, traceState: createTraceState('a=1') }
  const { traceparent, tracestate } = toCarrier(unrecorded(caller))
  t.match(traceparent, new RegExp(`^00-${TRACE}-[0-9a-f]{16}-02$`), 'the trace and its randomness stay, the sampled flag goes')
  t.not(traceparent.slice(36, 52), SPAN)
  t.equal(tracestate, 'a=1')
  t.same(pointTo(caller), { traceId: TRACE, spanId: SPAN, traceFlags: 3, isRemote: true }, 'a stranger is pointed at without its tracestate')
})

t.test('tracestate is bounded, at whole entries', async (t) => {
  t.equal(cleanTracestate('a=1, b=2 ,,c=3'), 'a=1,b=2,c=3')
  t.equal(cleanTracestate('1a@vendor=x,b/c*d-e_f=y z'), '1a@vendor=x,b/c*d-e_f=y z')
  const long = `long=${'x'.repeat(200)}`
  const many = Array.from({ length: 30 }, (_, n) => `k${n}=${'v'.repeat(14)}`)
  const cut = cleanTracestate([many[0], long, ...many.slice(1)].join(','))
  t.ok(cut !== undefined && cut.length <= 512, `${cut?.length} characters`)
  t.notMatch(cut, /long/, 'the long entry went first')
  t.match(cut, /^k0=/)
  t.ok(cut?.split(',').every((member) => many.includes(member)), 'no entry was cut in two')
  t.equal(cleanTracestate(`a=${'x'.repeat(255)}`)?.length, 257)
})

t.test('a tracestate that is not valid is dropped whole', async (t) => {
  const invalid: readonly unknown[] = [
    undefined, '', ',', 7, 'novalue', '=1', 'a=', 'A=1', 'a=1,a=2', 'a=1,b', 'a=x=y', 'a b=1', `a=${'x'.repeat(257)}`, `${'k'.repeat(257)}=1`, 'a=\u0007', 'a=ä', '@v=1', 'a@=1', 'a@B=1',
    Array.from({ length: 33 }, (_, n) => `k${n}=v`).join(','), `a=${'x'.repeat(9_000)}`
  ]
  for (const text of invalid) t.equal(cleanTracestate(text), undefined, String(text).slice(0, 40))
})
