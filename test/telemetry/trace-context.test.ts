import { setTimeout as wait } from 'node:timers/promises'
import { context, createContextKey, ROOT_CONTEXT } from '@opentelemetry/api'
import { NodeTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-node'
import t from 'tap'
import { TraceExits } from '../../lib/events/trace-exits.ts'
import { GLOBAL_WAYS, hasContextManager, QUIET_CONTEXT, runQuietly, TraceContext } from '../../lib/telemetry/trace-context.ts'
import { registeredTracerProvider } from '../../lib/telemetry/registered-provider.ts'

const KEY = createContextKey('test')
const marked = ROOT_CONTEXT.setValue(KEY, 'here')

t.test('the cheapest way that the process offers', async (t) => {
  t.equal(hasContextManager(), false)
  t.equal(new TraceContext(undefined, 20).mode, 'explicit', 'no AsyncLocalStorage of ours where it costs')
  t.equal(new TraceContext(undefined, 22).mode, 'explicit')
  t.equal(new TraceContext(undefined, 24).mode, 'private')
})

t.test('explicit: nothing is active', async (t) => {
  const contexts = new TraceContext('explicit')
  t.equal(contexts.run(marked, () => contexts.active()), undefined)
})

t.test('private: active in what follows, in this instance only', async (t) => {
  const [contexts, other] = [new TraceContext('private'), new TraceContext('private')]
  await contexts.run(marked, async () => {
    await wait(1)
    t.equal(contexts.active()?.getValue(KEY), 'here')
    t.equal(other.active(), undefined)
  })
  t.equal(contexts.active(), undefined)
})

t.test('the ways out: none where nothing is carried, one where it is our own', async (t) => {
  t.equal(new TraceContext('explicit').ways, undefined)
  const contexts = new TraceContext('private')
  const { ways } = contexts
  if (ways === undefined) throw new Error('there are no ways')
  t.equal(ways.inside(), false)
  await contexts.run(marked, async () => {
    t.equal(ways.inside(), true)
    for (const way of [ways.quietly, ways.plainly]) {
      await way(async () => {
        await wait(1)
        t.equal(contexts.active(), undefined, 'a loop that starts here keeps nothing')
      })
    }
    t.equal(contexts.active()?.getValue(KEY), 'here')
  })
})

t.test('the exits of an application: closed until somebody says how contexts are carried', async (t) => {
  const exits = new TraceExits()
  t.same([exits.open, exits.quietly(() => 1), exits.plainly(() => 2)], [false, 1, 2])
  const contexts = new TraceContext('private')
  if (contexts.ways === undefined) throw new Error('there are no ways')
  exits.use(contexts.ways)
  t.equal(exits.open, false, 'there is nothing to leave')
  contexts.run(marked, () => {
    t.equal(exits.open, true)
    t.equal(exits.quietly(() => contexts.active()), undefined)
  })
})

t.test('before registration there is no provider', async (t) => {
  t.equal(registeredTracerProvider(), undefined)
})

t.test('our own loops leave no spans in anybody\'s SDK', async (t) => {
  const exporter = new InMemorySpanExporter()
  const tracer = new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] }).getTracer('x')
  tracer.startSpan('quiet', {}, QUIET_CONTEXT).end()
  t.same(exporter.getFinishedSpans(), [])
  tracer.startSpan('loud', {}, ROOT_CONTEXT).end()
  t.equal(exporter.getFinishedSpans().length, 1)
  t.equal(runQuietly(() => 5), 5)
})

// Last: what is registered with the API stays registered for the process.
t.test('after registration both are found', async (t) => {
  const provider = new NodeTracerProvider()
  provider.register()
  t.equal(hasContextManager(), true)
  const found = registeredTracerProvider()
  t.ok(found)
  t.ok(found?.getTracer('x').startSpan('y').isRecording())
  const contexts = new TraceContext()
  t.equal(contexts.mode, 'global')
  await contexts.run(marked, async () => {
    await wait(1)
    t.equal(context.active().getValue(KEY), 'here')
    t.equal(contexts.ways, GLOBAL_WAYS)
    t.equal(GLOBAL_WAYS.inside(), true)
    GLOBAL_WAYS.plainly(() => { t.equal(context.active(), ROOT_CONTEXT) })
    runQuietly(() => { t.equal(contexts.active()?.getValue(KEY), undefined, 'a loop of ours does not keep what is active now') })
  })
})
