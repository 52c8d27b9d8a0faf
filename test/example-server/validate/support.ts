/** `npm run validate`: as its users run it, in a process of its own, or the command alone. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import { command } from '../../../example-server/validate/command.ts'
import type { Report } from '../../../example-server/validate/report.ts'

export const MAIN = fileURLToPath(new URL('../../../example-server/validate/main.js', import.meta.url))
export const LIMIT_MS = 100_000

export interface Outcome { readonly code: number | null, readonly stdout: string, readonly stderr: string }

export type Run = (t: Test, args: readonly string[], env?: Readonly<Record<string, string>>) => Promise<Outcome>

/** Here: for what does not need a process of its own. */
export const validate: Run = async (t, args, env = {}) => {
  const out = { stdout: '', stderr: '' }
  const interruption = new AbortController()
  t.teardown(() => { interruption.abort() })
  const code = await command(args, {
    env: { PATH: process.env['PATH'] ?? '', ...env },
    out: (text) => { out.stdout += text },
    err: (text) => { out.stderr += text },
    signal: interruption.signal
  })
  return { code, ...out }
}

export const program: Run = async (t, args, env = {}) => {
  const child = spawn(process.execPath, ['--enable-source-maps', MAIN, ...args], { env: { PATH: process.env['PATH'] ?? '', ...env }, stdio: ['ignore', 'pipe', 'pipe'], timeout: LIMIT_MS })
  // So that it ends what it has started.
  t.teardown(() => { child.kill('SIGTERM') })
  const out = { stdout: '', stderr: '' }
  child.stdout.setEncoding('utf8').on('data', (text: string) => { out.stdout += text })
  child.stderr.setEncoding('utf8').on('data', (text: string) => { out.stderr += text })
  const [code] = await once(child, 'close') as [number | null]
  return { code, ...out }
}

export async function report (t: Test, args: readonly string[], env?: Readonly<Record<string, string>>, run = validate): Promise<{ code: number | null, report: Report, of: (name: string) => string | undefined }> {
  const { code, stdout, stderr } = await run(t, [...args, '--json'], env)
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
