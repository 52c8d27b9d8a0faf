import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import type { Readable } from 'node:stream'
import type { Clock } from '../core/context.ts'
import { EXPIRED, withDeadline } from '../core/deadline.ts'
import { isProbeReport, PARENT_VARIABLE, REPORT_FD, type AppFacts, type ProbeReport } from './app-facts.ts'

/** How long the server may take to become ready. */
export const START_MS = 8_000
const MAX_REPORT = 100_000

export interface AppTarget {
  readonly file: string
  /** Modules that node gets with `--import` and `--require`. */
  readonly imports: readonly string[]
  readonly requires: readonly string[]
  /** The folder and the environment that the file is started in. */
  readonly cwd: string
  readonly env: Readonly<Record<string, string | undefined>>
}

/**
 * Starts the application in a separate process, with the probe preloaded before everything else, waits until its
 * server is ready, and kills the process. It is always gone when this resolves.
 */
export async function readApp (
  { file, imports, requires, cwd, env }: AppTarget, clock: Clock, startMs = START_MS
): Promise<AppFacts> {
  const path = resolve(cwd, file)
  if (!existsSync(path)) return { state: 'missing' }
  // Node loads the modules of NODE_OPTIONS before all other preloads.
  const options = [`--import=${new URL('./probe.js', import.meta.url).href}`, env['NODE_OPTIONS']].filter(Boolean).join(' ')
  const args = [...requires.flatMap((name) => ['--require', name]), ...imports.flatMap((name) => ['--import', name]), path]
  const child = spawn(process.execPath, args, {
    cwd,
    env: { ...env, NODE_OPTIONS: options, [PARENT_VARIABLE]: String(process.pid) },
    // Its output may hold secrets, and the doctor does not need it.
    stdio: ['ignore', 'ignore', 'ignore', 'pipe']
  })
  const exited = once(child, 'exit')
  try {
    const answer = await withDeadline(clock, startMs, Promise.race([readReport(child), exited.then(() => undefined)]))
    if (answer === EXPIRED) return { state: 'timeout', afterMs: startMs }
    return answer === undefined ? { state: 'ended', exitCode: child.exitCode, signal: child.signalCode } : { state: 'ready', ...answer }
  } finally {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill('SIGKILL')
      await exited
    }
  }
}

/** Reads the first line that the probe writes. Never resolves if there is none. */
function readReport (child: ChildProcess): Promise<ProbeReport> {
  const pipe = child.stdio[REPORT_FD] as Readable
  return new Promise((resolve) => {
    let text = ''
    pipe.setEncoding('utf8')
    pipe.on('error', () => { /* the process is gone, and its exit says so */ })
    pipe.on('data', (chunk: string) => {
      text = (text + chunk).slice(0, MAX_REPORT)
      const end = text.indexOf('\n')
      if (end === -1) return
      const report = parse(text.slice(0, end))
      if (report !== undefined) resolve(report)
    })
  })
}

/** JSON carries a certificate as a list of bytes; this makes a Buffer of it again. */
function revive (_key: string, value: unknown): unknown {
  const { type, data } = Object(value) as { type?: unknown, data?: unknown }
  return type === 'Buffer' && Array.isArray(data) ? Buffer.from(data) : value
}

function parse (line: string): ProbeReport | undefined {
  try {
    const report: unknown = JSON.parse(line, revive)
    return isProbeReport(report) ? report : undefined
  } catch {
    return undefined
  }
}
