/** The catalogue of spans against the spans themselves: jobs of all fates, and nothing on them that is not written down. */
import { SpanKind } from '@opentelemetry/api'
import { InMemorySpanExporter, SimpleSpanProcessor, type ReadableSpan } from '@opentelemetry/sdk-trace-node'
import Fastify from 'fastify'
import t from 'tap'
import { ATTR } from '../../lib/telemetry/attributes.ts'
import { SPAN_CATALOGUE, type SpanEntry } from '../../lib/telemetry/span-catalogue.ts'
import asyncEndpoints, { cancel, snooze } from '../../plugins/async-endpoints.ts'

const ENTRIES: readonly SpanEntry[] = Object.values(SPAN_CATALOGUE)

/** Which entry a span belongs to, by its kind and the fixed part of its name. */
function entryOf ({ name, kind }: ReadableSpan): SpanEntry | undefined {
  const ofKind = ENTRIES.filter((entry) => entry.kind === SpanKind[kind])
  const fixed = ofKind.find((entry) => !entry.name.startsWith('{') && (name === entry.name || (entry.name.includes('{') && name.startsWith(entry.name.slice(0, entry.name.indexOf('{'))))))
  if (fixed !== undefined) return fixed
  return name === 'a piece of work' ? SPAN_CATALOGUE.work : ofKind.find((entry) => entry.name.startsWith('{'))
}

async function spansOfAllFates (): Promise<readonly ReadableSpan[]> {
  const exporter = new InMemorySpanExporter()
  const app = Fastify()
  await app.register(asyncEndpoints, {
    worker: { concurrency: 5 },
    observability: { detailedTracing: true, tracing: { spanProcessors: [new SimpleSpanProcessor(exporter)], maxTracesPerSecond: 1_000, propagation: 'parent' } }
  })
  let asked = 0
  app.asyncEndpoint<{ body: { fate: string } }>({
    method: 'POST',
    url: '/jobs-of-fate',
    name: 'fate',
    retry: { attempts: 2, backoff: { type: 'fixed', delayMs: 1 } },
    handler: async (job) => {
      await job.span('a piece of work', async () => {
        job.progress({ done: 1, total: 2 })
        if (job.body.fate === 'fail') throw new TypeError('no')
      })
      if (job.body.fate === 'cancel') return cancel('enough')
      if (job.body.fate === 'snooze' && ++asked < 2) return snooze(1)
      return 'done'
    }
  })
  app.saga({
    name: 'saga-of-fate',
    steps: (s) => s
      .parallel('group', (g) => g.step('one', { run: () => 1, compensate: () => {} }))
      .step('bad', { attempts: 1, run: () => { throw new TypeError('no') } })
  })
  await app.ready()
  await app.jobs.waitFor((await app.jobs.submit('saga-of-fate' as never)).id, { timeoutMs: 5_000 })
  for (const fate of ['complete', 'fail', 'cancel', 'snooze']) {
    const { json } = await app.inject({ method: 'POST', url: '/jobs-of-fate', payload: { fate }, headers: { 'idempotency-key': fate } })
    await app.jobs.waitFor((json() as { id: string }).id, { timeoutMs: 5_000 })
  }
  await app.inject({ method: 'POST', url: '/jobs-of-fate', payload: { fate: 'complete' }, headers: { 'idempotency-key': 'complete' } })
  await app.inject({ method: 'POST', url: '/jobs-of-fate', payload: '{', headers: { 'content-type': 'application/json' } })
  const finished = [...exporter.getFinishedSpans()]
  await app.close()
  return [...finished, ...exporter.getFinishedSpans().slice(finished.length)]
}

t.test('every span and every attribute on it is in the catalogue, and everything usual in it is met', async (t) => {
  const spans = await spansOfAllFates()
  const met = new Map<SpanEntry, Set<string>>()
  for (const span of spans) {
    const entry = entryOf(span)
    if (entry === undefined) {
      t.fail(`the span ${span.name} (${SpanKind[span.kind]}) is in no entry`)
      continue
    }
    const known = new Set<string>(entry.attributes.map((key) => ATTR[key]))
    t.same(Object.keys(span.attributes).filter((name) => !known.has(name)), [], `${span.name} has attributes that its entry does not name`)
    met.set(entry, new Set([...met.get(entry) ?? [], ...Object.keys(span.attributes)]))
  }
  // What these fates cannot show: odd methods, refused settlements, a store that fails.
  const unusual = new Set<string>([ATTR.httpMethodOriginal, ATTR.errorType])
  for (const entry of ENTRIES) {
    const seen = met.get(entry)
    t.ok(seen, `a span ${entry.name} was met`)
    t.same(entry.attributes.map((key) => ATTR[key]).filter((name) => !unusual.has(name) && seen?.has(name) !== true), [], `${entry.name}: each attribute was met`)
  }
})
