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
  const odd = parseExposition(Buffer.from('# HELP g Line\u2028separator, \u{1f600}\n# TYPE g gauge\ng{a="\r\u2028\u0001"} 1\n'), 'text')
  t.equal(odd.get('g')?.samples[0]?.labels.get('a'), '\r\u2028\u0001')
  const below = parseExposition('# TYPE h histogram\nh_bucket{le="-1.0"} 1\nh_bucket{le="1e-05"} 2\nh_bucket{le="1.048576e+06"} 2\nh_bucket{le="+Inf"} 2\n# EOF\n', 'openmetrics')
  t.equal(below.get('h')?.samples.length, 4, 'below zero without sum and count')
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
    ...['1', '0.50', '1e6', '1000000.0', '1e-5', '1.0e+06', '0.00001', '05.0', '.5'].map((le) => [/as a float/, '# TYPE h histogram', `h_bucket{le="${le}"} 1`, 'h_bucket{le="+Inf"} 1', 'h_sum 1', 'h_count 1'] as const),
    [/clash/, '# TYPE a_count gauge', 'a_count{x="1"} 1', '# TYPE a histogram', 'a_bucket{le="+Inf"} 1', 'a_sum 1', 'a_count 1'],
    [/clash/, '# TYPE a_total counter', 'a_total 1', '# TYPE a gauge', 'a 1'],
    [/not together/, '# TYPE h histogram', 'h_bucket{a="1",le="+Inf"} 1', 'h_bucket{a="2",le="+Inf"} 1', 'h_sum{a="1"} 1', 'h_count{a="1"} 1', 'h_sum{a="2"} 1', 'h_count{a="2"} 1'],
    [/in a bucket/, '# TYPE h histogram', 'h_bucket{le="+Inf"} 1.5', 'h_sum 1', 'h_count 1.5'],
    [/le on/, '# TYPE g gauge', 'g{le="1.0"} 1'],
    [/separated/, '# TYPE g gauge', 'g{a="1",} 1'],
    [/reserved/, '# TYPE g gauge', 'g{_a="1"} 1'],
    [/bad timestamp/, '# TYPE g gauge', 'g 1 1.5'],
    [/carriage return/, '# TYPE g gauge\r', 'g 1'],
    [/zero bytes/, '# TYPE g gauge', 'g{a="\u0000"} 1'],
    [/halves/, '# TYPE g gauge', 'g{a="\ud83d"} 1'],
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
    [/not a HELP/, '# a free comment', '# EOF'],
    [/not a HELP/, '# TYPE g gauge', 'g 1', '# EOF', '# EOF'],
    [/bare quote/, '# HELP g a "b"', '# TYPE g gauge', 'g 1', '# EOF'],
    [/has a unit/, '# TYPE i_seconds info', '# UNIT i_seconds seconds', 'i_seconds_info 1', '# EOF'],
    [/the info/, '# TYPE i info', 'i_info 2', '# EOF'],
    [/below zero and a sum/, '# TYPE h histogram', 'h_bucket{le="-1.0"} 1', 'h_bucket{le="+Inf"} 1', 'h_sum 1', 'h_count 1', '# EOF'],
    [/the sum of/, '# TYPE h histogram', 'h_bucket{le="+Inf"} 1', 'h_sum -1', 'h_count 1', '# EOF'],
    [/the sum of/, '# TYPE h histogram', 'h_bucket{le="+Inf"} 1', 'h_sum NaN', 'h_count 1', '# EOF'],
    [/sum or count/, '# TYPE h histogram', 'h_bucket{le="+Inf"} 1', 'h_count 1', '# EOF'],
    [/no space before the value of the exemplar/, '# TYPE a counter', 'a_total 1 # {b="c"}1', '# EOF'],
    [/clash/, '# TYPE target info', 'target_info{a="b"} 1', '# TYPE target_info gauge', 'target_info 1', '# EOF']
  ]
  for (const [why, ...lines] of open) t.throws(() => parseExposition(`${lines.join('\n')}\n`, 'openmetrics'), { message: why }, String(why))
  t.throws(() => parseExposition('# TYPE a gauge\na 1', 'text'), { message: /line feed/ })
  t.throws(() => parseExposition(Buffer.from('# TYPE a gauge\na{b="\xff"} 1\n', 'latin1'), 'text'), TypeError, 'bytes that are not UTF-8')
})
