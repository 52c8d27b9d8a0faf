/** docs/architecture.md and CONTRIBUTING.md name what is there: files, identifiers, events, states, and the keys on a Redis server. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import Fastify from 'fastify'
import { Redis } from 'ioredis'
import t from 'tap'
import { EVENT_NAMES } from '../../lib/events/catalogue.ts'
import { TRANSITIONS } from '../../lib/jobs/states.ts'
import { KEY, LOCK, LOG } from '../../lib/stores/bullmq/layout.ts'
import { OWN } from '../../lib/stores/bullmq/keeping.ts'
import { HANDLER_TRANSITIONS } from '../../lib/worker/running-handler.ts'
import { asyncEndpoints, redisStore } from '../../plugins/async-endpoints.ts'
import { makeFolder } from '../support/folder.ts'
import { startRedis } from '../support/redis.ts'

const ROOT = fileURLToPath(new URL('../../../', import.meta.url))
const PAGE = readFileSync(join(ROOT, 'docs/architecture.md'), 'utf8')
const PATIENCE_MS = 20_000

const DIAGRAMS = [...PAGE.matchAll(/^```mermaid\n([\s\S]*?)^```$/gm)].map(([, diagram = '']) => diagram)
const TOKENS = [PAGE, readFileSync(join(ROOT, 'CONTRIBUTING.md'), 'utf8')].flatMap((page) => inCode(page.replaceAll(/^```[\s\S]*?^```$/gm, '')))

/** What stands between backticks. */
function inCode (text = ''): string[] {
  return [...text.matchAll(/`([^`\n]+)`/g)].map(([, token = '']) => token)
}

function sources (): string {
  return ['lib', 'plugins', 'test'].flatMap((folder) =>
    readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
      .filter((path) => path.endsWith('.ts') && !path.endsWith('architecture.test.ts'))
      .map((path) => readFileSync(join(ROOT, folder, path), 'utf8'))).join('\n')
}

/** The rows of all tables under a heading, each as its cells. */
function rowsUnder (heading: string): string[][] {
  const section = PAGE.split(`\n## ${heading}\n`)[1]?.split('\n## ')[0] ?? ''
  return section.split('\n').filter((line) => /^\| [^|]/.test(line)).map((line) => line.slice(2, -2).split(' | '))
}

