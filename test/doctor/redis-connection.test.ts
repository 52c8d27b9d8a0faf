/** Who gets in and who does not, and servers that do not answer: seen on real ones, over real sockets. */
import { once } from 'node:events'
import { connect as connectTo, createServer as createTcpServer, type AddressInfo, type Socket } from 'node:net'
import { createServer as createTlsServer } from 'node:tls'
import t from 'tap'
import { aclRules } from '../../lib/stores/bullmq/commands.ts'
import { freePort } from '../support/redis.ts'
import { connect, examination, LONGEST_MS, programExamination, server } from './support.ts'

const SECRET = 'tops3cret-Passw0rd'

// Several processes, one after another, each of which takes its time on a machine that is busy.
t.setTimeout(120_000)

t.test('passwords and users, none of which is ever shown', async (t) => {
  const redis = await server(t, { settings: ['--requirepass', SECRET] })
  const admin = connect(t, `redis://:${SECRET}@127.0.0.1:${redis.port}`)
  const acl = (name: string, ...rules: string[]): Promise<unknown> => admin.call('ACL', 'SETUSER', name, 'on', `>${SECRET}`, ...rules)
  await acl('limited', '+ping', '+multi', '+discard', '+exec', '+get', '~{fae}:*')
  await acl('no-script', '+@all', '-eval', '-evalsha', '~{fae}:*', '&{fae}:*')
  await acl('elsewhere', '+@all', '~other:*', '&*')
  await acl('no-transaction', '+@all', '-multi', '~*', '&*')
  await acl('few', '+ping', '+get', '~{fae}:*')
  await acl('idle', '+@all', '-xadd', '-bzpopmin', '~{fae}:*', '&{fae}:*')
  await acl('silent', '+@all', '~{fae}:*', '&other:*')
  await acl('exact', ...aclRules('{fae}').split(' '))
  await acl('no-info', '+@all', '-info', '-config', '~*', '&*')
  await acl('deaf', '+@all', '-subscribe', '~{fae}:*', '&{fae}:*')
  await acl('mute', '-@all')
  await acl('good', '+@all', '-@admin', '~{fae}:*', '&{fae}:*')
  const as = (user: string, password = SECRET): string => `redis://${user}:${password}@127.0.0.1:${redis.port}`
  const shown: string[] = []
  const look = async (url: string): Promise<Awaited<ReturnType<typeof examination>>> => {
    const seen = await examination([], { env: { REDIS_URL: url } })
    shown.push(seen.stdout, seen.text)
    return seen
  }
  t.match((await look(redis.url)).of('redis.connection'), { severity: 'problem', what: /NOAUTH/, fix: /PASSWORD/ })
  t.match((await look(as('', `${SECRET}x`))).of('redis.connection'), { severity: 'problem', what: /WRONGPASS/ })
  t.match((await look(as('nobody'))).of('redis.connection'), { severity: 'problem', what: /WRONGPASS/ })
  t.match((await look(as('mute'))).of('redis.connection'), { severity: 'problem', what: /NOPERM/ })
  t.match((await look(`${as('')}/99`)).of('redis.connection'), { severity: 'problem', what: /ERR/ }, 'a database that is not there')
  t.match((await look(as('limited'))).of('redis.commands'), { severity: 'problem', what: /EVAL.*and \d+ more \(NOPERM\)/, fix: /\+@all -@admin/ })
  t.match((await look(as('no-script'))).of('redis.commands'), { severity: 'problem', what: /: EVAL, EVALSHA \(NOPERM\)/, fix: /\+eval \+evalsha/ })
  t.match((await look(as('elsewhere'))).of('redis.commands'), { severity: 'problem', what: /keys of prefix "\{fae\}"/, fix: /~\{fae\}:\*/ })
  t.equal((await look(as('no-transaction'))).of('redis.commands').severity, 'ok', 'the store needs no transactions')
  t.match((await look(as('few'))).of('redis.commands'), { severity: 'problem', what: /: EVAL, EVALSHA \(NOPERM\)/ })
  t.match((await look(as('idle'))).of('redis.commands'), { severity: 'problem', what: /: BZPOPMIN, XADD \(NOPERM\)/, fix: /\+bzpopmin \+xadd/ })
  t.match((await look(as('silent'))).of('redis.commands'), { severity: 'problem', what: /: PUBLISH \(NOPERM\)/ })
  t.equal((await look(as('exact'))).of('redis.commands').severity, 'ok', 'the line in the documentation is enough')
  t.match((await look(as('deaf'))).of('redis.commands'), { severity: 'warning', what: /NOPERM/, fix: /\+subscribe/ })
  const blind = await look(as('no-info'))
  for (const check of ['redis.version', 'redis.eviction', 'redis.persistence', 'redis.memory', 'redis.cluster']) {
    t.match(blind.of(check), { checked: false, severity: 'note', what: /^not checked: .*INFO \(NOPERM\)/ }, check)
  }
  t.equal(blind.of('redis.commands').severity, 'ok')
  const good = await look(as('good'))
  t.equal(good.of('redis.commands').severity, 'ok', 'the rules that the fixes name are enough')
  t.match(good.of('redis.persistence'), { severity: 'warning', what: /cannot be seen/ }, 'CONFIG is not allowed')
  t.equal(await admin.dbsize(), 0)
  t.notOk(shown.some((text) => text.includes(SECRET)))
})

