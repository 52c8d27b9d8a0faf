/** One set of numbers in every form that `/metrics` and what lies under it can give. */
import Fastify, { type FastifyInstance } from 'fastify'
import t from 'tap'
import { asyncEndpoints, type ObservabilityOptions } from '../../plugins/async-endpoints.ts'

async function build (test: Pick<typeof t, 'teardown'>, observability: ObservabilityOptions = {}): Promise<FastifyInstance> {
  const app = Fastify()
  test.teardown(() => app.close())
  await app.register(asyncEndpoints, { health: false, observability })
  app.asyncEndpoint({ url: '/reports', name: 'report', retry: { attempts: 1 }, handler: ({ body }) => { if (body !== undefined && body !== null) throw Object.assign(new Error('as asked'), { code: 'E_ASKED' }) } })
  await app.ready()
  return app
}

async function run (app: FastifyInstance, payload?: object): Promise<string> {
  const submitted = await app.inject({ method: 'POST', url: '/reports', ...payload === undefined ? {} : { payload } })
  return (await app.jobs.waitFor(submitted.json<{ id: string }>().id, { timeoutMs: 5_000 })).state
}

t.test('by the parameter or by Accept, and a format that nobody writes is a problem', async (t) => {
  const app = await build(t)
  t.equal(await run(app), 'completed')
  for (const [format, accept, contentType, sample] of [
    ['prometheus', 'text/plain', /^text\/plain; version=0\.0\.4/, /^asyncendpoints_jobs_processed_total{[^}]*status="completed"[^}]*} 1$/m],
    ['openmetrics', 'application/openmetrics-text', /^application\/openmetrics-text; version=1\.0\.0/, /^asyncendpoints_jobs_processed_total{[^}]*status="completed"[^}]*} 1$/m],
    ['json', 'application/json', /^application\/json/, /{"labels":{"job_name":"report","status":"completed","store_type":"memory"},"value":1}/],
    ['csv', 'text/csv', /^text\/csv/, /^asyncendpoints\.jobs\.processed\.total,counter,{job},value,,1,/m]
  ] as const) {
    for (const request of [{ url: `/metrics?format=${format}` }, { url: '/metrics', headers: { accept } }]) {
      const { statusCode, headers, body } = await app.inject(request)
      t.equal(statusCode, 200, format)
      t.match(headers['content-type'], contentType)
      t.equal(headers['cache-control'], 'no-store')
      t.match(body, sample)
    }
    const head = await app.inject({ method: 'HEAD', url: `/metrics?format=${format}` })
    t.same([head.statusCode, head.body], [200, ''])
  }
  const unknown = await app.inject('/metrics?format=xml')
  t.equal(unknown.statusCode, 400)
  t.match(unknown.json(), { code: 'FAE_UNKNOWN_FORMAT', detail: /known are prometheus, openmetrics, json, csv/ })
})

t.test('a summary for people', async (t) => {
  const app = await build(t, { metrics: { authorize: () => true } })
  t.match((await app.inject('/metrics/jobs')).json(), { avgProcessingTimeMs: 0, errorRatePercent: 0 }, 'before anything has happened')
  t.same([await run(app), await run(app), await run(app), await run(app, { fail: true })], ['completed', 'completed', 'completed', 'failed'])
  const { statusCode, headers, body } = await app.inject('/metrics/jobs')
  t.equal(statusCode, 200)
  t.equal(headers['cache-control'], 'no-store')
  const summary = JSON.parse(body) as Record<string, unknown>
  t.equal(summary['errorRatePercent'], 25)
  t.ok(Number(summary['avgProcessingTimeMs']) > 0)
  t.same(summary['active'], [])
  t.same(Object.keys(summary), ['queuedJobs', 'scheduledJobs', 'processingJobs', 'completedJobs', 'failedJobs', 'cancelledJobs', 'avgProcessingTimeMs', 'errorRatePercent', 'asOf', 'ageMs', 'active'])
})
