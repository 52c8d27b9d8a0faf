import t from 'tap'
import { assertTransition, canTransition, isTerminal, JOB_STATES, TERMINAL_STATES, type JobState } from '../../lib/jobs/states.ts'

const ALLOWED = new Set([
  'queued>in-progress', 'queued>scheduled', 'queued>cancelled',
  'scheduled>queued', 'scheduled>in-progress', 'scheduled>cancelled',
  'in-progress>completed', 'in-progress>failed', 'in-progress>cancelled', 'in-progress>scheduled', 'in-progress>queued',
  'failed>queued'
])

t.test('every pair of states is allowed or refused as agreed', async (t) => {
  for (const from of JOB_STATES) {
    for (const to of JOB_STATES) {
      const allowed = ALLOWED.has(`${from}>${to}`)
      t.equal(canTransition(from, to), allowed, `${from} > ${to}`)
      if (allowed) t.doesNotThrow(() => assertTransition(from, to))
      else t.throws(() => assertTransition(from, to), { code: 'FAE_ILLEGAL_TRANSITION' })
    }
  }
})

t.test('terminal states lead nowhere, except that a failed job can be redriven', async (t) => {
  for (const state of TERMINAL_STATES) {
    t.ok(isTerminal(state))
    t.same(JOB_STATES.filter((to: JobState) => canTransition(state, to)), state === 'failed' ? ['queued'] : [])
  }
  t.notOk(isTerminal('queued'))
})
