import { EventEmitter } from 'node:events'
import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import type { JobNews, WatchOptions } from '../../lib/channels/backbone.ts'
import { SocketSession, type ReadableJob, type SocketSessionParts } from '../../lib/channels/socket-session.ts'
import { ownMessage } from '../../lib/core/errors.ts'
import type { JobPlace, JobRecord } from '../../lib/jobs/job.ts'
import { FakeClock } from '../../lib/testing/fake-clock.ts'

class FakeSocket extends EventEmitter {
  readonly sent: Array<Record<string, unknown>> = []
  readonly unsent: Array<() => void> = []
  bufferedAmount = 0
  reads = true
  closed: { code: number, reason: string } | undefined
  terminated = 0
  pings = 0
  /** Answers the closing frame. */
  polite = true

  send (text: string, sent: () => void): void {
    this.sent.push(JSON.parse(text))
    if (this.reads) return process.nextTick(sent)
    this.bufferedAmount += text.length
    this.unsent.push(sent)
  }

  read (): void {
    this.reads = true
    this.bufferedAmount = 0
    for (const sent of this.unsent.splice(0)) sent()
  }

  ping (): void { this.pings++ }

  close (code: number, reason: string): void {
    this.closed = { code, reason }
    if (this.polite) process.nextTick(() => this.emit('close'))
  }

  terminate (): void {
    this.terminated++
    process.nextTick(() => this.emit('close'))
  }

  says (message: unknown): void { this.emit('message', Buffer.from(typeof message === 'string' ? message : JSON.stringify(message)), false) }

  take (): Array<Record<string, unknown>> { return this.sent.splice(0) }
}

function record (id: string, more: Partial<JobRecord> = {}): JobRecord {
  return {
    id, name: 'report', queue: 'q', state: 'queued', version: 1, owner: undefined, correlationId: 'c', trace: undefined, priority: 0, createdAt: 0, runAt: 0, startedAt: undefined,
    finishedAt: undefined, attempts: 0, maxAttempts: 1, progress: undefined, error: undefined, cancelRequested: false, resultBytes: undefined, ...more
  }
}

function session (options: Partial<Pick<SocketSessionParts, 'find' | 'show' | 'maxAgeMs'>> = {}) {
  const socket = new FakeSocket()
  const clock = new FakeClock()
  const jobs = new Map<string, ReadableJob>()
  const watched = new Map<string, { hear: (news: JobNews) => void, options: WatchOptions | undefined }>()
  const failures: string[] = []
  const ends: Array<{ reason: string, sent: number }> = []
  const made = new SocketSession({
    socket,
    clock,
    backbone: {
      watch: (place: JobPlace, hear: (news: JobNews) => void, options?: WatchOptions) => {
        watched.set(place.id, { hear, options })
        return () => { watched.delete(place.id) }
      }
    },
    find: options.find ?? (async (wanted) => wanted.map(({ id }) => jobs.get(id))),
    show: options.show ?? (async ({ id, state, progress }) => ({ id, status: state, progress })),
    describe: (error) => ({ problem: { detail: ownMessage(error) } }),
    maxAgeMs: options.maxAgeMs ?? 600_000,
    failed: (error) => { failures.push(String(error)) },
    closed: (end) => { ends.push(end) }
  })
  const add = (job: JobRecord, until?: number): void => { jobs.set(job.id, { job, until }) }
  const hear = (id: string, news: JobNews): void => { watched.get(id)?.hear(news) }
  return { socket, clock, add, jobs, watched, ends, failures, hear, session: made }
}

t.test('subscribe: the job as it is, what changes, and its end', async (t) => {
  const { socket, add, hear, watched, clock, session: { size }, session: made } = session()
  t.equal(size, 0)
  add(record('a', { version: 3 }))
  socket.says({ type: 'subscribe', ids: ['a', 'b'] })
  await turn()
  t.same(socket.take(), [{ type: 'gone', id: 'b' }, { type: 'status', id: 'a', version: 3, job: { id: 'a', status: 'queued' } }])
  t.equal(watched.get('a')?.options?.since, 3, 'what was just read is not read again')
  hear('a', { kind: 'job', job: record('a', { version: 4, state: 'in-progress' }) })
  await turn()
  hear('a', { kind: 'progress', id: 'a', version: 5, progress: { done: 1 } })
  await clock.advance(250)
  t.same(socket.take(), [
    { type: 'status', id: 'a', version: 4, job: { id: 'a', status: 'in-progress' } }, { type: 'progress', id: 'a', version: 5, progress: { done: 1 } }
  ])
  hear('a', { kind: 'job', job: record('a', { version: 6, state: 'completed' }) })
  await turn()
  t.same(socket.take(), [{ type: 'end', id: 'a', version: 6, job: { id: 'a', status: 'completed' } }])
  t.equal(watched.size, 0, 'nobody listens to what is over')
  t.equal(made.size, 0)
  t.equal(socket.closed, undefined, 'the client may subscribe to others')
})

