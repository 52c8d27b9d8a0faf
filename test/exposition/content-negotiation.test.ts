import t from 'tap'
import { CONTENT_TYPES, negotiate, type BuiltInFormat } from '../../lib/exposition/content-negotiation.ts'

const CASES: ReadonlyArray<readonly [accept: string | undefined, format: BuiltInFormat]> = [
  [undefined, 'prometheus'],
  ['', 'prometheus'],
  ['*/*', 'prometheus'],
  ['text/plain', 'prometheus'],
  ['text/*', 'prometheus'],
  ['text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8', 'prometheus'],
  ['application/json', 'json'],
  ['text/csv', 'csv'],
  ['text/csv;header=present;q=0.9, application/json;q=0.8', 'csv'],
  ['image/png', 'prometheus'],
  ['application/openmetrics-text', 'openmetrics'],
  ['application/openmetrics-text; version=1.0.0; charset=utf-8', 'openmetrics'],
  ['Application/OpenMetrics-Text;Version="1.0.0"', 'openmetrics'],
  ['application/openmetrics-text;version=0.0.1', 'prometheus'],
  // Prometheus 2 and 3, as they ask.
  ['application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2', 'openmetrics'],
  ['application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1', 'openmetrics'],
  ['application/openmetrics-text;q=0.4,text/plain;q=0.5', 'prometheus'],
  ['application/openmetrics-text;q=0.5,text/plain;q=0.5', 'openmetrics'],
  ['application/openmetrics-text;q=0', 'prometheus'],
  ['application/openmetrics-text;q=abc', 'prometheus'],
  ['application/openmetrics-text;q=2', 'prometheus'],
  ['application/vnd.google.protobuf;q=0.9,application/openmetrics-text;q=0.3,*/*;q=0.2', 'openmetrics'],
  [',;q=,=;;', 'prometheus'],
  // A quality of 0 is a no.
  ['text/plain;q=0', 'openmetrics'],
  ['text/plain;q=0,application/openmetrics-text;q=0,application/json;q=0', 'csv'],
  ['text/*;q=0', 'openmetrics'],
  ['text/*;q=0,text/csv;q=0.1', 'csv'],
  ['*/*;q=0', 'prometheus'],
  ['*/*;q=0,application/json;q=0.1', 'json'],
  ['application/json;q=0,*/*', 'prometheus'],
  ['text/plain;q=x', 'prometheus'],
  // What is named goes before a wildcard of the same quality, what is usual before the rest.
  ['application/json,*/*', 'json'],
  ['application/json, text/plain, */*', 'prometheus'],
  ['application/*', 'json'],
  ['text/csv,application/json', 'json'],
  ['application/openmetrics-text;q=0.5,*/*', 'prometheus'],
  [`text/plain;q=0.1${',a/b'.repeat(100_000)}`, 'prometheus']
]

const USUAL: ReadonlyArray<readonly [accept: string | undefined, usual: BuiltInFormat, format: BuiltInFormat]> = [
  [undefined, 'json', 'json'],
  ['*/*', 'openmetrics', 'openmetrics'],
  ['*/*', 'csv', 'csv'],
  ['text/html,*/*;q=0.8', 'csv', 'csv'],
  ['text/*', 'csv', 'csv'],
  ['text/*', 'json', 'prometheus'],
  ['application/*', 'openmetrics', 'openmetrics'],
  ['image/png', 'json', 'json'],
  ['application/json;q=0', 'json', 'prometheus'],
  ['application/json, text/plain, */*', 'json', 'json'],
  ['text/plain;version=0.0.4;q=0.3,*/*;q=0.2', 'json', 'prometheus']
]

t.test('what is usual is an option', async (t) => {
  for (const [accept, usual, format] of USUAL) t.equal(negotiate(accept, usual), format, `${String(accept)}, usual ${usual}`)
})

t.test('the format follows the qualities', async (t) => {
  for (const [accept, format] of CASES) t.equal(negotiate(accept), format, String(accept).slice(0, 200))
})

t.test('content types are exact: Prometheus 3 refuses anything else', async (t) => {
  t.equal(CONTENT_TYPES.prometheus, 'text/plain; version=0.0.4; charset=utf-8')
  t.equal(CONTENT_TYPES.openmetrics, 'application/openmetrics-text; version=1.0.0; charset=utf-8')
  t.equal(CONTENT_TYPES.json, 'application/json; charset=utf-8')
  t.equal(CONTENT_TYPES.csv, 'text/csv; charset=utf-8; header=present')
})
