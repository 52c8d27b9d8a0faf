import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import { temporaryFolder } from '../support/folder.ts'

export interface Test { teardown: (fn: () => unknown) => unknown }

const MAIN = fileURLToPath(new URL('../../example-server/main.js', import.meta.url))
export const PATIENCE_MS = 30_000

/** Asks again and again until the answer is good; then gives it. Says what it waited for when it never is. */
export async function eventually<T> (what: string, ask: () => Promise<T | undefined>): Promise<T> {
  const deadline = Date.now() + PATIENCE_MS
  for (;;) {
    const answer = await ask()
    if (answer !== undefined) return answer
    if (Date.now() > deadline) throw new Error(`waited ${PATIENCE_MS} ms in vain for ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

export interface Running {
  readonly url: string
  readonly child: ChildProcess
  stdout (): string
  /** Sends the signal and waits for the end. */
  end (signal: NodeJS.Signals): Promise<number | null>
}

export interface Ended { readonly code: number | null, readonly stdout: string, readonly stderr: string }

/** @param shell below a shell, as npm starts it: the shell is what gets the signals then */
function start (t: Test, env: Readonly<Record<string, string>>, shell = false): { child: ChildProcess, out: { stdout: string, stderr: string }, exit: Promise<number | null> } {
  // Nothing of the environment of the tests: its OTEL_* or PORT would be somebody else's.
  const command = [process.execPath, '--enable-source-maps', MAIN]
  const [file = '', ...args] = shell ? ['sh', '-c', '"$0" "$@"; true', ...command] : command
  const own = { PATH: process.env['PATH'] ?? '', PORT: '0', FILES_DIR: temporaryFolder(t, 'example') }
  const child = spawn(file, args, { env: { ...own, ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
  const out = { stdout: '', stderr: '' }
  child.stdout.setEncoding('utf8').on('data', (text: string) => { out.stdout += text })
  child.stderr.setEncoding('utf8').on('data', (text: string) => { out.stderr += text })
  const exit = once(child, 'close').then(([code]) => code as number | null)
  t.teardown(async () => {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL')
    await exit
  })
  return { child, out, exit }
}

/** A started example server that listens. */
export async function boot (t: Test, env: Readonly<Record<string, string>> = {}, shell = false): Promise<Running> {
  const { child, out, exit } = start(t, env, shell)
  let over = false
  void exit.then(() => { over = true })
  const url = await eventually('the example server to listen', async () => {
    if (over) throw new Error(`the example server ended: ${out.stdout}${out.stderr}`)
    return /listening on (http:\/\/\S+)[^\n]*\n(?:.*\n)*.*health\/live\n/.exec(out.stdout)?.[1]
  })
  const end = async (signal: NodeJS.Signals): Promise<number | null> => {
    child.kill(signal)
    const timeout = new AbortController()
    const late = new Promise<never>((_resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`no end ${PATIENCE_MS} ms after ${signal}: ${out.stdout.slice(-2_000)}${out.stderr}`)), PATIENCE_MS)
      timeout.signal.addEventListener('abort', () => clearTimeout(timer))
    })
    return await Promise.race([exit, late]).finally(() => timeout.abort())
  }
  return { url, child, stdout: () => out.stdout, end }
}

/** An example server that is expected to give up by itself. */
export async function bootInVain (t: Test, env: Readonly<Record<string, string>>): Promise<Ended> {
  const { child, out, exit } = start(t, env)
  const late = setTimeout(() => child.kill('SIGKILL'), PATIENCE_MS)
  const code = await exit
  clearTimeout(late)
  return { code, ...out }
}

export async function json (url: string, init?: RequestInit): Promise<{ status: number, headers: Headers, body: Record<string, unknown> }> {
  const response = await fetch(url, init)
  return { status: response.status, headers: response.headers, body: await response.json() as Record<string, unknown> }
}

export async function post (url: string, body: unknown, headers: Readonly<Record<string, string>> = {}): ReturnType<typeof json> {
  return await json(url, { method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body: JSON.stringify(body) })
}

/** Comes back later, as a client does, while the server says that its machine is too busy. */
export async function submit (url: string, body: unknown, headers: Readonly<Record<string, string>> = {}): ReturnType<typeof json> {
  return await eventually(`${url} to be asked when it is not overloaded`, async () => {
    const answer = await post(url, body, headers)
    return answer.body['code'] === 'FAE_OVERLOADED' ? undefined : answer
  })
}

/** Polls a job as a client does, until it is over. */
export async function untilOver (url: string): Promise<Record<string, unknown>> {
  return await eventually(`the end of ${url}`, async () => {
    const { body } = await json(url)
    return ['completed', 'failed', 'cancelled'].includes(String(body['status'])) ? body : undefined
  })
}

/** The value of one series at `/metrics`, or 0 when there is none yet. `labels` is what must stand in its braces. */
export async function metric (server: string, name: string, ...labels: readonly string[]): Promise<number> {
  const text = await (await fetch(`${server}/metrics`)).text()
  const line = text.split('\n').find((line) => line.startsWith(`${name}{`) && labels.every((label) => line.includes(label)))
  return line === undefined ? 0 : Number(line.slice(line.lastIndexOf('} ') + 2).split(' ')[0])
}

interface OtlpValue { readonly stringValue?: string, readonly intValue?: string | number }
interface OtlpSpan {
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId?: string | undefined
  readonly name: string
  readonly kind: number
  readonly attributes?: ReadonlyArray<{ readonly key: string, readonly value: OtlpValue }>
}
export interface SeenSpan extends OtlpSpan { readonly service: string }

export function attributeOf ({ attributes = [] }: SeenSpan, name: string): string | undefined {
  const value = attributes.find(({ key }) => key === name)?.value
  return value?.stringValue ?? value?.intValue?.toString()
}

interface OtlpRequest {
  resourceSpans?: Array<{
    resource?: { attributes?: Array<{ key: string, value: OtlpValue }> }
    scopeSpans?: Array<{ spans?: OtlpSpan[] }>
  }>
}

/** As much of an OpenTelemetry collector as a test needs: takes OTLP/HTTP JSON and remembers the spans. */
export async function collector (t: Test): Promise<{ url: string, spans: SeenSpan[] }> {
  const spans: SeenSpan[] = []
  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const { resourceSpans = [] } = JSON.parse(Buffer.concat(chunks).toString()) as OtlpRequest
      for (const { resource, scopeSpans = [] } of resourceSpans) {
        const service = resource?.attributes?.find(({ key }) => key === 'service.name')?.value.stringValue ?? ''
        for (const span of scopeSpans.flatMap(({ spans = [] }) => spans)) spans.push({ ...span, service })
      }
      response.setHeader('content-type', 'application/json').end('{}')
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(async () => {
    server.closeAllConnections()
    server.close()
    await once(server, 'close')
  })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, spans }
}
