/** An application with an SDK of its own, registered with the API as `--import` would do it: in a process of its own. */
import { context, SpanKind, trace, type Span } from '@opentelemetry/api'
import { InMemorySpanExporter, NodeTracerProvider, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-node'
import Fastify, { type FastifyInstance } from 'fastify'
import t from 'tap'
import { runtimeOf } from '../../lib/events/runtime.ts'
import { asyncEndpoints, memoryStore, type JobStore } from '../../plugins/async-endpoints.ts'
import { jobStore } from '../../plugins/job-store.ts'
import { observability, type ObservabilityOptions } from '../../plugins/observability.ts'

const exporter = new InMemorySpanExporter()
let shutDown = 0

async function build (test: Pick<typeof t, 'teardown'>, options: ObservabilityOptions = {}, before: (app: FastifyInstance) => void = () => {}, log: Array<Record<string, unknown>> = [], store = memoryStore()): Promise<FastifyInstance> {
  exporter.reset()
  const app = Fastify({ logger: { level: 'info', stream: { write: (line: string) => { log.push(JSON.parse(line) as Record<string, unknown>) } } } })
  test.teardown(() => app.close())
  await app.register(jobStore, { store })
  await app.register(observability, options)
  await app.register(asyncEndpoints)
  before(app)
  app.asyncEndpoint({
    method: 'POST',
    url: '/reports',
    name: 'report',
    handler: async (job) => {
      await job.span('inner', () => {})
      // What an instrumented database client would do: find its parent by itself.
      trace.getTracer('db').startSpan('SELECT').end()
      return trace.getActiveSpan()?.spanContext().spanId
    }
  })
  return app
}

/** A store whose client is instrumented, even where there is no parent. */
function spanningStore (): JobStore {
  const store = memoryStore()
  const span = (name: string): void => { trace.getTracer('redis').startSpan(name).end() }
  return new Proxy(store, {
    get (target, key) {
      const value: unknown = Reflect.get(target, key)
      if (typeof value !== 'function') return value
      return (...parts: unknown[]): unknown => {
        span(String(key))
        const answer: unknown = Reflect.apply(value, target, parts)
        if (answer instanceof Promise) return answer.then((result: unknown) => { span(`${String(key)} answered`); return result })
        return answer
      }
    }
  })
}

async function run (app: FastifyInstance): Promise<void> {
  const submitted = await app.inject({ method: 'POST', url: '/reports', payload: {} })
  const { state } = await app.jobs.waitFor(submitted.json<{ id: string }>().id, { timeoutMs: 5_000 })
  if (state !== 'completed') throw new Error(state)
}

/** Names with the name of the parent, of one trace. */
function tree (): string[] {
  const spans = exporter.getFinishedSpans()
  const names = new Map(spans.map((span) => [span.spanContext().spanId, span.name]))
  return spans.map((span) => `${span.name} < ${names.get(span.parentSpanContext?.spanId ?? '') ?? '-'}`).sort()
}

t.test('an SDK that is registered after our plugin is found when the application is ready', async (t) => {
  const app = await build(t)
  const provider = new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] })
  const end = provider.shutdown.bind(provider)
  provider.shutdown = async () => { shutDown++; await end() }
  provider.register()
  await app.ready()
  await run(app)
  t.same(tree(), ['POST /reports < -', 'SELECT < report', 'inner < report', 'process default < send default', 'report < process default', 'send default < POST /reports'])
  t.equal(new Set(exporter.getFinishedSpans().map((span) => span.spanContext().traceId)).size, 1)
  t.equal(exporter.getFinishedSpans().find((span) => span.name === 'process default')?.kind, SpanKind.CONSUMER)
  await app.close()
  t.equal(shutDown, 0, 'it is not ours to shut down')
})

t.test('an instrumentation that made a server span is the parent, and there is no second one', async (t) => {
  const app = await build(t, {}, (app) => {
    const spans = new WeakMap<object, Span>()
    app.addHook('onRequest', (request, _reply, done) => {
      const span = trace.getTracer('http').startSpan('theirs', { kind: SpanKind.SERVER })
      spans.set(request, span)
      context.with(trace.setSpan(context.active(), span), done)
    })
    app.addHook('onResponse', (request, _reply, done) => { spans.get(request)?.end(); done() })
  })
  await app.ready()
  await run(app)
  t.same(tree(), ['SELECT < report', 'inner < report', 'process default < send default', 'report < process default', 'send default < theirs', 'theirs < -'])
})

t.test('a job submitted by a job belongs to it', async (t) => {
  const app = await build(t, {}, (app) => {
    app.defineJob({ name: 'parent', handler: async () => { await app.jobs.waitFor((await app.jobs.submit('child')).id) } })
    app.defineJob({ name: 'child', handler: async () => {} })
  })
  await app.ready()
  await app.jobs.waitFor((await app.jobs.submit('parent')).id, { timeoutMs: 5_000 })
  t.same(tree(), ['child < process default', 'parent < process default', 'process default < send default', 'process default < send default', 'send default < -', 'send default < parent'])
})

