import { randomUUID } from 'node:crypto'
import t from 'tap'
import { commandName } from '../../lib/stores/bullmq/scripts.ts'
import { luaScript } from '../../lib/stores/bullmq/lua.ts'
import { Publisher } from '../../lib/stores/bullmq/updates.ts'
import { FakeClock } from '../../lib/testing/fake-clock.ts'

const QUEUE = 'fae:tests:'
const ANNOUNCE = commandName('announce', luaScript('announce', { constants: { sharded: false } }))

/** A publisher and what it sends: the prefix of the queue, then each id with its message. */
function publishing (): { readonly publisher: Publisher, readonly clock: FakeClock, readonly sent: string[] } {
  const clock = new FakeClock()
  const sent: string[] = []
  const client = { isCluster: false, [ANNOUNCE]: async ([, ...args]: readonly string[]) => { sent.push(args.join(' ')) } }
  const run = async <T>(operation: (client: never) => Promise<T>): Promise<T> => await operation(client as never)
  return { publisher: new Publisher({ run }, clock), clock, sent }
}

t.test('that a short job began is not published: its end is, by the script that stores it', async (t) => {
  const { publisher, clock, sent } = publishing()
  for (let n = 0; n < 20; n++) {
    const id = randomUUID()
    publisher.began(QUEUE, id)
    await clock.advance(3)
    publisher.ended(QUEUE, id)
  }
  await clock.advance(20)
  t.same(sent, [])
  t.equal(clock.pending, 0)
})

t.test('that a long job began is published after some milliseconds', async (t) => {
  const { publisher, clock, sent } = publishing()
  const id = randomUUID()
  publisher.began(QUEUE, id)
  await clock.advance(4)
  t.same(sent, [])
  await clock.advance(6)
  t.same(sent, [`${QUEUE} ${id} i`])
  await clock.advance(50)
  t.equal(sent.length, 1)
  t.equal(clock.pending, 0)
})

t.test('that a job is to run again goes out at once, and its beginning is not published after that', async (t) => {
  const { publisher, clock, sent } = publishing()
  const [first, second] = [randomUUID(), randomUUID()]
  publisher.began(QUEUE, first)
  publisher.ended(QUEUE, first, 'queued')
  publisher.ended(QUEUE, second, 'scheduled')
  t.same(sent, [`${QUEUE} ${first} q`], 'what changes in the milliseconds after a command waits for the next one')
  await clock.advance(50)
  t.same(sent.slice(1), [`${QUEUE} ${second} s`])
})

t.test('many changes travel in few commands, one for each queue, and closing sends the rest', async (t) => {
  const { publisher, clock, sent } = publishing()
  const ids = Array.from({ length: 50 }, () => randomUUID())
  for (const id of ids) publisher.ended(QUEUE, id, 'queued')
  t.same(sent, [`${QUEUE} ${ids[0]} q`], 'the first goes out at once')
  publisher.ended('fae:other:', ids[0] ?? '', 'scheduled')
  await clock.advance(5)
  t.equal(sent.length, 3)
  publisher.ended(QUEUE, ids[0] ?? '', 'queued')
  publisher.close()
  t.same(sent.at(-1), `${QUEUE} ${ids[0]} q`)
  await clock.advance(50)
  t.equal(clock.pending, 0)
})
