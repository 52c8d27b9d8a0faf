/** An application is started and watched: when its SDK came, what it says of proxies, and that it never gets to work. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { systemClock } from '../../lib/core/context.ts'
import { checkApp } from '../../lib/doctor/app-checks.ts'
import type { AppFacts } from '../../lib/doctor/app-facts.ts'
import type { Finding } from '../../lib/doctor/findings.ts'
import { preloadsOfScripts } from '../../lib/doctor/package-facts.ts'
import { readApp, START_MS, type AppTarget } from '../../lib/doctor/read-app.ts'
import { temporaryFolder } from '../support/folder.ts'
import { sharedRedis } from '../support/redis.ts'
import { newJob, openStore } from '../support/redis-jobs.ts'
import { examination, LONGEST_MS, programExamination } from './support.ts'

const fixture = (name: string): string => fileURLToPath(new URL(`fixtures/${name}.js`, import.meta.url))
const SERVER = fixture('server')

// Many processes, one after another, each of which takes its time on a machine that is busy.
t.setTimeout(120_000)

const folder = (t: Parameters<typeof temporaryFolder>[0]): string => temporaryFolder(t, 'doctor-app')

/** Starts it, without the program around. */
async function start (target: Partial<AppTarget> = {}, startMs = 60_000): Promise<AppFacts> {
  return await readApp({ file: SERVER, imports: [], requires: [], cwd: process.cwd(), ...target, env: { PATH: process.env['PATH'], ...target.env } }, systemClock, startMs)
}

function judge (facts: AppFacts, preloads: readonly string[] = []): (check: string) => Finding {
  const findings = checkApp(facts, preloads)
  return (check) => findings.find((finding) => finding.check === check) ?? findings[0] as Finding
}

const look = async (target?: Partial<AppTarget>): Promise<(check: string) => Finding> => judge(await start(target))
const EARLY = { severity: 'ok', checked: true, what: /before fastify and ioredis/ }

// Each start takes its time, so that one answers for both the SDK and the proxy.
t.test('an SDK that is early, and proxies', async (t) => {
  const TEST_PUBLIC_URL = 'https://api.example.com'
  const first = await look({ file: fixture('early'), env: { TEST_PUBLIC_URL } })
  t.match(first('otel.sdk'), EARLY, 'the first import')
  t.match(first('app.proxy'), { severity: 'warning', checked: true })
  t.match(first('app.job-routes'), { severity: 'problem', checked: true })
  t.match(first('app.metrics'), { severity: 'warning', checked: true })
  const preloaded = await look({ imports: [fixture('sdk')], env: { TEST_PUBLIC_URL, TEST_TRUST: '10.0.0.0/8', TEST_GUARDED: 'alice' } })
  t.match(preloaded('otel.sdk'), EARLY, 'preloaded')
  t.equal(preloaded('app.job-routes').severity, 'ok', 'an owner function of the endpoint')
  t.equal(preloaded('app.metrics').severity, 'ok')
  t.match(preloaded('app.proxy'), { severity: 'ok', checked: true, what: /names the proxies/ })
  const inherited = await look({ env: { NODE_OPTIONS: `--import=${new URL('fixtures/sdk.js', import.meta.url).href}`, TEST_TRUST: 'all' } })
  t.match(inherited('otel.sdk'), EARLY, 'by NODE_OPTIONS')
  t.match(inherited('app.proxy'), { severity: 'note', checked: true })
  const cwd = folder(t)
  writeFileSync(join(cwd, 'otel.cjs'), `const api = require(${JSON.stringify(fileURLToPath(import.meta.resolve('@opentelemetry/api')))})
api.trace.setGlobalTracerProvider({ getTracer () {} })`)
  const required = await look({ requires: ['./otel.cjs'], cwd })
  t.match(required('otel.sdk'), EARLY, 'required before anything else')
  t.match(required('app.proxy'), { severity: 'ok', checked: true, what: /neither trustProxy nor publicUrl/ })
})

t.test('an SDK that is late, and none', async (t) => {
  t.match((await look())('otel.sdk'), { severity: 'ok', checked: true, what: /no tracer provider/ })
  const late = await start({ env: { TEST_MODE: 'late-sdk' } })
  t.match(judge(late)('otel.sdk'), { severity: 'warning', checked: true, what: /^fastify and ioredis were loaded before/ })

  // A project whose scripts preload what this start did not: it would be about another start than the real one.
  const cwd = folder(t)
  writeFileSync(join(cwd, 'package.json'), JSON.stringify({ scripts: { start: 'node --import ./otel.js server.js' } }))
  t.match(judge(late, preloadsOfScripts(cwd))('otel.sdk'), { checked: false, what: /package\.json preload \.\/otel\.js/ })
})

