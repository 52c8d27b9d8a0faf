/** An application is started and watched: when its SDK came, what it says of proxies, and that it never gets to work. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { systemClock } from '../../lib/core/context.ts'
import { checkApp } from '../../lib/doctor/app-checks.ts'
import type { Finding } from '../../lib/doctor/findings.ts'
import { preloadsOfScripts } from '../../lib/doctor/package-facts.ts'
import { gatherApp, type AppTarget } from '../../lib/doctor/gather-app.ts'
import { sharedRedis } from '../support/redis.ts'
import { newJob, openStore } from '../support/redis-jobs.ts'
import { examination, LONGEST_MS } from './support.ts'

const fixture = (name: string): string => fileURLToPath(new URL(`fixtures/${name}.js`, import.meta.url))
const SERVER = fixture('server')

// Many processes, one after another, each of which takes its time on a machine that is busy.
t.setTimeout(120_000)

function folder (t: { teardown (end: () => unknown): unknown }): string {
  const path = mkdtempSync(join(tmpdir(), 'fae-doctor-app-'))
  t.teardown(() => rmSync(path, { recursive: true, force: true }))
  return path
}

/** Looks at it without the program around. */
async function look (target: Partial<AppTarget> = {}, preloads: readonly string[] = []): Promise<(check: string) => Finding> {
  const facts = await gatherApp({ file: SERVER, imports: [], requires: [], cwd: process.cwd(), ...target, env: { PATH: process.env['PATH'], ...target.env } }, systemClock, 60_000)
  const findings = checkApp(facts, preloads)
  return (check) => findings.find((finding) => finding.check === check) ?? findings[0] as Finding
}

const sdk = async (target?: Partial<AppTarget>, preloads?: readonly string[]): Promise<Finding> => (await look(target, preloads))('otel.sdk')
const proxy = async (env: Record<string, string>): Promise<Finding> => (await look({ env }))('app.proxy')
const EARLY = { severity: 'ok', checked: true, what: /before fastify and ioredis/ }

t.test('an SDK that is early', async (t) => {
  t.match(await sdk({ file: fixture('early') }), EARLY, 'the first import')
  t.match(await sdk({ imports: [fixture('sdk')] }), EARLY, 'preloaded')
  t.match(await sdk({ env: { NODE_OPTIONS: `--import=${new URL('fixtures/sdk.js', import.meta.url).href}` } }), EARLY, 'by NODE_OPTIONS')
  const cwd = folder(t)
  writeFileSync(join(cwd, 'otel.cjs'), `const api = require(${JSON.stringify(fileURLToPath(import.meta.resolve('@opentelemetry/api')))})
api.trace.setGlobalTracerProvider({ getTracer () {} })`)
  t.match(await sdk({ requires: ['./otel.cjs'], cwd }), EARLY, 'required before anything else')
})

t.test('an SDK that is late, and none', async (t) => {
  t.match(await sdk(), { severity: 'ok', checked: true, what: /no tracer provider/ })
  t.match(await sdk({ env: { TEST_MODE: 'late-sdk' } }), { severity: 'warning', checked: true, what: /^fastify and ioredis were loaded before/ })
})

t.test('a CommonJS application', async (t) => {
  const cwd = folder(t)
  const path = (name: string): string => JSON.stringify(fileURLToPath(import.meta.resolve(name)))
  const plugin = JSON.stringify(fileURLToPath(new URL('../../plugins/async-endpoints.js', import.meta.url)))
  const start = 'const app = Fastify(); app.register(plugin); app.listen({ port: 0 })'
  const registers = `require(${path('@opentelemetry/api')}).trace.setGlobalTracerProvider({ getTracer () {} })`
  const loads = `const Fastify = require(${path('fastify')}); const plugin = require(${plugin})`
  writeFileSync(join(cwd, 'early.cjs'), [registers, loads, start].join('\n'))
  writeFileSync(join(cwd, 'late.cjs'), [loads, registers, start].join('\n'))
  t.match(await sdk({ file: 'early.cjs', cwd }), EARLY)
  t.match(await sdk({ file: 'late.cjs', cwd }), { severity: 'warning', what: /^fastify was loaded before/ })
})

t.test('a project whose scripts preload what this start does not', async (t) => {
  const cwd = folder(t)
  writeFileSync(join(cwd, 'package.json'), JSON.stringify({ scripts: { start: 'node --import ./otel.js server.js' } }))
  const preloads = preloadsOfScripts(cwd)
  t.match(await sdk({ env: { TEST_MODE: 'late-sdk' } }, preloads), { checked: false, what: /package\.json preload \.\/otel\.js/ })
})

t.test('proxies', async (t) => {
  t.match(await proxy({ TEST_PUBLIC_URL: 'https://api.example.com' }), { severity: 'warning', checked: true })
  t.match(await proxy({ TEST_PUBLIC_URL: 'https://api.example.com', TEST_TRUST: '10.0.0.0/8' }), { severity: 'ok', checked: true, what: /names the proxies/ })
  t.match(await proxy({ TEST_TRUST: 'all' }), { severity: 'note', checked: true })
  t.match(await proxy({}), { severity: 'ok', checked: true })
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
  t.match((await look({ file: fixture('sdk') }))('app.boot'), { checked: false, what: /ended before/ })
  const cwd = folder(t)
  writeFileSync(join(cwd, 'leak.mjs'), 'console.log("tops3cret-Passw0rd"); throw new Error("redis://user:tops3cret-Passw0rd@host")')
  const leak = await examination(['--app', 'leak.mjs'], { cwd })
  t.match(leak.of('app.boot'), { severity: 'problem', what: /exit code 1/ })
  t.notMatch(leak.stdout + leak.stderr, /tops3cret/, 'what it prints is not passed on')
  t.match((await examination(['--app', './nothing.js'])).of('app.boot'), { severity: 'problem', what: /no such file/ })
})

t.test('one that hangs is ended in time', async (t) => {
  const { of, code, tookMs } = await examination(['--app', SERVER], { env: { TEST_MODE: 'hang' } })
  t.equal(code, 0)
  t.match(of('app.boot'), { checked: false, what: /not checked: no server with this plugin was ready within 8 s/ })
  t.ok(tookMs < LONGEST_MS, `${Math.round(tookMs)} ms`)
})
