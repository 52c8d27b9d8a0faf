import t from 'tap'
import { prefersEvents } from '../../lib/http/prefers-events.ts'

t.test('events must be named, and wanted no less than JSON', async (t) => {
  const table: ReadonlyArray<readonly [string | undefined, boolean]> = [
    ['text/event-stream', true],
    ['TEXT/Event-Stream', true],
    ['text/event-stream; charset=utf-8', true],
    ['text/event-stream, application/json;q=0.9', true],
    ['application/json, text/event-stream;q=0.9', false],
    ['text/event-stream;q=0.9, application/json', false],
    ['text/event-stream, application/json', true],
    ['application/json, text/event-stream', false],
    ['text/event-stream, */*', true],
    ['*/*, text/event-stream', true],
    ['text/event-stream;q=0.1, */*', false],
    ['text/event-stream;q=0', false],
    ['text/event-stream;q=2', false],
    ['text/event-stream;q=x', false],
    ['*/*', false],
    ['text/*', false],
    ['text/html,application/xhtml+xml,*/*;q=0.8', false],
    ['application/json', false],
    ['', false],
    [undefined, false],
    ['text/event-streams', false],
    [`text/event-stream${' '.repeat(1_000)}`, false],
    [',;,;q=,text/event-stream;q=;q=1', false]
  ]
  for (const [accept, wanted] of table) t.equal(prefersEvents(accept), wanted, String(accept).trim())
})
