/** The examples of the README are compiled and run as they stand there, over the memory store. */
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'
import { eventually, json, PATIENCE_MS, submit, untilOver, type Test } from '../example-server/support.ts'

const ROOT = fileURLToPath(new URL('../../../', import.meta.url))
const PACKAGE = new URL('../../plugins/async-endpoints.js', import.meta.url)

/** Node without the hooks that the test runner gives to every child process: the compiler cannot live with them. */
const BARE_NODE = ['-i', `PATH=${process.env['PATH'] ?? ''}`, process.execPath] as const

interface Snippet { readonly code: string, readonly listens: boolean }

/** The fenced blocks that say `runnable`; `listens` means that they serve until they are stopped. */
function snippets (markdown: string): Snippet[] {
  return [...markdown.matchAll(/^```ts runnable( listens)?\n([\s\S]*?)^```$/gm)].map(([, listens, code]) => ({ code: code ?? '', listens: listens !== undefined }))
}

/** Compiles the snippets, strictly, against what this test was compiled with. */
async function compile (t: Test, found: readonly Snippet[]): Promise<string[]> {
  // Inside the project, so that `fastify` is found; the name is one that git, lint and the import rules leave alone.
  const folder = mkdtempSync(join(ROOT, 'dist-readme-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const names = found.map((_, index) => `snippet-${index}`)
  for (const [index, { code }] of found.entries()) {
    writeFileSync(join(folder, `snippet-${index}.mts`), code.replaceAll('\'fastify-async-endpoints\'', JSON.stringify(fileURLToPath(PACKAGE))))
  }
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({
    compilerOptions: { target: 'es2023', module: 'nodenext', strict: true, skipLibCheck: true, types: ['node'] }, files: names.map((name) => `${name}.mts`)
  }))
  await promisify(execFile)('env', [...BARE_NODE, join(ROOT, 'node_modules/typescript/bin/tsc'), '-p', folder], { timeout: PATIENCE_MS }).catch((error: { stdout?: string, stderr?: string }) => {
    throw new Error(`the README does not compile:\n${String(error.stdout)}${String(error.stderr)}`)
  })
  return names.map((name) => join(folder, `${name}.mjs`))
}

async function freePort (): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  return typeof address === 'object' && address !== null ? address.port : 0
}

t.test('the examples of the README', async (t) => {
  const found = snippets(readFileSync(join(ROOT, 'README.md'), 'utf8'))
  t.ok(found.length >= 2, 'there are examples')
  const files = await compile(t, found)

  for (const [index, file] of files.entries()) {
    if (found[index]?.listens === true) continue
    await promisify(execFile)('env', [...BARE_NODE, file], { timeout: PATIENCE_MS })
    t.pass(`snippet ${index} runs to its end`)
  }

  const server = files.find((_, index) => found[index]?.listens === true)
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

t.test('every page that the README points to is there', async (t) => {
  const markdown = readFileSync(join(ROOT, 'README.md'), 'utf8')
  const links = [...markdown.matchAll(/\]\((?!https?:)([^)#]+)/g)].map(([, path]) => path ?? '')
  t.ok(links.length > 5)
  for (const path of new Set(links)) t.doesNotThrow(() => readFileSync(join(ROOT, path)), path)
})
