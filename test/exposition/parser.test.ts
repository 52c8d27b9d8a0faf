/** The parser is what the other tests trust, so it must refuse what the specifications refuse. */
import t from 'tap'
import { parseExposition } from './support/openmetrics-parser.ts'

const HISTOGRAM = ['# HELP h_seconds x', '# TYPE h_seconds histogram', 'h_seconds_bucket{le="1.0"} 1', 'h_seconds_bucket{le="+Inf"} 2', 'h_seconds_sum 3', 'h_seconds_count 2']

t.test('it reads what is well formed', async (t) => {
  const text = parseExposition('# HELP a_total A \\\\ line\\n two\n# TYPE a_total counter\na_total{x="q\\"u\\\\o\\nte",y=""} 12\na_total 0\n# TYPE g gauge\ng NaN\n', 'text')
  t.equal(text.get('a_total')?.help, 'A \\ line\n two')
  t.equal(text.get('a_total')?.samples[0]?.labels.get('x'), 'q"u\\o\nte')
  t.ok(Number.isNaN(text.get('g')?.samples[0]?.value))
  const open = parseExposition(['# TYPE a counter', 'a_total 1 # {trace_id="ab"} 1 1.5', ...HISTOGRAM.slice(1, 2), '# UNIT h_seconds seconds', ...HISTOGRAM.slice(2), '# EOF', ''].join('\n'), 'openmetrics')
  t.equal(open.get('a')?.samples[0]?.exemplar?.timestamp, 1.5)
  t.equal(open.get('h_seconds')?.unit, 'seconds')
})

t.test('it refuses what is not', async (t) => {
  const text: ReadonlyArray<readonly [why: RegExp, ...lines: string[]]> = [
    [/one group/, '# TYPE a gauge', 'a 1', '# TYPE b gauge', 'b 1', '# TYPE a gauge'],
    [/second HELP/, '# HELP a x', '# HELP a y', '# TYPE a gauge', 'a 1'],
    [/second TYPE/, '# TYPE a gauge', '# TYPE a gauge', 'a 1'],
    [/no sample/, '# TYPE a gauge', 'b 1'],
    [/before any metadata/, 'a 1'],
    [/twice/, '# TYPE a gauge', 'a{x="1",y="2"} 1', 'a{y="2",x="1"} 1'],
    [/label x is there twice/, '# TYPE a gauge', 'a{x="1",x="2"} 1'],
    [/bad escape/, '# TYPE a gauge', 'a{x="\\t"} 1'],
    [/bad label value/, '# TYPE a gauge', 'a{x="open} 1'],
    [/not a number/, '# TYPE a gauge', 'a Infinity'],
    [/no exemplars/, '# TYPE a_total counter', 'a_total 1 # {trace_id="x"} 1'],
    [/counter/, '# TYPE a_total counter', 'a_total -1'],
    [/UNIT/, '# TYPE a gauge', '# UNIT a seconds', 'a 1'],
    [/empty line/, '# TYPE a gauge', '', 'a 1'],
    [/no samples/, '# TYPE a gauge'],
    [/ascending/, ...HISTOGRAM.slice(0, 2), 'h_seconds_bucket{le="2.0"} 1', ...HISTOGRAM.slice(2)],
    [/cumulative/, ...HISTOGRAM.slice(0, 2), 'h_seconds_bucket{le="0.5"} 2', ...HISTOGRAM.slice(2)],
    [/\+Inf/, ...HISTOGRAM.slice(0, 3), ...HISTOGRAM.slice(4)],
    [/as a float/, ...HISTOGRAM.slice(0, 2), 'h_seconds_bucket{le="0"} 0', ...HISTOGRAM.slice(2)],
    [/sum or count/, ...HISTOGRAM.slice(0, 5)]
  ]
  for (const [why, ...lines] of text) t.throws(() => parseExposition(`${lines.join('\n')}\n`, 'text'), { message: why }, String(why))
  const open: ReadonlyArray<readonly [why: RegExp, ...lines: string[]]> = [
    [/no sample/, '# TYPE a counter', 'a 1', '# EOF'],
    [/EOF/, '# TYPE a gauge', 'a 1'],
    [/its unit/, '# TYPE a gauge', '# UNIT a seconds', 'a 1', '# EOF'],
    [/exemplar on/, '# TYPE a gauge', 'a 1 # {trace_id="x"} 1', '# EOF'],
    [/characters/, '# TYPE a counter', `a_total 1 # {trace_id="${'x'.repeat(121)}"} 1`, '# EOF'],
    [/does not belong/, '# TYPE h histogram', 'h_bucket{le="1.0"} 1 # {a="b"} 2', 'h_bucket{le="+Inf"} 1', 'h_sum 1', 'h_count 1', '# EOF'],
    [/not a HELP/, '# a free comment', '# EOF']
  ]
  for (const [why, ...lines] of open) t.throws(() => parseExposition(`${lines.join('\n')}\n`, 'openmetrics'), { message: why }, String(why))
  t.throws(() => parseExposition('# TYPE a gauge\na 1', 'text'), { message: /line feed/ })
})
