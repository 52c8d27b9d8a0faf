import { EventEmitter } from 'node:events'
import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import type { JobNews } from '../../lib/channels/backbone.ts'
import { EventStream, sayBye, type EventStreamParts } from '../../lib/channels/event-stream.ts'
import { readSeen } from '../../lib/channels/sse-frame.ts'
import type { JobPlace, JobRecord } from '../../lib/jobs/job.ts'
import { FakeClock } from '../../lib/testing/fake-clock.ts'
import { SseParser, type SseEvent } from '../support/event-client.ts'

/** A response whose client reads, or does not. */
class FakeOutput extends EventEmitter {
  readonly parser = new SseParser()
  writableLength = 0
  reads = true
  ended = false
  destroyed = 0

  write (text: string): boolean {
    this.parser.add(text)
    if (!this.reads) this.writableLength += text.length
    return this.reads
  }

  read (): void {
    this.reads = true
    this.writableLength = 0
    this.emit('drain')
    if (this.ended) this.emit('close')
  }

  end (text = ''): void {
    this.write(text)
    this.ended = true
    if (this.reads) process.nextTick(() => this.emit('close'))
  }

  destroy (): void {
    this.destroyed++
    process.nextTick(() => this.emit('close'))
  }

  take (): SseEvent[] { return this.parser.events.splice(0) }
}

function record (id: string, more: Partial<JobRecord> = {}): JobRecord {
  return {
    id, name: 'report', queue: 'q', state: 'queued', version: 1, owner: undefined, correlationId: 'c', trace: undefined, priority: 0, createdAt: 0, runAt: 0, startedAt: undefined,
    finishedAt: undefined, attempts: 0, maxAttempts: 1, progress: undefined, error: undefined, cancelRequested: false, resultBytes: undefined, ...more
  }
}

type Options = Partial<Pick<EventStreamParts, 'show' | 'maxAgeMs' | 'random'>> & { readonly seen?: string, readonly until?: number }

function stream (jobs: ReadonlyArray<JobRecord | string>, { seen, until, ...options }: Options = {}) {
  const output = new FakeOutput()
  const clock = new FakeClock()
  const watchers = new Map<string, (news: JobNews) => void>()
  const ends: unknown[] = []
  const failures: unknown[] = []
  const events = new EventStream({
    output,
    clock,
    backbone: {
      watch: ({ id }: JobPlace, hear: (news: JobNews) => void) => {
        watchers.set(id, hear)
        return () => { watchers.delete(id) }
      }
    },
    jobs: jobs.map((job) => typeof job === 'string' ? { id: job, job: undefined } : { id: job.id, job, until }),
    seen: readSeen(seen, jobs.length),
    show: async ({ id, state, progress }) => ({ id, status: state, progress }),
    maxAgeMs: 600_000,
    random: () => 0.5,
    failed: (error) => { failures.push(error) },
    closed: (end) => { ends.push(end) },
    ...options
  })
  events.begin()
  const hear = async (job: JobRecord): Promise<void> => { watchers.get(job.id)?.({ kind: 'job', job }); await settle() }
  return { output, clock, watchers, ends, failures, events, hear }
}

async function settle (): Promise<void> { for (let n = 0; n < 4; n++) await turn() }

t.test('a snapshot, changes, and the end', async (t) => {
  const { output, hear, ends, watchers, clock } = stream([record('a')])
  await settle()
  t.same(output.take(), [{ type: 'status', lastEventId: '1', data: { id: 'a', status: 'queued' } }])
  t.equal(output.parser.retry, 2_000)
  await hear(record('a', { state: 'in-progress', version: 2 }))
  t.same(output.take(), [{ type: 'status', lastEventId: '2', data: { id: 'a', status: 'in-progress' } }])
  await hear(record('a', { state: 'completed', version: 3 }))
  t.same(output.take(), [{ type: 'end', lastEventId: '3.end', data: { id: 'a', status: 'completed' } }])
  t.ok(output.ended)
  t.same(ends, [{ reason: 'done', sent: 3 }])
  t.equal(watchers.size, 0)
  t.equal(clock.pending, 0, 'no timer is left')
})

