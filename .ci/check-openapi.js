/** The example server is booted and its OpenAPI document linted: warnings fail, because documents do not heal by themselves. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { join, resolve } from 'node:path'
import { createConfig, formatProblems, lintFromString } from '@redocly/openapi-core'

const root = resolve(import.meta.dirname, '..')
const START_MS = 20_000

const server = spawn(process.execPath, [join(root, process.argv[2] ?? 'dist', 'example-server/main.js')], {
  env: { ...process.env, PORT: '0', HOST: '127.0.0.1', ROLE: 'all', REDIS_URL: '', LOG_LEVEL: 'error' }, stdio: ['ignore', 'pipe', 'inherit']
})
const late = setTimeout(() => server.kill('SIGKILL'), START_MS)
try {
  let base
  for await (const line of createInterface({ input: server.stdout })) {
    base = /listening on (http:\S+)/.exec(line)?.[1]
    if (base !== undefined) break
  }
  if (base === undefined) throw new Error('the example server did not come up')
  const document = await (await fetch(`${base}/documentation/json`)).json()
  const config = await createConfig({
    extends: ['recommended-strict'],
    // The example is nobody's product: its code has the project's license, its API has none of its own.
    rules: { 'info-license': 'off', 'info-license-strict': 'off' }
  })
  const found = await lintFromString({ source: JSON.stringify(document, null, 2), absoluteRef: 'openapi.json', config })
  // A probe and a scrape have no way to be wrong, so they document no 4xx.
  const problems = found.filter(({ ruleId, location }) => !(ruleId === 'operation-4xx-response' && /^#\/paths\/~1(health|metrics)/.test(location[0]?.pointer ?? '')))
  const { paths } = document
  const count = (severity) => problems.filter((problem) => problem.severity === severity).length
  formatProblems(problems, { format: 'codeframe', totals: { errors: count('error'), warnings: count('warn'), ignored: 0 }, version: '' })
  if (problems.length > 0) throw new Error(`the OpenAPI document has ${problems.length} problems`)
  if (Object.keys(paths).length < 5) throw new Error(`the OpenAPI document knows only ${Object.keys(paths).join(', ')}`)
  process.stdout.write(`the OpenAPI document is fine: ${Object.keys(paths).length} paths\n`)
} catch (error) {
  process.stdout.write(`${error.stack}\n`)
  process.exitCode = 1
} finally {
  clearTimeout(late)
  server.kill('SIGTERM')
  if (server.exitCode === null && server.signalCode === null) await once(server, 'exit')
}
