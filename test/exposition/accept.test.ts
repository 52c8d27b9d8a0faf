import t from 'tap'
import { CONTENT_TYPES, negotiate } from '../../lib/exposition/accept.ts'

const CASES: ReadonlyArray<readonly [accept: string | undefined, format: 'text' | 'openmetrics']> = [
  [undefined, 'text'],
  ['', 'text'],
  ['*/*', 'text'],
  ['text/plain', 'text'],
  ['text/*', 'text'],
  ['text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8', 'text'],
  ['application/json', 'text'],
  ['application/openmetrics-text', 'openmetrics'],
  ['application/openmetrics-text; version=1.0.0; charset=utf-8', 'openmetrics'],
  ['Application/OpenMetrics-Text;Version="1.0.0"', 'openmetrics'],
  ['application/openmetrics-text;version=0.0.1', 'text'],
  // Prometheus 2 and 3, as they ask.
  ['application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2', 'openmetrics'],
  ['application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1', 'openmetrics'],
  ['application/openmetrics-text;q=0.4,text/plain;q=0.5', 'text'],
  ['application/openmetrics-text;q=0.5,text/plain;q=0.5', 'openmetrics'],
  ['application/openmetrics-text;q=0', 'text'],
  ['application/openmetrics-text;q=abc', 'text'],
  ['application/openmetrics-text;q=2', 'text'],
  ['application/vnd.google.protobuf;q=0.9,application/openmetrics-text;q=0.3,*/*;q=0.2', 'openmetrics'],
  [',;q=,=;;', 'text']
]

t.test('the format follows the qualities', async (t) => {
  for (const [accept, format] of CASES) t.equal(negotiate(accept), format, String(accept))
})

t.test('content types are exact: Prometheus 3 refuses anything else', async (t) => {
  t.equal(CONTENT_TYPES.text, 'text/plain; version=0.0.4; charset=utf-8')
  t.equal(CONTENT_TYPES.openmetrics, 'application/openmetrics-text; version=1.0.0; charset=utf-8')
})
