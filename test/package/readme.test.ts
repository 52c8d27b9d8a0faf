/** The examples of the README are compiled and run as they stand there, over the memory store. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import t from 'tap'
import { eventually, json, submit, untilOver } from '../example-server/support.ts'
import { compile, runToItsEnd, snippetsOf } from './snippets.ts'

async function freePort (): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  return typeof address === 'object' && address !== null ? address.port : 0
}

t.test('the examples of the README', async (t) => {
  const found = snippetsOf('README.md')
  t.ok(found.length >= 2, 'there are examples')
  const files = await compile(t, found)

  for (const { name } of found.filter(({ runnable, listens }) => runnable && !listens)) {
    await runToItsEnd(files.get(name) ?? '')
    t.pass(`${name} runs to its end`)
  }

  const server = files.get(found.find(({ listens }) => listens)?.name ?? '')
  if (server === undefined) return t.fail('no example listens')
  const port = await freePort()
  const child = spawn(process.execPath, [server], { env: { PATH: process.env['PATH'] ?? '', PORT: String(port) }, stdio: 'ignore' })
  t.teardown(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return
    child.kill('SIGKILL')
    await once(child, 'exit')
  })
  const url = `http://127.0.0.1:${port}`
  const localhost = `http://localhost:${port}`
  const base = await eventually('the example to listen', async () => {
    if (child.exitCode !== null) throw new Error(`the example ended with ${child.exitCode}`)
    // `localhost` may be either of two addresses.
    for (const candidate of [url, localhost]) if (await fetch(`${candidate}/health/live`).then(({ ok }) => ok, () => false)) return candidate
    return undefined
  })
  const submitted = await submit(`${base}/reports`, { year: 2026 })
  const location = submitted.headers.get('location') ?? ''
  t.match(submitted, { status: 202, body: { name: 'generate-report', links: { self: location, result: `${location}/result`, cancel: `${location}/cancel` } } })
  for (const header of ['retry-after', 'x-async-job-id', 'x-correlation-id']) t.ok(submitted.headers.get(header), header)
  t.match(await untilOver(base + location), { status: 'completed', progress: { done: 1, total: 2, message: 'loading' } })
  t.match(await json(`${base}${location}/result`), { status: 200, body: { year: 2026, rows: 2 } })
  t.match(await submit(`${base}/reports`, {}), { status: 400, body: { code: 'FAE_INVALID_REQUEST' } })
})
