/**
 * The rule of entry of every room (DESIGN §4), read from the imports themselves. `checkHouse` is a function over
 * sources, so that the second half of this file can show that it catches what it is for.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, posix, relative, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const MAX_LINES = 400

/** What a room may import of ours. `types`: only `import type`. `'*'`: anything. */
interface Entry { readonly rooms: readonly string[], readonly types?: readonly string[] }

const ROOMS: Readonly<Record<string, Entry | '*'>> = {
  core: { rooms: [] },
  jobs: { rooms: ['core'] },
  stores: { rooms: ['core', 'jobs'] },
  events: { rooms: ['core'], types: ['jobs'] },
  worker: { rooms: ['core', 'jobs', 'events'] },
  saga: { rooms: ['core', 'jobs', 'events'] },
  client: { rooms: ['core', 'jobs', 'events', 'channels'] },
  http: { rooms: ['core', 'jobs', 'events', 'channels'], types: ['client'] },
  channels: { rooms: ['core', 'jobs', 'events'] },
  telemetry: { rooms: ['core', 'events'], types: ['jobs'] },
  exposition: { rooms: ['core'], types: ['telemetry', 'events', 'jobs'] },
  health: { rooms: ['core', 'jobs', 'events'] },
  monitor: { rooms: ['core', 'events'], types: ['telemetry', 'jobs'] },
  // A program: it looks at what the others need, through what they know themselves.
  doctor: { rooms: ['core', 'stores', 'telemetry'] },
  testing: '*'
}

/** A single file that sees more than its room does. */
const FILES: Readonly<Record<string, Entry>> = {
  'lib/stores/observed.ts': { rooms: ['core', 'jobs', 'events'] }
}

/**
 * Pure modules: tables and functions without state. Any room but `core` may import them at run time; the test of cycles
 * keeps the order. Handing their contents through parameters, or repeating them, would say the same with more code.
 */
const PURE: ReadonlySet<string> = new Set([
  'lib/jobs/outcome.ts',
  'lib/jobs/states.ts',
  'lib/jobs/store-clock.ts',
  'lib/jobs/stored-error.ts',
  'lib/telemetry/instruments.ts',
  'lib/telemetry/log-events.ts'
])

