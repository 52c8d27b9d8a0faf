/** Nothing in the catalogue is only a promise: some line of the library emits each event, read from its sources. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { EVENT_NAMES } from '../../lib/events/catalogue.ts'

const ROOT = fileURLToPath(new URL('../../../', import.meta.url))
/** `emit('job.failed', …`, on one line or on two. */
const EMITTED = /\bemit\(\s*'([a-z_]+\.[a-z_]+)'/g

/** Where the name is a variable: what it can be, as it stands where it is given. */
const GIVEN: ReadonlyArray<readonly [path: string, name: RegExp, prefix: string]> = [
  ['plugins/async-endpoints.ts', /reportLeftOpen\(runtimeOf\(app\), '([a-z_.]+)'/g, ''],
  ['plugins/observability.ts', /reportLeftOpen\(runtimeOf\(app\), '([a-z_.]+)'/g, ''],
  ['lib/saga/step-runner.ts', /(?:tryStarted|tryFailed)\('([a-z_.]+)'/g, ''],
  ['lib/saga/compensation.ts', /(?:tryStarted|tryFailed)\('([a-z_.]+)'/g, ''],
  ['lib/monitor/alerts/ledger.ts', /this\.#notify\(entry, '([a-z_]+)'/g, 'alert.']
]

function read (): Map<string, string> {
  const sources = new Map<string, string>()
  for (const room of ['lib', 'plugins']) {
    for (const path of readdirSync(join(ROOT, room), { recursive: true, encoding: 'utf8' })) {
      if (path.endsWith('.ts')) sources.set(`${room}/${path}`, readFileSync(join(ROOT, room, path), 'utf8'))
    }
  }
  return sources
}

function emitted (sources: ReadonlyMap<string, string>): Set<string> {
  const names = new Set<string>()
  for (const source of sources.values()) for (const [, name = ''] of source.matchAll(EMITTED)) names.add(name)
  for (const [path, pattern, prefix] of GIVEN) {
    for (const [, name = ''] of (sources.get(path) ?? '').matchAll(pattern)) names.add(prefix + name)
  }
  return names
}

t.test('every event of the catalogue is emitted somewhere', async (t) => {
  const names = emitted(read())
  t.same(EVENT_NAMES.filter((name) => !names.has(name)), [])
})

t.test('an event that nothing emits any more would be found', async (t) => {
  const sources = read()
  const path = 'lib/http/define-job.ts'
  const source = sources.get(path) ?? ''
  sources.set(path, source.replaceAll('handler.registered', 'handler.defined'))
  t.not(sources.get(path), source, `${path} emits handler.registered; if that has moved, change the path here`)
  const names = emitted(sources)
  t.same(EVENT_NAMES.filter((name) => !names.has(name)), ['handler.registered'])
})
