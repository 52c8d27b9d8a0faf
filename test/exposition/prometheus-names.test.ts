import t from 'tap'
import { escapeHelp, exposedName, formatBound, formatNumber, renderLabels, sanitizeName } from '../../lib/exposition/prometheus-names.ts'
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
    ['a.total', '', 'gauge', 'a_total', 'a_total'],
    ['seen', '{request}/s', 'gauge', 'seen_per_second', 'seen_per_second'],
    ['seen', '1/min', 'gauge', 'seen_per_minute', 'seen_per_minute'],
    ['read', 'By/s', 'counter', 'read_bytes_per_second_total', 'read_bytes_per_second'],
    ['x', 'constructor', 'gauge', 'x_constructor', 'x_constructor'],
    ['x', '"\n\\°', 'gauge', 'x', 'x'],
    ['x', 'furlong^2', 'gauge', 'x_furlong_2', 'x_furlong_2']
  ]
  for (const [name, unit, kind, sample, family] of cases) t.match(exposedName({ name, unit, kind }), { sample, family }, `${name} [${unit}] ${kind}`)
  t.equal(sanitizeName('9 lives'), '_9_lives')
  t.equal(exposedName({ name: 'wait', unit: 's', kind: 'gauge' }).unit, 'seconds')
  t.equal(exposedName({ name: 'seconds', unit: 's', kind: 'gauge' }).unit, undefined, 'a unit stands behind an underscore or is not told')
})

t.test('ours are what the documents lead an operator to expect', async (t) => {
  const of = (key: keyof typeof INSTRUMENTS): string => exposedName(INSTRUMENTS[key]).sample
  t.equal(of('jobCreated'), 'asyncendpoints_jobs_created_total')
  t.equal(of('jobQueueDuration'), 'asyncendpoints_jobs_queue_duration_seconds')
  t.equal(of('jobCurrentCount'), 'asyncendpoints_jobs_current_count')
  t.equal(of('handlerError'), 'asyncendpoints_handlers_error_rate_total')
  t.equal(of('workerProcessed'), 'asyncendpoints_background_processing_rate_total')
  t.equal(of('workerIdle'), 'asyncendpoints_background_consumer_idle_time_seconds')
  t.equal(of('channelUtilization'), 'asyncendpoints_background_channel_utilization_percent')
  const names = Object.values(INSTRUMENTS).map((instrument) => exposedName(instrument).family)
  t.equal(new Set(names).size, names.length, 'no two metrics share a name')
})

t.test('labels are escaped, and two that become one are joined', async (t) => {
  t.equal(renderLabels({ a: 'x"y\\z\nw' }), 'a="x\\"y\\\\z\\nw"')
  t.equal(renderLabels({ 'job.queue': 'a', job_queue: 'b' }), 'job_queue="a;b"')
  t.equal(renderLabels({ job_queue: 'b', 'job.queue': 'a', x: '' }), 'job_queue="a;b",x=""', 'in the order of their names')
  t.equal(renderLabels({}), '')
  t.equal(renderLabels({ __name__: 'a', '9x': 'b', '': 'c' }), 'name="a",key_9x="b",key_="c"', 'nothing begins with an underscore')
  t.equal(renderLabels({ a: 'zero\u0000byte"' }), 'a="zerobyte\\""')
  t.equal(escapeHelp('a "b" \\ c\nd', false), 'a "b" \\\\ c\\nd')
  t.equal(escapeHelp('a "b"', true), 'a \\"b\\"')
  t.equal(escapeHelp('a\r\nb\u0000\r', false), 'a\\nb')
})

t.test('numbers', async (t) => {
  for (const [value, text] of [[1, '1'], [0.1, '0.1'], [1e21, '1e+21'], [5e-7, '5e-7'], [Infinity, '+Inf'], [-Infinity, '-Inf'], [NaN, 'NaN']] as const) t.equal(formatNumber(value), text)
  for (const [value, text] of [
    [1, '1.0'], [0.5, '0.5'], [-1, '-1.0'], [Infinity, '+Inf'], [-0, '0.0'], [3600, '3600.0'], [0.0001, '0.0001'], [0.001, '0.001'], [1e-5, '1e-05'], [2.5e-7, '2.5e-07'],
    [1e-10, '1e-10'], [100_000, '100000.0'], [999_999.5, '999999.5'], [1e6, '1e+06'], [1_048_576, '1.048576e+06'], [1e21, '1e+21'], [-2e6, '-2e+06'], [1e100, '1e+100']
  ] as const) t.equal(formatBound(value), text)
})
