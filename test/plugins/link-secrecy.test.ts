/** Where a signature of a link must never be found: logs, spans, metrics, events, problem documents, stored headers. */
import { Writable } from 'node:stream'
import cors from '@fastify/cors'
import { InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-node'
import Fastify, { type FastifyInstance, type FastifyLoggerOptions } from 'fastify'
import { stdSerializers } from 'pino'
import t, { type Test } from 'tap'
import { EVENT_NAMES } from '../../lib/events/catalogue.ts'
import { runtimeOf } from '../../lib/events/runtime.ts'
import { asyncEndpoints, memoryStore } from '../../plugins/async-endpoints.ts'
import { EventClient } from '../support/event-client.ts'
import { SocketClient, portOf } from '../support/socket-client.ts'

const keys = [{ id: 'k1', secret: 's'.repeat(32) }]

type Serializers = Record<string, (value: never) => unknown>

/** Serializers that applications have, from none to those that write everything. */
const SERIALIZERS: ReadonlyArray<readonly [name: string, serializers: Serializers]> = [
  ['Fastify\'s own', {}],
  ['pino\'s own', { req: stdSerializers.req as never, res: stdSerializers.res as never }],
  ['own ones', {
    req: ({ url, headers, query }: { url: string, headers: object, query: object }) => ({ at: { url }, headers, query }),
    res: (reply: { getHeaders?: () => object }) => ({ headers: reply.getHeaders?.() })
  }],
  ['a class', { req: ({ url }: { url: string }) => new (class Seen { url = url })() }]
]

interface Built {
  readonly app: FastifyInstance
  readonly port: number
  readonly exporter: InMemorySpanExporter
  readonly lines: string[]
  readonly events: unknown[]
}

async function build (t: Test, serializers: Serializers): Promise<Built> {
  const lines: string[] = []
  const events: unknown[] = []
  const exporter = new InMemorySpanExporter()
  const stream = new Writable({ write (chunk, _, done) { lines.push(String(chunk)); done() } })
  const app = Fastify({ logger: { level: 'trace', stream, serializers } as unknown as FastifyLoggerOptions })
  t.teardown(() => app.close())
  await app.register(asyncEndpoints, {
    store: memoryStore(),
    observability: { tracing: { spanProcessors: [new SimpleSpanProcessor(exporter)] } },
    listening: { webSocket: true },
    http: { links: { keys, scopes: ['read', 'cancel'] }, headers: ['referer'], maxSubmissionsPerMinute: 10_000 }
  })
  for (const name of EVENT_NAMES) {
    runtimeOf(app).bus.on(name, (event) => {
      const { origin, ...rest } = { origin: undefined, ...event } as { origin?: Record<string, unknown> }
      events.push(rest, origin && { ip: origin['clientIp'], agent: origin['userAgent'], user: origin['userId'], id: origin['requestId'] })
    })
  }
  app.asyncEndpoint({ url: '/later', name: 'later', delayMs: 3_600_000, handler: async () => 1 })
  app.asyncEndpoint<{ body: { text: string } }>({
    url: '/fails', name: 'fails', retry: { attempts: 1 },
    handler: async ({ body }) => { throw new Error(`cannot fetch ${body.text}`) }
  })
  return { app, port: await portOf(app), exporter, lines, events }
}

for (const [name, serializers] of SERIALIZERS) {
  t.test(`serializers: ${name}`, async (t) => {
    const { app, port, exporter, lines, events } = await build(t, serializers)
    const { id, links } = (await app.inject({ method: 'POST', url: '/later' })).json<{ id: string, links: Record<string, string> }>()
    const sigs = [links['self'], links['cancel']].map((link) => new URL(link ?? '', 'http://x').searchParams.get('sig') ?? '')
    const problems: string[] = []
    for (const sig of sigs) {
      const headers = { referer: `https://shop.example/jobs/${id}?sig=${sig}`, authorization: `Bearer ${sig}` }
      for (const parameter of [`sig=${sig}`, `%73ig=${encodeURIComponent(sig)}`, `sig=${sig}&sig=${sig}`, `signature=${sig}`]) {
        for (const [method, path] of [
          ['GET', ''], ['HEAD', ''], ['GET', '/result'], ['POST', '/redrive'], ['POST', '/signals/go'], ['PUT', ''], ['GET', '/no/such'], ['GET', 'x'.repeat(200)]
        ] as const) {
          const answer = await app.inject({ method, url: `/jobs/${id}${path}?${parameter}`, headers })
          if (answer.statusCode >= 400) problems.push(answer.body)
        }
        const events = await app.inject({ method: 'GET', url: `/jobs/events?id=unknown&${parameter}`, headers })
        if (events.statusCode >= 400) problems.push(events.body)
        problems.push((await app.inject({ url: `/jobs/socket?${parameter}`, headers })).body)
        problems.push((await app.inject({ method: 'POST', url: `/later?listening=pigeon&${parameter}`, headers })).body)
      }
      await app.inject({ method: 'POST', url: `/later?sig=${sig}`, headers })
      const { id: failed } = (await app.inject({ method: 'POST', url: '/fails', payload: { text: `https://api.example/jobs/${id}?sig=${sig}` }, headers })).json<{ id: string }>()
      await app.jobs.waitFor(failed)
      problems.push(JSON.stringify(await app.jobs.get(failed)), JSON.stringify((await app.jobs.input(failed))?.headers))
      const stream = new EventClient(port, { path: `/jobs/events?id=${id}&sig=${sig}`, headers })
      await stream.next()
      stream.leave()
      const socket = await new SocketClient(port, { headers }).opened()
      socket.say({ type: 'subscribe', jobs: [{ id, sig }] })
      await socket.nextOf('status')
      socket.say({ type: 'subscribe', jobs: [{ id, sig: `${sig}${sig}`, since: 'x' }] })
      problems.push(JSON.stringify(await socket.nextOf('error')))
      socket.ws.terminate()
    }
    t.equal((await app.inject({ method: 'POST', url: links['cancel'] ?? '' })).statusCode, 200, 'it was a link that works')
    const metrics = (await app.inject('/metrics')).body
    const spans = exporter.getFinishedSpans().map(({ name, attributes, events, links: linked, status }) => ({ name, attributes, events, linked, status }))
    t.ok(spans.length > 0 && metrics.length > 0 && events.length > 0)
    const places: Array<readonly [string, string]> = [
      ['metrics', metrics], ['spans', JSON.stringify(spans)], ['events', JSON.stringify(events)],
      ...problems.map((body) => ['problem', body] as const), ...lines.map((line) => ['log', line] as const)
    ]
    const macs = sigs.map((sig) => sig.split('.').at(-1) ?? '')
    t.same(places.filter(([, text]) => macs.some((mac) => text.includes(mac))), [])
    t.ok(lines.some((line) => line.includes('[redacted]')))
  })
}

// A browser asks before it cancels a job of another origin, and no route of this package answers.
for (const [when, before] of [['before', true], ['after', false]] as const) {
  for (const [name, serializers] of SERIALIZERS) {
    t.test(`a preflight request, CORS registered ${when} this package, serializers: ${name}`, async (t) => {
      const lines: string[] = []
      const stream = new Writable({ write (chunk, _, done) { lines.push(String(chunk)); done() } })
      const app = Fastify({ logger: { stream, serializers } as unknown as FastifyLoggerOptions })
      t.teardown(() => app.close())
      if (before) await app.register(cors)
      await app.register(asyncEndpoints, { worker: false, observability: false, http: { links: { keys } } })
      if (!before) await app.register(cors)
      app.get('/files', () => 'text')
      await app.ready()
      const link = app.jobLink('11111111-1111-4111-8111-111111111111', { scope: 'cancel' })
      const headers = { origin: 'https://shop.example', 'access-control-request-method': 'DELETE' }
      const answer = await app.inject({ method: 'OPTIONS', url: link, headers })
      t.equal(answer.statusCode, 204)
      t.equal(answer.headers['access-control-allow-origin'], '*', 'the CORS plugin still answers')
      t.same(lines.filter((line) => line.includes(link.slice(-43))), [])
      t.ok(lines.some((line) => line.includes('sig=[redacted]')))
      await app.inject('/files?sig=of-another-service')
      t.ok(lines.some((line) => line.includes('sig=of-another-service')), 'what is no link is logged as it is')
    })
  }
}
