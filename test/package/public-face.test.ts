/** What an application sees of the types: the API report, the members behind each decorator, declared names, hovers. */
import { execFile } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'

const ROOT = fileURLToPath(new URL('../../../', import.meta.url))
const LIMIT_MS = 120_000
/** Without the hooks that the test runner gives to every child process: compilers cannot live with them. */
const BARE = ['-i', `PATH=${process.env['PATH'] ?? ''}`]

interface Output { readonly code: number, readonly text: string }

async function node (args: readonly string[], env: readonly string[] = []): Promise<Output> {
  return await new Promise((resolve) => {
    execFile('env', [...BARE, ...env, process.execPath, ...args], { timeout: LIMIT_MS, maxBuffer: 1e8 }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code ?? 1), text: stdout + stderr })
    })
  })
}

/** A folder inside of the package, so that the packages are found, the package itself included. */
function folderOf (t: { teardown: (end: () => unknown) => unknown }, files: Readonly<Record<string, string>>): string {
  const folder = mkdtempSync(join(ROOT, 'dist-face-'))
  t.teardown(() => { rmSync(folder, { recursive: true, force: true }) })
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text)
  return folder
}

const CONFIG = { target: 'es2023', lib: ['es2023'], types: ['node'], module: 'nodenext', strict: true, skipLibCheck: true, noEmit: true }

/** @returns what the compiler says */
async function compile (t: { teardown: (end: () => unknown) => unknown }, source: string, options: object = {}): Promise<string> {
  const folder = folderOf(t, { 'main.mts': source, 'tsconfig.json': JSON.stringify({ compilerOptions: { ...CONFIG, ...options }, files: ['main.mts'] }) })
  return (await node([join(ROOT, 'node_modules/typescript/lib/tsc.js'), '-p', folder])).text
}

t.test('the API report fails when the face changes, and names what cannot be imported', { timeout: 2 * LIMIT_MS }, async (t) => {
  const folder = folderOf(t, {})
  for (const part of ['plugins', 'lib']) cpSync(join(ROOT, 'dist', part), join(folder, 'dist', part), { recursive: true, filter: (path) => !/\.(js|map)$/.test(path) })
  cpSync(join(ROOT, '.ci/api-report.md'), join(folder, '.ci/api-report.md'))
  const check = join(ROOT, '.ci/check-api.js')
  const store = join(folder, 'dist/lib/jobs/store.d.ts')
  const before = readFileSync(store, 'utf8')
  writeFileSync(store, `interface Hidden {\n    a: string;\n}\n${before.replace('export interface JobPage {', 'export interface JobPage {\n    readonly extra: Hidden;')}`)

  const changed = await node([check, folder])
  t.equal(changed.code, 1)
  t.match(changed.text, /^\+ +readonly extra: Hidden;$/m)
  t.match(changed.text, /UPDATE_API=1 npm run check:api/)
  t.match(changed.text, /Hidden \(lib\/jobs\/store\.d\.ts\), named by JobPage/)

  writeFileSync(store, before.replace('export interface JobPage {', 'export interface JobPage {\n    readonly extra: string;'))
  t.equal((await node([check, folder], ['UPDATE_API=1'])).code, 0)
  t.match(readFileSync(join(folder, '.ci/api-report.md'), 'utf8'), /^ +readonly extra: string;$/m)
  t.equal((await node([check, folder])).code, 0)
})

/** Everything that an editor offers behind each decorator. */
const MEMBERS: Readonly<Record<string, readonly string[]>> = {
  jobs: ['submit', 'submitMany', 'get', 'input', 'result', 'list', 'cancel', 'redrive', 'signal', 'remove', 'counts', 'waitFor'],
  jobEvents: ['on', 'subscribe', 'catalogue'],
  jobHealth: ['draining', 'addCheck', 'drain', 'startDraining', 'onDraining', 'report', 'readiness', 'liveness'],
  jobWorker: ['id', 'drainTimeoutMs', 'running', 'draining', 'active', 'abandoned', 'concurrency', 'loads', 'oldestAttempts', 'pause', 'resume', 'restart'],
  jobAlerts: ['leading', 'active', 'check'],
  jobMonitor: ['monitor', 'bottlenecks', 'spanProcessor'],
  jobMetricsRegistry: ['startedAt', 'instrument', 'onCollect', 'families', 'snapshot'],
  jobExporters: ['register', 'unregister', 'findByFormat', 'formats', 'names', 'export']
}
const DEFINITION = ['name', 'queue', 'maxAttempts', 'timeoutMs', 'graceMs', 'priority', 'maxResultBytes', 'slaMs']

const KEYS = `
import type { FastifyInstance } from 'fastify'
import type { JobDefinition } from 'fastify-async-endpoints'
type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true : false
declare function same<A, B> (proof: Equal<A, B>): void
${Object.entries(MEMBERS).map(([name, members]) => `same<keyof FastifyInstance['${name}'], ${members.map((member) => `'${member}'`).join(' | ')}>(true)`).join('\n')}
same<Extract<keyof JobDefinition, string>, ${DEFINITION.map((member) => `'${member}'`).join(' | ')}>(true)
`

