/** A saga that holds no slot is cancelled: it is woken at once, and undoes what it has done. */
import t from 'tap'
import type { FastifyInstance } from 'fastify'
import { endOf, onBothStores, untilStep, untilSuspended } from '../support/saga-stores.ts'

t.setTimeout(120_000)

const LONG_MS = 3_600_000
const BACKOFF = { type: 'fixed', delayMs: LONG_MS, jitter: 0 } as const

/** What a saga waits for behind its first step, by the state of the step `waits`. */
const WAITS = {
  'it sleeps': 'w',
  'it awaits a signal': 'w',
  'a step of it is in backoff': 'b',
  'a sibling of a group is in backoff': 'b'
} as const
type Wait = keyof typeof WAITS

function define (app: FastifyInstance, wait: Wait, calls: string[]): void {
  const fails = {
    attempts: 3,
    backoff: BACKOFF,
    run: (): void => {
      calls.push('waits')
      throw new Error('again later')
    },
    compensate: (): void => { calls.push('undo waits') }
  }
  app.saga({
    name: 'order',
    steps: (s) => {
      const first = s.step('first', {
        run: () => { calls.push('first') },
        compensate: ({ reason, outcome, signal }) => {
          calls.push(`undo first: ${reason}, ${outcome.kind}${signal.aborted ? ', aborted' : ''}`)
        }
      })
      const waiting = wait === 'it sleeps'
        ? first.sleep('waits', LONG_MS)
        : wait === 'it awaits a signal'
          ? first.signal('waits', { timeoutMs: LONG_MS })
          : wait === 'a step of it is in backoff'
            ? first.step('waits', fails)
            : first.parallel('group', (g) => g
              .step('waits', fails)
              .step('other', { run: () => { calls.push('other') }, compensate: () => { calls.push('undo other') } }))
      return waiting.returns(() => undefined)
    }
  })
}

for (const wait of Object.keys(WAITS) as Wait[]) {
  onBothStores(t, `cancelled while ${wait}`, async (t, open) => {
    const calls: string[] = []
    const app = await open((app) => { define(app, wait, calls) })
    const { id } = await app.jobs.submit('order', {})
    const grouped = wait === 'a sibling of a group is in backoff'
    await untilStep(app, id, grouped ? 'group/waits' : 'waits', WAITS[wait])
    await untilSuspended(app, id)
    t.match(await app.jobs.cancel(id, 'not wanted'), { state: 'requested' })
    t.match(await endOf(app, id), { state: 'cancelled', phase: 'compensated', attempts: 1 })
    const ran = ['first', ...(wait.includes('backoff') ? ['waits'] : []), ...(grouped ? ['other', 'undo other'] : [])]
    t.same(calls, [...ran, 'undo first: cancelled, completed'], 'the try that failed cleanly had no effect')
    t.match(await app.jobs.cancel(id, 'again'), { state: 'cancelled' })
  })
}

onBothStores(t, 'cancelled before it has done anything: it ends at once', async (t, open) => {
  const calls: string[] = []
  const app = await open((app) => app.saga({
    name: 'order',
    steps: (s) => s.sleep('waits', LONG_MS).step('after', () => { calls.push('after') }).returns(() => undefined)
  }))
  const { id } = await app.jobs.submit('order', {})
  await untilSuspended(app, id)
  await app.jobs.cancel(id, 'not wanted')
  t.match(await endOf(app, id), { state: 'cancelled' })
  t.same(calls, [])
})

onBothStores(t, 'cancelled while an undo is in backoff: that changes nothing, and hastens nothing', async (t, open) => {
  const calls: string[] = []
  const app = await open((app) => app.saga({
    name: 'order',
    steps: (s) => s
      .step('first', {
        run: () => { calls.push('first') },
        compensate: {
          attempts: 5,
          backoff: { ...BACKOFF, delayMs: 1_500 },
          run: ({ attempt }) => {
            calls.push('undo first')
            if (attempt === 1) throw new Error('again later')
          }
        }
      })
      .step('fails', { attempts: 1, run: () => { throw new Error('no') } })
      .returns(() => undefined)
  }))
  const { id } = await app.jobs.submit('order', {})
  await untilSuspended(app, id)
  t.match(await app.jobs.cancel(id, 'not wanted'), { state: 'requested' })
  t.match(await endOf(app, id), { state: 'failed', phase: 'compensated', code: 'Error' }, 'it had failed before that')
  t.same(calls, ['first', 'undo first', 'undo first'])
})