t.test('a client that comes back says what it has seen', async (t) => {
  const { socket, add, hear } = session()
  add(record('a', { version: 3 }))
  add(record('b', { version: 3 }))
  add(record('c', { version: 3, state: 'failed' }))
  socket.says({ type: 'subscribe', jobs: [{ id: 'a', since: 3 }, { id: 'b', since: 2 }, { id: 'c', since: 3 }] })
  await turn()
  t.same(socket.take().map(({ type, id }) => [type, id]), [['status', 'b'], ['end', 'c']])
  hear('a', { kind: 'job', job: record('a', { version: 4, state: 'in-progress' }) })
  await turn()
  t.match(socket.take(), [{ type: 'status', id: 'a', version: 4 }])
})

t.test('unsubscribe, gone, and a subscription that is asked for twice', async (t) => {
  const { socket, add, hear, watched, jobs } = session()
  for (const id of ['a', 'b']) add(record(id))
  socket.says({ type: 'subscribe', ids: ['a', 'b'] })
  socket.says({ type: 'unsubscribe', ids: ['a', 'never'] })
  await turn()
  t.same([...watched.keys()], ['b'], 'what was said last holds, even before the first was answered')
  socket.take()
  socket.says({ type: 'subscribe', ids: ['b'] })
  await turn()
  t.match(socket.take(), [{ type: 'status', id: 'b' }], 'said again')
  t.equal(watched.size, 1)
  jobs.clear()
  socket.says({ type: 'subscribe', ids: ['b'] })
  await turn()
  t.same(socket.take(), [{ type: 'gone', id: 'b' }], 'access was taken away meanwhile')
  t.equal(watched.size, 0)
  add(record('c'))
  socket.says({ type: 'subscribe', ids: ['c'] })
  await turn()
  hear('c', { kind: 'gone', id: 'c' })
  await turn()
  t.match(socket.take(), [{ type: 'status', id: 'c' }, { type: 'gone', id: 'c' }])
})

t.test('fifty subscriptions, and one more', async (t) => {
  const { socket, add, watched } = session()
  const ids = Array.from({ length: 52 }, (_, n) => `job-${n}`)
  for (const id of ids) add(record(id))
  socket.says({ type: 'subscribe', ids: ids.slice(0, 49) })
  socket.says({ type: 'subscribe', ids: ids.slice(48) })
  await turn()
  const errors = socket.sent.filter(({ type }) => type === 'error')
  t.match(errors, [{ ids: ['job-50', 'job-51'], problem: { detail: /50 jobs/ } }])
  t.equal(watched.size, 50, 'the others live on')
  t.equal(socket.closed, undefined)
  socket.take()
  socket.says({ type: 'unsubscribe', ids: ['job-0'] })
  socket.says({ type: 'subscribe', ids: ['job-51'] })
  await turn()
  t.match(socket.take(), [{ type: 'status', id: 'job-51' }])
})

t.test('what cannot be found out is an error of this message alone', async (t) => {
  let fails = true
  const { socket } = session({ find: async (wanted) => { if (fails) throw new Error('redis away'); return wanted.map(({ id }) => ({ job: record(id) })) } })
  socket.says({ type: 'subscribe', ids: ['a'] })
  socket.says('{')
  await turn()
  t.match(socket.take(), [{ type: 'error', ids: ['a'], problem: { detail: '' } }, { type: 'error', problem: { detail: /JSON/ } }])
  fails = false
  socket.says({ type: 'subscribe', ids: ['a'] })
  socket.says({ type: 'ping' })
  await turn()
  t.same(socket.take().map(({ type }) => type), ['status', 'pong'])
})