t.test('every path exists', async (t) => {
  const paths = TOKENS.filter((token) => /^(?:(?:lib|lua|plugins|test|docs|bench|example-server|\.ci)\/[\w./-]*|[A-Z]+\.md)$/.test(token))
  t.ok(paths.length > 50, 'the page names files')
  t.strictSame([...new Set(paths)].filter((path) => !existsSync(join(ROOT, path.replace(/^lua\//, 'lib/stores/bullmq/lua/')))), [])
})

t.test('every identifier occurs in the sources', async (t) => {
  const words = new Set(sources().match(/[A-Za-z_$][\w$]*/g))
  const inProse = TOKENS.filter((token) => !/[ /{]|\.md$/.test(token)).flatMap((token) => token.match(/[A-Za-z_$][\w$]*/g) ?? [])
  const inDiagrams = DIAGRAMS.flatMap((diagram) => diagram.match(/\b[a-z]\w+(?=\()|\b[A-Z][a-z]+(?:[A-Z][a-z]*)+\b/g) ?? [])
  t.ok(inProse.length > 100 && inDiagrams.length > 20, 'there are identifiers')
  t.strictSame([...new Set([...inProse, ...inDiagrams])].filter((word) => !words.has(word)), [])
})

t.test('every event in a diagram is in the catalogue', async (t) => {
  const domains = [...new Set(EVENT_NAMES.map((name) => name.split('.')[0]))].join('|')
  const named = DIAGRAMS.flatMap((diagram) => diagram.match(new RegExp(`(?<![\\w./])(?:${domains})\\.[a-z_]+(?!\\w|\\()`, 'g')) ?? [])
  t.ok(named.length > 10, 'there are events')
  t.strictSame([...new Set(named)].filter((name) => !EVENT_NAMES.some((event) => event === name)), [])
})

/** Every pair of states, as `from > to`. */
function pairsOf (transitions: Readonly<Record<string, readonly string[]>>): string[] {
  return Object.entries(transitions).flatMap(([from, leadsTo]) => leadsTo.map((to) => `${from} > ${to}`)).sort()
}

/** The arrows of a state diagram, without those from the start and to the end. Names in diagrams cannot have hyphens. */
function arrowsOf (diagram = ''): string[] {
  return [...diagram.matchAll(/^ *(\w+) --> (\w+)/gm)].map(([, from = '', to = '']) => `${from} > ${to}`.replaceAll('_', '-')).sort()
}

t.test('the states of a job are those of lib/jobs/states.ts, in the table and in the diagram', async (t) => {
  const rows = rowsUnder('The states of a job').filter((cells) => inCode(cells[0]).length === 1)
  t.strictSame(rows.map(([from, to]) => `${inCode(from)[0]} > ${inCode(to)[0]}`).sort(), pairsOf(TRANSITIONS))
  t.strictSame(arrowsOf(DIAGRAMS.find((diagram) => diagram.includes('queued -->'))), pairsOf(TRANSITIONS))
})

t.test('the states of a running handler are those of lib/worker/running-handler.ts', async (t) => {
  t.strictSame(arrowsOf(DIAGRAMS.find((diagram) => diagram.includes('ready -->'))), pairsOf(HANDLER_TRANSITIONS))
  const rows = rowsUnder('An attempt').flatMap(([states]) => inCode(states))
  t.strictSame(rows.sort(), Object.keys(HANDLER_TRANSITIONS).sort())
})

interface KeyRow { readonly key: string, readonly pattern: RegExp, readonly type: string, readonly lasts: boolean }

/** A key of the page as a pattern: `<id>` is a job's id, `<hash>` hexadecimal, everything else in angle brackets any text without a colon. */
function patternOf (key: string): RegExp {
  const parts = key.split(/(<\w+>)/).map((part) => {
    if (part === '<id>') return '[0-9a-f]{8}-[0-9a-f-]{27}'
    if (part === '<hash>') return '[0-9a-f]{40,64}'
    return /^<\w+>$/.test(part) ? '[^:]+' : part.replaceAll(/[{}.]/g, '\\$&')
  })
  return new RegExp(`^${parts.join('')}$`)
}

const KEYS: readonly KeyRow[] = rowsUnder('Redis keys').flatMap(([keys, type = '', , ttl = '']) =>
  inCode(keys).map((key) => ({ key, pattern: patternOf(key), type, lasts: ttl.startsWith('none') })))

t.test('the table of keys has every name that the key builders have, and no other', async (t) => {
  const ofQueue = KEYS.filter(({ key }) => key.startsWith('{fae}:<queue>:')).map(({ key }) => key.replace('{fae}:<queue>:', '').replace(/<(?:hash|name)>$/, ''))
  // Keys that BullMQ alone uses: nothing in the library names them, or only the script that mends them.
  const bullMq = ['stalled-check', 'events', 'id']
  t.strictSame(ofQueue.sort(), ['<id>', `<id>${LOCK}`, `<id>${LOG}`, ...Object.values(KEY), ...Object.values(OWN), ...bullMq].sort())
})

t.test('a Redis server has the keys that the table says, of these types and with these ends', async (t) => {
  const redis = await startRedis()
  const folder = makeFolder('architecture')
  const app = Fastify()
  const client = new Redis(redis.url)
  t.teardown(async () => {
    await app.close()
    client.disconnect()
    await redis.stop()
    folder.remove()
  })
  await app.register(asyncEndpoints, { store: redisStore({ url: redis.url }), worker: { concurrency: 1, queues: { held: {} } }, alerts: { intervalMs: 500 }, observability: { export: { targets: { file: { path: join(folder.path, 'metrics') } } } } })
  const large = { text: 'x'.repeat(5_000) }
  let release = (): void => {}
  const released = new Promise<void>((resolve) => { release = resolve })
  app.defineJob({ name: 'ends', handler: async () => large })
  app.defineJob({ name: 'throws', retry: { attempts: 1 }, handler: () => { throw new Error('not today') } })
  app.defineJob({ name: 'waits', queue: 'held', handler: () => released })
  app.saga({ name: 'asks', steps: (s) => s.signal('answer') })
  app.saga({ name: 'undoes', steps: (s) => s.step('done', { run: () => {}, compensate: () => released }).step('fails', { run: () => { throw new Error('not today') }, attempts: 1 }) })
  app.saga({ name: 'stays', steps: (s) => s.step('done', { run: () => {}, compensate: { run: () => { throw new Error('not today') }, attempts: 1 } }).step('fails', { run: () => { throw new Error('not today') }, attempts: 1 }) })
  await app.ready()
  const ended = await app.jobs.submit('ends', large, { owner: 'somebody', idempotencyKey: 'key' })
  const failed = await app.jobs.submit('throws', large)
  const stays = await app.jobs.submit('stays')
  for (const { id } of [ended, failed, stays]) await app.jobs.waitFor(id, { timeoutMs: PATIENCE_MS })
  for (const name of ['asks', 'undoes']) await app.jobs.submit(name)
  await app.jobs.submit('waits')
  await app.jobs.submit('waits', large)
  await app.jobs.submit('waits', {}, { priority: 1 })
  await app.jobs.submit('waits', {}, { delayMs: 60_000 })
  const [delayed, waiting] = [await app.jobs.submit('waits', {}, { delayMs: 60_000 }), await app.jobs.submit('waits')]
  for (const { id } of [delayed, waiting]) await app.jobs.cancel(id)

  const expected = KEYS.filter(({ key }) => !/:(?:marker|sweep|stalled|stalled-check|fae:place:<name>)$/.test(key)).map(({ key }) => key)
  const seen = new Set<string>()
  const wrong = new Set<string>()
  for (const until = performance.now() + PATIENCE_MS; expected.some((key) => !seen.has(key)) && performance.now() < until; await sleep(50)) {
    for (const key of await client.keys('*')) {
      const [type, endsIn] = [(await client.type(key)).replace('zset', 'sorted set'), await client.pttl(key)]
      // It may have ended meanwhile.
      if (type === 'none' || endsIn === -2) continue
      const rows = KEYS.filter(({ pattern }) => pattern.test(key))
      for (const row of rows) seen.add(row.key)
      if (rows.length !== 1) wrong.add(`${key}: ${rows.length} rows`)
      else if (rows.some((row) => row.type !== type || row.lasts !== (endsIn === -1))) wrong.add(`${key}: a ${type}, ${endsIn === -1 ? 'without an end' : 'with an end'}`)
    }
  }
  release()
  t.strictSame(expected.filter((key) => !seen.has(key)), [], 'these are only in the table')
  t.strictSame([...wrong], [], 'these are otherwise than in the table')
})
