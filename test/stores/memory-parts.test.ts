/** The parts of the memory store that keep order, against plain models of them. */
import t from 'tap'
import { createContext } from '../../lib/core/context.ts'
import { Alarm } from '../../lib/stores/memory/alarm.ts'
import { CreationLog } from '../../lib/stores/memory/creation-log.ts'
import { MemoryConsumer } from '../../lib/stores/memory/consumer.ts'
import { Engine } from '../../lib/stores/memory/engine.ts'
import { JobHeap } from '../../lib/stores/memory/heap.ts'
import { IdempotencyKeys } from '../../lib/stores/memory/idempotency.ts'
import { hashOf, IdIndex } from '../../lib/stores/memory/id-index.ts'
import { readMemoryOptions } from '../../lib/stores/memory/options.ts'
import { LinkedList } from '../../lib/core/linked-list.ts'
import { StoredJob } from '../../lib/stores/memory/record.ts'
import { FakeClock } from '../../lib/testing/fake-clock.ts'

interface Item { key: number, heapPlace: number }

/** The same numbers on every run, so that a failure can be looked at. */
function randomNumbers (seed: number): () => number {
  let state = seed
  return () => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648
    return state / 2_147_483_648
  }
}

function job (id: string): StoredJob {
  return new StoredJob({
    id, name: 'n', queue: 'q', input: { body: undefined, params: {}, query: {}, headers: {} }, owner: undefined, correlationId: 'c', trace: undefined, priority: 0, createdAt: 0, runAt: 0, maxAttempts: 1, idempotency: undefined
  }, 'queued')
}

t.test('a heap gives its smallest first, whatever was pushed, popped or taken out of the middle', async (t) => {
  const random = randomNumbers(7)
  const heap = new JobHeap<Item>((a, b) => a.key < b.key)
  const model: Item[] = []
  let key = 0
  for (let step = 0; step < 20_000; step++) {
    const dice = random()
    if (dice < 0.5 || model.length === 0) {
      // Distinct keys in random order.
      const item = { key: Math.floor(random() * 1e6) + key++ / 1e6, heapPlace: -1 }
      heap.push(item)
      model.push(item)
    } else if (dice < 0.75) {
      const [item] = model.splice(Math.floor(random() * model.length), 1)
      if (item !== undefined) heap.remove(item)
      if (item?.heapPlace !== -1) t.fail('a removed item knows that it is out')
    } else {
      model.sort((a, b) => a.key - b.key)
      if (heap.pop() !== model.shift()) t.fail(`wrong item popped in step ${step}`)
    }
    if (heap.size !== model.length) t.fail(`wrong size in step ${step}`)
  }
  model.sort((a, b) => a.key - b.key)
  for (const item of model) if (heap.pop() !== item) t.fail('wrong item in the end')
  t.equal(heap.size, 0)
  t.equal(heap.pop(), undefined)
  heap.remove({ key: 1, heapPlace: -1 })
  heap.remove({ key: 1, heapPlace: 0 })
  t.equal(heap.size, 0, 'removing a stranger does nothing')
})

t.test('a list keeps its order through removals, and holds on to nothing', async (t) => {
  const list = new LinkedList<StoredJob>()
  const jobs = Array.from({ length: 6 }, (_, n) => job(String(n)))
  for (const entry of jobs) list.push(entry)
  const [first, , third, , , last] = jobs
  if (first === undefined || third === undefined || last === undefined) throw new Error('six jobs')
  for (const entry of [third, first, last, third]) list.remove(entry)
  t.equal(list.size, 3)
  t.same([third.previous, third.next, third.list], [undefined, undefined, undefined])
  const other = new LinkedList<StoredJob>()
  other.push(third)
  list.remove(third)
  t.equal(other.head, third, 'a list does not remove what is in another')
  t.same([list.shift()?.id, list.shift()?.id, list.shift()?.id, list.shift()], ['1', '3', '4', undefined])
  t.equal(list.size, 0)
  list.push(first)
  t.equal(list.head, first)
})