t.test('binary, too long, too many: closed with the code of the standard', async (t) => {
  for (const [say, code, reason] of [
    [(socket: FakeSocket) => socket.emit('message', Buffer.from('{"type":"ping"}'), true), 1003, 'binary'],
    [(socket: FakeSocket) => socket.says(JSON.stringify({ type: 'ping', more: 'x'.repeat(16_384) })), 1009, 'too-large'],
    [(socket: FakeSocket) => { for (let n = 0; n < 31; n++) socket.says({ type: 'ping' }) }, 1008, 'too-many-messages'],
    [(socket: FakeSocket) => { for (let n = 0; n < 31; n++) socket.emit('ping') }, 1008, 'too-many-messages']
  ] as const) {
    const { socket, ends, clock, add, watched } = session()
    add(record('a'))
    socket.says({ type: 'subscribe', ids: ['a'] })
    await clock.advance(1_000)
    say(socket)
    socket.says({ type: 'subscribe', ids: ['a'] })
    await turn()
    t.same(socket.closed, { code, reason })
    t.match(socket.sent.at(-1), { type: 'bye', reason }, 'nothing is sent after the goodbye')
    t.match(ends, [{ reason }])
    t.equal(watched.size, 0)
    t.equal(clock.pending, 0, 'no timer is left')
  }
})

t.test('a client that goes on slowly may say as much as it wants', async (t) => {
  const { socket, clock } = session()
  for (let n = 0; n < 200; n++) {
    socket.says({ type: 'ping' })
    await clock.advance(200)
  }
  t.equal(socket.closed, undefined)
  t.equal(socket.take().length, 200)
})

t.test('frames that break the protocol', async (t) => {
  for (const [code, reason] of [['WS_ERR_UNSUPPORTED_MESSAGE_LENGTH', 'too-large'], ['WS_ERR_INVALID_UTF8', 'bad-frame']] as const) {
    const { socket, clock, ends } = session()
    socket.emit('error', Object.assign(new Error('x'), { code }))
    t.equal(socket.terminated, 0, 'the closing frame of ws has to go out')
    await clock.advance(500)
    t.equal(socket.terminated, 1)
    t.same(ends, [{ reason, sent: 0 }])
  }
})

t.test('the closing frame is ignored: the connection is cut', async (t) => {
  const { socket, clock, session: made, ends } = session()
  socket.polite = false
  made.leave('closing')
  made.leave('idle')
  made.end()
  t.same(socket.take(), [{ type: 'bye', reason: 'closing' }])
  await clock.advance(499)
  t.equal(socket.terminated, 0)
  await clock.advance(1)
  t.equal(socket.terminated, 1)
  t.same(ends, [{ reason: 'closing', sent: 1 }])
  t.equal(clock.pending, 0)
})

t.test('pings: who does not answer is gone', async (t) => {
  const { socket, session: made, ends } = session()
  made.beat()
  socket.emit('pong')
  made.beat()
  socket.says({ type: 'ping' })
  made.beat()
  t.equal(socket.pings, 3)
  made.beat()
  await turn()
  t.equal(socket.terminated, 1)
  t.match(ends, [{ reason: 'silent' }])
  made.beat()
  t.equal(socket.pings, 3, 'nothing after the end')
})

t.test('without a subscription, and after a long time', async (t) => {
  const { socket, session: made, clock, add } = session({ maxAgeMs: 200_000 })
  add(record('a'))
  const beat = async (): Promise<void> => {
    await clock.advance(30_000)
    socket.emit('pong')
    made.beat()
  }
  socket.says({ type: 'subscribe', ids: ['a'] })
  for (let n = 0; n < 4; n++) await beat()
  t.equal(socket.closed, undefined)
  socket.says({ type: 'unsubscribe', ids: ['a'] })
  for (let n = 0; n < 2; n++) await beat()
  t.same(socket.closed, { code: 1000, reason: 'idle' })

  const old = session({ maxAgeMs: 200_000 })
  old.add(record('a'))
  old.socket.says({ type: 'subscribe', ids: ['a'] })
  await old.clock.advance(200_000)
  old.session.beat()
  t.same(old.socket.closed, { code: 1001, reason: 'max-age' })
})

