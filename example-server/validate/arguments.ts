import { parseArgs } from 'node:util'

export const PARTS = ['redis', 'prometheus', 'traces'] as const
export type Part = typeof PARTS[number]

export interface Arguments {
  /** A server that runs; `undefined`: one of our own. */
  readonly url: string | undefined
  /** Further processes over the same store. */
  readonly workers: readonly string[]
  /** A Prometheus that runs, `false` for none; `undefined`: one of our own, if it can be had. */
  readonly prometheus: string | false | undefined
  readonly jaeger: string | undefined
  /** Of each kind. */
  readonly jobs: number
  readonly performance: boolean
  readonly requests: number
  readonly maxSlow: number
  readonly slowMs: number
  readonly p95Ms: number
  readonly require: readonly Part[]
  readonly timeoutMs: number
  readonly json: boolean
  readonly help: boolean
}

export const USAGE = `Usage: npm run validate -- [options]

Submits jobs whose outcome is known, and checks that metrics, Prometheus and traces show that outcome.

  --url URL          a running example server; without it, one is started
  --worker URL       another process on the same Redis (may be repeated)
  --prometheus URL   a Prometheus that scrapes these processes; without it, one is started if it is installed
  --no-prometheus    skip the checks with Prometheus
  --jaeger URL       read traces from Jaeger's query API; without it, a built-in collector receives them
  --jobs N           jobs of each kind (5)
  --performance      also measure:
    --requests N       jobs at the same time (10)
    --max-slow N       how many of them may be slow (5)
    --slow-ms N        a job that takes longer is slow (1000)
    --p95-ms N         95 of 100 jobs must be faster (5000)
  --require NAME     redis, prometheus or traces: fail if it cannot be checked (may be repeated)
  --timeout S        seconds to wait for a job, a scrape or a trace (60)
  --json             print a report for programs
  --help

Exit codes: 0 every check passed, 1 a check failed, 2 it could not run.
`

/** The command cannot run, for example because of a wrong argument: exit code 2. */
export class CannotRun extends Error {}

const OPTIONS = {
  url: { type: 'string' },
  worker: { type: 'string', multiple: true },
  prometheus: { type: 'string' },
  'no-prometheus': { type: 'boolean' },
  jaeger: { type: 'string' },
  jobs: { type: 'string' },
  performance: { type: 'boolean' },
  requests: { type: 'string' },
  'max-slow': { type: 'string' },
  'slow-ms': { type: 'string' },
  'p95-ms': { type: 'string' },
  require: { type: 'string', multiple: true },
  timeout: { type: 'string' },
  json: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' }
} as const

type Values = ReturnType<typeof parseArgs<{ options: typeof OPTIONS }>>['values']

/** @throws {CannotRun} one message with everything that is wrong */
export function readArguments (args: readonly string[]): Arguments {
  const values = parse(args)
  const problems: string[] = []
  const address = (name: string, text: string | undefined): string | undefined => {
    if (text === undefined) return undefined
    if (URL.canParse(text) && /^https?:$/.test(new URL(text).protocol)) return text.replace(/\/+$/, '')
    problems.push(`--${name} must be a URL like http://localhost:3000, not ${JSON.stringify(text)}`)
    return undefined
  }
  const number = (name: 'jobs' | 'requests' | 'max-slow' | 'slow-ms' | 'p95-ms' | 'timeout', fallback: number, min: number, max: number): number => {
    const text = values[name]
    if (text === undefined) return fallback
    const value = Number(text)
    if (/^\d+$/.test(text) && value >= min && value <= max) return value
    problems.push(`--${name} must be a whole number from ${min} to ${max}, not ${JSON.stringify(text)}`)
    return fallback
  }
  const required = (values.require ?? []).flatMap((name) => {
    const part = PARTS.find((part) => part === name)
    if (part === undefined) problems.push(`--require must be one of ${PARTS.join(', ')}, not ${JSON.stringify(name)}`)
    return part ?? []
  })
  const performance = values.performance === true
  const read: Arguments = {
    url: address('url', values.url),
    workers: (values.worker ?? []).flatMap((url) => address('worker', url) ?? []),
    prometheus: values['no-prometheus'] === true ? false : address('prometheus', values.prometheus),
    jaeger: address('jaeger', values.jaeger),
    jobs: number('jobs', 5, 1, 1_000),
    performance,
    requests: number('requests', 10, 1, 1_000),
    maxSlow: number('max-slow', 5, 0, 1_000),
    slowMs: number('slow-ms', 1_000, 1, 3_600_000),
    p95Ms: number('p95-ms', 5_000, 1, 3_600_000),
    require: required,
    timeoutMs: 1_000 * number('timeout', 60, 1, 3_600),
    json: values.json === true,
    help: values.help === true
  }
  if (values['no-prometheus'] === true && values.prometheus !== undefined) problems.push('--prometheus and --no-prometheus exclude each other')
  if (values.worker !== undefined && values.url === undefined) problems.push('--worker needs --url: a server of our own has its own worker')
  if (values.jaeger !== undefined && values.url === undefined) problems.push('--jaeger needs --url: a server of our own sends its traces to us')
  for (const name of ['requests', 'max-slow', 'slow-ms', 'p95-ms'] as const) if (values[name] !== undefined && !performance) problems.push(`--${name} needs --performance`)
  if (problems.length > 0) throw new CannotRun(problems.join('\n'))
  return read
}

function parse (args: readonly string[]): Values {
  try {
    return parseArgs({ args: [...args], options: OPTIONS, strict: true, allowPositionals: false }).values
  } catch (error) {
    throw new CannotRun(error instanceof Error ? error.message : String(error))
  }
}
