import { parseArgs } from 'node:util'
import { isAsyncEndpointsError } from '../core/errors.ts'
import { readRedisOptions, REDIS_STORE_DEFAULTS } from '../stores/bullmq/options.ts'
import { parseRedisUrl } from '../stores/bullmq/redis-url.ts'

/** What the command line asks for. */
export type Request =
  | { readonly kind: 'help' }
  | { readonly kind: 'version' }
  | DoctorRequest

export interface DoctorRequest {
  readonly kind: 'doctor'
  readonly redisUrl: string | undefined
  readonly prefix: string
  readonly leaseMs: number
  readonly app: string | undefined
  readonly imports: readonly string[]
  readonly requires: readonly string[]
  readonly json: boolean
  readonly strict: boolean
}

/**
 * The command line is not valid. The message never repeats a value, because it may be a password in the wrong place.
 */
export class UsageError extends Error {}

export const HELP = `Usage: fastify-async-endpoints doctor [options]

Checks everything a deployment needs before it starts, and says what is wrong and how to fix it.
It writes nothing to Redis and prints no password.

Options:
  --redis-url <url>        redis:// or rediss://, redis+sentinel:// or rediss+sentinel:// (default: REDIS_URL, which
                           also keeps the password out of the list of processes; without either, the application is
                           taken to use the memory store, and Redis is not checked)
  --prefix <prefix>        the prefix of redisStore() (default: ${REDIS_STORE_DEFAULTS.prefix})
  --lease-ms <ms>  the leaseMs of redisStore() (default: ${REDIS_STORE_DEFAULTS.leaseMs})
  --app <file>             starts this file with node until its server is ready, without listening or running jobs,
                           to see how OpenTelemetry and the proxy are set up. The Redis checks are then made on the
                           server that the application uses, whatever --redis-url and --prefix say
  --import <module>        preloads the module with --app, as node --import does; may be repeated
  --require <module>       preloads the module with --app, as node --require does; may be repeated
  --json                   prints one JSON document
  --strict                 warnings count as problems for the exit code
  --version, --help

Exit code: 0 nothing worse than a warning, 1 a problem (with --strict also a warning), 2 the doctor could not run.
`

const OPTIONS = {
  'redis-url': { type: 'string' },
  prefix: { type: 'string' },
  'lease-ms': { type: 'string' },
  app: { type: 'string' },
  import: { type: 'string', multiple: true },
  require: { type: 'string', multiple: true },
  json: { type: 'boolean' },
  strict: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
  version: { type: 'boolean' }
} as const

type Variables = Readonly<Record<string, string | undefined>>

/** @throws {UsageError} */
export function readArguments (args: readonly string[], env: Variables): Request {
  const { values, positionals } = parse(args)
  if (values.help === true) return { kind: 'help' }
  if (values.version === true) return { kind: 'version' }
  const [command, ...more] = positionals
  if (command !== 'doctor') throw new UsageError(command === undefined ? 'the command is missing; write: fastify-async-endpoints doctor' : 'unknown command; the only one is: doctor')
  if (more.length > 0) throw new UsageError('doctor takes only options, no further arguments')
  const redisUrl = readUrl(values['redis-url'], env)
  const prefix = values.prefix ?? REDIS_STORE_DEFAULTS.prefix
  const leaseMs = values['lease-ms'] === undefined ? REDIS_STORE_DEFAULTS.leaseMs : Number(values['lease-ms'] === '' ? NaN : values['lease-ms'])
  checkStoreOptions(prefix, leaseMs)
  const { app, import: imports = [], require: requires = [] } = values
  if (app === '') throw new UsageError('--app needs a file')
  if (app === undefined && imports.length + requires.length > 0) throw new UsageError('--import and --require need --app')
  return { kind: 'doctor', redisUrl, prefix, leaseMs, app, imports, requires, json: values.json === true, strict: values.strict === true }
}

function parse (
  args: readonly string[]
): ReturnType<typeof parseArgs<{ options: typeof OPTIONS, allowPositionals: true }>> {
  try {
    return parseArgs({ args: [...args], options: OPTIONS, allowPositionals: true, strict: true })
  } catch (error) {
    // Node's own message may quote a value. The name of an option is harmless.
    const name = error instanceof Error ? /'(?:-\w, )?(--?[a-z][a-z-]{0,30})[ '<]/.exec(error.message)?.[1] : undefined
    throw new UsageError(name === undefined ? 'an option is unknown, or its value is missing' : `${name} is not an option, or its value is missing or not allowed`)
  }
}

function readUrl (given: string | undefined, env: Variables): string | undefined {
  const url = given ?? (env['REDIS_URL'] === '' ? undefined : env['REDIS_URL'])
  if (url === undefined) return undefined
  const [problem] = parseRedisUrl(url).problems
  if (problem !== undefined) throw new UsageError(problem.replace(/^url/, given === undefined ? 'REDIS_URL' : '--redis-url'))
  return url
}

/** Checks the values with the rules of the store itself. */
function checkStoreOptions (prefix: string, leaseMs: number): void {
  try {
    readRedisOptions({ prefix, leaseMs })
  } catch (error) {
    if (!isAsyncEndpointsError(error, 'FAE_INVALID_OPTIONS')) throw error
    throw new UsageError(error.message)
  }
}
