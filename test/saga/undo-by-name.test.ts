/** What is undone when the definition has something else than a step under the name of a step that was done. */
import t from 'tap'
import { readHead, readStep } from '../../lib/jobs/saga-facts.ts'
import type { FastifyInstance } from 'fastify'
import { clockedApp } from './clocked.ts'

const OTHERS = ['a sleep', 'a signal', 'a group', 'a list'] as const

function define (app: FastifyInstance, undone: string[], other: typeof OTHERS[number]): void {
  app.saga({
    name: 'a',
    version: 2,
    steps: (s) => {
      const begun = s.step('first', { run: () => 1, compensate: () => { undone.push('first') } })
      switch (other) {
        case 'a sleep': return begun.sleep('second', 5).sleep('z', 60_000)
        case 'a signal': return begun.signal('second').sleep('z', 60_000)
        case 'a group': return begun.parallel('second', (g) => g.step('second', () => 1)).sleep('z', 60_000)
        case 'a list': return begun.each('second', () => [1], { run: () => 1, compensate: () => { undone.push('an item') } }).sleep('z', 60_000)
      }
    }
  })
}

for (const other of OTHERS) {
  t.test(`${other} has the name of a step that was done: what cannot be undone is said`, async (t) => {
    const undone: string[] = []
    const before = await clockedApp(t, (app) => {
      app.saga({
        name: 'a',
        steps: (s) => s
          .step('first', { run: () => 1, compensate: () => { undone.push('old first') } })
          .step('second', { run: () => 2, compensate: () => { undone.push('old second') } })
          .sleep('z', 60_000)
      })
    })
    const id = await before.submit('a')
    await before.until('it sleeps', () => before.story().includes('saga.suspended z'))
    await before.close()
    const { app, ended } = await clockedApp(t, (app) => { define(app, undone, other) }, before)
    await app.jobs.cancel(id)
    const job = await ended(id)
    t.match(job, { state: 'failed', error: { code: 'FAE_COMPENSATION_FAILED', message: /second \(FAE_SAGA_CHANGED/ } })
    t.equal(readHead(job.facts)?.p, 'compensation-failed')
    t.match([readStep(job.facts, 'first'), readStep(job.facts, 'second')], [{ s: 'z' }, { s: 'x' }])
    t.same(undone, ['first'], 'the other one still is')
  })
}
