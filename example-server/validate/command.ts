import { CannotRun, readArguments, USAGE, type Arguments } from './arguments.ts'
import { Findings, lineOf, messageOf, summaryOf, type Report } from './report.ts'
import { validate } from './run.ts'
import { findTarget } from './target.ts'

export const OK = 0
export const FAILED = 1
export const COULD_NOT_RUN = 2
const STOPPED = 'it was stopped by a signal'

export interface Surroundings {
  readonly env: NodeJS.ProcessEnv
  out (text: string): void
  err (text: string): void
  /** Stops the command early. Processes that it has started are stopped first. */
  readonly signal: AbortSignal
}

/** The command. @returns its exit code */
export async function command (args: readonly string[], surroundings: Surroundings): Promise<typeof OK | typeof FAILED | typeof COULD_NOT_RUN> {
  const { out, err } = surroundings
  let options: Arguments
  try {
    options = readArguments(args)
  } catch (error) {
    err(`${messageOf(error)}\n\n${USAGE}`)
    return COULD_NOT_RUN
  }
  if (options.help) {
    out(USAGE)
    return OK
  }
  try {
    const report = await prove(options, surroundings)
    out(options.json ? `${JSON.stringify(report, null, 2)}\n` : summaryOf(report))
    return report.ok ? OK : FAILED
  } catch (error) {
    // An unexpected error is no result either.
    const message = error instanceof CannotRun ? error.message : error instanceof Error ? error.stack ?? error.message : String(error)
    err(`Could not run: ${message}\n`)
    return COULD_NOT_RUN
  }
}

async function prove (options: Arguments, { env, out, err, signal }: Surroundings): Promise<Report> {
  const startedAt = new Date()
  const print = (text: string): void => { if (!options.json) out(text) }
  const target = await findTarget(options, env)
  try {
    if (signal.aborted) throw new CannotRun(STOPPED)
    print(`Validating ${target.description}\n\n`)
    const findings = new Findings(options.require, (check) => { print(lineOf(check)) })
    await Promise.race([validate(options, target, findings), aborted(signal)])
    return { ok: findings.ok, target: target.description, startedAt: startedAt.toISOString(), durationMs: Date.now() - startedAt.getTime(), checks: findings.checks }
  } finally {
    await target.stop().catch((error: unknown) => { err(`Not everything could be cleaned up: ${messageOf(error)}\n`) })
  }
}

function aborted (signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    signal.addEventListener('abort', () => { reject(new CannotRun(STOPPED)) }, { once: true })
  })
}
