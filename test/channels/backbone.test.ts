import t from 'tap'
import { Backbone, type JobNews } from '../../lib/channels/backbone.ts'
import { FakeClock } from '../../lib/testing/fake-clock.ts'
import type { JobPlace, JobRecord } from '../../lib/jobs/job.ts'
import type { FeedListener, JobFeed } from '../../lib/jobs/store.ts'

/** A store whose feed and reads a test plays. */
class Played {
  readonly clock = new FakeClock()
  readonly jobs = new Map<string, JobRecord>()
  readonly followed = new Set<string>()
  /** The ids of each read. */
  readonly reads: string[][] = []
  feeds = 0
  away = false
  /** Follows and reads wait for it. */
  gate: Promise<void> = Promise.resolve()
  #listener: FeedListener = { changed () {}, missed () {} }

  readonly backbone = new Backbone({ store: this, clock: this.clock, random: () => 0.5 })

  listen (listener: FeedListener): JobFeed {
    this.feeds++
    this.#listener = listener
    return {
      follow: async ({ id }) => {
        this.followed.add(id)
        await this.gate
        if (this.away) throw new Error('away')
      },
      unfollow: ({ id }) => { this.followed.delete(id) },
      close: () => { this.followed.clear() }
    }
  }

  async getMany (jobs: readonly JobPlace[]): Promise<Array<JobRecord | undefined>> {
    this.reads.push(jobs.map(({ id }) => id))
    const seen = jobs.map(({ id }) => this.jobs.get(id))
    await this.gate
    if (this.away) throw new Error('away')
    return seen
  }

  put (id: string, version: number, state: JobRecord['state'] = 'queued'): void {
    this.jobs.set(id, { id, version, state, queue: 'default', name: 'report' } as JobRecord)
  }