t.test('a creation log goes backwards from any place, across what was forgotten', async (t) => {
  const log = new CreationLog()
  t.equal(log.visit(log.end, 10, () => true), -1, 'an empty one has nothing')
  const jobs = Array.from({ length: 1_000 }, (_, n) => job(String(n)))
  for (const entry of jobs) log.add(entry)
  const kept = jobs.filter((_, n) => n % 7 === 0 || n === 500)
  // A long gap, and a job here and there.
  for (const entry of jobs) if (!kept.includes(entry)) log.delete(entry)
  const seen: string[] = []
  t.equal(log.visit(log.end, 10_000, ({ id }) => { seen.push(id); return true }), -1)
  t.same(seen, kept.map(({ id }) => id).reverse())

  const slices: string[] = []
  let rounds = 0
  for (let from = log.end; from >= 0; rounds++) from = log.visit(from, 10, ({ id }) => { slices.push(id); return true })
  t.same(slices, seen, 'slices leave nothing out and repeat nothing')
  t.ok(rounds > 10)

  const pages: string[] = []
  for (let from = log.end; from >= 0;) {
    let count = 0
    from = log.visit(from, 10_000, ({ id }) => { pages.push(id); return ++count < 4 })
  }
  t.same(pages, seen, 'so do pages')
  for (const entry of kept) log.delete(entry)
  log.delete(job('stranger'))
  t.equal(log.visit(log.end, 10_000, () => t.fail('nothing is left')), -1)
  const fresh = job('fresh')
  log.add(fresh)
  t.equal(log.visit(log.end, 10_000, (found) => { t.equal(found, fresh); return true }), -1)
})

t.test('an index finds what was added and not removed, like a Map', async (t) => {
  const random = randomNumbers(11)
  // Ids as random as ours, ids that differ in little, and ids that crowd into a few places.
  const ids = [
    ...Array.from({ length: 3_000 }, () => Math.floor(random() * 2 ** 31).toString(16).padStart(8, '0').repeat(4)),
    ...Array.from({ length: 3_000 }, (_, n) => `job-${n}`),
    ...collisions(200)
  ]
  const log = new CreationLog()
  const index = new IdIndex((serial) => log.at(serial))
  const model = new Map<string, StoredJob>()
  const check = (id: string): void => { if (index.get(id) !== model.get(id)) t.fail(`wrong answer for ${id}`) }
  const put = (id: string): void => {
    const added = job(id)
    added.hash = hashOf(id)
    log.add(added)
    index.add(added)
    model.set(id, added)
  }
  // Up, down to almost nothing, and up again: the parts grow and shrink on the way.
  for (const share of [0.9, 0.05, 0.6]) {
    for (let step = 0; step < 30_000; step++) {
      const id = ids[Math.floor(random() * ids.length)] ?? ''
      const known = model.get(id)
      check(id)
      if (known === undefined && random() < share) put(id)
      else if (known !== undefined && random() >= share) {
        index.delete(known)
        log.delete(known)
        model.delete(id)
        index.delete(known)
      }
    }
    for (const id of ids) check(id)
  }
  index.delete(Object.assign(job('stranger'), { hash: hashOf('stranger'), serial: 12 }))
  t.ok(model.size > 1_000, `${model.size} jobs were in it in the end`)
  index.clear()
  t.equal(index.get('job-1'), undefined)
  t.equal(index.get(''), undefined)
})

/** Texts whose hashes want the same few places of a table, however large it is. */
function collisions (count: number): string[] {
  const found: string[] = []
  for (let n = 0; found.length < count; n++) if ((hashOf(`c${n}`) & 0xffff) < 16) found.push(`c${n}`)
  return found
}

t.test('an alarm rings at the nearest moment, has one timer, and none once it is stopped', async (t) => {
  const clock = new FakeClock()
  const rings: number[] = []
  const alarm = new Alarm(clock, () => { rings.push(clock.monotonic()) })
  alarm.within(100, clock.monotonic())
  alarm.within(50, clock.monotonic())
  alarm.within(70, clock.monotonic())
  t.equal(clock.pending, 1)
  await clock.advance(200)
  t.same(rings, [50])
  alarm.within(10, clock.monotonic())
  alarm.stop()
  t.equal(clock.pending, 0)
  alarm.within(10, clock.monotonic())
  await clock.advance(20)
  t.same(rings, [50], 'a stopped one stays silent')
})

t.test('what finds or counts changes nothing, and a consumer that is made has not begun', async (t) => {
  const keys = new IdempotencyKeys(10, 10)
  keys.add({ key: 'a', fingerprint: 'f', ttlMs: 10 }, 'id', undefined, 0)
  t.equal(keys.find('a', 20), undefined)
  t.equal(keys.size, 1, 'an old key is forgotten when another one is added')
  keys.add({ key: 'b', fingerprint: 'f', ttlMs: 10 }, 'id', undefined, 20)
  t.equal(keys.size, 1)

  const engine = new Engine(createContext(), readMemoryOptions({}))
  t.teardown(() => engine.close())
  const queue = engine.queue('q')
  const consumer = new MemoryConsumer(engine, {
    queue: 'q', workerId: 'w', concurrency: 1, attempt: () => { throw new Error('not begun') }, onError: () => {}, onStalled: () => {}
  })
  t.equal(queue.consumers.length, 0)
  const seen = consumer.lastSeenAt
  t.ok(consumer.lastSeenAt >= seen)
  consumer.start()
  t.equal(queue.consumers.length, 1)
  await consumer.close()
})
