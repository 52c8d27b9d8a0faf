/** What a store owes to those who listen: feeds, versions, and reads of many jobs. */
import { strict as assert } from 'node:assert'
import type { JobUpdate } from '../../jobs/job.ts'
import type { FeedListener, JobFeed, JobStore } from '../../jobs/store.ts'
import { COMPLETED, completed, type ConformanceCase, type World } from './world.ts'

const QUEUE = 'conformance'
const ERROR = { code: 'E_TEST', message: 'went wrong' }
const MEMBERS = ['id', 'state', 'version', 'progress']

/** A feed that remembers what it has heard. */
class Hearing implements FeedListener {
  readonly heard: JobUpdate[] = []
  readonly feed: JobFeed

  constructor (store: JobStore) { this.feed = store.listen(this) }

  changed (update: JobUpdate): void { this.heard.push(update) }
  missed (): void {}
  async follow (id: string): Promise<void> { await this.feed.follow({ id, queue: QUEUE }) }
  of (id: string): JobUpdate[] { return this.heard.filter((update) => update.id === id) }
}

async function versionOf (world: World, id: string): Promise<number> {
  const { version } = await world.read(id)
  assert.equal(typeof version, 'number', 'a record has a version')
  return Number(version)
}

export const listeningCases: readonly ConformanceCase[] = [
  {
    name: 'who follows a job, in whatever process, hears of every change, and never of a payload',
    async run (world) {
      const hearing = new Hearing(await world.second())
      const hears = async (id: string, state: JobUpdate['state']): Promise<void> => {
        await world.until(`an update ${state}`, () => hearing.of(id).some((update) => update.state === state))
      }
      const consumer = world.consume()
      const id = await world.create({ runAt: world.now() + world.timing.shortMs })
      await hearing.follow(id)
      await world.claimed(consumer, 1)
      await hears(id, 'in-progress')
      await world.store.progress(consumer.at(0).claim, { done: 1, total: 2 })
      await world.until('an update with progress', () => hearing.of(id).some(({ progress }) => progress?.done === 1))
      await world.settle(consumer.at(0), { kind: 'retry', error: ERROR, delayMs: world.timing.shortMs })
      await hears(id, 'scheduled')
      await world.settle(await world.claimed(consumer, 2), { kind: 'failed', error: ERROR })
      await hears(id, 'failed')
      await world.store.redrive(id)
      await hears(id, 'queued')
      await world.settle(await world.claimed(consumer, 3), completed('"secret"'))
      await hears(id, 'completed')

      const late = await world.create({ runAt: world.now() + 3_600_000 })
      await hearing.follow(late)
      await world.store.cancel(late, 'x')
      await hears(late, 'cancelled')
      const before = hearing.of(late).length
      await world.store.remove(late)
      await world.until('an update of the removal', () => hearing.of(late).length > before)
      const others = hearing.heard.flatMap((update) => Object.keys(update).filter((key) => !MEMBERS.includes(key)))
      assert.deepEqual(others, [], `nothing but ${MEMBERS.join(', ')}`)
      hearing.feed.close()
    }
  },
  {
    name: 'a job that is followed while the store begins its work is heard from then on',
    async run (world) {
      for (let round = 1; round <= 5; round++) {
        const store = await world.second()
        const hearing = new Hearing(store)
        world.consume({ store, queue: 'conformance-unused' })
        const id = await world.create({}, store)
        await hearing.follow(id)
        await world.store.cancel(id, 'enough')
        await world.until(`the end is heard in round ${round}`, () => hearing.of(id).some(({ state }) => state === 'cancelled'))
        hearing.feed.close()
      }
    }
  },
  {
    name: 'a feed hears of no job that it does not follow, or follows no more',
    async run (world) {
      const hearing = new Hearing(world.store)
      const followed = await world.create()
      const left = await world.create()
      const other = await world.create()
      await hearing.follow(followed)
      await hearing.follow(left)
      hearing.feed.unfollow({ id: left, queue: QUEUE })
      world.consume({ script: () => COMPLETED })
      for (const id of [followed, left, other]) await world.state(id, 'completed')
      await world.until('the end is heard', () => hearing.of(followed).some(({ state }) => state === 'completed'))
      await world.elapse(world.timing.shortMs)
      assert.deepEqual([hearing.of(left), hearing.of(other)], [[], []])

      hearing.feed.close()
      const late = await world.create()
      await world.state(late, 'completed')
      await world.elapse(world.timing.shortMs)
      assert.deepEqual(hearing.of(late), [], 'a closed feed hears nothing')
    }
  },
  {
    name: 'a listener that throws harms neither the job nor the other listeners',
    async run (world) {
      const broken = world.store.listen({ changed () { throw new Error('listener') }, missed () { throw new Error('listener') } })
      const hearing = new Hearing(world.store)
      const id = await world.create()
      await broken.follow({ id, queue: QUEUE })
      await hearing.follow(id)
      world.consume({ script: () => COMPLETED })
      await world.state(id, 'completed')
      await world.until('the other listener hears', () => hearing.of(id).some(({ state }) => state === 'completed'))
      broken.close()
      hearing.feed.close()
    }
  },
  {
    name: 'the version of a job grows with every stored change, also over a redrive',
    async run (world) {
      const id = await world.create()
      const seen = [await versionOf(world, id)]
      const grows = async (what: string): Promise<void> => {
        const version = await versionOf(world, id)
        assert.ok(version > Number(seen.at(-1)), `${what}: ${version} after ${seen.join(', ')}`)
        seen.push(version)
      }
      const consumer = world.consume()
      const first = await world.claimed(consumer, 1)
      await grows('claimed')
      for (const done of [1, 2, 3]) {
        await world.store.progress(first.claim, { done })
        await grows(`progress ${done}`)
      }
      await world.settle(first, { kind: 'retry', error: ERROR, delayMs: world.timing.shortMs })
      await grows('retried')
      const second = await world.claimed(consumer, 2)
      await grows('claimed again')
      await world.settle(second, { kind: 'failed', error: ERROR })
      await grows('failed')
      consumer.consumer.pause()
      await world.store.redrive(id)
      await grows('redriven')
      consumer.consumer.resume()
      const third = await world.claimed(consumer, 3)
      await grows('claimed after the redrive')
      await world.store.cancel(id, 'enough')
      await grows('asked to stop')
      await world.settle(third, { kind: 'cancelled', reason: 'enough' })
      await grows('cancelled')
    }
  },
  {
    name: 'an update with a version is never newer than what a read after it shows',
    async run (world) {
      const hearing = new Hearing(world.store)
      const consumer = world.consume()
      const id = await world.create()
      await hearing.follow(id)
      const { claim } = await world.claimed(consumer, 1)
      for (let done = 1; done <= 20; done++) await world.store.progress(claim, { done })
      await world.until('the last progress is heard', () => hearing.of(id).some(({ progress }) => progress?.done === 20))
      const now = await versionOf(world, id)
      const versions = hearing.of(id).flatMap(({ version }) => version ?? [])
      assert.ok(versions.length >= 20 && versions.every((version) => version <= now), `${versions.join(', ')} and then ${now}`)
      const steps = hearing.of(id).filter(({ progress }) => progress !== undefined)
      assert.ok(steps.every(({ version }) => version !== undefined), 'a progress has its version')
      await world.settle(consumer.at(0), COMPLETED)
      hearing.feed.close()
    }
  },
  {
    name: 'many jobs are read at once, in the order that was asked for, each as it would be read alone',
    async run (world) {
      const ids = await world.createMany(5)
      const elsewhere = await world.create({ queue: 'conformance-other' })
      const places = [
        ...ids.map((id) => ({ id, queue: QUEUE })), { id: world.host.context.ids.job(), queue: QUEUE },
        { id: elsewhere, queue: 'conformance-other' }, { id: world.host.context.ids.job(), queue: 'conformance-unused' }
      ]
      const read = await world.store.getMany(places)
      const alone = await Promise.all(places.map(({ id }) => world.store.get(id)))
      assert.deepEqual(read, alone)
      assert.deepEqual(read.map((job) => job?.id), [...ids, undefined, elsewhere, undefined])
      assert.deepEqual(await world.store.getMany([]), [])
    }
  }
]
