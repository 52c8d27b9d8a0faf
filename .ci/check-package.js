/**
 * What a stranger gets who installs the package: the manifest and the types are linted, and the packed tarball is
 * installed in an empty folder without any Redis library, imported, required, compiled against and run there, its command too.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'

const root = resolve(import.meta.dirname, '..')
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
const bin = (name) => join(root, 'node_modules', '.bin', name)

/** Runs a command; its output is shown only if it fails. */
function run (what, command, args, options = {}) {
  try {
    const output = execFileSync(command, args, { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], timeout: 180_000, ...options })
    process.stdout.write(`ok - ${what}\n`)
    return output
  } catch (error) {
    process.stdout.write(`not ok - ${what}\n${error.stdout ?? ''}${error.stderr ?? ''}\n${error.code === 'ETIMEDOUT' ? 'it took too long\n' : ''}`)
    throw new Error(what)
  }
}

/** The command of the installed package, as a user runs it. */
function doctor (what, { exitCode, env = {}, says = [] }) {
  const { REDIS_URL: _, ...inherited } = process.env
  const { status, stdout, stderr } = spawnSync('npx', ['--no-install', manifest.name, 'doctor', '--json'], { cwd: folder, encoding: 'utf8', timeout: 60_000, env: { ...inherited, ...env } })
  const problems = []
  if (status !== exitCode) problems.push(`exit code ${status} instead of ${exitCode}`)
  try {
    const { findings } = JSON.parse(stdout)
    for (const [check, severity, checked] of says) {
      if (!findings.some((finding) => finding.check === check && finding.severity === severity && finding.checked === checked)) problems.push(`it does not say ${check} ${severity}`)
    }
  } catch {
    problems.push('no report')
  }
  process.stdout.write(`${problems.length === 0 ? 'ok' : 'not ok'} - ${what}\n`)
  if (problems.length > 0) throw new Error(`${what}: ${problems.join(', ')}\n${stdout}${stderr}`)
}

/** "Go to definition" and stack traces lead to the sources: each that a map names must be in the package. */
function checkMaps (installed) {
  const maps = readdirSync(installed, { recursive: true }).filter((name) => name.endsWith('.map'))
  const lost = maps.filter((name) => {
    const { sources } = JSON.parse(readFileSync(join(installed, name), 'utf8'))
    return sources.some((source) => !existsSync(resolve(installed, dirname(name), source)))
  })
  process.stdout.write(`${lost.length === 0 && maps.length > 0 ? 'ok' : 'not ok'} - the sources of ${maps.length} maps are in the package\n`)
  if (maps.length === 0 || lost.length > 0) throw new Error(`maps without their sources: ${lost.slice(0, 5).join(', ')}`)
}

/** A job from submission to result, told in the words of one module system. */
const life = `
  const app = Fastify()
  await app.register(plugin)
  app.asyncEndpoint({ method: 'POST', url: '/double', name: 'double', handler: async (job) => ({ n: job.body.n * 2 }) })
  const submitted = await app.inject({ method: 'POST', url: '/double', payload: { n: 21 } })
  if (submitted.statusCode !== 202) throw new Error('submit: ' + submitted.statusCode + ' ' + submitted.payload)
  await app.jobs.waitFor(submitted.json().id, { timeoutMs: 10000 })
  const result = await app.inject(submitted.json().links.result)
  if (result.json().n !== 42) throw new Error('result: ' + result.payload)
  const metrics = await app.inject('/metrics')
  if (!/^asyncendpoints_jobs_created_total\\{.*job_name="double".*\\} 1$/m.test(metrics.payload)) throw new Error('metrics: ' + metrics.payload.slice(0, 500))
  for (const url of ['/health', '/health/ready', '/health/live']) {
    const health = await app.inject(url)
    if (health.statusCode !== 200) throw new Error(url + ': ' + health.payload)
  }
  await app.close()
  const missing = await redisStore({ url: 'redis://127.0.0.1:1' }).open?.({}).then(() => 'opened', (error) => String(error.message))
  if (!/bullmq/.test(missing)) throw new Error('without bullmq a Redis store says: ' + missing)
`

