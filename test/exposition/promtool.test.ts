/** What promtool thinks of a real application's page: nothing that it cannot read, and no opinion that we do not share or know why. */
import Fastify, { type FastifyInstance } from 'fastify'
import t from 'tap'
import { PrometheusExposition } from '../../lib/exposition/prometheus.ts'
import { INSTRUMENTS, type InstrumentDefinition } from '../../lib/telemetry/instruments.ts'
import { MetricsRegistry } from '../../lib/telemetry/registry.ts'
import { asyncEndpoints } from '../../plugins/async-endpoints.ts'
import { checkMetrics, findPrometheus } from '../support/prometheus.ts'
import { HOSTILE_VALUES } from './support/hostile.ts'
import { parseExposition } from './support/openmetrics-parser.ts'

const tools = await findPrometheus()

/** Each with the reason why it stays. */
const ALLOWED: ReadonlyArray<{ readonly warning: RegExp, readonly reason: string }> = [
  {
    warning: /^asyncendpoints_jobs_current_count non-histogram and non-summary metrics should not have "_count" suffix$/,
    reason: 'the source documents name the gauge asyncendpoints.jobs.current.count (requirement row S0-32)'
  }
]

function unexpected (warnings: readonly string[]): string[] {
  return warnings.filter((line) => !ALLOWED.some(({ warning }) => warning.test(line)))
}

async function build (): Promise<FastifyInstance> {
  const app = Fastify()
  await app.register(asyncEndpoints, { worker: { concurrency: 10 } })
  app.asyncEndpoint({
    method: 'POST',
    url: '/work',
    name: 'work:a.b',
    retry: { attempts: 2, backoff: { type: 'fixed', delayMs: 1 } },
    handler: async (job) => {
      const { code } = job.body as { code?: string }
      if (code === undefined) return { done: true }
      throw Object.assign(new Error('as asked'), { code })
    }
  })
  // An application's own instruments, one of them beside itself.
  const { jobMetricsRegistry: registry } = app
  registry.instrument({ name: 'shop.basket-size', kind: 'histogram', unit: '{item}', description: 'Items in a basket', labels: ['shop'], buckets: [1, 5, 10] }).bind({ shop: 'a\nb' }).observe(3)
  const odd = registry.instrument({ name: 'shop.temperature', kind: 'gauge', unit: 'Cel', description: 'How warm it is', labels: ['room'] })
  for (const [room, value] of [['a', NaN], ['b', Infinity], ['c', -Infinity], ['d', -3.5]] as const) odd.bind({ room }).set(value)
  registry.onCollect(() => { throw new Error('no temperature today') })
  await app.ready()
  return app
}

t.test('an application at work', { skip: tools.skip }, async (t) => {
  const app = await build()
  t.teardown(() => app.close())
  const idle = await app.inject('/metrics')
  t.same(unexpected(checkMetrics(tools, idle.rawPayload).warnings), [], 'before the first job')

  // The memory store would not take ten megabytes: a code of a handler's own making may be that long all the same.
  const codes = [undefined, ...HOSTILE_VALUES.map((value) => value.slice(0, 100_000))]
  const jobs = await Promise.all(codes.map(async (code) => await app.inject({ method: 'POST', url: '/work', payload: { code } })))
  const ends = await Promise.all(jobs.map(async (response) => await app.jobs.waitFor(response.json<{ id: string }>().id, { timeoutMs: 20_000 })))
  t.equal(ends.filter(({ state }) => state === 'failed').length, codes.length - 1)
  // What an implementation of ours or of somebody else may be called with.
  for (const value of HOSTILE_VALUES) app.jobMetrics.jobFailed({ jobName: value, errorType: value, storeType: value })
  for (const value of HOSTILE_VALUES) app.jobMetrics.storeError({ operation: value, errorType: value, storeType: value })

  const { rawPayload: page, headers, statusCode } = await app.inject('/metrics')
  t.match([statusCode, headers['content-type']], [200, 'text/plain; version=0.0.4; charset=utf-8'])
  const { errors, warnings } = checkMetrics(tools, page)
  t.equal(errors, '')
  t.same(unexpected(warnings), [])
  const families = parseExposition(page, 'text')
  const failed = families.get('asyncendpoints_jobs_failed_total')?.samples ?? []
  t.ok(failed.length > HOSTILE_VALUES.length / 2, `${failed.length} error types`)
  t.ok(families.has('shop_temperature_celsius') && families.has('shop_basket_size'))
  parseExposition((await app.inject({ url: '/metrics', headers: { accept: 'application/openmetrics-text' } })).rawPayload, 'openmetrics')
})

t.test('every instrument there is, and no exception that nobody needs', { skip: tools.skip }, async (t) => {
  const registry = new MetricsRegistry()
  for (const definition of Object.values<InstrumentDefinition>(INSTRUMENTS)) registry.instrument(definition).bind(Object.fromEntries(definition.labels.map((label) => [label, 'x'])))
  const page = await new PrometheusExposition({ resource: { 'service.name': 'x' } }).render(registry.families(), 'text')
  const { errors, warnings } = checkMetrics(tools, page)
  t.equal(errors, '')
  t.same(unexpected(warnings), [])
  for (const { warning, reason } of ALLOWED) t.ok(warnings.some((line) => warning.test(line)), `still said: ${reason}`)
})

t.test('no series at all', { skip: tools.skip }, async (t) => {
  t.same(checkMetrics(tools, await new PrometheusExposition().render(new MetricsRegistry().families(), 'text')), { errors: '', warnings: [] })
})
