import t from 'tap'
import { JobLinks } from '../../lib/http/links.ts'
import { JOB_STATES } from '../../lib/jobs/states.ts'

t.test('only what makes sense in a state is linked', async (t) => {
  const links = new JobLinks('', '/jobs', undefined)
  const shown = Object.fromEntries(JOB_STATES.map((state) => [state, Object.keys(links.of('x', state)).join(' ')]))
  t.same(shown, {
    queued: 'self result cancel', scheduled: 'self result cancel', 'in-progress': 'self result cancel', completed: 'self result', failed: 'self retry', cancelled: 'self'
  })
})

t.test('prefix and public URL', async (t) => {
  t.equal(new JobLinks('/v1', '/jobs', undefined).self('x'), '/v1/jobs/x')
  t.equal(new JobLinks('/v1/', '/jobs', undefined).result('x'), '/v1/jobs/x/result')
  t.equal(new JobLinks('/v1', '/tasks/jobs', 'https://api.example.com/').self('x'), 'https://api.example.com/v1/tasks/jobs/x')
})