t.test('servers that cannot be reached', async (t) => {
  const refused = await examination(['--redis-url', `redis://127.0.0.1:${await freePort()}`])
  t.equal(refused.code, 1)
  t.match(refused.of('redis.connection'), { severity: 'problem', what: /nothing listens there \(ECONNREFUSED\)/ })
  for (const finding of refused.report.findings.filter(({ check }) => check.startsWith('redis.') && check !== 'redis.connection')) {
    t.match(finding, { checked: false, what: 'not checked: the server cannot be used' })
  }
  // The look-up goes on when the time is up: the process must end all the same.
  const unknown = await programExamination(['--redis-url', 'redis://no-such-host.invalid'])
  t.match(unknown.of('redis.connection'), { severity: 'problem', what: /unknown host|could not be looked up/ })
  t.ok(unknown.tookMs < LONGEST_MS)
})

t.test('a server that is frozen', async (t) => {
  const redis = await server(t)
  redis.freeze()
  const { of, code, tookMs } = await programExamination(['--redis-url', redis.url])
  t.equal(code, 1)
  t.match(of('redis.connection'), { severity: 'problem', what: /does not answer.*ETIMEDOUT/ })
  t.ok(tookMs < LONGEST_MS, `${Math.round(tookMs)} ms`)
})

t.test('one that freezes in the middle of it', async (t) => {
  const redis = await server(t)
  const { port } = await proxy(t, redis.port, (chunk) => !/\btime\b/i.test(chunk))
  const { of, tookMs } = await programExamination(['--redis-url', `redis://127.0.0.1:${port}`])
  t.equal(of('redis.connection').severity, 'ok')
  t.match(of('redis.clock'), { checked: false, what: /TIME \(ETIMEDOUT\)/ })
  t.ok(tookMs < LONGEST_MS, `${Math.round(tookMs)} ms`)
})

/** Passes on what the client sends, until something is not to be passed on; from then on nothing is. */
async function proxy (t: { teardown (end: () => unknown): unknown }, to: number, passes: (chunk: string) => boolean): Promise<AddressInfo> {
  const sockets = new Set<Socket>()
  const listener = createTcpServer((socket) => {
    const upstream = connectTo(to, '127.0.0.1')
    let open = true
    socket.on('data', (chunk) => {
      open &&= passes(chunk.toString('latin1'))
      if (open) upstream.write(chunk)
    })
    upstream.on('data', (chunk) => { socket.write(chunk) })
    for (const one of [socket, upstream]) sockets.add(one.on('error', () => {}))
  })
  listener.listen(0, '127.0.0.1')
  await once(listener, 'listening')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    listener.close()
  })
  return listener.address() as AddressInfo
}

t.test('TLS where there is none, and none where there is', async (t) => {
  const plain = await server(t)
  const { of, tookMs } = await programExamination(['--redis-url', `rediss://127.0.0.1:${plain.port}`])
  t.match(of('redis.connection'), { severity: 'problem', what: /TLS handshake failed/, fix: /redis:\/\// })
  t.ok(tookMs < LONGEST_MS)

  const tls = createTlsServer({}, () => {})
  tls.on('tlsClientError', () => {})
  tls.listen(0, '127.0.0.1')
  await once(tls, 'listening')
  t.teardown(() => tls.close())
  const { port } = tls.address() as AddressInfo
  t.match((await examination(['--redis-url', `redis://127.0.0.1:${port}`])).of('redis.connection'), { severity: 'problem', what: /not an answer of Redis/, fix: /rediss:\/\// })
})
