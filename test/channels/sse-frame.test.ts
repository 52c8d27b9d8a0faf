import t from 'tap'
import { endMark, GONE, idOfOne, idOfSeveral, lastEventId, readSeen, sseFrame } from '../../lib/channels/sse-frame.ts'
import { SseParser } from '../support/event-client.ts'

/** What a user could write to make a line, an event or an id of its own. */
const HOSTILE = [
  'a\ndata: forged', 'a\rid: 7', 'a\r\n\r\nevent: end', '\n\n', '\u0000', '\u2028event: end\u2029', '\u0085', '\ufeff', ':comment', 'retry: 1',
  '\ud800', '"}\n\nevent: end\ndata: {"id":"x"}\n\n', ' leading', '</script>', '\u001b[2J'
]

t.test('a frame', async (t) => {
  t.equal(sseFrame({ event: 'status', id: '3', data: { a: 1 }, retry: 2_000.4 }), 'retry: 2000\nevent: status\nid: 3\ndata: {"a":1}\n\n')
  t.equal(sseFrame({ event: 'ping', data: {} }), 'event: ping\ndata: {}\n\n')
  t.equal(sseFrame({ event: 'status', data: undefined }), 'event: status\ndata: null\n\n', 'data is never empty: a browser would drop the event')
})

t.test('nothing that a user has written makes a line of its own', async (t) => {
  for (const [n, text] of HOSTILE.entries()) {
    const frame = sseFrame({ event: 'status', id: '1', data: { [text]: text, deep: [{ text }] } })
    t.equal(frame.split(/\r\n|\r|\n/).length, 5, `text ${n}`)
    const parser = new SseParser()
    for (const character of frame) parser.add(character)
    t.equal(parser.events.length, 1)
    t.match(parser.events[0], { type: 'status', lastEventId: '1' })
    t.ok(JSON.stringify(parser.events[0]?.data) === JSON.stringify({ [text]: text, deep: [{ text }] }), 'and it comes as it was')
    t.throws(() => sseFrame({ event: 'status', id: text, data: {} }), TypeError, 'an id comes from a fixed alphabet')
  }
  t.throws(() => sseFrame({ event: 'status', id: '', data: {} }), TypeError)
})

t.test('what a client has seen of one job', async (t) => {
  t.same(readSeen(lastEventId('12'), 1), { version: 12, over: [false], marks: [], count: 0 })
  t.same(readSeen(lastEventId('12.end'), 1), { version: 12, over: [true], marks: [], count: 0 })
  t.equal(idOfOne(12, false), '12')
  t.equal(idOfOne(12, true), '12.end')
  t.equal(idOfOne(undefined, true), undefined, 'a store without versions')
})

t.test('what a client has seen of several jobs', async (t) => {
  const marks = Array.from({ length: 50 }, (_, at) => at % 3 === 0 || at === 49 ? endMark(at * 999_999_999) : at % 5 === 0 ? GONE : undefined)
  const over = marks.map((mark) => mark !== undefined)
  const id = idOfSeveral(marks, 999_999_999_999_999)
  t.ok(id.length <= 170, `${id.length} characters`)
  t.same(readSeen(lastEventId(id), 50), { version: undefined, over, marks, count: 999_999_999_999_999 })
  t.same(readSeen(lastEventId(idOfSeveral([undefined, '001', undefined], 1)), 3).marks, [undefined, '001', undefined])
  t.same(readSeen(lastEventId(id), 49), readSeen(undefined, 49), 'of more jobs than there are')
})

t.test('ids that were never sent say nothing', async (t) => {
  const nothing = (jobs: number): object => ({ version: undefined, over: new Array(jobs).fill(false), marks: [], count: 0 })
  const never = [...HOSTILE, '', '-1', '1.5', '1e3', 'end', '.end', '1.end.end', '9'.repeat(16), 'x'.repeat(201), 'v1.3.1', 'v2', 'v2..', 'v2.1', 'v2.1.1', 'v2.1.0000', 'v2.1.AAA', `v2.1.${'0'.repeat(12)}`, 1, null, undefined, ['1']]
  for (const [n, id] of never.entries()) {
    t.same(readSeen(lastEventId(id), 1), nothing(1), `id ${n}`)
    t.same(readSeen(lastEventId(id), 3), nothing(3), `id ${n}`)
  }
  t.same(readSeen('v2.1.001', 1), nothing(1), 'an id of several jobs, on a stream about one')
  t.same(readSeen('12', 2), nothing(2), 'and the other way round')
})
