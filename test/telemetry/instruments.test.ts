import { readFileSync } from 'node:fs'
import t from 'tap'
import { INSTRUMENTS, JOB_BUCKETS, STORE_BUCKETS, type InstrumentDefinition } from '../../lib/telemetry/instruments.ts'
import { MetricsRegistry } from '../../lib/telemetry/registry.ts'
import { SCOPE_LABELS, SCOPE_VERSION } from '../../lib/telemetry/version.ts'

/** Requirement rows S0-25 to S0-40: name, kind, unit, labels, as the source document lists them. */
const REQUIRED: ReadonlyArray<readonly [row: string, name: string, kind: string, unit: RegExp, labels: readonly string[]]> = [
  ['S0-25', 'asyncendpoints.jobs.created.total', 'counter', /^\{/, ['job_name', 'store_type']],
  ['S0-26', 'asyncendpoints.jobs.processed.total', 'counter', /^\{/, ['job_name', 'status', 'store_type']],
  ['S0-27', 'asyncendpoints.jobs.failed.total', 'counter', /^\{/, ['job_name', 'error_type', 'store_type']],
  ['S0-28', 'asyncendpoints.jobs.retries.total', 'counter', /^\{/, ['job_name', 'store_type']],
  ['S0-29', 'asyncendpoints.jobs.queue.duration', 'histogram', /^s$/, ['job_name', 'store_type']],
  ['S0-30', 'asyncendpoints.jobs.processing.duration', 'histogram', /^s$/, ['job_name', 'status']],
  ['S0-31', 'asyncendpoints.jobs.claim.duration', 'histogram', /^s$/, ['store_type']],
  ['S0-32', 'asyncendpoints.jobs.current.count', 'gauge', /^\{/, ['job_status', 'store_type']],
  ['S0-33', 'asyncendpoints.handlers.execution.duration', 'histogram', /^s$/, ['job_name', 'handler_type']],
  ['S0-34', 'asyncendpoints.handlers.error.rate', 'counter', /^\{/, ['job_name', 'error_type']],
  ['S0-35', 'asyncendpoints.store.operations.total', 'counter', /^\{/, ['operation', 'store_type']],
  ['S0-36', 'asyncendpoints.store.operation.duration', 'histogram', /^s$/, ['operation', 'store_type']],
  ['S0-37', 'asyncendpoints.store.errors.total', 'counter', /^\{/, ['operation', 'error_type', 'store_type']],
  ['S0-38', 'asyncendpoints.background.processing.rate', 'counter', /^\{/, ['worker_id']],
  ['S0-39', 'asyncendpoints.background.consumer.idle.time', 'histogram', /^s$/, ['worker_id']],
  ['S0-40', 'asyncendpoints.background.channel.utilization', 'gauge', /^%$/, ['channel_type']]
]

const all: readonly InstrumentDefinition[] = Object.values(INSTRUMENTS)

t.test('the sixteen of the source document are there, letter by letter', async (t) => {
  for (const [row, name, kind, unit, labels] of REQUIRED) {
    const instrument = all.find((entry) => entry.name === name)
    t.match(instrument, { kind, unit, labels: [...labels] }, `${row} ${name}`)
  }
})

t.test('names are unique, and of one family', async (t) => {
  const names = all.map(({ name }) => name)
  t.equal(new Set(names).size, names.length)
  for (const { name, kind } of all) {
    t.match(name, /^asyncendpoints(\.[a-z_]+)+$/)
    if (name.endsWith('.total')) t.equal(kind, 'counter', name)
  }
})

t.test('each can be registered, is described, and histograms say their buckets', async (t) => {
  const registry = new MetricsRegistry()
  for (const instrument of all) {
    registry.instrument(instrument)
    t.match(instrument.description, /^[A-Z].{10,}[^.]$/, instrument.name)
    t.equal(instrument.buckets !== undefined, instrument.kind === 'histogram', instrument.name)
  }
  t.equal(JOB_BUCKETS[0], 0.005)
  t.equal(JOB_BUCKETS.at(-1), 3600, 'job-scale: 5 ms to 1 h')
  t.equal(STORE_BUCKETS[0], 0.0005)
})

t.test('the version of meter and tracer is the version of the package', async (t) => {
  const { version } = JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')) as { version: string }
  t.equal(SCOPE_VERSION, version)
  t.same(SCOPE_LABELS, { otel_scope_name: 'AsyncEndpoints', otel_scope_version: version })
})
