import { randomUUID } from 'node:crypto'
import t from 'tap'
import { LinkSigner } from '../../lib/http/capability.ts'
import { MAX_MESSAGE_BYTES, readMessage } from '../../lib/channels/socket-messages.ts'

t.test('what a client may say', async (t) => {
  t.same(readMessage('{"type":"subscribe","ids":["a","b","a"]}'), { type: 'subscribe', jobs: [{ id: 'a', sig: undefined }, { id: 'b', sig: undefined }] })
  t.same(readMessage('{"type":"subscribe","ids":["a"],"sig":"s"}'), { type: 'subscribe', jobs: [{ id: 'a', sig: 's' }] })
  t.same(readMessage('{"type":"subscribe","jobs":[{"id":"a","sig":"s","since":4},{"id":"b"}]}'), {
    type: 'subscribe', jobs: [{ id: 'a', sig: 's', since: 4 }, { id: 'b', sig: undefined, since: undefined }]
  })
  t.same(readMessage('{"type":"unsubscribe","ids":["a","a"]}'), { type: 'unsubscribe', ids: ['a'] })
  t.same(readMessage('{"type":"ping","more":1}'), { type: 'ping' }, 'members that are not known are for later versions')
  const fifty = { type: 'subscribe', ids: Array.from({ length: 50 }, () => crypto.randomUUID()) }
  t.equal(readMessage(JSON.stringify(fifty)).type, 'subscribe')
  t.ok(Buffer.byteLength(JSON.stringify(fifty)) <= MAX_MESSAGE_BYTES, 'fifty ids fit into one message')
  const now = (): number => 99_999_999_999_000
  const signer = new LinkSigner({ keys: [{ id: 'k'.repeat(32), secret: 's'.repeat(32) }] }, now)
  const jobs = Array.from({ length: 50 }, () => {
    const id = randomUUID()
    return { id, sig: signer.signFor(id, 'cancel'), since: Number.MAX_SAFE_INTEGER }
  })
  t.ok(Buffer.byteLength(JSON.stringify({ type: 'subscribe', jobs }, undefined, 1)) <= MAX_MESSAGE_BYTES, 'with the link of each, too')
})

t.test('anything else is invalid, with a sentence that says why', async (t) => {
  const bad = [
    '', ' ', 'subscribe', '{', 'null', '1', '"ping"', '[]', '[{"type":"ping"}]', '{}', '{"type":1}', '{"type":null}', '{"type":"Ping"}',
    '{"type":"__proto__"}', '{"__proto__":{"type":"ping"}}', '{"type":["ping"]}', '{"type":"subscribe"}', '{"type":"subscribe","ids":[]}',
    '{"type":"subscribe","ids":"a"}', '{"type":"subscribe","ids":[1]}', '{"type":"subscribe","ids":[""]}', '{"type":"subscribe","ids":[null]}',
    '{"type":"subscribe","ids":{"0":"a","length":1}}', '{"type":"subscribe","ids":["a"],"jobs":[{"id":"a"}]}', '{"type":"subscribe","ids":["a"],"sig":1}',
    '{"type":"subscribe","ids":["a"],"sig":""}', '{"type":"subscribe","jobs":[]}', '{"type":"subscribe","jobs":["a"]}', '{"type":"subscribe","jobs":[{}]}',
    '{"type":"subscribe","jobs":[{"id":"a","since":"1"}]}', '{"type":"subscribe","jobs":[{"id":"a","since":1.5}]}', '{"type":"subscribe","jobs":[{"id":"a","sig":{}}]}',
    '{"type":"subscribe","jobs":[{"id":"a"}],"sig":"s"}', '{"type":"unsubscribe"}', '{"type":"unsubscribe","ids":[[]]}', '{"type":"status","id":"a"}',
    `{"type":"subscribe","ids":["${'x'.repeat(129)}"]}`, `{"type":"subscribe","ids":["a"],"sig":"${'x'.repeat(1_025)}"}`, '\u0000', '{"type":"ping"}}', '[[[[[[[[[['
  ]
  for (const text of bad) {
    const message = readMessage(text)
    t.equal(message.type, 'invalid', JSON.stringify(text))
    t.match(message, { problem: /^["A-Z].{10,}/ }, 'says what is wrong')
  }
})
