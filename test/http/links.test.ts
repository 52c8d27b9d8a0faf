import t from 'tap'
import { JobLinks } from '../../lib/http/links.ts'
import { isTerminal, JOB_STATES } from '../../lib/jobs/states.ts'

t.test('only what makes sense in a state is linked', async (t) => {
  const links = new JobLinks('', '/jobs', undefined)
  const shown = Object.fromEntries(JOB_STATES.map((state) => [state, Object.keys(links.of('x', state)).join(' ')]))
  t.same(shown, {
    queued: 'self result cancel', scheduled: 'self result cancel', 'in-progress': 'self result cancel', completed: 'self result', failed: 'self redrive', cancelled: 'self'
  })
})

t.test('streams of events, where the application has them and the job is not over', async (t) => {
  const links = new JobLinks('/v1', '/jobs', undefined, { streams: true })
  for (const state of JOB_STATES) t.equal(links.of('x', state).events, isTerminal(state) ? undefined : '/v1/jobs/events?id=x', state)
  const signed = new JobLinks('', '/jobs', undefined, { streams: true, sign: (id, scope) => scope === 'read' ? `k.1.read.${id}` : undefined })
  t.equal(signed.of('x', 'queued').events, '/jobs/events?id=x&sig=k.1.read.x')
  t.equal(signed.limitedTo({ jobId: 'x', scope: 'read', sig: 's', until: 1 }).of('x', 'queued').events, '/jobs/events?id=x&sig=s')
  t.equal(signed.unsigned().of('x', 'queued').events, '/jobs/events?id=x')
})

t.test('prefix and public URL', async (t) => {
  t.equal(new JobLinks('/v1', '/jobs', undefined).self('x'), '/v1/jobs/x')
  t.equal(new JobLinks('/v1/', '/jobs', undefined).result('x'), '/v1/jobs/x/result')
  t.equal(new JobLinks('/v1', '/tasks/jobs', 'https://api.example.com/').self('x'), 'https://api.example.com/v1/tasks/jobs/x')
})

t.test('links are ASCII, whatever the prefix and the public URL are', async (t) => {
  const linkTo = (prefix: string, publicUrl?: string): string => new JobLinks(prefix, '/jobs', publicUrl).self('x')
  t.equal(linkTo('/größe'), '/gr%C3%B6%C3%9Fe/jobs/x')
  t.equal(linkTo('/日本/🦁'), '/%E6%97%A5%E6%9C%AC/%F0%9F%A6%81/jobs/x')
  t.equal(linkTo('/gr%C3%B6%C3%9Fe'), '/gr%C3%B6%C3%9Fe/jobs/x', 'what is encoded already stays')
  t.equal(linkTo('/a b/100%/<c>"?#'), '/a%20b/100%25/%3Cc%3E%22%3F%23/jobs/x')
  t.equal(linkTo('/half\ud83e'), '/half%EF%BF%BD/jobs/x')
  t.equal(linkTo('/a::b'), '/a:b/jobs/x', 'two colons are one for the router')
  t.equal(linkTo('/v1', 'https://bücher.example/größe/'), 'https://xn--bcher-kva.example/gr%C3%B6%C3%9Fe/v1/jobs/x')
  t.throws(() => linkTo('', 'https://a:ü'), { code: 'FAE_INVALID_OPTIONS' })
})

t.test('the WebSocket, where the application has one and the job is not over', async (t) => {
  const links = new JobLinks('/v1', '/jobs', undefined, { sockets: true })
  for (const state of JOB_STATES) t.equal(links.of('x', state).socket, isTerminal(state) ? undefined : '/v1/jobs/socket', state)
  t.equal(new JobLinks('', '/jobs', 'https://api.example.com', { sockets: true }).of('x', 'queued').socket, 'wss://api.example.com/jobs/socket')
  t.equal(new JobLinks('', '/http', 'http://http.example', { sockets: true }).of('x', 'queued').socket, 'ws://http.example/http/socket')
  const signed = new JobLinks('', '/jobs', undefined, { sockets: true, sign: () => 'k.1.read.x' })
  for (const other of [signed, signed.unsigned(), signed.limitedTo({ jobId: 'x', scope: 'read', sig: 's', until: 1 })]) {
    t.equal(other.of('x', 'queued').socket, '/jobs/socket', 'a signature goes into the message that subscribes, not into a URL')
  }
  t.equal(new JobLinks('', '/jobs', undefined).of('x', 'queued').socket, undefined)
})