/** Packages that only one place may import, not even their types. */
const RESTRICTED: ReadonlyArray<{ readonly packages: RegExp, readonly allowed: RegExp, readonly why: string }> = [
  { packages: /^@opentelemetry\/sdk-/, allowed: /^lib\/telemetry\/sdk\//, why: 'only lib/telemetry/sdk sees the OpenTelemetry SDK' },
  { packages: /^(bullmq|ioredis)(\/|$)/, allowed: /^lib\/stores\/bullmq\//, why: 'only lib/stores/bullmq sees the Redis libraries' },
  { packages: /^(fastify|fastify-plugin|@fastify\/.*)$/, allowed: /^(plugins\/|lib\/(http|channels|testing)\/)/, why: 'only plugins, lib/http and lib/channels see Fastify' }
]

interface Import { readonly specifier: string, readonly typeOnly: boolean }

/** Statements start at the first column in this code base, which keeps examples in comments out. */
const STATEMENT = /^(?:import|export)\s(?<clause>[^'"`;]*?)(?:from\s+)?'(?<specifier>[^']+)'/gm
const DYNAMIC = /(?<typeof>typeof\s+)?\bimport\(\s*'(?<specifier>[^']+)'\s*\)(?<member>\.[A-Z]\w*)?/g

function importsOf (source: string): Import[] {
  const found: Import[] = []
  for (const { groups } of source.matchAll(STATEMENT)) {
    const clause = groups?.['clause'] ?? ''
    // `export const name = 'text'` has no `from` and no braces: it is not an import.
    if (/[=(]/.test(clause)) continue
    found.push({ specifier: groups?.['specifier'] ?? '', typeOnly: /^type\s/.test(clause) || onlyTypesNamed(clause) })
  }
  for (const line of source.split('\n')) {
    if (/^\s*(\*|\/\/|\/\*)/.test(line)) continue
    for (const { groups } of line.matchAll(DYNAMIC)) {
      found.push({ specifier: groups?.['specifier'] ?? '', typeOnly: groups?.['typeof'] !== undefined || groups?.['member'] !== undefined })
    }
  }
  return found
}

function onlyTypesNamed (clause: string): boolean {
  const named = /^\{(?<names>[^}]*)\}\s*$/.exec(clause.trim())?.groups?.['names']
  const names = named?.split(',').map((name) => name.trim()).filter(Boolean) ?? []
  return names.length > 0 && names.every((name) => name.startsWith('type '))
}

function roomOf (path: string): string | undefined {
  return /^lib\/([^/]+)\//.exec(path)?.[1]
}

/** Every broken rule as one sentence. */
function checkHouse (files: ReadonlyMap<string, string>): string[] {
  const problems: string[] = []
  const runtime = new Map<string, string[]>()
  for (const [path, source] of files) {
    const lines = source.split('\n').length - 1
    if (lines > MAX_LINES) problems.push(`${path} has ${lines} lines; more than ${MAX_LINES} are two files`)
    const edges: string[] = []
    for (const entry of importsOf(source)) {
      if (!entry.specifier.startsWith('.')) {
        problems.push(...checkPackage(path, entry))
        continue
      }
      const target = posix.join(dirname(path).split(sep).join('/'), entry.specifier)
      if (!files.has(target)) problems.push(`${path} imports ${target}, which does not exist`)
      problems.push(...checkEntry(path, target, entry))
      edges.push(target)
    }
    runtime.set(path, edges)
  }
  return [...problems, ...cycles(runtime)]
}

function checkPackage (path: string, entry: Import): string[] {
  return RESTRICTED
    .filter(({ packages, allowed }) => packages.test(entry.specifier) && !allowed.test(path))
    .map(({ why }) => `${path} imports ${entry.specifier}: ${why}`)
}

function checkEntry (path: string, target: string, entry: Import): string[] {
  const from = roomOf(path)
  const to = roomOf(target)
  if (from === undefined) {
    const doors = path.startsWith('plugins/') && target.startsWith('plugins/')
    return doors && !entry.typeOnly && path !== 'plugins/async-endpoints.ts' ? [`${path} imports ${target}: plugins meet through decorators`] : []
  }
  if (to === undefined) return [`${path} imports ${target}: lib never imports plugins or anything else outside lib`]
  if (from === to || (PURE.has(target) && from !== 'core')) return []
  const rule = FILES[path] ?? ROOMS[from]
  if (rule === undefined) return [`${path}: lib/${from} is not a room of DESIGN §4`]
  if (rule === '*' || rule.rooms.includes(to)) return []
  if (rule.types?.includes(to) === true) {
    return entry.typeOnly ? [] : [`${path} imports ${target}: ${from} sees only the types of ${to}`]
  }
  return [`${path} imports ${target}: ${from} may not import ${to}`]
}

/** Depth first; each cycle is told once, from its alphabetically first file. */
function cycles (graph: ReadonlyMap<string, readonly string[]>): string[] {
  const found = new Set<string>()
  const state = new Map<string, 'open' | 'done'>()
  const walk = (path: string, trail: readonly string[]): void => {
    if (state.get(path) === 'done') return
    if (state.get(path) === 'open') {
      const loop = trail.slice(trail.indexOf(path))
      const first = loop.indexOf([...loop].sort()[0] ?? path)
      found.add([...loop.slice(first), ...loop.slice(0, first), loop[first]].join(' → '))
      return
    }
    state.set(path, 'open')
    for (const next of graph.get(path) ?? []) walk(next, [...trail, path])
    state.set(path, 'done')
  }
  for (const path of [...graph.keys()].sort()) walk(path, [])
  return [...found].map((loop) => `cycle: ${loop}`)
}

function readHouse (): Map<string, string> {
  const files = new Map<string, string>()
  for (const folder of ['lib', 'plugins']) {
    for (const entry of readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true })) {
      if (!entry.isFile() || !entry.name.endsWith('.ts')) continue
      const path = join(entry.parentPath, entry.name)
      files.set(relative(ROOT, path).split(sep).join('/'), readFileSync(path, 'utf8'))
    }
  }
  return files
}

t.test('every room keeps its rule of entry', async (t) => {
  const files = readHouse()
  t.ok(files.size > 20, 'the sources are found')
  t.strictSame(checkHouse(files), [])
})

t.test('the top level has no folder that nobody agreed on', async (t) => {
  const agreed = new Set(['plugins', 'lib', 'test', 'example-server', 'bench', 'docs'])
  const made = (name: string): boolean => name.startsWith('.') || name.startsWith('dist') || name === 'node_modules' || name === 'coverage'
  const folders = readdirSync(ROOT, { withFileTypes: true }).filter((entry) => entry.isDirectory() && !made(entry.name)).map((entry) => entry.name)
  t.strictSame(folders.filter((name) => !agreed.has(name)), [])
  t.strictSame(readdirSync(join(ROOT, 'lib'), { withFileTypes: true }).filter((entry) => !entry.isDirectory() || ROOMS[entry.name] === undefined).map((entry) => entry.name), [], 'lib holds rooms only')
})

/** A house that is in order, plus the file in question. */
function houseWith (path: string, source: string): string[] {
  return checkHouse(new Map([
    ['lib/core/errors.ts', 'export const a = \'text\'\n'],
    ['lib/jobs/job.ts', 'import { a } from \'../core/errors.ts\'\nexport const b = a\n'],
    ['lib/events/bus.ts', ''],
    ['plugins/worker.ts', ''],
    [path, source]
  ]))
}

t.test('what breaks a rule is found', async (t) => {
  const broken: ReadonlyArray<readonly [path: string, source: string, problem: RegExp]> = [
    ['lib/core/x.ts', 'import { b } from \'../jobs/job.ts\'\n', /core may not import jobs/],
    ['lib/core/x.ts', 'import type { B } from \'../jobs/job.ts\'\n', /core may not import jobs/],
    ['lib/core/x.ts', 'export * from \'../jobs/job.ts\'\n', /core may not import jobs/],
    ['lib/core/x.ts', 'import \'../jobs/job.ts\'\n', /core may not import jobs/],
    ['lib/core/x.ts', 'const load = () => import(\'../jobs/job.ts\')\n', /core may not import jobs/],
    ['lib/core/x.ts', 'import {\n  b\n} from \'../jobs/job.ts\'\n', /core may not import jobs/],
    ['lib/events/x.ts', 'import { b } from \'../jobs/job.ts\'\n', /events sees only the types of jobs/],
    ['lib/events/x.ts', 'import { type B, b } from \'../jobs/job.ts\'\n', /events sees only the types of jobs/],
    ['lib/stores/x.ts', 'import { b } from \'../events/bus.ts\'\n', /stores may not import events/],
    ['lib/jobs/x.ts', 'import worker from \'../../plugins/worker.ts\'\n', /lib never imports plugins/],
    ['lib/worker/x.ts', 'import type { FastifyInstance } from \'fastify\'\n', /see Fastify/],
    ['lib/telemetry/x.ts', 'import { MeterProvider } from \'@opentelemetry/sdk-metrics\'\n', /OpenTelemetry SDK/],
    ['lib/stores/x.ts', 'const load = () => import(\'bullmq\')\n', /Redis libraries/],
    ['plugins/x.ts', 'import worker from \'./worker.ts\'\n', /plugins meet through decorators/],
    ['lib/drawer/x.ts', 'import { a } from \'../core/errors.ts\'\n', /not a room/],
    ['lib/core/x.ts', 'import { y } from \'./gone.ts\'\n', /does not exist/],
    ['lib/core/x.ts', '\n'.repeat(401), /401 lines/],
    ['lib/core/errors.ts', 'import type { B } from \'../jobs/job.ts\'\n', /cycle: lib\/core\/errors\.ts → lib\/jobs\/job\.ts → lib\/core\/errors\.ts/]
  ]
  for (const [path, source, problem] of broken) t.match(houseWith(path, source).join('\n'), problem, source.trim().slice(0, 60))
})

t.test('what keeps the rules passes', async (t) => {
  const fine: ReadonlyArray<readonly [path: string, source: string]> = [
    ['lib/events/x.ts', 'import type { B } from \'../jobs/job.ts\'\n'],
    ['lib/events/x.ts', 'import { type B, type C } from \'../jobs/job.ts\'\n'],
    ['lib/stores/observed.ts', 'import { b } from \'../events/bus.ts\'\n'],
    ['lib/http/x.ts', 'import type { FastifyRequest } from \'fastify\'\n'],
    ['lib/stores/bullmq/x.ts', 'import { Queue } from \'bullmq\'\n'],
    ['lib/telemetry/sdk/metrics.ts', 'import { MeterProvider } from \'@opentelemetry/sdk-metrics\'\n'],
    ['lib/core/x.ts', '/**\n * import { b } from \'../jobs/job.ts\'\n */\n'],
    ['plugins/x.ts', 'import type { WorkerOptions } from \'./worker.ts\'\n'],
    ['plugins/async-endpoints.ts', 'import worker from \'./worker.ts\'\n'],
    ['lib/core/x.ts', '\n'.repeat(400)]
  ]
  for (const [path, source] of fine) t.strictSame(houseWith(path, source), [], source.trim().slice(0, 60))
})
