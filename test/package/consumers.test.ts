/**
 * The package as applications use it: compiled against its declarations under the strictest flags, loaded by `require`, and
 * packed into one file by esbuild. The folders of these applications are inside `dist`, where the name of this package leads to
 * what was built.
 */
import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { build, type BuildOptions, type Format } from 'esbuild'
import t from 'tap'
import { temporaryFolder } from '../support/folder.ts'
import { sharedRedis, uniquePrefix } from '../support/redis.ts'

const run = promisify(execFile)
const ROOT = fileURLToPath(new URL('../../../', import.meta.url))
const LIMIT_MS = 120_000

/** A folder inside of the package, with these files in it. */
function application (t: { teardown: (end: () => unknown) => unknown }, files: Readonly<Record<string, string>>): string {
  mkdirSync(join(ROOT, 'dist'), { recursive: true })
  const folder = mkdtempSync(join(ROOT, 'dist', 'consumer-'))
  t.teardown(() => { rmSync(folder, { recursive: true, force: true }) })
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text)
  return folder
}

const STRICTEST = {
  compilerOptions: {
    target: 'es2023', lib: ['es2023'], types: ['node'], module: 'nodenext', strict: true, exactOptionalPropertyTypes: true, noUncheckedIndexedAccess: true, skipLibCheck: false, noEmit: true
  }
}

const ESM_TYPES = `
import Fastify from 'fastify'
import asyncEndpoints, {
  alerts, discard, health, jobStore, memoryStore, observability, redisStore, snooze, worker,
  type AsyncEndpointsOptions, type JobContext, type JobDefinition, type SubmitManyResult, type SubmitMeta
} from 'fastify-async-endpoints'
import { exerciseJobStore, FakeClock } from 'fastify-async-endpoints/testing'

declare function maybe<T> (value: T): T | undefined

const options: AsyncEndpointsOptions = {
  store: redisStore({ url: 'redis://127.0.0.1:6379', prefix: '{shop}', operationTimeoutMs: 2_000 }),
  jobs: { queue: 'q', retry: { attempts: 3, backoff: { type: 'fixed', delayMs: 1 } }, timeoutMs: 1, graceMs: 1, priority: 1, maxResultBytes: 1 },
  submitTimeoutMs: 2_000,
  redact: {},
  worker: { concurrency: 5, queues: { mail: { concurrency: 2 } }, onlyTheseQueues: true, drainTimeoutMs: 1, countAbandoned: true, watchdog: false, middleware: [async (_job, next) => await next()], workerId: 'w' },
  http: { path: '/jobs', publicUrl: 'https://x.example', owner: () => 'ann', access: 'owner', headers: ['x-tenant'], maxWaitMs: 1, maxWaiters: 1, maxRedrives: 1, idempotencyTtlMs: 1, exposeErrors: 'all', openapi: { tags: ['t'] } },
  observability: { metrics: {}, tracing: {}, logging: {} },
  health: {},
  alerts: true
}
const app = Fastify()
await app.register(asyncEndpoints, options)
await app.register(jobStore, { store: memoryStore(), clock: new FakeClock() })
for (const plugin of [observability, worker, health, alerts]) await app.register(plugin)

const child: JobDefinition<{ body: { n: number }, result: number }> = app.defineJob<{ body: { n: number }, result: number }>({ name: 'child', handler: (job) => job.attempt > 1 ? snooze(1) : job.body.n })
app.defineJob({ name: 'declared' })
const meta: SubmitMeta = { idempotencyKey: maybe('k'), owner: maybe('ann'), delayMs: maybe(1), correlationId: maybe('c'), trace: maybe({ traceparent: '00-' }), priority: maybe(1) }
const handler = async (job: JobContext): Promise<ReturnType<typeof discard>> => { await job.submit(child, { n: 1 }, meta); return discard('no') }
app.asyncEndpoint({ method: 'POST', url: '/a', name: 'a', owner: () => undefined, idempotency: 'required', maxQueued: 1, bodyLimit: 1, delayMs: 1, handler })
app.asyncEndpoint({ url: '/b', name: 'b' })
await app.jobs.submit(child, { n: 1 }, meta)
// @ts-expect-error the body of another job
await app.jobs.submit(child, { m: 1 })
// @ts-expect-error there is no such option
await app.jobs.submit(child, { n: 1 }, { attempts: 7 })
const results: SubmitManyResult[] = await app.jobs.submitMany(child, [{ body: { n: 1 }, idempotencyKey: maybe('k') }])
for (const result of results) {
  if (result.error === undefined) result.job.id satisfies string
  else result.error.message satisfies string
}
// @ts-expect-error the body of another job
await app.jobs.submitMany(child, [{ body: { m: 1 } }])
export { exerciseJobStore }
`

