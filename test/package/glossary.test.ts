/**
 * One word for each thing (docs/glossary.md). Words that lost are looked for in the sources, the comments, the docs and the file
 * names; each has the word to use instead.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { basename, join, relative, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'

const ROOT = fileURLToPath(new URL('../../../', import.meta.url))

interface Loser {
  readonly word: RegExp
  readonly instead: string
  /** Looked for only here. @defaultValue everywhere */
  readonly inside?: RegExp
  /** Files, or lines, where the word means something else. */
  readonly except?: RegExp
}

const LOSERS: readonly Loser[] = [
  { word: /\b(?:jobs\.retry(?!\.)|retryJob)\b/, instead: 'redrive', except: /backend\.retryJob|\bretryJob: 12|const retryJob|'retryJob'|retryJob\(id, lifo|backend\(\)\.retryJob\(|BullMQ's `retryJob`|retryJob: \{ keys|moveToDelayed, retryJob or/ },
  { word: /\block(?:Duration|ed until|ed by)\w*\b/, instead: 'lease', except: /lockDuration: |lockDurationMs/ },
  { word: /\b(?:tell|tells|told)\b/i, instead: 'emit, log, record, report or notify' },
  { word: /\bwhoever\b/i, instead: 'the name of who it is' },
  { word: /\banew\b/i, instead: 'again' },
  { word: /\bof ours\b/i, instead: 'ours, or the name of the thing' },
  { word: /\bat the most\b/i, instead: 'at most' },
  { word: /\bin the line\b/i, instead: 'in the queue, waiting' },
  { word: /\bplaces?(?:Of)?\b/i, instead: 'slot', inside: /^lib\/worker\// },
  { word: /\bwatchers? of spans?\b/i, instead: 'span watcher' },
  { word: /\bRead[A-Z]\w*Options\b/, instead: 'Resolved…Options' },
  { word: /\b\w+Settings\b/, instead: '…Options going in, Resolved…Options coming out', inside: /^(?:lib|plugins)\//, except: /checkSettings|readSettings|getSettings/ },
  { word: /\bmetrics(?:Registry|Exporters)\b|\bperformanceMonitor\b|\bjobRuntime\b|\bjobBackbone\b/, instead: 'the decorators of DECORATORS in test/plugins/async-endpoints.test.ts' }
]

/** File names that say nothing of what is inside. */
const EMPTY_NAMES = /^(?:told|words|gather|guards?|room|silence|origin|utils?|helpers?|common|misc|stuff|shared-?helpers)\.ts$/

function filesOf (folder: string): string[] {
  return readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && /\.(?:ts|md|lua)$/.test(entry.name))
    .map((entry) => relative(ROOT, join(entry.parentPath, entry.name)).split(sep).join('/'))
}

/** Every use of a loser as `file:line: word → instead`. */
function losersIn (path: string, text: string): string[] {
  const found: string[] = []
  const losers = LOSERS.filter(({ inside }) => inside?.test(path) ?? true)
  for (const [index, line] of text.split('\n').entries()) {
    for (const { word, instead, except } of losers) {
      const match = word.exec(line)
      if (match !== null && except?.test(line) !== true) found.push(`${path}:${index + 1}: "${match[0]}", say: ${instead}`)
    }
  }
  return found
}

t.test('words that lost are used nowhere', async (t) => {
  const files = ['lib', 'plugins', 'example-server', 'docs'].flatMap(filesOf).filter((path) => path !== 'docs/glossary.md')
  t.ok(files.length > 200, 'the sources are found')
  for (const path of [...files, 'README.md', 'CONTRIBUTING.md', 'SECURITY.md']) t.strictSame(losersIn(path, readFileSync(join(ROOT, path), 'utf8')), [], path)
})

t.test('a file name says what is inside', async (t) => {
  t.strictSame(['lib', 'plugins'].flatMap(filesOf).filter((path) => EMPTY_NAMES.test(basename(path))), [])
})

t.test('the test finds what it is for', async (t) => {
  const bad: ReadonlyArray<readonly [path: string, line: string]> = [
    ['lib/http/a.ts', 'await app.jobs.retry(id)'],
    ['docs/a.md', 'The worker tells the store.'],
    ['README.md', 'Whoever asks'],
    ['lib/worker/a.ts', '// a free place'],
    ['plugins/a.ts', 'interface HealthSettings {}'],
    ['lib/a/b.ts', 'type A = ReadFileOptions'],
    ['docs/b.md', '`app.metricsRegistry`']
  ]
  for (const [path, line] of bad) t.equal(losersIn(path, line).length, 1, line)
  for (const [path, line] of [['lib/http/a.ts', 'a place for everything'], ['lib/a.ts', 'await app.jobs.redrive(id)'], ['docs/a.md', 'retold stories']] as const) {
    t.strictSame(losersIn(path, line), [], line)
  }
})
