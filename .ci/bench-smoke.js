/** Every benchmark, run so short that its figures mean nothing: benchmarks that nobody runs rot. Needs `npm run build`. */
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { join, resolve } from 'node:path'

const LIMIT_MS = 60_000
const folder = resolve(import.meta.dirname, '..', 'dist/bench')
const names = existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith('.js')).sort() : []
if (names.length === 0) {
  process.stdout.write('there are no benchmarks in dist/bench; run `npm run build`\n')
  process.exitCode = 1
}
for (const name of names) {
  const { status, signal } = spawnSync(process.execPath, ['--enable-source-maps', join(folder, name), '--smoke'], { stdio: ['ignore', 'inherit', 'inherit'], timeout: LIMIT_MS })
  process.stdout.write(`${status === 0 ? 'ok' : `not ok (${signal ?? `exit ${status}`})`} - bench/${name}\n`)
  if (status !== 0) process.exitCode = 1
}
