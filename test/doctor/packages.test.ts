import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t from 'tap'
import { EXPORTER_PACKAGES } from '../../lib/doctor/package-checks.ts'
import { readPackages, preloadsOfScripts } from '../../lib/doctor/package-facts.ts'
import { inRange } from '../../lib/doctor/range.ts'
import { temporaryFolder } from '../support/folder.ts'
import { examination } from './support.ts'

const manifest = JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')) as { engines: Record<string, string>, peerDependencies: Record<string, string>, devDependencies: Record<string, string> }
const GOOD = { fastify: '5.4.0', '@opentelemetry/api': '1.9.1', bullmq: '6.7.0', ioredis: '6.0.0' }

/** A project with these packages: their manifests only. Keys are paths under `node_modules`. */
function project (t: { teardown (end: () => unknown): unknown }, packages: Readonly<Record<string, string>>, scripts: Record<string, string> = {}): string {
  const folder = temporaryFolder(t, 'doctor')
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ name: 'project', scripts }))
  for (const [path, version] of Object.entries(packages)) {
    const place = join(folder, 'node_modules', path)
    mkdirSync(place, { recursive: true })
    writeFileSync(join(place, 'package.json'), JSON.stringify({ version }))
  }
  return folder
}

t.test('ranges', async (t) => {
  const cases: ReadonlyArray<readonly [version: string, range: string, fits: boolean]> = [
    ['6.7.0', '^6.7.0', true], ['6.6.9', '^6.7.0', false], ['7.0.0', '^6.7.0', false], ['6.10.0', '^6.7.0', true],
    ['5.11.0', '^5.11.0 || ^6.0.0', true], ['5.10.9', '^5.11.0 || ^6.0.0', false], ['6.3.1', '^5.11.0 || ^6.0.0', true],
    ['0.223.0', '>=0.200.0 <1', true], ['0.199.9', '>=0.200.0 <1', false], ['1.0.0', '>=0.200.0 <1', false],
    ['0.3.9', '^0.3.0', true], ['0.4.0', '^0.3.0', false], ['0.0.3', '^0.0.3', true], ['0.0.4', '^0.0.3', false],
    ['v20.19.0', '>=20.19', true], ['v20.18.3', '>=20.19', false], ['1.2.3', '1.2.3', true], ['1.2.4', '1.2.3', false], ['6.8.0-rc.1', '^6.7.0', true]
  ]
  for (const [version, range, fits] of cases) t.equal(inRange(version, range), fits, `${version} in ${range}`)
  t.throws(() => inRange('1.0.0', '~1.0.0'), /~1\.0\.0/)
  t.throws(() => inRange('latest', '^1.0.0'), /latest/)
})

t.test('every range of the manifest is understood, and what this package is tested with is in it', async (t) => {
  t.ok(inRange(process.version, manifest.engines['node'] ?? ''))
  for (const [name, range] of Object.entries(manifest.peerDependencies)) {
    t.ok(inRange((manifest.devDependencies[name] ?? '').replace('^', ''), range), `${name} ${range}`)
  }
})

t.test('the exporters are the optional peers of that name', async (t) => {
  t.same([...EXPORTER_PACKAGES].sort(), Object.keys(manifest.peerDependencies).filter((name) => name.includes('exporter')).sort())
})

t.test('a project in order', async (t) => {
  const cwd = project(t, GOOD)
  const { code, of } = await examination([], { cwd })
  t.equal(code, 0)
  for (const check of ['packages.fastify', 'packages.bullmq', 'packages.ioredis', 'otel.api']) t.match(of(check), { severity: 'ok', checked: true }, check)
  t.match(of('otel.api').what, /one copy, 1\.9\.1/)
})

t.test('packages that are missing or of the wrong version', async (t) => {
  const url = 'redis://127.0.0.1:1'
  const none = await examination(['--redis-url', url], { cwd: project(t, {}) })
  t.equal(none.code, 1)
  for (const [check, name] of [['packages.fastify', 'fastify'], ['packages.bullmq', 'bullmq'], ['packages.ioredis', 'ioredis'], ['otel.api', '@opentelemetry/api']] as const) {
    t.match(none.of(check), { severity: 'problem', what: `${name} is not installed`, fix: `npm install '${name}@` }, name)
  }
  const memory = await examination([], { cwd: project(t, { ...GOOD, bullmq: '6.1.0', ioredis: '5.4.0', fastify: '4.28.0', '@opentelemetry/api': '1.4.0' }) })
  t.match(memory.of('packages.fastify'), { severity: 'problem', what: /4\.28\.0 is outside \^5/ })
  t.match(memory.of('packages.bullmq'), { severity: 'problem', what: /6\.1\.0 is outside/ })
  t.match(memory.of('packages.ioredis'), { severity: 'problem', what: /5\.4\.0 is outside/ })
  t.match(memory.of('otel.api'), { severity: 'problem', what: /1\.4\.0 is outside/ })
  const without = await examination([], { cwd: project(t, { fastify: '5.4.0', '@opentelemetry/api': '1.9.0' }) })
  t.equal(without.code, 0, 'the memory store needs no Redis libraries')
  t.match(without.of('packages.bullmq'), { severity: 'ok', what: /only redisStore\(\) needs it/ })
})

