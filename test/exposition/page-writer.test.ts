import { once } from 'node:events'
import { connect, type AddressInfo } from 'node:net'
import Fastify from 'fastify'
import t from 'tap'
import { PageMemory, PageWriter, TimeSlices } from '../../lib/exposition/page-writer.ts'
import { asyncEndpoints } from '../../plugins/async-endpoints.ts'
import { parseExposition } from './support/openmetrics-parser.ts'

const DEADLINE_MS = 20_000

async function make (text: string, expectedBytes = 0, memory?: PageMemory): Promise<Buffer> {
  const page = new PageWriter(expectedBytes, memory)
  for (let at = 0; at < text.length; at += 10_001) {
    page.add(text.slice(at, at + 10_001))
    page.flush()
  }
  return await page.end(new TimeSlices(2))
}

t.test('what is added comes out, however wrong the expectation was', async (t) => {
  const cases = ['', 'a', 'ü€\u{1f600}', 'x'.repeat(65_536), 'ü'.repeat(65_536), '€'.repeat(700_000), 'abc\n'.repeat(1_000_000)]
  for (const text of cases) {
    for (const expected of [0, 1, 100_000, 5_000_000]) t.ok((await make(text, expected)).equals(Buffer.from(text)), `${text.length} characters, ${expected} bytes expected`)
  }
  t.ok((await make('€'.repeat(10_000_000))).equals(Buffer.from('€'.repeat(10_000_000))), 'one text of 30 MB')
})

t.test('the memory of a page is used again when it is given back, and not before', async (t) => {
  const memory = new PageMemory()
  const text = 'a'.repeat(400_000)
  const first = await make(text, 400_000, memory)
  const second = await make(text.replaceAll('a', 'b'), 400_000, memory)
  t.not(second.buffer, first.buffer, 'somebody may still read the first')
  t.ok(first.equals(Buffer.from(text)))
  memory.giveBack(first)
  const third = await make(text.replaceAll('a', 'c'), 400_000, memory)
  t.equal(third.buffer, first.buffer)
  memory.giveBack(first)
  t.not((await make(text, 400_000, memory)).buffer, third.buffer, 'given back twice is given back once')
  memory.giveBack(Buffer.alloc(300_000))
  t.not((await make(text, 400_000, memory)).length, 300_000, 'what comes from elsewhere is not used')
  memory.giveBack(third)
  t.not((await make('a', 10, memory)).buffer, third.buffer, 'a small page does not hold on to large memory')
})

t.test('a scraper that reads slowly gets its own page, whatever is scraped meanwhile', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(asyncEndpoints, { observability: { metrics: { maxSeriesPerMetric: 10_000 } } })
  const histogram = app.jobMetricsRegistry.instrument({ name: 'big', kind: 'histogram', unit: 's', description: 'Big', labels: ['n'] })
  const cells = Array.from({ length: 6_000 }, (_, n) => histogram.bind({ n: `a label value of some length, number ${n}` }))
  for (const cell of cells) cell.observe(1)
  // The first page is longer than expected; the second is what is lent.
  const memory: unknown[] = []
  let sent = (): void => {}
  app.addHook('onSend', async (_request, _reply, payload) => {
    if (Buffer.isBuffer(payload) && memory.push(payload.buffer) === 2) sent()
  })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const { port } = app.server.address() as AddressInfo
  const counts = (page: string): Set<number> => new Set(parseExposition(page, 'text').get('big_seconds')?.samples.filter(({ name }) => name === 'big_seconds_count').map(({ value }) => value))
  const scrape = async (): Promise<string> => await (await fetch(`http://127.0.0.1:${port}/metrics`, { signal: AbortSignal.timeout(DEADLINE_MS) })).text()
  t.same(counts(await scrape()), new Set([1]))

  const socket = connect(port, '127.0.0.1')
  t.teardown(() => socket.destroy())
  socket.setTimeout(DEADLINE_MS, () => { socket.destroy(new Error('the slow scraper heard nothing for too long')) })
  await once(socket, 'connect')
  socket.pause()
  const onItsWay = new Promise<void>((resolve) => { sent = resolve })
  socket.write('GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n')
  await onItsWay
  for (const cell of cells) cell.observe(1)
  for (let n = 0; n < 3; n++) t.same(counts(await scrape()), new Set([2]))
  t.equal(memory.length, 5)
  t.ok(new Set(memory).size < 5, 'the others share their memory')
  const chunks: Buffer[] = []
  socket.on('data', (chunk: Buffer) => { chunks.push(chunk) })
  socket.resume()
  await once(socket, 'close')
  const answer = Buffer.concat(chunks).toString()
  t.ok(answer.length > 8_000_000, `${answer.length} bytes: more than a connection takes at once`)
  t.same(counts(answer.slice(answer.indexOf('\r\n\r\n') + 4)), new Set([1]), 'as it was when it was asked')
})
