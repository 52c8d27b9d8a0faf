import { randomUUID } from 'node:crypto'
import t from 'tap'
import { Publisher } from '../../lib/stores/bullmq/updates.ts'
import { FakeClock } from '../../lib/testing/fake-clock.ts'

/** A publisher and the messages that it sends. */
function publishing (): { readonly publisher: Publisher, readonly clock: FakeClock, readonly messages: string[] } {
  const clock = new FakeClock()
  const messages: string[] = []
  const client = { publish: async (_channel: string, message: Buffer) => { messages.push(message.toString()) } }
  const run = async <T>(operation: (client: never) => Promise<T>): Promise<T> => await operation(client as never)
  return { publisher: new Publisher({ run }, clock, 'updates'), clock, messages }
}

t.test('a job that is alone has one message for its beginning and its end, sent when it ends', async (t) => {
  const { publisher, messages } = publishing()
  const id = randomUUID()
  publisher.publish(id, 'in-progress')
  t.same(messages, [], 'nothing stands in the way of its handler')
  publisher.publish(id, 'completed')
  t.same(messages, [`i${id}\nc${id}`])
})

t.test('that a long job began is published after a few milliseconds', async (t) => {
  const { publisher, clock, messages } = publishing()
  const [long, next] = [randomUUID(), randomUUID()]
  publisher.publish(long, 'in-progress')
  await clock.advance(5)
  t.same(messages, [`i${long}`])
  publisher.publish(next, 'in-progress')
  publisher.publish(long, 'completed')
  t.equal(messages.length, 1, 'what changes in the milliseconds after a message waits for the next one')
  await clock.advance(5)
  t.same(messages.slice(1), [`i${next}\nc${long}`])
})

t.test('many changes travel in few messages, and closing sends the rest', async (t) => {
  const { publisher, clock, messages } = publishing()
  const ids = Array.from({ length: 50 }, () => randomUUID())
  for (const id of ids) publisher.publish(id, 'completed')
  t.same(messages, [`c${ids[0]}`], 'the first goes out at once')
  await clock.advance(5)
  t.equal(messages.length, 2)
  publisher.publish(ids[0] ?? '', 'failed')
  publisher.close()
  t.same(messages.at(-1), `f${ids[0]}`)
})
