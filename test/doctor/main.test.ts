/** The program: its arguments, its exit codes, what it prints where. */
import { readFileSync } from 'node:fs'
import t from 'tap'
import { readArguments, UsageError } from '../../lib/doctor/arguments.ts'
import { CHECK_IDS } from '../../lib/doctor/findings.ts'
import { doctor, examination } from './support.ts'

const SECRET = 'tops3cret-Passw0rd'

// Many processes, one after another, each of which takes its time on a machine that is busy.
t.setTimeout(120_000)

t.test('help and version', async (t) => {
  for (const args of [['--help'], ['doctor', '--help'], ['-h']]) {
    const { code, stdout, stderr } = await doctor(args)
    t.equal(code, 0)
    t.match(stdout, /^Usage: fastify-async-endpoints doctor/)
    t.equal(stderr, '')
  }
  const { version } = JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')) as { version: string }
  t.match(await doctor(['--version']), { code: 0, stdout: `${version}\n` })
})

t.test('a command line that makes no sense ends with 2, and what was given is not repeated', async (t) => {
  const cases: ReadonlyArray<readonly [args: readonly string[], says: RegExp]> = [
    [[], /the command is missing/],
    [['doktor'], /the only one is: doctor/],
    [['doctor', `redis://:${SECRET}@host`], /takes only options/],
    [['doctor', `--redis-ulr=redis://:${SECRET}@host`], /--redis-ulr is not an option/],
    [['doctor', '--redis-url'], /--redis-url/],
    [['doctor', '--redis-url', `http://:${SECRET}@host`], /--redis-url is not a URL of the form redis:/],
    [['doctor', '--redis-url', `redis://:${SECRET}@host:port`], /percent-encoded/],
    [['doctor', '--prefix', 'a:b'], /prefix must be 1 to 100 letters/],
    [['doctor', '--lease-ms', 'long'], /leaseMs/],
    [['doctor', '--lease-ms', '1'], /leaseMs must be a number of at least 100/],
    [['doctor', '--json=yes'], /--json/],
    [['doctor', '--import', './otel.js'], /need --app/],
    [['doctor', '--app', ''], /--app needs a file/]
  ]
  for (const [args, says] of cases) {
    t.throws(() => readArguments(args, {}), { constructor: UsageError, message: says }, args.join(' '))
    t.throws(() => readArguments(args, {}), { message: new RegExp(`^(?!.*${SECRET})`) })
  }
  t.throws(() => readArguments(['doctor'], { REDIS_URL: SECRET }), { message: /^REDIS_URL is not a URL of the form redis:/ })
  const { code, stdout, stderr } = await doctor(['doctor', '--redis-url', `http://:${SECRET}@host`])
  t.equal(code, 2)
  t.equal(stdout, '')
  t.match(stderr, /--redis-url is not a URL.*\nTry: fastify-async-endpoints --help\n$/)
  t.notMatch(stderr, SECRET)
  t.match(stderr, 'redis://user:password@host:6379/0', 'its own example is not mistaken for a secret')
})

t.test('what is not given', async (t) => {
  t.match(readArguments(['doctor'], { REDIS_URL: '' }), { kind: 'doctor', redisUrl: undefined, prefix: '{fae}', leaseMs: 10_000, app: undefined, json: false, strict: false })
  t.match(readArguments(['doctor'], { REDIS_URL: 'redis://a' }), { redisUrl: 'redis://a' })
  t.match(readArguments(['doctor', '--redis-url', 'redis://b', '--app', 'x', '--import', 'a', '--import', 'b'], { REDIS_URL: 'redis://a' }), { redisUrl: 'redis://b', imports: ['a', 'b'] })
})

t.test('without Redis nothing of it is checked, and that is said', async (t) => {
  const { code, report, stderr } = await examination([])
  t.equal(code, 0)
  t.equal(stderr, '')
  for (const finding of report.findings.filter(({ check }) => check.startsWith('redis.'))) t.match(finding, { checked: false, what: /^not checked: no Redis URL is given/ })
  t.same([...new Set(report.findings.map(({ check }) => check))], CHECK_IDS, 'every check says something, in the order of the table')
  const { counts } = report
  t.equal(Object.values(counts).reduce((sum, number) => sum + number), report.findings.length)
  t.equal(report.exitCode, 0)
  t.match(await doctor(['doctor']), { code: 0, stdout: /^fastify-async-endpoints .*\n\nRedis\n {2}not checked/ })
})

t.test('a problem is told by the exit code, and the password by nothing', async (t) => {
  for (const args of [['doctor'], ['doctor', '--json']]) {
    const { code, stdout, stderr } = await doctor(args, { env: { REDIS_URL: `redis://${SECRET}u:${SECRET}@127.0.0.1:1/0` } })
    t.equal(code, 1)
    t.match(stdout, /redis:\/\/127\.0\.0\.1:1\/0: nothing listens there/)
    t.notMatch(stdout + stderr, SECRET)
  }
  const { code, stdout, stderr } = await doctor(['doctor'], { env: { REDIS_URL: `redis://127.0.0.1:1/0?password=${SECRET}` } })
  t.equal(code, 2, 'options of the client are no part of a URL')
  t.notMatch(stdout + stderr, SECRET)
})
