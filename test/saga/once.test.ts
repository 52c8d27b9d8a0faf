/** No step runs twice, and none begins on something that is not stored. */
import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { AsyncEndpointsError } from '../../lib/core/errors.ts'
import { readStep } from '../../lib/jobs/saga-facts.ts'
import type { JobStore } from '../../lib/jobs/store.ts'
import { endOf, onBothStores, signal, untilStep, untilSuspended } from '../support/saga-stores.ts'
import { stepsOfStore, withCheckpoints, withMembers, type AroundCheckpoint } from '../support/wrapped-store.ts'

t.setTimeout(120_000)

function latch (): { readonly open: () => void, readonly opened: Promise<void> } {
  let open = (): void => {}
  const opened = new Promise<void>((resolve) => { open = resolve })
  return { open, opened }
}

/** The store, whose checkpoints go through a function that may refuse them. */
function checkpointsThrough (store: JobStore, around: AroundCheckpoint): JobStore {
  return withMembers(store, { steps: withCheckpoints(stepsOfStore(store), around) })
}

onBothStores(t, 'a signal that comes while a step runs starts nothing a second time', async (t, open) => {
  const calls: string[] = []
  const begun = latch()
  const may = latch()
  const app = await open((app) => app.saga({
    name: 'order',
    steps: (s) => s
      .step('slow', async () => {
        calls.push('slow')
        begun.open()
        await may.opened
      })
      .signal('approval', { timeoutMs: 600_000 })
      .step('after', () => { calls.push('after') })
      .returns(({ results }) => ({ approved: results.approval }))
  }))
  const { id } = await app.jobs.submit('order', {})
  await begun.opened
  await signal(app, id, 'approval', { ok: true })
  await sleep(100)
  may.open()
  t.match(await endOf(app, id), { state: 'completed', attempts: 1 })
  t.same(calls, ['slow', 'after'])
  t.same(await app.jobs.result(id), { approved: { ok: true } })
})

onBothStores(t, 'quick siblings beside a slow one run once each, in a hundred sagas at a time', async (t, open) => {
  const calls = new Map<string, number>()
  const count = (id: string, step: string): void => {
    const key = `${id} ${step}`
    calls.set(key, (calls.get(key) ?? 0) + 1)
  }
  const app = await open((app) => app.saga({
    name: 'order',
    steps: (s) => s
      .parallel('group', (g) => g
        .step('quick', ({ id }) => count(id, 'quick'))
        .step('turn', async ({ id }) => {
          count(id, 'turn')
          await turn()
        })
        .step('slow', async ({ id }) => {
          count(id, 'slow')
          await sleep(20)
        }))
      .step('after', ({ id }) => count(id, 'after'))
      .returns(() => undefined)
  }))
  const submitted = await Promise.all(Array.from({ length: 100 }, () => app.jobs.submit('order', {})))
  const ends = await Promise.all(submitted.map(({ id }) => endOf(app, id)))
  t.ok(ends.every(({ state, attempts }) => state === 'completed' && attempts === 1))
  t.equal(calls.size, 400)
  t.ok([...calls.values()].every((times) => times === 1))
})

onBothStores(t, 'siblings end in one turn, and one fails: a redrive runs that one, and no other', async (t, open) => {
  const calls: number[] = []
  let fails = true
  const together = latch()
  const app = await open((app) => app.saga({
    name: 'order',
    steps: (s) => s
      .each('all', () => Array.from({ length: 20 }, (_, n) => n), {
        run: async ({ item }) => {
          calls.push(item)
          if (calls.length === 20) together.open()
          await together.opened
          if (item === 13 && fails) throw new Error('not yet')
          return item * 2
        },
        attempts: 1,
        onExhausted: 'fail',
        onError: 'await-all',
        concurrency: 20
      })
      .returns(({ results }) => results.all)
  }))
  const { id } = await app.jobs.submit('order', {})
  t.match(await endOf(app, id), { state: 'failed', phase: undefined })
  t.equal(calls.length, 20)
  fails = false
  await app.jobs.redrive(id)
  t.match(await endOf(app, id), { state: 'completed' })
  t.same(calls.slice(20), [13])
  t.same(await app.jobs.result(id), Array.from({ length: 20 }, (_, n) => n * 2))
})