  changed: FeedListener['changed'] = (update) => { this.#listener.changed(update) }
  missed (): void { this.#listener.missed() }

  watch (id: string, options?: Parameters<Backbone['watch']>[2]): { heard: string[], stop: () => void } {
    const heard: string[] = []
    const stop = this.backbone.watch({ id, queue: 'default' }, (news) => { heard.push(say(news)) }, options)
    return { heard, stop }
  }

  /** Lets everything happen that is due within this time. */
  async pass (ms: number): Promise<void> { await this.clock.advance(ms) }
}

function say (news: JobNews): string {
  if (news.kind === 'job') return `${news.job.state} ${news.job.version}`
  return news.kind === 'progress' ? `progress ${news.version}` : 'gone'
}

t.test('a thousand watchers are one feed; jobs are read many at once, and nothing is left after the last', async (t) => {
  const played = new Played()
  for (let n = 0; n < 500; n++) played.put(`job-${n}`, 1)
  const watching = Array.from({ length: 1_000 }, (_, n) => played.watch(`job-${n % 500}`))
  t.equal(played.backbone.size, 500)
  await played.pass(100)
  t.equal(played.feeds, 1)
  t.same(played.reads.map((ids) => ids.length), [200, 200, 100])
  t.ok(watching.every(({ heard }) => heard.join() === 'queued 1'))
  played.put('job-7', 2, 'completed')
  played.changed({ id: 'job-7', state: 'completed' })
  played.changed({ id: 'nobody-watches', state: 'completed' })
  await played.pass(20)
  t.same(played.reads.at(-1), ['job-7'])
  t.same([watching[7]?.heard, watching[507]?.heard], [['queued 1', 'completed 2'], ['queued 1', 'completed 2']])
  for (const { stop } of watching) { stop(); stop() }
  t.same([played.backbone.size, played.followed.size], [0, 0])
  const reads = played.reads.length
  await played.pass(120_000)
  t.equal(played.reads.length, reads, 'no timer is left')
})

t.test('a job is read after it is followed, so that a change in between is not missed', async (t) => {
  const played = new Played()
  let open = (): void => {}
  played.gate = new Promise((resolve) => { open = resolve })
  played.put('a', 1)
  const { heard } = played.watch('a', { since: 1 })
  await played.pass(50)
  t.same(played.reads, [], 'nothing is read before changes are heard')
  played.put('a', 2, 'completed')
  open()
  await played.pass(50)
  t.same(heard, ['completed 2'])
})

t.test('nobody hears what is older than what was heard, in whatever order it comes', async (t) => {
  const played = new Played()
  played.put('a', 3, 'in-progress')
  const { heard } = played.watch('a')
  await played.pass(20)
  played.put('a', 6, 'in-progress')
  played.changed({ id: 'a', state: 'in-progress', version: 6, progress: { done: 2 } })
  played.changed({ id: 'a', state: 'in-progress', version: 5, progress: { done: 1 } })
  await played.pass(20)
  t.same(heard, ['in-progress 3', 'progress 6'])
  t.same(played.reads, [['a']], 'a progress of a running job is shown without a read')
  played.changed({ id: 'a', state: 'in-progress', version: 4 })
  await played.pass(20)
  t.same(heard, ['in-progress 3', 'progress 6', 'in-progress 6'], 'the rest of the record is not older than its progress')
})

t.test('a read that a progress has overtaken is made once more', async (t) => {
  const played = new Played()
  played.put('a', 2)
  const { heard } = played.watch('a')
  await played.pass(20)
  let open = (): void => {}
  played.gate = new Promise((resolve) => { open = resolve })
  played.put('a', 3, 'in-progress')
  played.changed({ id: 'a', state: 'in-progress' })
  await played.pass(20)
  played.put('a', 4, 'in-progress')
  played.changed({ id: 'a', state: 'in-progress', version: 4, progress: { done: 1 } })
  open()
  await played.pass(50)
  t.same(heard, ['queued 2', 'progress 4', 'in-progress 4'])
})

t.test('who waits for the end is not woken, and nothing is read for it, before that', async (t) => {
  const played = new Played()
  played.put('a', 1)
  const { heard } = played.watch('a', { since: 1, interest: 'end' })
  await played.pass(20)
  const reads = played.reads.length
  played.changed({ id: 'a', state: 'in-progress' })
  played.changed({ id: 'a', state: 'in-progress', version: 3, progress: { done: 1 } })
  await played.pass(50)
  t.equal(played.reads.length, reads)
  played.put('a', 5, 'failed')
  played.changed({ id: 'a', state: 'failed' })
  await played.pass(20)
  t.same(heard, ['failed 5'])
})

t.test('a later watcher of the same job hears of it as it is now', async (t) => {
  const played = new Played()
  played.put('a', 4)
  const first = played.watch('a')
  await played.pass(20)
  const second = played.watch('a')
  const third = played.watch('a', { since: 4 })
  await played.pass(20)
  t.same([first.heard, second.heard, third.heard], [['queued 4'], ['queued 4'], []])
})

t.test('what messages did not say is found after a gap, and on the sweep', async (t) => {
  const played = new Played()
  played.put('a', 1)
  const { heard } = played.watch('a')
  await played.pass(20)
  played.put('a', 2, 'scheduled')
  played.missed()
  await played.pass(20)
  played.put('a', 3, 'completed')
  await played.pass(29_000)
  t.same(heard, ['queued 1', 'scheduled 2'])
  await played.pass(2_000)
  t.same(heard, ['queued 1', 'scheduled 2', 'completed 3'])
})

t.test('a job that is not there any more is said to be gone, once', async (t) => {
  const played = new Played()
  played.put('a', 1)
  const { heard } = played.watch('a')
  await played.pass(20)
  played.jobs.delete('a')
  played.changed({ id: 'a' })
  played.changed({ id: 'a' })
  await played.pass(90_000)
  t.same(heard, ['queued 1', 'gone'])
  t.equal(played.backbone.size, 0)
})

t.test('while the store is away nothing is heard; when it is back, everything', async (t) => {
  const played = new Played()
  played.put('a', 1)
  played.away = true
  const first = played.watch('a')
  await played.pass(20)
  played.away = false
  played.missed()
  await played.pass(20)
  t.same(first.heard, ['queued 1'])
  played.away = true
  played.put('a', 2, 'completed')
  played.changed({ id: 'a', state: 'completed' })
  await played.pass(5_000)
  t.same(first.heard, ['queued 1'])
  t.ok(played.reads.length < 12, 'a store that does not answer is asked once a second')
  played.away = false
  await played.pass(1_000)
  t.same(first.heard, ['queued 1', 'completed 2'])
})

t.test('after it was closed nobody hears anything, and nothing is followed', async (t) => {
  const played = new Played()
  played.put('a', 1)
  const { heard, stop } = played.watch('a')
  played.backbone.close()
  const late = played.watch('a')
  await played.pass(60_000)
  t.same([heard, late.heard, played.followed.size], [[], [], 0])
  stop()
})

t.test('a store that has lost changes: its jobs are heard of from there on, and are not read again and again', async (t) => {
  const played = new Played()
  played.put('a', 9)
  const first = played.watch('a')
  await played.pass(100)
  played.put('a', 4)
  played.missed()
  await played.pass(100)
  t.same(first.heard, ['queued 9', 'queued 4'])
  const reads = played.reads.length
  await played.pass(1_000)
  t.equal(played.reads.length, reads)
  played.put('a', 5, 'completed')
  played.changed({ id: 'a', state: 'completed' })
  await played.pass(100)
  t.same(first.heard, ['queued 9', 'queued 4', 'completed 5'])
})
