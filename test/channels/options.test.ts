import t from 'tap'
import { readListeningOptions, type ListeningOptions } from '../../lib/channels/options.ts'

t.test('streams are on and sockets are off, unless it is said', async (t) => {
  const defaults = { sse: true, webSocket: false, maxConnections: 10_000, maxPerClient: 100, maxAgeMs: 600_000, pingMs: 15_000 }
  t.same(readListeningOptions(), defaults)
  t.same(readListeningOptions({ webSocket: true, pingMs: undefined }), { ...defaults, webSocket: true })
  t.same(readListeningOptions({ webSocket: { origins: ['https://shop.example', '*'] }, maxPerClient: 3 }), { ...defaults, webSocket: { origins: ['https://shop.example', '*'] }, maxPerClient: 3 })
})

t.test('every bad option is in one message', async (t) => {
  const bad = { sockets: true, webSocket: { origins: ['shop.example', 'https://shop.example/'], path: '/ws' }, sse: 'yes', maxPerClient: 0, maxConnections: -1, pingMs: 1, maxAgeMs: '1h' } as unknown as ListeningOptions
  const message = messageOf(bad)
  for (const part of ['sockets', 'sse', 'maxPerClient', 'maxConnections', 'pingMs', 'maxAgeMs', 'webSocket.path', 'webSocket.origins: "shop.example"', 'webSocket.origins: "https://shop.example/"']) {
    t.ok(message.includes(part), part)
  }
  for (const webSocket of [1, 'on', null, []]) t.match(messageOf({ webSocket } as unknown as ListeningOptions), /webSocket/, String(webSocket))
})

function messageOf (options: ListeningOptions): string {
  try {
    return `accepted: ${JSON.stringify(readListeningOptions(options))}`
  } catch (error) {
    return String(error)
  }
}