onBothStores(t, 'siblings that end in any order are found again by their names', async (t, open) => {
  const orders = ['abc', 'acb', 'bac', 'bca', 'cab', 'cba']
  const calls: string[] = []
  const failed = new Set<string>()
  interface Seen { readonly id: string, readonly body: { readonly order: string } }
  const sibling = (name: string) => async ({ id, body: { order } }: Seen): Promise<string> => {
    calls.push(`${id} ${name}`)
    await sleep(order.indexOf(name) * 15)
    return `${name} of ${order}`
  }
  const app = await open((app) => app.saga<{ body: { order: string } }>({
    name: 'order',
    steps: (s) => {
      return s
        .parallel('group', (g) => g.step('a', sibling('a')).step('b', sibling('b')).step('c', sibling('c')))
        .step('fails', {
          attempts: 1,
          onExhausted: 'fail',
          run: ({ id }) => {
            if (failed.has(id)) return
            failed.add(id)
            throw new Error('the first time')
          }
        })
        .returns(({ results }) => results.group)
    }
  }))
  await Promise.all(orders.map(async (order) => {
    const { id } = await app.jobs.submit('order', { order })
    t.match(await endOf(app, id), { state: 'failed' })
    await app.jobs.redrive(id)
    t.match(await endOf(app, id), { state: 'completed' })
    t.same(await app.jobs.result(id), { a: `a of ${order}`, b: `b of ${order}`, c: `c of ${order}` })
  }))
  t.equal(calls.length, orders.length * 3)
})

onBothStores(t, 'no step begins while the one before it could not be stored', async (t, open) => {
  const calls: string[] = []
  let refusals = 0
  const app = await open((app) => app.saga({
    name: 'order',
    retry: { attempts: 3, backoff: { type: 'fixed', delayMs: 1 } },
    steps: (s) => s
      .step('first', () => { calls.push('first') })
      .step('second', () => { calls.push('second') })
      .returns(() => undefined)
  }), {
    around: (store) => checkpointsThrough(store, async (write, claim, checkpoint) => {
      const ended = readStep(checkpoint.facts, 'first')?.s === 'c'
      if (ended && refusals++ === 0) throw new Error('the store is broken')
      return await write(claim, checkpoint)
    })
  })
  const { id } = await app.jobs.submit('order', {})
  t.match(await endOf(app, id), { state: 'completed' })
  t.same(calls, ['first', 'first', 'second'], 'what was not stored is not relied upon')
})

for (const fails of [false, true]) {
  const how = fails ? 'fails' : 'completes'
  onBothStores(t, `an answer to a checkpoint of a saga that ${how} is lost: each step runs once`, async (t, open) => {
    const calls = new Map<string, string[]>()
    const note = (what: string) => ({ id }: { readonly id: string }): void => { calls.get(id)?.push(what) }
    let lost = 0
    let written = 0
    /** The checkpoint whose answer is lost, from 1; those of a saga come one after the other. */
    let losing = 0
    const app = await open((app) => app.saga({
      name: 'order',
      steps: (s) => s
        .step('a', { run: note('a'), compensate: note('undo a') })
        .parallel('group', (g) => g
          .step('b', { run: note('b'), compensate: note('undo b') })
          .step('c', note('c')))
        .step('d', {
          attempts: 1,
          run: (step) => {
            note('d')(step)
            if (fails) throw new Error('no')
          }
        })
        .returns(() => undefined)
    }), {
      around: (store) => checkpointsThrough(store, async (write, claim, checkpoint) => {
        const verdict = await write(claim, checkpoint)
        if (++written !== losing) return verdict
        lost++
        throw new AsyncEndpointsError('FAE_STORE_UNAVAILABLE', 'the connection is gone')
      })
    })
    const expected = ['a', 'b', 'c', 'd', ...(fails ? ['undo b', 'undo a'] : [])]
    let checkpoints = 1
    for (let n = 0; n <= checkpoints; n++) {
      losing = n
      written = 0
      const { id } = await app.jobs.submit('order', {}, { delayMs: 50 })
      const seen: string[] = []
      calls.set(id, seen)
      t.match(await endOf(app, id), { state: fails ? 'failed' : 'completed', attempts: 1 }, `number ${n}`)
      t.same(seen, expected, `number ${n}`)
      if (n === 0) checkpoints = written
    }
    t.equal(lost, checkpoints)
    t.ok(checkpoints > 3)
  })
}

onBothStores(t, 'a signal that came before its wait is delivered, and wakes nothing else', async (t, open) => {
  const calls: string[] = []
  const app = await open((app) => app.saga({
    name: 'order',
    steps: (s) => s
      .signal('first', { timeoutMs: 600_000 })
      .step('between', () => { calls.push('between') })
      .signal('second', { timeoutMs: 600_000 })
      .returns(({ results }) => [results.first, results.second])
  }))
  const { id } = await app.jobs.submit('order', {})
  await untilStep(app, id, 'first', 'w')
  await untilSuspended(app, id)
  await signal(app, id, 'second', 2)
  await sleep(100)
  t.same(calls, [], 'it waits for the first')
  await signal(app, id, 'first', 1)
  t.match(await endOf(app, id), { state: 'completed' })
  t.same(calls, ['between'])
  t.same(await app.jobs.result(id), [1, 2])
})
