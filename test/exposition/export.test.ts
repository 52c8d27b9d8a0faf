/** Requirement row S4-99: a counter of 5 and a gauge of 42, from an application's own instruments out of the process. */
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import Fastify, { type FastifyInstance } from 'fastify'
import t from 'tap'
import { asyncEndpoints } from '../../plugins/async-endpoints.ts'

const GATEWAY = process.env['PROMETHEUS_PUSHGATEWAY_URL']
const DEADLINE_MS = 20_000
const COUNTER = /^test_counter_total(?:\{[^}]*\})? 5$/m
const GAUGE = /^test_gauge(?:\{[^}]*\})? 42$/m

async function build (t: { teardown (end: () => unknown): void }, url?: string): Promise<FastifyInstance> {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(asyncEndpoints, { observability: url === undefined ? true : { export: { targets: { push: { url, allowPrivate: true, intervalMs: 200 } } } } })
  app.jobMetricsRegistry.instrument({ name: 'test.counter', kind: 'counter', unit: '1', description: 'Five', labels: [] }).bind({}).add(5)
  app.jobMetricsRegistry.instrument({ name: 'test.gauge', kind: 'gauge', unit: '', description: 'Forty-two', labels: [] }).bind({}).set(42)
  await app.ready()
  return app
}

function shows (page: string): boolean { return COUNTER.test(page) && GAUGE.test(page) }

t.test('they are in the exported page, and in the one that is scraped', async (t) => {
  const app = await build(t)
  const exported = await app.jobExporters.export({ format: 'prometheus' })
  for (const page of [String(exported.body), (await app.inject('/metrics')).body]) {
    t.match(page, COUNTER)
    t.match(page, GAUGE)
  }
})

t.test('they arrive at a push target, without anybody asking', async (t) => {
  const pages: string[] = []
  const server = createServer((request, response) => {
    let page = ''
    request.setEncoding('utf8').on('data', (chunk: string) => { page += chunk }).on('end', () => {
      pages.push(page)
      response.writeHead(202).end()
      server.emit('page')
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => new Promise((resolve) => {
    server.close(resolve)
    server.closeAllConnections()
  }))
  const arrived = once(server, 'page', { signal: AbortSignal.timeout(DEADLINE_MS) })
  await build(t, `http://127.0.0.1:${(server.address() as AddressInfo).port}/metrics/job/asyncendpoints-test`)
  await arrived
  t.match(pages[0], COUNTER)
  t.match(pages[0], GAUGE)
})

t.test('they arrive at a Pushgateway', { skip: GATEWAY === undefined ? 'PROMETHEUS_PUSHGATEWAY_URL is not set' : false }, async (t) => {
  const job = `${GATEWAY}/metrics/job/asyncendpoints-test`
  await fetch(job, { method: 'DELETE' })
  t.teardown(() => fetch(job, { method: 'DELETE' }))
  await build(t, job)
  const end = performance.now() + DEADLINE_MS
  let page = ''
  while (!shows(page) && performance.now() < end) page = await (await fetch(`${GATEWAY}/metrics`)).text()
  t.match(page, /^test_counter_total\{[^}]*job="asyncendpoints-test"[^}]*\} 5$/m)
  t.match(page, /^test_gauge\{[^}]*job="asyncendpoints-test"[^}]*\} 42$/m)
})