t.test('copies of the OpenTelemetry API', async (t) => {
  const nested = 'some-sdk/node_modules/@opentelemetry/api'
  const same = await examination([], { cwd: project(t, { ...GOOD, 'some-sdk': '1.0.0', [nested]: '1.9.1' }) })
  t.match(same.of('otel.api'), { severity: 'note', what: /2 copies: 1\.9\.1 in node_modules\/@opentelemetry\/api, 1\.9\.1 in node_modules\/some-sdk/ })
  const minor = await examination([], { cwd: project(t, { ...GOOD, 'some-sdk': '1.0.0', [nested]: '1.8.0' }) })
  t.match(minor.of('otel.api'), { severity: 'warning', what: /1\.8\.0 in node_modules\/some-sdk/, fix: /npm dedupe/ })
  t.equal(minor.code, 0)
  const major = await examination([], { cwd: project(t, { ...GOOD, '@scope/sdk': '1.0.0', '@scope/sdk/node_modules/deep': '1.0.0', '@scope/sdk/node_modules/deep/node_modules/@opentelemetry/api': '2.0.0' }) })
  t.match(major.of('otel.api'), { severity: 'problem', what: /2\.0\.0/ })
  t.equal(major.code, 1)
})

t.test('links are followed once, in circles too; pnpm and workspaces are looked through', async (t) => {
  const root = project(t, {
    '.pnpm/@opentelemetry+api@1.9.1/node_modules/@opentelemetry/api': '1.9.1',
    '.pnpm/@opentelemetry+api@1.8.0/node_modules/@opentelemetry/api': '1.8.0'
  })
  const modules = join(root, 'node_modules')
  mkdirSync(join(modules, '@opentelemetry'))
  symlinkSync(join(modules, '.pnpm/@opentelemetry+api@1.9.1/node_modules/@opentelemetry/api'), join(modules, '@opentelemetry/api'))
  symlinkSync(root, join(modules, 'myself'))
  const workspace = join(root, 'packages', 'app')
  mkdirSync(workspace, { recursive: true })
  const facts = readPackages(workspace)
  t.same(facts.apiCopies.map(({ version }) => version).sort(), ['1.8.0', '1.9.1'])
  t.equal(facts.installed['@opentelemetry/api'], '1.9.1', 'found above the workspace')
  t.equal(facts.complete, true)
  t.ok(facts.apiCopies.every(({ path }) => path.startsWith(join('..', '..', 'node_modules'))), 'as seen from the project')
})

t.test('exporters that the environment asks for', async (t) => {
  const env = { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://collector:4318' }
  const cwd = project(t, GOOD)
  const missing = await examination([], { cwd, env })
  t.match(missing.of('otel.exporters'), { severity: 'warning', what: /exporter-trace-otlp-proto and @opentelemetry\/exporter-metrics-otlp-proto are not installed/, fix: /^npm install '@opentelemetry\/exporter-trace-otlp-proto@/ })
  const json = await examination([], { cwd, env: { ...env, OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json', OTEL_METRICS_EXPORTER: 'none' } })
  t.match(json.of('otel.exporters'), { severity: 'warning', what: /exporter-trace-otlp-http is not installed/ })
  const there = await examination([], { cwd: project(t, { ...GOOD, '@opentelemetry/exporter-trace-otlp-proto': '0.223.0', '@opentelemetry/exporter-metrics-otlp-proto': '0.223.0' }), env })
  t.equal(there.of('otel.exporters').severity, 'ok')
  t.match((await examination([], { cwd, env: { OTEL_TRACES_EXPORTER: 'zipkin' } })).of('otel.exporters'), { severity: 'note', what: /zipkin/ })
  t.match((await examination([], { cwd, env: { ...env, OTEL_SDK_DISABLED: 'true' } })).of('otel.exporters'), { severity: 'ok', what: /OTEL_SDK_DISABLED/ })
})

t.test('what scripts preload', async (t) => {
  const cwd = project(t, {}, { start: 'node --import ./otel.js server.js', dev: 'node --import=./otel.js -r dotenv/config server.js', test: 'tap' })
  t.same(preloadsOfScripts(cwd), ['./otel.js', 'dotenv/config'])
  t.same(preloadsOfScripts(dirname(cwd)), [])
})
