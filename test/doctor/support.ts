/** Runs the program: as a user does, in a process of its own, or only what it examines, here. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { Redis } from 'ioredis'
import { systemClock } from '../../lib/core/context.ts'
import { readArguments } from '../../lib/doctor/arguments.ts'
import { examine } from '../../lib/doctor/doctor.ts'
import type { Finding } from '../../lib/doctor/findings.ts'
import { jsonReport, summarize, textReport, type Summary } from '../../lib/doctor/report.ts'
import { startRedis, type RedisServer, type RedisServerOptions } from '../support/redis.ts'

const MAIN = fileURLToPath(new URL('../../lib/doctor/main.js', import.meta.url))
/** What it promises, whatever it looks at. */
export const LONGEST_MS = 15_000

export interface Run {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
  readonly tookMs: number
}

export interface Surroundings {
  readonly cwd?: string
  readonly env?: Readonly<Record<string, string>>
}

/** Nothing of this machine's own settings reaches it. */
const INHERITED = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(REDIS_URL|OTEL_|NODE_OPTIONS|TAP)/.test(name)))

/** The program itself. */
export async function doctor (args: readonly string[], { cwd, env = {} }: Surroundings = {}): Promise<Run> {
  const start = performance.now()
  const child = spawn(process.execPath, [MAIN, ...args], { cwd, env: { ...INHERITED, ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
  const timer = setTimeout(() => { child.kill('SIGKILL') }, 2 * LONGEST_MS)
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', (data: Buffer) => { stdout += data.toString() })
  child.stderr.on('data', (data: Buffer) => { stderr += data.toString() })
  await once(child, 'close')
  clearTimeout(timer)
  return { code: child.exitCode, stdout, stderr, tookMs: performance.now() - start }
}

export interface Report extends Summary {
  readonly version: string
  readonly node: string
  readonly findings: ReadonlyArray<Omit<Finding, 'fix'> & { group: string, title: string, fix: string | null }>
}

export interface Examination extends Run {
  readonly report: Report
  /** The report for people, where both were made. */
  readonly text: string
  /** The worst finding of a check. */
  of (check: string): Report['findings'][number]
}

/** By the program: for what only shows in a process of its own, such as when it ends. */
export async function programExamination (args: readonly string[], surroundings?: Surroundings): Promise<Examination> {
  return readReport(await doctor(['doctor', '--json', ...args], surroundings))
}

/** All that the program does but starting: from its arguments to both of its reports. */
export async function examination (args: readonly string[], { cwd = process.cwd(), env = {} }: Surroundings = {}): Promise<Examination> {
  const request = readArguments(['doctor', '--json', ...args], env)
  if (request.kind !== 'doctor') throw new Error(`${args.join(' ')} asks for ${request.kind}`)
  const start = performance.now()
  const findings = await examine(request, { cwd, env: { ...INHERITED, ...env }, clock: systemClock, eventLoopMs: 20 })
  const tookMs = performance.now() - start
  const { exitCode: code } = summarize(findings, request.strict)
  return { ...readReport({ code, stdout: jsonReport(findings, request.strict), stderr: '', tookMs }), text: textReport(findings, request.strict) }
}

function readReport (run: Run): Examination {
  let report: Report
  try {
    report = JSON.parse(run.stdout) as Report
  } catch {
    throw new Error(`no report; exit code ${run.code}; ${run.stdout}${run.stderr}`)
  }
  const order = ['problem', 'warning', 'note', 'ok']
  return {
    ...run,
    report,
    text: '',
    of: (check) => {
      const found = report.findings.filter((finding) => finding.check === check).sort((a, b) => order.indexOf(a.severity) - order.indexOf(b.severity))[0]
      if (found === undefined) throw new Error(`nothing was said about ${check}`)
      return found
    }
  }
}

interface Test { teardown (end: () => unknown): unknown }

/** A server of the test's own. */
export async function server (t: Test, options: RedisServerOptions = {}): Promise<RedisServer> {
  const redis = await startRedis(options)
  t.teardown(() => redis.stop())
  return redis
}

/** A connection of the test's own. */
export function connect (t: Test, url: string): Redis {
  const client = new Redis(url)
  t.teardown(() => client.disconnect())
  return client
}
