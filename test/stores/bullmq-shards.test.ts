/** The connection that listens on a cluster, with a server that is played here. */
import { EventEmitter } from 'node:events'
import type { Redis } from 'ioredis'
import t from 'tap'
import type { Way } from '../../lib/stores/bullmq/shard-connection.ts'
import { ShardListener } from '../../lib/stores/bullmq/shard-listener.ts'
import { slotOf } from '../../lib/stores/bullmq/slots.ts'
import { FakeClock } from '../../lib/testing/fake-clock.ts'

const OWN = '{p}::greet:me'

/** A client of ioredis to a node that answers at once, unless it was made to do something else. */
class Node extends EventEmitter {
  readonly commands: string[] = []
  readonly channels = new Set<string>()
  readonly played: Played
  gone = false

  constructor (played: Played) {
    super()
    this.played = played
  }

  ssubscribe (...channels: string[]): Promise<number> { return this.#join('s', channels) }
  subscribe (...channels: string[]): Promise<number> { return this.#join('', channels) }
  sunsubscribe (...channels: string[]): Promise<number> { return this.#leave('s', channels) }
  unsubscribe (...channels: string[]): Promise<number> { return this.#leave('', channels) }

  async #join (kind: string, channels: readonly string[]): Promise<number> {
    this.commands.push(`+${kind} ${channels.join(' ')}`)
    if (this.played.hangs) await new Promise(() => {})
    if (this.played.refusal !== undefined) throw new Error(this.played.refusal)
    for (const channel of channels) this.channels.add(channel)
    return channels.length
  }

  async #leave (kind: string, channels: readonly string[]): Promise<number> {
    this.commands.push(`-${kind} ${channels.join(' ')}`)
    for (const channel of channels) this.channels.delete(channel)
    return channels.length
  }
}

class Played {
  readonly clock = new FakeClock()
  readonly nodes: Node[] = []
  readonly asked: boolean[] = []
  readonly events: string[] = []
  readonly messages: string[] = []
  readonly listener: ShardListener
  way: Way = 'sharded'
  /** Nothing can be published. */
  away = false
  /** Published, and heard by nobody. */
  deaf = false
  hangs = false
  unknown = false
  /** A client is made only after this. */
  connecting: Promise<void> | undefined
  refusal: string | undefined

  constructor () {
    this.listener = new ShardListener({
      clock: this.clock,
      ownChannel: OWN,
      attemptMs: 3_000,
      connect: async (again) => {
        this.asked.push(again)
        if (this.unknown) return undefined
        await this.connecting
        const node = new Node(this)
        this.nodes.push(node)
        return node as unknown as Redis
      },
      release: (client) => { (client as unknown as Node).gone = true },
      greet: async (channel, message) => {
        if (this.away) throw new Error('not connected')
        this.publish(channel, message)
        return this.way
      }
    })
    for (const event of ['ready', 'close'] as const) this.listener.on(event, () => { this.events.push(event) })
    this.listener.on('message', (channel, message) => { this.messages.push(`${channel} ${message}`) })
  }

  publish (channel: string, message: string): void {
    const event = this.way === 'sharded' ? 'smessage' : 'message'
    if (!this.deaf) for (const node of this.nodes) if (!node.gone && node.channels.has(channel)) node.emit(event, channel, message)
  }

  get last (): Node | undefined { return this.nodes.at(-1) }
}

t.test('slots are those that a server computes', async (t) => {
  for (const [key, slot] of [['', 0], ['123456789', 12_739], ['foo', 12_182], ['{foo}:x', 12_182], ['x{foo}y{bar}', 12_182], ['{fae}:q:changed:1', slotOf('fae')]] as const) {
    t.equal(slotOf(key), slot, key)
  }
  t.not(slotOf('{}{foo}'), slotOf('foo'), 'empty braces mean nothing')
})

t.test('it listens when it has heard a greeting, and again after each loss', async (t) => {
  const played = new Played()
  const { clock, listener, events } = played
  t.teardown(() => listener.close())
  await listener.subscribe('{p}:a', '{p}:b')
  t.same(played.last?.commands, [`+s ${OWN}`, '+s {p}:a {p}:b'])
  t.same(events, ['ready'])
  played.publish('{p}:a', 'x')
  t.same(played.messages, ['{p}:a x'], 'greetings are nobody else\'s')
  await listener.unsubscribe('{p}:b')
  t.equal(played.last?.commands.at(-1), '-s {p}:b')
  for (const sign of [['moved'], ['close'], ['end'], ['error', new Error('Command queue state error. If you can reproduce this')]] as const) {
    const before = played.nodes.length
    events.length = 0
    played.last?.emit(...(sign as [string]))
    t.ok(played.nodes.at(-1)?.gone)
    await clock.advance(2_000)
    t.equal(played.nodes.length, before + 1, sign[0])
    t.same(events, ['close', 'ready'])
  }
  played.last?.emit('error', new Error('read ECONNRESET'))
  await clock.advance(2_000)
  t.same(events, ['close', 'ready'], 'other errors are followed by an event, or mean nothing')
  t.equal(played.asked[0], false)
  t.ok(played.asked.slice(1).every(Boolean), 'the cluster is asked again where the node is')
})

t.test('a connection that hears no greeting is left; where nothing can be published nothing is concluded', async (t) => {
  const played = new Played()
  const { clock, listener, events } = played
  t.teardown(() => listener.close())
  await listener.subscribe('{p}:a')
  await clock.advance(60_000)
  t.equal(played.nodes.length, 1, 'it is greeted all the time')
  played.away = true
  await clock.advance(60_000)
  t.equal(played.nodes.length, 1)
  played.away = false
  played.deaf = true
  await clock.advance(20_000)
  t.ok(played.nodes.length > 1, 'no node is believed')
  t.ok(played.nodes.length < 10, 'nor asked without a pause')
  played.deaf = false
  await clock.advance(8_000)
  t.equal(events.at(-1), 'ready')
  t.equal(played.nodes.filter(({ gone }) => !gone).length, 1)
  played.deaf = true
  await clock.advance(8_000)
  await listener.subscribe('{p}:b')
  t.ok(played.nodes.some(({ gone, channels }) => !gone && channels.has('{p}:b')), 'meanwhile the old one is used')
  events.length = 0
  played.deaf = false
  await clock.advance(8_000)
  t.same(events, ['close', 'ready'], 'something was missed')
  t.equal(played.nodes.filter(({ gone }) => !gone).length, 1)
})

t.test('it follows the way that messages are published', async (t) => {
  const played = new Played()
  const { clock, listener } = played
  t.teardown(() => listener.close())
  played.way = 'plain'
  await listener.subscribe('{p}:a')
  t.same(played.last?.commands, [`+ ${OWN}`, '+ {p}:a'])
  played.way = 'sharded'
  await clock.advance(8_000)
  t.same(played.last?.commands, [`+s ${OWN}`])
})

t.test('who joins while there is no connection is served by the next; who leaves is not', async (t) => {
  const played = new Played()
  const { clock, listener, events } = played
  t.teardown(() => listener.close())
  played.unknown = true
  const joined = listener.subscribe('{p}:a', '{p}:b')
  await clock.advance(5_000)
  await listener.unsubscribe('{p}:b')
  played.unknown = false
  played.hangs = true
  await clock.advance(10_000)
  t.ok(played.nodes.length > 1, 'an attempt that hangs is given up')
  played.hangs = false
  await clock.advance(5_000)
  await joined
  t.same(played.last?.commands, [`+s ${OWN}`, '+s {p}:a'])
  t.equal(events.at(-1), 'ready')
})

t.test('a refusal is passed on; the end of it, too', async (t) => {
  const played = new Played()
  const { clock, listener, events } = played
  played.refusal = 'NOPERM this user has no permissions to run the \'ssubscribe\' command'
  await t.rejects(listener.subscribe('{p}:a'), /NOPERM/)
  t.ok(events.includes('close'), 'changes may be missed')
  played.refusal = undefined
  await clock.advance(5_000)
  t.equal(events.at(-1), 'ready')
  await listener.subscribe('{p}:b')
  played.unknown = true
  played.last?.emit('close')
  const never = listener.subscribe('{p}:c')
  listener.close()
  await t.rejects(never, { code: 'FAE_CLOSED' })
  await t.rejects(listener.subscribe('{p}:d'), { code: 'FAE_CLOSED' })
  const { length } = played.nodes
  await clock.advance(60_000)
  t.equal(played.nodes.length, length)
  t.ok(played.nodes.every(({ gone }) => gone))
})

t.test('closed while the client is made: it begins nothing, and lets the client go', async (t) => {
  const played = new Played()
  const { listener, nodes } = played
  let connected = (): void => {}
  played.connecting = new Promise((resolve) => { connected = resolve })
  const unhandled: unknown[] = []
  const hear = (error: unknown): void => { unhandled.push(error) }
  process.on('unhandledRejection', hear)
  t.teardown(() => { process.removeListener('unhandledRejection', hear) })
  const joined = listener.subscribe('{p}:a').catch((error: unknown) => error)
  while (played.asked.length === 0) await new Promise((resolve) => { setImmediate(resolve) })
  listener.close()
  t.match(await joined, Error)
  connected()
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => { setImmediate(resolve) })
  t.match(nodes, [{ gone: true, commands: [] }])
  t.same(unhandled, [])
})
