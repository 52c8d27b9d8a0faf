/** What is known of the inside of the SDK, against the SDK: when this fails, the SDK has changed. */
import { ProxyTracerProvider, type TracerProvider } from '@opentelemetry/api'
import { BasicTracerProvider, InMemorySpanExporter, NodeTracerProvider, SimpleSpanProcessor, type SpanProcessor } from '@opentelemetry/sdk-trace-node'
import t from 'tap'
import { attachWatcher, realProvider, type FinishedSpan, type SpanWatcher } from '../../lib/telemetry/sdk/span-watch.ts'

function watcher (): SpanWatcher & { readonly seen: FinishedSpan[] } {
  const seen: FinishedSpan[] = []
  return { seen, onStart: () => {}, onEnd: (span) => { seen.push(span) }, forceFlush: async () => {}, shutdown: async () => {} }
}

function end (provider: TracerProvider, name: string): void {
  provider.getTracer('db').startSpan(name, { attributes: { 'db.system': 'x' } }).end()
}

t.test('the spans of a provider that is already made, also of tracers that it has given out', async (t) => {
  for (const Provider of [NodeTracerProvider, BasicTracerProvider]) {
    const exporter = new InMemorySpanExporter()
    const provider = new Provider({ spanProcessors: [new SimpleSpanProcessor(exporter)] })
    end(provider, 'before')
    const proxy = new ProxyTracerProvider()
    proxy.setDelegate(provider)
    t.equal(realProvider(proxy), provider)
    const [one, other] = [watcher(), watcher()]
    const stop = attachWatcher(proxy, one)
    const stopOther = attachWatcher(provider, other)
    end(provider, 'watched')
    t.match(one.seen, [{ name: 'watched', attributes: { 'db.system': 'x' }, duration: [0, Number] }])
    t.match(one.seen[0]?.spanContext(), { traceId: /^\w{32}$/, spanId: /^\w{16}$/ })
    stop?.()
    stop?.()
    end(provider, 'after')
    t.equal(one.seen.length, 1, 'taken away')
    t.equal(other.seen.length, 2, 'and nobody else with it')
    t.same(exporter.getFinishedSpans().map(({ name }) => name), ['before', 'watched', 'after'], 'the application\'s own saw all')
    await provider.forceFlush()
    await provider.shutdown()
    stopOther?.()
  }
})

t.test('the array that an application gave is not touched, and two providers that share it are two', async (t) => {
  const given: SpanProcessor[] = [new SimpleSpanProcessor(new InMemorySpanExporter())]
  const [one, other] = [new NodeTracerProvider({ spanProcessors: given }), new NodeTracerProvider({ spanProcessors: given })]
  const seen = watcher()
  attachWatcher(one, seen)
  t.equal(given.length, 1)
  end(other, 'not watched')
  end(one, 'watched')
  t.match(seen.seen, [{ name: 'watched' }])
  t.equal(seen.seen.length, 1)
  const none = new NodeTracerProvider()
  t.type(attachWatcher(none, seen), 'function', 'without any processor too')
})

t.test('a provider that is built otherwise is left alone', async (t) => {
  const processor = { onStart () {}, onEnd () {}, forceFlush: async () => {}, shutdown: async () => {} }
  const strange: unknown[] = [
    {}, { _activeSpanProcessor: null }, { _activeSpanProcessor: {} }, { _activeSpanProcessor: { onEnd () {} } },
    { _activeSpanProcessor: { onEnd () {}, _spanProcessors: 'text' } },
    { _activeSpanProcessor: { onEnd () {}, _spanProcessors: [{}] } },
    { _activeSpanProcessor: { _spanProcessors: [processor] } },
    { _activeSpanProcessor: Object.freeze({ onEnd () {}, _spanProcessors: [processor] }) },
    { _activeSpanProcessor: { onEnd () {}, get _spanProcessors () { return [processor] } } },
    { get _activeSpanProcessor () { throw new Error('no') } },
    new Proxy({}, { get () { throw new Error('no') } }),
    new ProxyTracerProvider()
  ]
  for (const [index, provider] of strange.entries()) t.equal(attachWatcher(provider as TracerProvider, watcher()), undefined, String(index))
})
