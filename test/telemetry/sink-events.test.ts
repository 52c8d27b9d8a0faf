import t from 'tap'
import { readTelemetryOptions, type TelemetryOptions } from '../../lib/telemetry/options/index.ts'
import { DETAILED_TRACE_EVENTS, TRACE_EVENTS } from '../../lib/telemetry/sink-events.ts'
import { createTraceSink } from '../../lib/telemetry/trace-sink.ts'
import type { Tracing } from '../../lib/telemetry/tracing.ts'

t.test('the traces take the events that they are said to take', async (t) => {
  const tracing = {} as unknown as Tracing
  t.same(Object.keys(createTraceSink(tracing, false)).sort(), [...TRACE_EVENTS].sort())
  t.same(Object.keys(createTraceSink(tracing, true)).sort(), [...TRACE_EVENTS, ...DETAILED_TRACE_EVENTS].sort())
})

t.test('a row of the router that would do nothing is refused, with the reason', async (t) => {
  const refused: ReadonlyArray<readonly [options: TelemetryOptions, message: RegExp]> = [
    [{ events: { 'job.started': { sinks: ['metrics'] } } }, /job\.started\.sinks: metrics does nothing with this event; leave metrics out/],
    [{ events: { 'job.completed': { sinks: ['metrics', 'traces'] } } }, /traces does nothing with this event/],
    [{ events: { 'store.operated': { sinks: ['log'] } } }, /log does nothing with this event/],
    [{ events: { 'store.operated': { sinks: ['traces'] } } }, /with detailedTracing only/],
    [{ events: { 'job.completed': { sinks: ['metrics'] } }, metrics: false }, /metrics are switched off/],
    [{ events: { 'job.progressed': { sinks: ['traces'] } }, tracing: false }, /tracing is switched off/],
    [{ events: { 'handler.registered': { sinks: ['log'] } }, logging: { level: 'info' } }, /its line has the level debug, and logging\.level is info/],
    [{ events: { 'job.failed': { sinks: ['log'] } }, logging: false }, /logging is switched off/],
    [{ events: { 'alert.raised': { sinks: ['log'] } } }, /its log line is written in any case/],
    [{ events: { 'job.completed': {} } }, /job\.completed is empty/],
    [{ events: { 'handler.started': { enabled: false } } }, /handler\.started reaches neither traces, metrics nor the log/],
    [{ events: { 'worker.idled': { sampleRate: 0.5 } } }, /worker\.idled\.sampleRate has no effect/],
    [{ excludeEvents: ['alert.raised'] }, /alert\.raised cannot be excluded/],
    [{ excludeEvents: ['job.removed'], events: { 'job.removed': { sampleRate: 0.5 } } }, /job\.removed has a row and is in excludeEvents/],
    [{ excludeEvents: ['job.nonsense' as 'job.removed'] }, /job\.nonsense is not an event/]
  ]
  for (const [options, message] of refused) t.throws(() => readTelemetryOptions(options), { code: 'FAE_INVALID_OPTIONS', message }, JSON.stringify(options))
})

t.test('rows that do something are taken', async (t) => {
  const taken: TelemetryOptions[] = [
    { events: { 'job.completed': { sinks: ['metrics'] }, 'job.progressed': { enabled: false }, 'store.operation_failed': { sinks: ['metrics', 'log'], sampleRate: 0.1 } }, excludeEvents: ['handler.registered'] },
    { events: { 'store.operated': { sinks: ['traces'] } }, detailedTracing: true },
    { events: { 'job.failed': { sinks: [] } } },
    { excludeEvents: ['handler.started'] }
  ]
  for (const options of taken) t.doesNotThrow(() => readTelemetryOptions(options), JSON.stringify(options))
  t.same(readTelemetryOptions(taken[0]).events['handler.registered'], { enabled: false })
})
