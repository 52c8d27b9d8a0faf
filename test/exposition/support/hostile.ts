/** Metrics that somebody meant ill with, or did not think about: everything that could break a page of text. */
import { INSTRUMENTS, type InstrumentDefinition } from '../../../lib/telemetry/instruments.ts'
import { MetricsRegistry } from '../../../lib/telemetry/registry.ts'
import type { ExemplarSource } from '../../../lib/telemetry/snapshot.ts'

export const TRACE: ExemplarSource = { traceId: '0af7651916cd43dd8448eb211c80319c', spanId: 'b7ad6b7169203331' }

/** What a label may be asked to hold. */
export const HOSTILE_VALUES: readonly string[] = [
  '', ' ', 'plain', 'two\nlines', '\n', 'carriage\rreturn', '\r\n', 'tab\t', '"', '\\', '\\"', '\\n', '"}\ninjected_metric 1\n# {a="', 'trailing \\',
  '{}', '=,', '# EOF', '\n# EOF\n', '# HELP a b', '\u0000', 'zero\u0000byte', '\u0001\u001b[31m\u007f', '\u0085\u2028\u2029', '\ufeff', 'ümläut', '任务', '\u{1f600}',
  // Halves of characters, which are all the same in UTF-8; the last is what they become.
  '\ud800', '\udbff', '\udc00', 'x\ud83d', '\ufffd',
  // Cut in the middle of a character, and long beyond reason.
  `${'a'.repeat(199)}\u{1f600}`, 'x'.repeat(10_000_000), `${'y'.repeat(10_000_000)}"\n`, '\\'.repeat(1_000), '\n'.repeat(1_000), '\u{1f600}'.repeat(1_000)
]

const ODD: ReadonlyArray<InstrumentDefinition & { readonly values?: readonly number[] }> = [
  { name: 'odd-name/with..all_of-them', kind: 'counter', unit: '{thing}', description: 'Odd', labels: ['a.b', 'a_b'] },
  { name: 'collides.with', kind: 'gauge', unit: '', description: 'The first', labels: [] },
  { name: 'collides_with', kind: 'gauge', unit: '', description: 'The second', labels: [] },
  { name: 'collides.total', kind: 'counter', unit: '', description: 'A counter', labels: [] },
  { name: 'collides', kind: 'gauge', unit: '', description: 'A gauge with the name of its family', labels: [] },
  { name: 'waits', kind: 'histogram', unit: '', description: 'A histogram', labels: [] },
  { name: 'waits.count', kind: 'gauge', unit: '', description: 'A gauge with the name of one of its lines', labels: [] },
  { name: 'target.info', kind: 'gauge', unit: '', description: 'A gauge with the name of the resource', labels: [] },
  { name: 'gauge.total', kind: 'gauge', unit: '', description: 'A gauge that looks like a counter', labels: [] },
  { name: 'total', kind: 'counter', unit: '', description: 'Nothing but a suffix', labels: [] },
  { name: 'seconds', kind: 'gauge', unit: 's', description: 'Nothing but its unit', labels: [] },
  { name: 'a', kind: 'gauge', unit: 'constructor', description: 'A unit that every object has', labels: [] },
  { name: 'speed', kind: 'gauge', unit: 'm/s', description: 'A unit per another', labels: [] },
  { name: 'requests', kind: 'gauge', unit: '{request}/s', description: 'A count per unit', labels: [] },
  { name: 'broken.unit', kind: 'gauge', unit: '"\n\\°', description: 'A unit without a letter', labels: [] },
  { name: 'ratio', kind: 'gauge', unit: '1', description: 'A ratio', labels: [] },
  { name: 'said', kind: 'gauge', unit: '', description: 'Lines\nand \\ and "quotes"\n# EOF\n\u0000\u2028\ud800\r', labels: [] },
  { name: 'silent', kind: 'gauge', unit: '', description: '', labels: [] },
  { name: 'values', kind: 'gauge', unit: '', description: 'Every kind of number', labels: ['n'], values: [NaN, Infinity, -Infinity, -0, 5e-324, Number.MAX_VALUE, 0.1 + 0.2, -1e21] },
  { name: 'endless', kind: 'counter', unit: '', description: 'Up to infinity', labels: ['n'], values: [Infinity, 1e300, NaN, -1, 0, 0.5] },
  { name: 'both.infinities', kind: 'histogram', unit: 's', description: 'Its sum is no number', labels: [], values: [Infinity, -Infinity, NaN] },
  { name: 'below.zero', kind: 'histogram', unit: 's', description: 'Its sum is below zero', labels: [], values: [-5] },
  { name: 'temperature', kind: 'histogram', unit: 'Cel', description: 'Its buckets begin below zero', labels: ['n'], buckets: [-273.15, -1, 0, 1e-7, 20, 1e6, 1e21], values: [-300, -10, 0, 15, 1e9] },
  { name: 'sizes', kind: 'histogram', unit: 'By', description: 'Large buckets', labels: [], buckets: [1, 1024, 1_048_576, 1_073_741_824], values: [5, 5_000_000] },
  { name: 'labelled.le', kind: 'histogram', unit: 's', description: 'A label that would become le', labels: ['le.', 'otel_scope_name'], values: [1] },
  { name: 'reserved', kind: 'gauge', unit: '', description: 'Labels that begin with an underscore', labels: ['_', '__name__', '_x'], values: [1] }
]

/** Every instrument of ours, each with every hostile value in every label, and the odd ones. */
export function hostileRegistry (): MetricsRegistry {
  const registry = new MetricsRegistry({ now: () => 1_700_000_000_007 })
  registry.instrument({ name: 'never.bound', kind: 'counter', unit: '', description: 'Nothing is recorded', labels: ['a'] })
  for (const definition of Object.values(INSTRUMENTS)) fill(registry, definition, [0.3, 7])
  for (const { values = [1, 2], ...definition } of ODD) fill(registry, definition, values)
  registry.onCollect(() => { throw new Error('a gauge that cannot be read') })
  return registry
}

function fill (registry: MetricsRegistry, definition: InstrumentDefinition, numbers: readonly number[]): void {
  const { kind, labels } = definition
  const texts = labels.length === 0 ? [''] : HOSTILE_VALUES
  for (const text of texts) {
    for (const number of numbers) {
      const set = Object.fromEntries(labels.map((label) => [label, label === 'n' ? String(number) : text]))
      if (kind === 'counter') registry.instrument({ ...definition, kind }).bind(set).add(number, TRACE)
      else if (kind === 'gauge') registry.instrument({ ...definition, kind }).bind(set).set(number)
      else registry.instrument({ ...definition, kind }).bind(set).observe(number, TRACE)
    }
  }
}