t.test('scrapes, status requests and the poller of the gauges leave no spans', async (t) => {
  const app = await build(t, { detailedTracing: true, metrics: { gaugesIntervalMs: 100 } })
  await app.ready()
  await app.inject('/metrics')
  await app.inject('/jobs/unknown')
  await new Promise<void>((resolve, reject) => {
    let seen = 0
    const deadline = setTimeout(() => { reject(new Error(`the poller was to read the store twice within 5 s; it did ${seen} times`)) }, 5_000)
    runtimeOf(app).bus.on('store.operated', ({ operation }) => {
      if (operation !== 'counts' || ++seen < 2) return
      clearTimeout(deadline)
      resolve()
    })
  })
  t.same(tree(), [])
})

t.test('detailed tracing: the store\'s operations where something active owns them', async (t) => {
  const app = await build(t, { detailedTracing: true })
  await app.ready()
  await run(app)
  t.same(tree().filter((line) => /^(store|settle)/.test(line)), ['settle default < process default', 'store create < send default'])
  exporter.reset()
  const span = trace.getTracer('x').startSpan('caller')
  await context.with(trace.setSpan(context.active(), span), () => app.jobs.get('nothing'))
  span.end()
  t.same(tree(), ['caller < -', 'store get < caller'])
})

t.test('what a store does inside is nobody\'s span, and no job hangs on to the span of another', async (t) => {
  const app = await build(t, {}, undefined, [], spanningStore())
  await app.ready()
  const tracer = trace.getTracer('x')
  const caller = tracer.startSpan('caller')
  // The store's loops go on from inside this call: whatever they take up later must not be part of it.
  await context.with(trace.setSpan(context.active(), caller), () => run(app))
  caller.end()
  exporter.reset()
  await run(app)
  t.same(tree(), ['POST /reports < -', 'SELECT < report', 'inner < report', 'process default < send default', 'report < process default', 'send default < POST /reports'])
})

t.test('tracing switched off: handlers start outside of everybody\'s trace, and may have spans of their own', async (t) => {
  const seen: unknown[] = []
  const app = await build(t, { tracing: false }, (app) => {
    app.defineJob({
      name: 'own',
      handler: async () => {
        seen.push(trace.getActiveSpan())
        trace.getTracer('x').startSpan('own span').end()
      }
    })
  }, [], spanningStore())
  await app.ready()
  const caller = trace.getTracer('x').startSpan('caller')
  await context.with(trace.setSpan(context.active(), caller), async () => { await app.jobs.waitFor((await app.jobs.submit('own')).id, { timeoutMs: 5_000 }) })
  caller.end()
  t.same([seen, tree()], [[undefined], ['caller < -', 'own span < -']])
})

t.test('listeners hear of endings outside of everything that is quiet', async (t) => {
  const app = await build(t)
  await app.ready()
  const told = new Promise<void>((resolve) => {
    runtimeOf(app).bus.on('job.completed', () => {
      trace.getTracer('x').startSpan('a listener\'s span').end()
      resolve()
    })
  })
  await run(app)
  await told
  t.ok(tree().includes('a listener\'s span < -'))
})

t.test('a redrive and a cancel are told where they are done', async (t) => {
  const app = await build(t, {}, (app) => {
    app.defineJob({ name: 'fails', retry: { attempts: 1 }, handler: async () => { throw new Error('x') } })
    app.defineJob({ name: 'waits', handler: async () => {} })
  })
  await app.ready()
  const failed = await app.jobs.submit('fails')
  await app.jobs.waitFor(failed.id, { timeoutMs: 5_000 })
  const waiting = await app.jobs.submit('waits', undefined, { delayMs: 60_000 })
  exporter.reset()
  const operator = trace.getTracer('x').startSpan('operator')
  await context.with(trace.setSpan(context.active(), operator), async () => {
    await app.jobs.redrive(failed.id)
    await app.jobs.cancel(waiting.id)
  })
  operator.end()
  t.same(exporter.getFinishedSpans().find(({ name }) => name === 'operator')?.events.map(({ name, attributes }) => [name, attributes?.['job.id']]), [['State Applied: queued', failed.id], ['State Applied: cancelled', waiting.id]])
})

t.test('a sampler for a private provider has no effect here, and that is said', async (t) => {
  const log: Array<Record<string, unknown>> = []
  const app = await build(t, { tracing: { maxTracesPerSecond: 5 } }, undefined, log)
  await app.ready()
  t.match(log.find(({ source }) => source === 'tracing'), { level: 40, msg: /have no effect/ })
})
