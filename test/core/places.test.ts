import type { FastifyRequest } from 'fastify'
import t from 'tap'
import { clientKey } from '../../lib/http/client-key.ts'
import { Places } from '../../lib/core/places.ts'

class Seat {
  readonly ended: string[]
  readonly name: string
  constructor (ended: string[], name: string) {
    this.ended = ended
    this.name = name
  }

  end (): void { this.ended.push(this.name) }
}

/** Places for so many, and what was ended, in order. */
function hall (max: number): { places: Places<Seat>, ended: string[], come: (client: string, name: string) => boolean } {
  const ended: string[] = []
  const places = new Places<Seat>(max)
  return { places, ended, come: (client, name) => places.take(client, new Seat(ended, name)) }
}

t.test('free places are for whoever comes; then the one with the most gives its oldest', async (t) => {
  const { places, ended, come } = hall(4)
  for (let n = 0; n < 4; n++) t.ok(come('greedy', `g${n}`))
  t.equal(places.size, 4)
  t.ok(places.has('other'))
  t.ok(come('other', 'o0'))
  t.ok(come('other', 'o1'))
  t.strictSame(ended, ['g0', 'g1'])
  t.equal(places.size, 4)
  t.ok(come('other', 'o2'), 'both have two: from here on everybody exchanges their own')
  t.ok(come('greedy', 'g4'))
  t.strictSame(ended, ['g0', 'g1', 'o0', 'g2'])
  t.ok(come('third', 't0'))
  t.equal(ended.length, 5)
  t.ok(come('greedy', 'g5'))
  t.notOk(ended.includes('t0'), 'the only place of a client is not taken away')
})

t.test('a client keeps its one place whatever another asks for', async (t) => {
  const { ended, come } = hall(10)
  t.ok(come('calm', 'c'))
  for (let n = 0; n < 1_000; n++) t.ok(come('greedy', `g${n}`))
  t.notOk(ended.includes('c'))
  t.equal(ended.length, 991)
})

t.test('when everybody has one, whoever comes gets none', async (t) => {
  const { places, ended, come } = hall(3)
  for (const client of ['a', 'b', 'c']) t.ok(come(client, client))
  t.notOk(places.has('d'))
  t.notOk(come('d', 'd'))
  t.strictSame(ended, [])
  t.equal(places.size, 3)
})

t.test('a place is given back once', async (t) => {
  const places = new Places<Seat>(1)
  const [first, second] = [new Seat([], 'first'), new Seat([], 'second')]
  places.take('a', first)
  places.take('a', second)
  places.give('a', first)
  t.equal(places.size, 1)
  places.give('a', second)
  places.give('a', second)
  t.equal(places.size, 0)
  t.strictSame([...places.all()], [])
  t.notOk(new Places<Seat>(0).take('a', first), 'with no places nobody gets one')
})

t.test('clients: the owner, else the address; of IPv6 the network', async (t) => {
  const key = (ip: string, owner?: string): string => clientKey({ ip } as FastifyRequest, owner)
  t.equal(key('10.0.0.1', 'alice'), 'owner:alice')
  t.equal(key('10.0.0.1'), 'ip:10.0.0.1')
  t.equal(key('::ffff:10.0.0.1'), 'ip:10.0.0.1')
  t.equal(key('2001:db8:1:2:a:b:c:d'), 'ip:2001:db8:1:2')
  t.equal(key('2001:DB8:0001:2::1'), 'ip:2001:db8:1:2')
  t.equal(key('2001:db8::1'), 'ip:2001:db8:0:0')
  t.equal(key('::1'), 'ip:0:0:0:0')
  t.not(key('2001:db8:1:2::1'), key('2001:db8:1:3::1'))
})