t.test('the right to read a job ends', async (t) => {
  const { socket, add, clock, watched } = session()
  add(record('a'), clock.now() + 5_000)
  add(record('b'))
  socket.says({ type: 'subscribe', ids: ['a', 'b'] })
  await clock.advance(4_999)
  t.equal(watched.size, 2)
  socket.take()
  await clock.advance(1)
  t.same(socket.take(), [{ type: 'gone', id: 'a' }])
  t.same([...watched.keys()], ['b'])
  t.equal(clock.pending, 0)
})

t.test('a client that does not read: one change of each job is kept, the newest', async (t) => {
  const { socket, add, hear, clock, session: made, ends } = session({ show: async ({ id, state, progress }) => ({ id, status: state, progress, more: 'x'.repeat(40_000) }) })
  add(record('a'))
  add(record('b'))
  socket.reads = false
  socket.says({ type: 'subscribe', ids: ['a', 'b'] })
  await turn()
  t.equal(socket.take().length, 2)
  for (let version = 2; version < 1_000; version++) hear('a', { kind: 'job', job: record('a', { version, state: 'in-progress' }) })
  hear('a', { kind: 'progress', id: 'a', version: 1_000, progress: { done: 7 } })
  for (let version = 2; version < 9; version++) hear('b', { kind: 'progress', id: 'b', version, progress: { done: version } })
  hear('b', { kind: 'job', job: record('b', { version: 9, state: 'failed' }) })
  await turn()
  t.equal(socket.take().length, 0, 'nothing is sent')
  socket.read()
  await turn()
  t.match(socket.take(), [
    { type: 'status', id: 'a', version: 1_000, job: { progress: { done: 7 } } }, { type: 'end', id: 'b', version: 9 }
  ], 'the end is not lost')
  socket.reads = false
  hear('a', { kind: 'job', job: record('a', { version: 1_001, state: 'scheduled' }) })
  await turn()
  hear('a', { kind: 'job', job: record('a', { version: 1_002, state: 'queued' }) })
  await turn()
  made.beat()
  await clock.advance(30_000)
  socket.emit('pong')
  made.beat()
  await turn()
  t.equal(socket.terminated, 1)
  t.match(ends, [{ reason: 'slow' }])
})

t.test('answers to messages are bounded as well', async (t) => {
  const { socket, ends } = session({ find: async (wanted) => wanted.map(() => undefined) })
  socket.reads = false
  socket.bufferedAmount = 262_000
  socket.says({ type: 'ping' })
  socket.says({ type: 'subscribe', ids: ['a', 'b', 'c', 'd', 'e', 'f', 'g'] })
  await turn()
  t.equal(socket.terminated, 1)
  t.match(ends, [{ reason: 'slow' }])
})

t.test('a document that cannot be made ends the connection', async (t) => {
  const { socket, add, failures } = session({ show: async () => { throw new Error('a response factory') } })
  add(record('a'))
  socket.says({ type: 'subscribe', ids: ['a'] })
  await turn()
  t.same(socket.closed, { code: 1011, reason: 'error' })
  t.same(failures, ['Error: a response factory'], 'and is logged')
})

t.test('a connection that ends while its jobs are looked up leaves nothing', async (t) => {
  let answer: (jobs: ReadableJob[]) => void = () => {}
  const { socket, watched, ends, clock } = session({ find: async () => await new Promise((resolve) => { answer = resolve }) })
  socket.says({ type: 'subscribe', ids: ['a'] })
  await turn()
  socket.emit('close')
  answer([{ job: record('a') }])
  await turn()
  t.equal(watched.size, 0)
  t.same(ends, [{ reason: 'client', sent: 0 }])
  t.equal(clock.pending, 0)
})

t.test('a document that is larger than every limit reaches a client that reads', async (t) => {
  const { socket, add, hear, session: made } = session({ show: async ({ id }) => ({ id, more: 'x'.repeat(1_000_000) }) })
  add(record('a'))
  socket.reads = false
  socket.says({ type: 'subscribe', ids: ['a'] })
  await turn()
  t.equal(socket.take().length, 1)
  hear('a', { kind: 'job', job: record('a', { version: 2, state: 'completed' }) })
  await turn()
  t.equal(socket.terminated, 0)
  socket.read()
  await turn()
  t.match(socket.take(), [{ type: 'end' }])
  t.equal(made.size, 0)
})
