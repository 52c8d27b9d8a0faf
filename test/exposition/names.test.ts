import t from 'tap'
import { escapeHelp, exposedName, formatBound, formatNumber, renderLabels, sanitizeName } from '../../lib/exposition/names.ts'
import { INSTRUMENTS, type InstrumentKind } from '../../lib/telemetry/instruments.ts'

t.test('OpenTelemetry names become Prometheus names', async (t) => {
  const cases: ReadonlyArray<readonly [name: string, unit: string, kind: InstrumentKind, sample: string, family: string]> = [
    ['http.server.request.duration', 's', 'histogram', 'http_server_request_duration_seconds', 'http_server_request_duration_seconds'],
    ['x.jobs', '{job}', 'counter', 'x_jobs_total', 'x_jobs'],
    ['x.jobs.total', '{job}', 'counter', 'x_jobs_total', 'x_jobs'],
    ['foo.bar', 'By', 'counter', 'foo_bar_bytes_total', 'foo_bar_bytes'],
    ['foo.bytes.total', 'By', 'counter', 'foo_bytes_total', 'foo_bytes'],
    ['wait.seconds', 's', 'gauge', 'wait_seconds', 'wait_seconds'],
    ['queue.depth', '1', 'gauge', 'queue_depth_ratio', 'queue_depth_ratio'],
    ['calls', '1', 'counter', 'calls_total', 'calls'],
    ['use', '%', 'gauge', 'use_percent', 'use_percent'],
    ['speed', 'm/s', 'gauge', 'speed_meters_per_second', 'speed_meters_per_second'],
    ['odd--name..x', '', 'gauge', 'odd_name_x', 'odd_name_x'],
    ['a.total', '', 'gauge', 'a_total', 'a_total']
  ]
  for (const [name, unit, kind, sample, family] of cases) t.match(exposedName({ name, unit, kind }), { sample, family }, `${name} [${unit}] ${kind}`)
  t.equal(sanitizeName('9 lives'), '_9_lives')
})

t.test('ours are what the documents lead an operator to expect', async (t) => {
  const of = (key: keyof typeof INSTRUMENTS): string => exposedName(INSTRUMENTS[key]).sample
  t.equal(of('jobsCreated'), 'asyncendpoints_jobs_created_total')
  t.equal(of('jobsQueueDuration'), 'asyncendpoints_jobs_queue_duration_seconds')
  t.equal(of('jobsCurrentCount'), 'asyncendpoints_jobs_current_count')
  t.equal(of('handlersErrorRate'), 'asyncendpoints_handlers_error_rate_total')
  t.equal(of('backgroundProcessingRate'), 'asyncendpoints_background_processing_rate_total')
  t.equal(of('backgroundIdleTime'), 'asyncendpoints_background_consumer_idle_time_seconds')
  t.equal(of('backgroundChannelUtilization'), 'asyncendpoints_background_channel_utilization_percent')
  const names = Object.values(INSTRUMENTS).map((instrument) => exposedName(instrument).family)
  t.equal(new Set(names).size, names.length, 'no two metrics share a name')
})

t.test('labels are escaped, and two that become one are joined', async (t) => {
  t.equal(renderLabels({ a: 'x"y\\z\nw' }), 'a="x\\"y\\\\z\\nw"')
  t.equal(renderLabels({ 'job.queue': 'a', job_queue: 'b' }), 'job_queue="a;b"')
  t.equal(renderLabels({}), '')
  t.equal(escapeHelp('a "b" \\ c\nd', false), 'a "b" \\\\ c\\nd')
  t.equal(escapeHelp('a "b"', true), 'a \\"b\\"')
})

t.test('numbers', async (t) => {
  for (const [value, text] of [[1, '1'], [0.1, '0.1'], [1e21, '1e+21'], [5e-7, '5e-7'], [Infinity, '+Inf'], [-Infinity, '-Inf'], [NaN, 'NaN']] as const) t.equal(formatNumber(value), text)
  for (const [value, text] of [[1, '1.0'], [0.5, '0.5'], [-1, '-1.0'], [Infinity, '+Inf'], [1e21, '1e+21']] as const) t.equal(formatBound(value), text)
})