t.test('behind each decorator stands exactly what an application may call', { timeout: LIMIT_MS }, async (t) => {
  t.equal(await compile(t, KEYS), '')
})

const NAMES = `
import type { FastifyInstance } from 'fastify'
import type { JobContext, ResultOf } from 'fastify-async-endpoints'
declare module 'fastify-async-endpoints' {
  interface JobNames {
    'generate-report': { body: { year: number }, result: { rows: number, at: Date } }
    ping: {}
  }
}
export async function main (app: FastifyInstance, job: JobContext): Promise<void> {
  await app.jobs.submit('generate-report', { year: 2026 }, { delayMs: 1 })
  await app.jobs.submitMany('generate-report', [{ body: { year: 2026 } }])
  await job.submit('generate-report', { year: 2026 })
  await app.jobs.submit('ping')
  const { rows, at } = await app.jobs.result('generate-report', 'id')
  rows satisfies number
  at satisfies string
  const unknown: ResultOf<'ping'> = await app.jobs.result('ping', 'id')
  // A definition brings its own types, also where names are declared.
  const other = app.defineJob<{ body: string }>({ name: 'other' })
  await app.jobs.submit(other, 'text')
  // @ts-expect-error the wrong body
  await app.jobs.submit('generate-report', { year: 'last' })
  // @ts-expect-error the body is missing
  await app.jobs.submit('generate-report')
  // @ts-expect-error the wrong body of one of many
  await app.jobs.submitMany('generate-report', [{ body: { years: 1 } }])
  // @ts-expect-error the wrong body, from a handler
  await job.submit('generate-report', { years: 1 })
  // @ts-expect-error no job has this name
  await app.jobs.submit('generate-reprot', { year: 2026 })
  // @ts-expect-error nor this one
  await app.jobs.result('other', 'id')
  void unknown
}
`

t.test('names that an application declares are checked', { timeout: LIMIT_MS }, async (t) => {
  t.equal(await compile(t, NAMES), '')
})

const HOVERS = `
import { Type, type TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import type { FastifyInstance } from 'fastify'
import type {} from 'fastify-async-endpoints'
interface Order { sku: string, count: number }
declare const plain: FastifyInstance
const app = plain.withTypeProvider<TypeBoxTypeProvider>()
const report = app.asyncEndpoint({
//    ^?
  url: '/reports/:kind',
  name: 'report',
  schema: { body: Type.Object({ year: Type.Integer() }), params: Type.Object({ kind: Type.String() }), result: Type.Object({ rows: Type.Integer() }) },
  handler: (job) => {
  //        ^?
    return { rows: job.body.year }
  }
})
await app.jobs.submit(report, { year: 2026 })
//             ^?
const rows = await app.jobs.result(report, 'id')
//    ^?
const order = app.defineJob<{ body: Order, result: { at: Date } }>({ name: 'order', handler: (job) => { void job.body; return { at: new Date() } } })
//                                                                                                               ^?
await app.jobs.submitMany(order, [])
//             ^?
const placed = await app.jobs.result(order, 'id')
//    ^?
`
const REPORT = 'JobDefinition<{ body: { year: number; }; result: { rows: number; }; }>'
const ORDER = 'JobDefinition<{ body: Order; result: { at: Date; }; }>'

t.test('an editor shows plain types', { timeout: LIMIT_MS }, async (t) => {
  const folder = folderOf(t, { 'main.mts': HOVERS })
  const { code, text } = await node([join(ROOT, '.ci/hovers.js'), join(folder, 'main.mts')])
  t.equal(code, 0, text)
  t.strictSame(text.trim().split('\n').map((line) => String(JSON.parse(line)).replaceAll(/\s+/g, ' ')), [
    `const report: ${REPORT}`,
    '(parameter) job: JobContext<{ body: { year: number; }; params: { kind: string; }; query: Readonly<Record<string, unknown>>; headers: Readonly<Record<string, string | undefined>>; }>',
    `(method) Jobs.submit<${REPORT}>(job: ${REPORT}, body: { year: number; }, meta?: SubmitMeta | undefined): Promise<Submitted>`,
    'const rows: { rows: number; }',
    '(property) JobContext<{ body: Order; result: { at: Date; }; }>.body: Order',
    `(method) Jobs.submitMany<${ORDER}>(job: ${ORDER}, items: Iterable<SubmitItem<Order>>, options?: SubmitManyOptions): Promise<SubmitManyResult[]>`,
    'const placed: { at: string; }'
  ])
})

