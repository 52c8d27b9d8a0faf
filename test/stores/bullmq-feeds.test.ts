import { EventEmitter } from 'node:events'
import t from 'tap'
import type { Connections } from '../../lib/stores/bullmq/connections.ts'
import { Subscriptions } from '../../lib/stores/bullmq/feeds.ts'
import { FakeClock } from '../../lib/testing/fake-clock.ts'

t.test('a channel that is left before the server has answered is joined again by the next who listens', async (t) => {
  const commands: string[] = []
  const answers: Array<() => void> = []
  const client = Object.assign(new EventEmitter(), {
    isCluster: false,
    subscribe: async (channel: string) => {
      commands.push(`subscribe ${channel}`)
      await new Promise<void>((resolve) => { answers.push(resolve) })
    },
    unsubscribe: async (channel: string) => { commands.push(`unsubscribe ${channel}`) }
  })
  const connections = { live: true, server: 'redis://test', subscriber: () => client } as unknown as Connections
  const clock = new FakeClock()
  const subscriptions = new Subscriptions(connections, clock, 5_000)
  const handler = (): void => {}
  const first = subscriptions.add('a', handler)
  await clock.advance(1)
  subscriptions.remove('a', handler)
  await clock.advance(1_000)
  t.same(commands, ['subscribe a', 'unsubscribe a'])
  answers[0]?.()
  await first
  const second = subscriptions.add('a', handler)
  await clock.advance(1)
  t.same(commands, ['subscribe a', 'unsubscribe a', 'subscribe a'])
  answers[1]?.()
  await second
  await subscriptions.add('a', () => {})
  t.equal(commands.length, 3, 'one who listens where another does joins nothing')
  subscriptions.close()
})