const consumers = {
  'import.mjs': `import Fastify from 'fastify'
import plugin, { redisStore } from '${manifest.name}'
import * as all from '${manifest.name}'
import { exerciseJobStore } from '${manifest.name}/testing'
import { readFileSync } from 'node:fs'
if (typeof exerciseJobStore !== 'function') throw new Error('no exerciseJobStore')
${life}
process.stdout.write(JSON.stringify(Object.keys(all).sort()))
`,
  'require.cjs': `const Fastify = require('fastify')
const all = require('${manifest.name}')
const plugin = all
const { redisStore } = all
const { exerciseJobStore } = require('${manifest.name}/testing')
if (typeof exerciseJobStore !== 'function') throw new Error('no exerciseJobStore')
;(async () => {
${life}
process.stdout.write(JSON.stringify(Object.keys(all).filter((key) => key !== '__esModule').sort()))
})()
`,
  'consumer.mts': `import Fastify from 'fastify'
import asyncEndpoints, { memoryStore, redisStore, snooze } from '${manifest.name}'
import { FakeClock } from '${manifest.name}/testing'

const app = Fastify()
await app.register(asyncEndpoints, { store: memoryStore(), worker: { concurrency: 2 } })
await app.register(asyncEndpoints, { store: redisStore({ url: 'redis://localhost' }) })
app.asyncEndpoint({
  url: '/reports',
  name: 'report',
  schema: { body: { type: 'object', required: ['year'], properties: { year: { type: 'integer' } } } as const },
  retry: { attempts: 5, backoff: { type: 'exponential', delayMs: 1_000, jitter: 0.2 } },
  handler: async (job) => {
    job.progress({ done: 1, total: 10 })
    const rows = await job.span('load', async () => 7)
    if (job.signal.aborted) return snooze(1_000)
    return { rows, attempt: job.attempt }
  }
})
app.jobHealth.addCheck('disk', () => ({ status: 'Degraded', description: 'nearly full' }), { critical: false })
const { id } = await app.jobs.submit('report', { year: 2026 })
const state: 'queued' | 'scheduled' | 'in-progress' | 'completed' | 'failed' | 'cancelled' | undefined = (await app.jobs.get(id))?.state
const clock: number = new FakeClock().now()
export { clock, state }
`,
  'consumer.cts': `import Fastify = require('fastify')
import suite = require('${manifest.name}')
const app = Fastify()
void app.register(suite.default, { worker: false })
`,
  'tsconfig.json': JSON.stringify({
    compilerOptions: { target: 'es2023', module: 'nodenext', strict: true, exactOptionalPropertyTypes: true, skipLibCheck: false, noEmit: true, types: ['node'] },
    files: ['consumer.mts', 'consumer.cts']
  })
}

const folder = mkdtempSync(join(tmpdir(), 'fae-package-'))
try {
  run('publint', bin('publint'), ['--strict'])
  run('pack', 'npm', ['pack', '--pack-destination', folder])
  const tarball = join(folder, readdirSync(folder).find((name) => name.endsWith('.tgz')))
  // A package of ES modules only; Node (>= 20.19) can `require` those, which the tool does not know.
  run('the types resolve', bin('attw'), [tarball, '--profile', 'esm-only', '--no-emoji', '--no-color'])

  for (const [name, text] of Object.entries(consumers)) writeFileSync(join(folder, name), text)
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ name: 'consumer', private: true }))
  const { fastify, '@types/node': types } = manifest.devDependencies
  run('install the tarball', 'npm', ['install', '--prefer-offline', '--no-audit', '--no-fund', '--loglevel=error', tarball, `fastify@${fastify}`, `@types/node@${types}`], { cwd: folder })
  for (const name of ['bullmq', 'ioredis']) {
    if (existsSync(join(folder, 'node_modules', name))) throw new Error(`${name} was installed with the package; it must stay optional`)
  }
  const imported = run('import it and run a job', process.execPath, ['import.mjs'], { cwd: folder, timeout: 60_000 })
  const required = run('require it and run a job', process.execPath, ['require.cjs'], { cwd: folder, timeout: 60_000 })
  if (imported !== required) throw new Error(`import sees ${imported}, require sees ${required}`)
  doctor('the doctor runs without Redis libraries', { exitCode: 0 })
  doctor('it says that they are missing', { exitCode: 1, env: { REDIS_URL: 'redis://127.0.0.1:1' }, says: [['packages.ioredis', 'problem', true], ['redis.connection', 'note', false]] })
  run('compile against it, with every declaration checked', bin('tsc'), ['-p', '.'], { cwd: folder })
  const stray = readdirSync(join(folder, 'node_modules', manifest.name), { recursive: true }).filter((name) => /(^|\/)(test|bench|dist\/example-server|dist-[^/]*)(\/|$)/.test(name))
  if (stray.length > 0) throw new Error(`not to be published: ${stray.slice(0, 5).join(', ')}`)
  checkMaps(join(folder, 'node_modules', manifest.name))
  const { bullmq, ioredis } = manifest.devDependencies
  run('add the Redis libraries', 'npm', ['install', '--prefer-offline', '--no-audit', '--no-fund', '--loglevel=error', '--ignore-scripts', `bullmq@${bullmq}`, `ioredis@${ioredis}`], { cwd: folder })
  doctor('the doctor connects with them', { exitCode: 1, env: { REDIS_URL: 'redis://127.0.0.1:1' }, says: [['packages.ioredis', 'ok', true], ['packages.bullmq', 'ok', true], ['redis.connection', 'problem', true]] })
  process.stdout.write('the package is fine\n')
} catch (error) {
  process.stdout.write(`the package is not fine: ${error.message}\n`)
  process.exitCode = 1
} finally {
  rmSync(folder, { recursive: true, force: true })
}
