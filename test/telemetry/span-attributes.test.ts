import t from 'tap'
import { readRedactOptions } from '../../lib/core/redact.ts'
import { compileDefinition } from '../../lib/jobs/compile-definition.ts'
import type { JobDefinition, SpanAttributesOptions } from '../../lib/jobs/definition.ts'
import { snooze } from '../../lib/jobs/outcome.ts'
import { fitForSpan } from '../../lib/telemetry/span-attributes.ts'
import { attempt, attemptScope, COMPLETED, submit, tracingUnderTest, type TracingUnderTest } from './support.ts'

const redaction = readRedactOptions()

function fit (told: unknown, given = redaction): { attributes: unknown, complaints: string[] } {
  const complaints: string[] = []
  return { attributes: fitForSpan(told, given, (sentence) => { complaints.push(sentence) }), complaints }
}

t.test('texts, finite numbers and booleans', async (t) => {
  t.same(fit({ 'shop.country': 'pt', 'shop.items': 3, 'shop.gift': false, absent: undefined, 'shop/x:y-z': '' }), {
    attributes: { 'shop.country': 'pt', 'shop.items': 3, 'shop.gift': false, 'shop/x:y-z': '' }, complaints: []
  })
  t.same(fit(undefined), { attributes: undefined, complaints: [] })
  t.same(fit(null), { attributes: undefined, complaints: [] })
  t.same(fit({}), { attributes: undefined, complaints: [] })
})

t.test('everything else is left out, and complained of', async (t) => {
  for (const value of [null, NaN, Infinity, {}, [], ['a'], Symbol('x'), 5n, () => {}, new Date()]) {
    const { attributes, complaints } = fit({ good: 1, bad: value })
    t.same(attributes, { good: 1 }, typeof value)
    t.match(complaints, [/the value of bad is not a text/])
  }
  for (const told of ['text', 5, true, ['a'], () => {}]) {
    const { attributes, complaints } = fit(told)
    t.equal(attributes, undefined)
    t.match(complaints, [/not an object/])
  }
  for (const key of ['', 'a b', 'ä', '1a', 'a\nb', 'k'.repeat(101)]) t.match(fit({ [key]: 1 }), { attributes: undefined, complaints: [/not a valid attribute name/] }, key)
})

t.test('our own attributes stay ours', async (t) => {
  for (const key of ['job.id', 'job.anything', 'messaging.system', 'messaging.x', 'error.type', 'exception.message', 'worker.id', 'store.type', 'handler.type', 'retry.count', 'state.new', 'http.route', 'url.path', 'otel.x']) {
    t.match(fit({ [key]: 'mine', good: 1 }), { attributes: { good: 1 }, complaints: [/is reserved/] }, key)
  }
  t.same(fit({ 'store.id': 'lisbon', 'worker.shift': 2, jobs: 1 }).attributes, { 'store.id': 'lisbon', 'worker.shift': 2, jobs: 1 }, 'their neighbours are free')
})

t.test('bounded: number, length, whole characters', async (t) => {
  const many = fit(Object.fromEntries(Array.from({ length: 40 }, (_, n) => [`k${n}`, n])))
  t.equal(Object.keys(many.attributes as object).length, 32)
  t.match(many.complaints, [/more than 32/])
  const { attributes } = fit({ long: 'x'.repeat(10_000_000), pair: `${'x'.repeat(255)}😀` })
  t.same(attributes, { long: 'x'.repeat(256), pair: 'x'.repeat(255) })
})

t.test('what must not be shown is masked', async (t) => {
  const hiding = { ...redaction, mask: '***', hides: (name: string) => name === 'card', text: (text: string) => text.replace(/token=\w+/, 'token=***') }
  t.same(fit({ card: 4111, note: 'token=abc', late: `${'x'.repeat(250)}token=${'s'.repeat(100)}` }, hiding).attributes, {
    card: '***', note: 'token=***', late: `${'x'.repeat(250)}token=`
  })
})

t.test('a promise is no answer, and its rejection ends nothing', async (t) => {
  t.match(fit(Promise.reject(new Error('late'))), { attributes: undefined, complaints: [/promise/] })
  t.match(fit({ then: (_: unknown, reject: (error: Error) => void) => { reject(new Error('late')) } }), { attributes: undefined, complaints: [/promise/] })
  await new Promise((resolve) => { setImmediate(resolve) })
})

function definitionWith (spanAttributes: SpanAttributesOptions): JobDefinition {
  return compileDefinition({ name: 'report', handler: async () => {}, spanAttributes })
}

async function run (under: TracingUnderTest, definition: JobDefinition, handler: () => unknown = () => ({ rows: 3 }), settlement: Parameters<typeof attempt>[3] = COMPLETED): Promise<void> {
  await attempt(under, attemptScope({ trace: await submit(under) }, {}, definition), handler, settlement)
}

t.test('of the input: on attempt and handler, from the start; of the result: on both, at completion', async (t) => {
  const under = tracingUnderTest()
  let asked: unknown
  await run(under, definitionWith({
    input: (job) => {
      asked = job
      return { 'report.attempt': job.attempt, 'job.id': 'mine' }
    },
    result: (result) => ({ 'report.rows': (result as { rows: number }).rows })
  }))
  t.match(asked, { id: 'job-1', name: 'report', body: { secret: 'payload' }, params: {}, query: {}, headers: {}, attempt: 1 })
  for (const name of ['process default', 'report']) t.match(under.span(name).attributes, { 'report.attempt': 1, 'report.rows': 3, 'job.id': 'job-1' }, name)
  t.equal(under.span('send default').attributes['report.attempt'], undefined)
  t.same(under.failures, ['tracing.spanAttributes: spanAttributes.input of job "report": the attribute job.id is reserved; choose another name'])
})

t.test('asked of recorded attempts only, and of results only', async (t) => {
  const silent = tracingUnderTest({ perSecond: 0 })
  let asked = 0
  const count = (): undefined => { asked++ }
  const definition = definitionWith({ input: count as never, result: count as never })
  await run(silent, definition)
  t.equal(asked, 0)
  const failed = { kind: 'failed', error: { code: 'E', message: 'm' } } as const
  await run(tracingUnderTest(), definition, () => { throw new Error('x') }, failed)
  await run(tracingUnderTest(), definition, () => snooze(1), { kind: 'snooze', delayMs: 1 })
  t.equal(asked, 2, 'twice of the input')
})

t.test('functions that throw harm nothing and are counted', async (t) => {
  const under = tracingUnderTest()
  await run(under, definitionWith({ input: () => { throw new Error('input broke') }, result: () => { throw new Error('result broke') } }))
  t.match(under.span('process default'), { attributes: { 'job.status': 'completed' } })
  t.same(under.failures, ['tracing.spanAttributes: input broke'], 'told once')
})

t.test('a result that could not be stored is on the span of the handler that made it', async (t) => {
  const under = tracingUnderTest()
  await run(under, definitionWith({ result: () => ({ 'report.rows': 3 }) }), () => 1, { kind: 'failed', error: { code: 'FAE_RESULT_TOO_LARGE', message: 'm' } })
  t.equal(under.span('report').attributes['report.rows'], 3)
  t.equal(under.span('process default').attributes['report.rows'], undefined)
})
