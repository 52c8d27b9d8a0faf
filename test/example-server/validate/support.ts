/** `npm run validate` as its users run it: a process of its own, with an exit code. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import type { Report } from '../../../example-server/validate/report.ts'

const MAIN = fileURLToPath(new URL('../../../example-server/validate/main.js', import.meta.url))
export const LIMIT_MS = 100_000

export interface Outcome { readonly code: number | null, readonly stdout: string, readonly stderr: string }

export async function validate (t: Test, args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Outcome> {
  const child = spawn(process.execPath, ['--enable-source-maps', MAIN, ...args], { env: { PATH: process.env['PATH'] ?? '', ...env }, stdio: ['ignore', 'pipe', 'pipe'], timeout: LIMIT_MS })
  // So that it ends what it has started.
  t.teardown(() => { child.kill('SIGTERM') })
  const out = { stdout: '', stderr: '' }
  child.stdout.setEncoding('utf8').on('data', (text: string) => { out.stdout += text })
  child.stderr.setEncoding('utf8').on('data', (text: string) => { out.stderr += text })
  const [code] = await once(child, 'close') as [number | null]
  return { code, ...out }
}

export async function report (t: Test, args: readonly string[], env?: Readonly<Record<string, string>>): Promise<{ code: number | null, report: Report, of: (name: string) => string | undefined }> {
  const { code, stdout, stderr } = await validate(t, [...args, '--json'], env)
  t.equal(stderr, '')
  const report = JSON.parse(stdout) as Report
  return { code, report, of: (name) => report.checks.find((check) => check.name === name)?.status }
}

export async function listen (t: Test, answer: (request: IncomingMessage, response: ServerResponse) => void): Promise<string> {
  const server = createServer(answer)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(async () => {
    server.closeAllConnections()
    server.close()
    await once(server, 'close')
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}