t.test('progress: four a second, and only the newest', async (t) => {
  const { output, watchers, clock, hear } = stream([record('a', { state: 'in-progress' })])
  await settle()
  output.take()
  for (let version = 2; version < 2_002; version++) {
    watchers.get('a')?.({ kind: 'progress', id: 'a', version, progress: { done: version, total: 2_002 } })
    await clock.advance(1)
  }
  const shown = output.take()
  t.ok(shown.length >= 7 && shown.length <= 9, `${shown.length} in two seconds`)
  const versions = shown.map(({ data }) => Number(data['version']))
  t.same(versions, [...versions].sort((a, b) => a - b))
  await hear(record('a', { state: 'completed', version: 3_000 }))
  t.match(output.take(), [{ type: 'end' }], 'the end waits for nothing')
})

t.test('a client that comes back: same version, no snapshot; anything else, a snapshot', async (t) => {
  for (const [seen, version, shown] of [['5', 5, 0], ['4', 5, 1], ['6', 5, 1], [undefined, 5, 1], ['v2.2.', 5, 1]] as const) {
    const { output } = stream([record('a', { version })], seen === undefined ? {} : { seen })
    await settle()
    t.equal(output.take().length, shown, String(seen))
  }
  const { output } = stream([record('a', { version: 5, state: 'failed' })], { seen: '5' })
  await settle()
  t.match(output.take(), [{ type: 'end', lastEventId: '5.end' }], 'the end is said to a client that knows the version only')
})

t.test('several jobs: what is over is part of every id', async (t) => {
  const { output, hear, ends } = stream([record('a'), 'unknown', record('b'), record('c', { state: 'completed' })])
  await settle()
  const first = output.take()
  t.same(first.map(({ type, data }) => [type, data['id']]).sort(), [['end', 'c'], ['gone', 'unknown'], ['status', 'a'], ['status', 'b']])
  t.equal(output.parser.lastEventId, 'v2.4.NNNGGGNNN001')
  await hear(record('a', { state: 'completed', version: 2 }))
  t.equal(output.parser.lastEventId, 'v2.5.002GGGNNN001')
  await hear(record('b', { state: 'cancelled', version: 2 }))
  t.equal(output.parser.lastEventId, 'v2.6.002GGG002001')
  t.match(ends, [{ reason: 'done' }])

  const again = stream([record('a'), 'unknown', record('b'), record('c', { state: 'completed' })], { seen: 'v2.4.NNNGGGNNN001' })
  await settle()
  t.same(again.output.take().map(({ type, data }) => [type, data['id']]), [['status', 'a'], ['status', 'b']], 'what the client knows to be over is not said again')
  t.equal(again.output.parser.lastEventId, 'v2.6.NNNGGGNNN001', 'and it counts on')
})

t.test('a job that is removed meanwhile, and a right that ends', async (t) => {
  const removed = stream([record('a')])
  await settle()
  removed.output.take()
  removed.watchers.get('a')?.({ kind: 'gone', id: 'a' })
  await settle()
  t.same(removed.output.take(), [{ type: 'gone', lastEventId: '0.end', data: { id: 'a' } }])
  t.match(removed.ends, [{ reason: 'done' }])

  const clock = new FakeClock()
  const expiring = stream([record('a')], { until: clock.now() + 5_000 })
  await settle()
  expiring.output.take()
  await expiring.clock.advance(4_999)
  t.same(expiring.output.take(), [])
  await expiring.clock.advance(1)
  t.match(expiring.output.take(), [{ type: 'gone', data: { id: 'a' } }])
  t.equal(expiring.clock.pending, 0)
})

t.test('signs of life, and the end of a long stream', async (t) => {
  const { output, events, clock, ends } = stream([record('a')], { maxAgeMs: 40_000 })
  await settle()
  output.take()
  events.beat()
  t.same(output.take(), [{ type: 'ping', lastEventId: '1', data: {} }], 'an event, which a browser sees, that keeps the id')
  await clock.advance(40_000)
  events.beat()
  t.same(output.take(), [{ type: 'bye', lastEventId: '1', data: { reason: 'max-age' } }])
  t.equal(output.parser.retry, 1_250)
  await settle()
  t.match(ends, [{ reason: 'max-age' }])
  events.beat()
  events.leave('closing')
  t.same(output.take(), [], 'nothing follows')
})

