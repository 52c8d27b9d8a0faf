/** Slow queries by the spans of an SDK that is the application's own: in processes of their own. */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { startOtlpReceiver } from '../support/otlp-receiver.ts'
import type { Told } from './fixtures/monitored-app.ts'

// Four starts of a process, on a machine that may be busy.
t.setTimeout(90_000)

const at = (path: string): string => fileURLToPath(new URL(path, import.meta.url))

/** Runs until it ends by itself. */
async function run (way: string, env: Record<string, string>, execArgv: string[] = []): Promise<Told> {
  const child = fork(at('./fixtures/monitored-app.js'), [], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'], execArgv, env: { ...process.env, MONITORED: way, ...env } })
  const late = setTimeout(() => { child.kill('SIGKILL') }, 60_000)
  const ended = once(child, 'exit')
  const told: Told[] = []
  child.on('message', (message) => { told.push(message as Told) })
  const [code] = await ended as [number | null]
  clearTimeout(late)
  const [only] = told
  if (code !== 0 || only === undefined) throw new Error(`the process ended with ${code}, and told ${told.length} things`)
  return only
}

const SLOW = { system: 'postgresql', operation: 'select', target: 'orders', statement: 'SELECT * FROM orders WHERE mail = ?', durationMs: 2_000, thresholdMs: 500, traceId: /^\w{32}$/, spanId: /^\w{16}$/ }

t.test('an SDK started by --import is watched, by each application of the process, and misses none of its spans', async (t) => {
  const receiver = await startOtlpReceiver()
  t.teardown(() => receiver.stop())
  const env = { SDK_PARTS: '', OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url, OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json', OTEL_METRICS_EXPORTER: 'none', OTEL_LOGS_EXPORTER: 'none' }
  const told = await run('sdk', env, ['--import', at('./fixtures/otel-sdk.js')])
  t.match(told.slow, [SLOW])
  t.equal(told.slow.length, 1)
  t.equal(told.other, 1, 'the other application saw it too, once')
  t.equal(told.afterClose, 0)
  t.match(told.report.slowQueries, [{ operation: 'select', target: 'orders', durationMs: 2_000 }])
  t.match(told.report.findings, [{ cause: 'queries-slow' }])
  t.same(told.warnings, [])
  // The last one is that of after the close.
  await receiver.until('the spans of the client', ({ spans }) => spans().filter(({ name }) => name === 'SELECT shop').length === 3)
})

t.test('a provider of another make cannot be watched, which is said once; the processor can be put there by hand', async (t) => {
  const [blind, seeing] = await Promise.all([run('foreign', {}), run('by-hand', {})])
  t.same(blind.slow, [])
  t.match(blind.warnings, [/^slow database queries cannot be seen: .*app\.jobMonitor\.spanProcessor\(\)/])
  t.equal(blind.warnings.length, 1)
  t.match(seeing.slow, [SLOW])
  t.equal(seeing.afterClose, 0)
  t.same(seeing.warnings, [])
})