const COMMON_TYPES = `
import Fastify = require('fastify')
import asyncEndpoints = require('fastify-async-endpoints')
const app = Fastify.default()
const store: asyncEndpoints.JobStore = asyncEndpoints.memoryStore()
void app.register(asyncEndpoints.default, { store })
void app.after(() => { app.asyncEndpoint({ url: '/a', name: 'a', handler: async (job) => job.id }) })
`

t.test('compiles under strict, exactOptionalPropertyTypes and without skipLibCheck', { timeout: LIMIT_MS }, async (t) => {
  const folder = application(t, { 'esm.mts': ESM_TYPES, 'common.cts': COMMON_TYPES, 'tsconfig.json': JSON.stringify({ ...STRICTEST, files: ['esm.mts', 'common.cts'] }) })
  const told = await run(process.execPath, [join(ROOT, 'node_modules/typescript/lib/tsc.js'), '-p', folder], { timeout: LIMIT_MS }).then(() => '', (error: { stdout?: string }) => String(error.stdout))
  t.equal(told, '')
})

const MAIN = `
async function main () {
  const app = Fastify()
  const { REDIS_URL: url, PREFIX: prefix } = process.env
  await app.register(asyncEndpoints, { store: url === undefined ? memoryStore() : redisStore({ url, prefix }) })
  app.asyncEndpoint({ method: 'POST', url: '/double', name: 'double', handler: async (job) => job.body.n * 2 })
  const response = await app.inject({ method: 'POST', url: '/double', headers: { prefer: 'wait=15' }, payload: { n: 21 } })
  const metrics = await app.inject('/metrics')
  console.log([response.statusCode, response.body, metrics.statusCode, metrics.body.includes('asyncendpoints_jobs_created_total')].join(' '))
  await app.close()
}
main().catch((error) => { console.error(error); process.exitCode = 1 })
`
const ESM_MAIN = `import Fastify from 'fastify'\nimport asyncEndpoints, { memoryStore, redisStore } from 'fastify-async-endpoints'\n${MAIN}`
const COMMON_MAIN = `const Fastify = require('fastify')\nconst { default: asyncEndpoints, memoryStore, redisStore } = require('fastify-async-endpoints')\n${MAIN}`
const WORKS = '200 42 200 true'

const redis = await sharedRedis()
t.teardown(() => redis.stop())

/** Runs it on both stores. */
async function says (file: string): Promise<string[]> {
  const { REDIS_URL: _, ...env } = process.env
  const outputs = await Promise.all([env, { ...env, REDIS_URL: redis.url, PREFIX: uniquePrefix() }].map((env) => run(process.execPath, [file], { env, timeout: LIMIT_MS })))
  return outputs.map(({ stdout }) => stdout.trim())
}

t.test('is loaded by require', { timeout: LIMIT_MS }, async (t) => {
  const folder = application(t, { 'main.cjs': COMMON_MAIN })
  t.same(await says(join(folder, 'main.cjs')), [WORKS, WORKS])
})

/** What the CommonJS packages inside of an ES module call. */
const REQUIRE = "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);"
/** Optional packages that are loaded only when an option asks for them. */
const UNUSED = ['@opentelemetry/exporter-*']

for (const format of ['esm', 'cjs'] satisfies Format[]) {
  const extension = format === 'esm' ? 'mjs' : 'cjs'
  const common: BuildOptions = { bundle: true, platform: 'node', target: 'node20', format, logLevel: 'silent', ...(format === 'esm' && { banner: { js: REQUIRE } }) }

  t.test(`one ${format} file by esbuild, with all packages in it`, { timeout: LIMIT_MS }, async (t) => {
    const folder = application(t, { 'main.js': ESM_MAIN })
    // Nothing can be loaded from there but the file itself.
    const outfile = join(temporaryFolder(t, 'bundle'), `main.${extension}`)
    const { warnings } = await build({ ...common, entryPoints: [join(folder, 'main.js')], outfile, external: UNUSED })
    t.same(warnings, [])
    t.same(await says(outfile), [WORKS, WORKS])
  })

  t.test(`one ${format} file by esbuild, with the packages beside it`, { timeout: LIMIT_MS }, async (t) => {
    const folder = application(t, { 'main.js': ESM_MAIN })
    const outfile = join(folder, `bundle.${extension}`)
    const { warnings } = await build({ ...common, entryPoints: [join(folder, 'main.js')], outfile, packages: 'external' })
    t.same(warnings, [])
    t.same(await says(outfile), [WORKS, WORKS])
  })
}