t.test('a client that does not read: the newest of each job is kept, and nothing is written', async (t) => {
  const shown: string[] = []
  const { output, hear, watchers, events, clock } = stream([record('a'), record('b')], {
    show: async ({ id, version }) => {
      shown.push(`${id}${String(version)}`)
      return { id, text: 'x'.repeat(70_000) }
    }
  })
  output.reads = false
  await settle()
  t.equal(output.take().length, 1, 'the second document waits, although it was asked for before')
  for (let version = 2; version < 100; version++) {
    await hear(record('a', { state: 'in-progress', version, attempts: version }))
    watchers.get('b')?.({ kind: 'progress', id: 'b', version, progress: { done: version } })
  }
  events.beat()
  t.same(output.take(), [], 'not even a ping')
  t.ok(output.writableLength < 71_000)
  output.read()
  await settle()
  await clock.advance(300)
  t.same(output.take().map(({ type, data }) => `${type} ${String(data['id'])}`).sort(), ['status a', 'status b'])
  t.match(shown.slice(-2).sort(), ['a99', 'b99'])
})

t.test('a client that does not read for 30 s is cut', async (t) => {
  const { output, events, clock, ends, watchers } = stream([record('a')], { show: async () => ({ text: 'x'.repeat(70_000) }) })
  output.reads = false
  await settle()
  await clock.advance(29_999)
  events.beat()
  t.equal(output.destroyed, 0)
  await clock.advance(1)
  events.beat()
  t.equal(output.destroyed, 1)
  await settle()
  t.match(ends, [{ reason: 'slow' }])
  t.equal(watchers.size, 0)
  t.equal(clock.pending, 0)
})

t.test('a large document is no sign of a slow client', async (t) => {
  const { output, ends } = stream([record('a', { state: 'completed' })], { show: async () => ({ text: 'x'.repeat(5_000_000) }) })
  output.reads = false
  await settle()
  t.match(output.take(), [{ type: 'end' }])
  t.equal(output.destroyed, 0)
  t.ok(output.ended)
  output.read()
  t.match(ends, [{ reason: 'done' }])
})

t.test('an end that the client does not read: cut after a while, and soon when the application closes', async (t) => {
  for (const [closes, ms] of [[false, 30_000], [true, 500]] as const) {
    const { output, clock, events, ends } = stream([record('a', { state: 'completed' })], { show: async () => ({ text: 'x'.repeat(70_000) }) })
    output.reads = false
    await settle()
    if (closes) events.leave('closing')
    await clock.advance(ms - 1)
    t.equal(output.destroyed, 0)
    await clock.advance(1)
    t.equal(output.destroyed, 1)
    await settle()
    t.match(ends, [{ reason: 'done' }])
    t.equal(clock.pending, 0)
  }
})

t.test('a client that goes away', async (t) => {
  const { output, ends, watchers, clock, hear } = stream([record('a')])
  output.emit('error')
  output.emit('close')
  t.same(ends, [{ reason: 'client', sent: 0 }], 'once')
  await hear(record('a', { version: 2 }))
  await settle()
  t.same(output.take(), [], 'what was being made is not written')
  t.equal(watchers.size, 0)
  t.equal(clock.pending, 0)
})

t.test('a document that cannot be made ends the stream, and the client comes back later', async (t) => {
  const broken = new Error('the factory')
  const { output, failures, ends } = stream([record('a')], { show: async () => { throw broken } })
  await settle()
  t.same(output.take(), [{ type: 'bye', lastEventId: '', data: { reason: 'error' } }])
  t.equal(output.parser.retry, 10_000)
  t.same(failures, [broken])
  t.match(ends, [{ reason: 'error' }])
})

t.test('a goodbye without a stream', async (t) => {
  const output = new FakeOutput()
  sayBye(output, 'closing', () => 1)
  t.same(output.take(), [{ type: 'bye', lastEventId: '', data: { reason: 'closing' } }])
  t.equal(output.parser.retry, 7_500, '5 s, more or less by half')
  t.ok(output.ended)
})

t.test('a progress does not replace the state that came before it, while the client does not read', async (t) => {
  let show = (): void => {}
  const shown = new Promise<void>((resolve) => { show = resolve })
  const { output, watchers } = stream([record('a', { state: 'in-progress' }), record('large')], {
    show: async ({ id, state, progress }) => {
      if (id === 'large') return { id, text: 'x'.repeat(70_000) }
      await shown
      return { id, status: state, progress }
    }
  })
  output.reads = false
  await settle()
  t.match(output.take(), [{ data: { id: 'large' } }])
  watchers.get('a')?.({ kind: 'progress', id: 'a', version: 2, progress: { done: 1 } })
  show()
  await settle()
  output.read()
  await settle()
  t.match(output.take(), [{ type: 'status', data: { id: 'a', status: 'in-progress', progress: { done: 1 } } }])
})