t.test('a CommonJS application', async (t) => {
  const cwd = folder(t)
  const path = (name: string): string => JSON.stringify(fileURLToPath(import.meta.resolve(name)))
  const plugin = JSON.stringify(fileURLToPath(new URL('../../plugins/async-endpoints.js', import.meta.url)))
  const begin = 'const app = Fastify(); app.register(plugin); app.listen({ port: 0 })'
  const registers = `require(${path('@opentelemetry/api')}).trace.setGlobalTracerProvider({ getTracer () {} })`
  const loads = `const Fastify = require(${path('fastify')}); const plugin = require(${plugin})`
  writeFileSync(join(cwd, 'early.cjs'), [registers, loads, begin].join('\n'))
  writeFileSync(join(cwd, 'late.cjs'), [loads, registers, begin].join('\n'))
  t.match((await look({ file: 'early.cjs', cwd }))('otel.sdk'), EARLY)
  t.match((await look({ file: 'late.cjs', cwd }))('otel.sdk'), { severity: 'warning', what: /^fastify was loaded before/ })
})

t.test('Redis is the one on which the application keeps its jobs, whatever the environment of the doctor says', async (t) => {
  const { url, prefix, stop } = await sharedRedis()
  t.teardown(stop)
  const { host } = new URL(url)
  const real = await examination(['--app', SERVER], { env: { TEST_REDIS_URL: url, TEST_PREFIX: prefix, REDIS_URL: 'redis://127.0.0.1:1' } })
  t.match(real.of('redis.connection'), { severity: 'ok', what: new RegExp(`^redis://${host}.* answers`) })
  t.match(real.of('app.store'), { severity: 'warning', what: /and not on redis:\/\/127\.0\.0\.1:1, which/ })
  const memory = await examination(['--app', SERVER], { env: { REDIS_URL: url } })
  t.match(memory.of('redis.connection'), { checked: false, what: /keeps its jobs in memory/ })
  t.match(memory.of('app.store'), { severity: 'warning', what: /^jobs are kept in memory, and not on/ })
  const secret = await examination(['--app', SERVER], { env: { TEST_REDIS_URL: 'redis://user:tops3cret-Passw0rd@127.0.0.1:1' } })
  t.match(secret.of('redis.connection'), { severity: 'problem', what: 'redis://127.0.0.1:1: nothing listens there (ECONNREFUSED)' })
  t.notMatch(secret.stdout + secret.text, /tops3cret/)
})

t.test('it opens no port and works on no job, and is gone afterwards', async (t) => {
  const { url, prefix, stop } = await sharedRedis()
  t.teardown(stop)
  const store = await openStore({ url, prefix })
  t.teardown(() => store.close(2_000))
  const job = newJob({ queue: 'default', name: 'work' })
  await store.create(job)
  const marks = join(folder(t), 'marks')
  const of = await look({ env: { TEST_REDIS_URL: url, TEST_PREFIX: prefix, TEST_MARKS: marks } })
  t.equal(of('app.boot').severity, 'ok')
  const [first = '', ...more] = readFileSync(marks, 'utf8').trim().split('\n')
  t.same(more, [], 'no hook of the application has run')
  t.throws(() => process.kill(Number(first.replace('pid ', '')), 0), { code: 'ESRCH' })
  t.equal((await store.get(job.id))?.state, 'queued')
})

t.test('another server in the same process goes its way', async (t) => {
  const marks = join(folder(t), 'marks')
  const of = await look({ env: { TEST_MODE: 'admin-first', TEST_MARKS: marks, TEST_TRUST: 'all' } })
  t.equal(of('app.boot').severity, 'ok')
  t.equal(of('app.proxy').severity, 'note', 'of the server with the plugin')
  t.match(readFileSync(marks, 'utf8'), /^admin listens\npid \d+\n$/)
})

t.test('one that does not get ready', async (t) => {
  const crashed = await look({ env: { TEST_MODE: 'crash' } })
  t.match(crashed('app.boot'), { severity: 'problem', what: /exit code 1/ })
  t.match(crashed('otel.sdk'), { checked: false })
  t.match((await look({ file: fixture('sdk') }))('app.boot'), { severity: 'problem', what: /ended before/ })
  const cwd = folder(t)
  writeFileSync(join(cwd, 'leak.mjs'), 'console.log("tops3cret-Passw0rd"); throw new Error("redis://user:tops3cret-Passw0rd@host")')
  const leak = await programExamination(['--app', 'leak.mjs'], { cwd })
  t.match(leak.of('app.boot'), { severity: 'problem', what: /exit code 1/ })
  t.notMatch(leak.stdout + leak.stderr, /tops3cret/, 'what it prints is not passed on')
  t.match((await look({ file: './nothing.js' }))('app.boot'), { severity: 'problem', what: /does not exist/ })
})

// What is given back comes after the end of the process.
t.test('one that hangs is ended in time', async (t) => {
  const facts = await start({ env: { TEST_MODE: 'hang' } }, 1_500)
  t.match(judge(facts)('app.boot'), { severity: 'problem', what: /no server with this plugin was ready within 1\.5 s/ })
  t.equal(START_MS, 8_000, 'as the documentation says')
  t.ok(START_MS < LONGEST_MS / 1.5, 'and all the rest is done in what is left')
})
