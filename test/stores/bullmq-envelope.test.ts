import t from 'tap'
import {
  CANCELLED_MARK, encodeInput, encodeNotes, encodeOptions, envelopeIn, errorOf, inputOf, NO_ENVELOPE, OURS, parseInput, parseNotes, traceOf
} from '../../lib/stores/bullmq/envelope.ts'
import { claimableSince, rawJob, RECORD_FIELDS, recordOf } from '../../lib/stores/bullmq/record.ts'
import { parseUpdate } from '../../lib/stores/bullmq/updates.ts'
import { newJob, withBody } from '../support/redis-jobs.ts'

const TRACE = { traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01', tracestate: 'a=1,b=2' }

t.test('the options of a job bring back what was put into them, its data what was submitted', async (t) => {
  const job = newJob({
    input: { body: { a: [1, null, 'ü'] }, params: { id: '1' }, query: { q: ['x', 'y'] }, headers: { 'x-tenant': 't' } },
    owner: 'me',
    trace: TRACE,
    maxAttempts: 7,
    idempotency: { key: 'k', fingerprint: 'f', ttlMs: 1 }
  })
  const options: unknown = JSON.parse(encodeOptions(job, 5, 3, 9_000))
  t.match(options, { delay: 5, priority: 3 }, 'what BullMQ has to know stands under its names')
  const envelope = envelopeIn(options)
  t.same(envelope, { o: 'me', c: job.correlationId, t: TRACE.traceparent, s: TRACE.tracestate, n: 7, k: 'k', b: 9_000 })
  t.same(traceOf(envelope ?? NO_ENVELOPE), TRACE)
  t.same(parseInput(encodeInput(job.input), true), job.input)
  t.same(traceOf(envelopeIn(JSON.parse(encodeOptions(newJob({ trace: { traceparent: TRACE.traceparent } }), 0, 0, undefined))) ?? NO_ENVELOPE), { traceparent: TRACE.traceparent })
})

t.test('a job with nothing special in it is small', async (t) => {
  const job = newJob({ input: withBody(undefined) })
  t.equal(encodeInput(job.input), '{}')
  t.equal(encodeOptions(job, 0, 0, undefined), JSON.stringify({ [OURS]: { c: job.correlationId, n: 3 } }))
  t.same(parseInput('{}', true), withBody(undefined))
})

t.test('data of a job that is not ours is its body; what cannot be read does not throw', async (t) => {
  for (const opts of [undefined, null, 1, {}, { fae: 1 }, { fae: { c: 1, n: 1 } }, { fae: { c: '', n: 1, o: 5 } }]) t.equal(envelopeIn(opts), undefined)
  t.same(inputOf({ b: 2, c: 1 }, false), withBody({ b: 2, c: 1 }))
  t.same(inputOf(null, false), withBody(null))
  t.same(inputOf(null, true), withBody(undefined))
  t.same(parseInput('[1]', false), withBody([1]))
  t.equal(parseInput('{broken', false), undefined)
  t.equal(parseInput(null, true), undefined, 'it was dropped')
})

t.test('notes survive, begin with the mark when they tell of a cancel, and take what they do not know for an error', async (t) => {
  for (const notes of [{ c: 'E', m: 'x "quoted" \n', r: 12, s: 2 }, { c: 'E', m: '', k: 1 as const }, { r: 5 }, { x: 1 as const, m: 'why' }]) t.same(parseNotes(encodeNotes(notes)), notes)
  t.ok(encodeNotes({ m: 'why', t: 3, x: 1 }).startsWith(CANCELLED_MARK))
  t.notOk(encodeNotes({ c: 'x', m: '1' }).startsWith(CANCELLED_MARK))
  t.same(parseNotes(undefined), {})
  t.same(errorOf(parseNotes('job stalled more than allowable limit')), { code: 'Error', message: 'job stalled more than allowable limit' })
  t.same(errorOf(parseNotes('{broken')), { code: 'Error', message: '{broken' })
  t.same(parseNotes('{"c":1}'), {})
  t.equal(errorOf({ r: 1 }), undefined)
})

/** A hash as the server has it. */
function raw (fields: Partial<Record<typeof RECORD_FIELDS[number], string>>, leased = 0): NonNullable<ReturnType<typeof rawJob>> {
  const job = rawJob(RECORD_FIELDS.map((field) => ({ name: 'n', timestamp: '1000', opts: encodeOptions(newJob(), 0, 0, undefined), priority: '0', delay: '0', ...fields })[field] ?? null), leased)
  if (job === undefined) throw new Error('it is a job')
  return job
}

t.test('the state of a job follows from its fields and its lease', async (t) => {
  const stateOf = (fields: Parameters<typeof raw>[0], leased = 0): string => recordOf('id', 'q', raw(fields, leased)).record.state
  const cancelled = encodeNotes({ x: 1, m: 'no', t: 1_500 })
  t.equal(stateOf({}), 'queued')
  t.equal(stateOf({ delay: '50' }), 'scheduled')
  t.equal(stateOf({ processedOn: '1001' }, 1), 'in-progress')
  t.equal(stateOf({ processedOn: '1001', finishedOn: '1002.003', returnvalue: 'null' }), 'completed')
  t.equal(stateOf({ finishedOn: '1002', failedReason: encodeNotes({ c: 'E', m: 'm' }) }), 'failed')
  t.equal(stateOf({ finishedOn: '1002', failedReason: cancelled }), 'cancelled')
  t.equal(stateOf({ defa: cancelled }), 'cancelled')
  t.equal(stateOf({ defa: cancelled }, 1), 'cancelled', 'also while a worker takes it out of the line')
  t.equal(stateOf({ defa: encodeNotes({ m: 'stop' }) }, 1), 'in-progress')

  const { record } = recordOf('id', 'q', raw({ opts: '{"delay":500}', failedReason: encodeNotes({ c: 'E', m: 'm', r: 1_200 }), atm: '2', stc: '1', progress: '{"done":1}' }))
  t.match(record, { createdAt: 1_000, runAt: 1_500, attempts: 3, error: { code: 'E', message: 'm' }, progress: { done: 1 }, cancelRequested: false })
  t.match(recordOf('id', 'q', raw({ defa: encodeNotes({ m: 'stop' }), stc: '1' }, 1)).record, { cancelRequested: true, attempts: 2 })
  t.match(recordOf('id', 'q', raw({ defa: cancelled })).record, { cancelRequested: false, finishedAt: 1_500, error: { code: 'FAE_JOB_CANCELLED', message: 'no' } })
  t.match(recordOf('id', 'q', raw({ finishedOn: '1002.003', returnvalue: '12', failedReason: '{"c":"E"}' })).record, { finishedAt: 1_002, resultBytes: 12, error: undefined })
  t.equal(recordOf('id', 'q', raw({ finishedOn: '1', failedReason: '{"c":"E","m":"","k":1}', atm: '1', stc: '1' })).record.attempts, 1, 'a stall that used up the last attempt')
  const attemptsOf = (fields: Parameters<typeof raw>[0], leased = 0): number => recordOf('id', 'q', raw(fields, leased)).record.attempts
  t.equal(attemptsOf({ ats: '1' }, 1), 1)
  t.equal(attemptsOf({ ats: '1' }), 1, 'the lease ran out, which nobody has counted yet')
  t.equal(attemptsOf({ ats: '1', stc: '1' }), 1, 'now it is')
  t.equal(attemptsOf({ ats: '2', stc: '1' }), 2)
  t.equal(attemptsOf({ ats: '2', atm: '1', failedReason: encodeNotes({ a: 1 }) }), 1, 'a snooze spends none')
  t.equal(attemptsOf({ ats: '3', atm: '1', failedReason: encodeNotes({ a: 1 }) }), 2, 'the claim after it does')
  t.equal(rawJob([null, 'x'], 0), undefined)
  t.equal(rawJob('nonsense', 0), undefined)
  t.equal(claimableSince('1000', '{"delay":5}', '{"r":1001}'), 1_005)
  t.equal(claimableSince(undefined, undefined, undefined), undefined)
})

t.test('updates are read, and what is not one is left out', async (t) => {
  const { id } = newJob()
  t.same(['i', 'x', 'r', '?'].map((message) => parseUpdate(id, message)), [
    { id, state: 'in-progress' }, { id, state: 'cancelled' }, { id }, { id }
  ])
  const progress = { done: 2, message: 'a\nb' }
  t.same(parseUpdate(id, `p12 ${JSON.stringify(progress)}`), { id, state: 'in-progress', version: 12, progress })
  for (const message of ['', 'z', 'cc', `c${id}`, 'p', 'p1', 'p1 {broken', 'p1 7', 'px {}', 'p {}', `p1 ${'x'.repeat(200_000)}`]) {
    t.equal(parseUpdate(id, message), undefined, message.slice(0, 40))
  }
})
