import t from 'tap'
import { OpenChannels, type Channel } from '../../lib/channels/open-channels.ts'
import { FakeClock } from '../../lib/testing/fake-clock.ts'

t.test('of many that were admitted at the same time, a client keeps only as many as it may have', async (t) => {
  const clock = new FakeClock()
  const channels = new OpenChannels({ clock, bus: { emit: () => {} }, pingMs: 1_000, max: 10, maxPerClient: 2 })
  const left: number[] = []
  const channel = (at: number): Channel => {
    const made: Channel = {
      kind: 'websocket',
      leave: () => {},
      beat: () => {},
      end: () => {
        left.push(at)
        channels.delete(made, { reason: 'limit', sent: 0 })
      }
    }
    return made
  }
  t.equal(channels.refusal('a'), undefined)
  for (let at = 0; at < 5; at++) channels.add(channel(at), 'a')
  t.same(left, [2, 3, 4])
  t.equal(channels.size, 2)
  t.equal(channels.refusal('a'), 'limit')
  t.equal(channels.refusal('b'), undefined)
})