const SAGA_HOVERS = `
import { Type, type TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import type { FastifyInstance } from 'fastify'
import type {} from 'fastify-async-endpoints'
declare const plain: FastifyInstance
const app = plain.withTypeProvider<TypeBoxTypeProvider>()
const transcode = app.saga({
//    ^?
  name: 'transcode',
  url: '/transcodes',
  schema: { body: Type.Object({ url: Type.String() }), result: Type.Object({ hd: Type.String() }) },
  steps: (s) => s
    .step('upload', {
      run: ({ body }) => ({ key: body.url, parts: [1] }),
//            ^?
      compensate: ({ outcome }) => { void outcome }
//                   ^?
    })
    .step('probe',
      ({ results }) => ({ height: results.upload.parts.length }))
//       ^?
    .parallel('renditions', (g) => g
      .step('hd',
      ({ results }) => ({ path: results.upload.key }))
//       ^?
      .step('uhd', {
        when: ({ results }) => results.probe.height > 1080,
//               ^?
        run: () => ({ path: 'uhd' }),
        compensate: ({ results }) => { void results }
//                     ^?
      }))
    .each('frames',
      ({ results }) => [String(results.renditions.hd.path)], {
//       ^?
      run: ({ item, results }) => ({ of: item + results.probe.height })
//                  ^?
    })
    .signal('approval', { schema: Type.Object({ ok: Type.Boolean() }) })
    .step('notify', {
      run: ({ results }) => results.approval.ok,
//            ^?
      onExhausted: 'continue'
    })
    .returns(
      ({ results }) => ({ hd: results.renditions.hd.path })
//       ^?
    )
})
`
const FIRST = 'upload: { key: string; parts: number[]; };'
const SECOND = `${FIRST} probe: { height: number; };`
const THIRD = `${SECOND} renditions: Readonly<{ hd: { path: string; }; uhd: { path: string; } | undefined; }>;`
const FIFTH = `${THIRD} frames: { of: string; }[]; approval: { ok: boolean; };`

t.test('an editor shows the results of a saga as plain types', { timeout: LIMIT_MS }, async (t) => {
  const folder = folderOf(t, { 'main.mts': SAGA_HOVERS })
  const { code, text } = await node([join(ROOT, '.ci/hovers.js'), join(folder, 'main.mts')])
  t.equal(code, 0, text)
  t.strictSame(text.trim().split('\n').map((line) => String(JSON.parse(line)).replaceAll(/\s+/g, ' ')), [
    'const transcode: JobDefinition<{ body: { url: string; }; result: { hd: string; }; }>',
    '(parameter) body: { url: string; }',
    '(parameter) outcome: { readonly kind: "unknown"; } | { readonly kind: "completed"; readonly result: NoInfer<{ key: string; parts: number[]; }>; }',
    `(parameter) results: Readonly<{ ${FIRST} }>`,
    `(parameter) results: Readonly<{ ${SECOND} }>`,
    `(parameter) results: Readonly<{ ${SECOND} }>`,
    `(parameter) results: Readonly<Partial<{ ${SECOND} }>>`,
    `(parameter) results: Readonly<{ ${THIRD} }>`,
    `(parameter) results: Readonly<{ ${THIRD} }>`,
    `(parameter) results: Readonly<{ ${FIFTH} }>`,
    `(parameter) results: Readonly<{ ${FIFTH} notify: boolean | undefined; }>`
  ])
})

/** Members that refuse an explicit `undefined` on purpose: `owner: request.user?.id` would list the jobs of everybody. */
const REFUSING: Readonly<Record<string, string>> = { ListOptions: "'owner'" }

t.test('options accept an explicit undefined under exactOptionalPropertyTypes', { timeout: LIMIT_MS }, async (t) => {
  const report = readFileSync(join(ROOT, '.ci/api-report.md'), 'utf8').split('## fastify-async-endpoints/testing')[0] ?? ''
  const names = [...report.matchAll(/^export interface (\w+Options|SubmitMeta|JobDefinitionInput)\b(<Provider|<I extends)?/gm)].filter(([, , generic]) => generic === undefined).map(([, name]) => String(name))
  t.ok(names.length > 25, names.join())
  const source = `
import type { ${names.join(', ')}, SagaEachOptions, SagaInput, SagaStepOptions, SagaUndoOptions } from 'fastify-async-endpoints'
type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true : false
declare function same<A, B> (proof: Equal<A, B>): void
// A member that is a method takes no undefined.
type Refused<T> = { [K in keyof T]-?: {} extends Pick<T, K> ? { [P in K]: undefined } extends Pick<T, K> ? never : K : never }[keyof T]
${names.map((name) => `same<Refused<${name}>, ${name === 'SpanAttributesOptions' ? "'input' | 'result'" : REFUSING[name] ?? 'never'}>(true)`).join('\n')}
same<Refused<SagaStepOptions<SagaInput, {}, number>>, never>(true)
same<Refused<SagaUndoOptions<SagaInput, {}, number>>, never>(true)
same<Refused<SagaEachOptions<SagaInput, {}, number, string>>, never>(true)
`
  t.equal(await compile(t, source, { exactOptionalPropertyTypes: true }), '')
})
