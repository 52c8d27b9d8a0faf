/** `npm run validate`: proves that metrics, Prometheus and traces tell what happened. See docs/monitoring.md. */
import { CannotRun, readArguments, USAGE, type Arguments } from './arguments.ts'
import { Findings, lineOf, messageOf, summaryOf, type Report } from './report.ts'
import { validate } from './run.ts'
import { findTarget } from './target.ts'

const OK = 0
const FAILED = 1
const COULD_NOT_RUN = 2

async function main (): Promise<number> {
  let options: Arguments
  try {
    options = readArguments(process.argv.slice(2))
  } catch (error) {
    process.stderr.write(`${messageOf(error)}\n\n${USAGE}`)
    return COULD_NOT_RUN
  }
  if (options.help) {
    process.stdout.write(USAGE)
    return OK
  }
  try {
    const report = await prove(options)
    process.stdout.write(options.json ? `${JSON.stringify(report, null, 2)}\n` : summaryOf(report))
    return report.ok ? OK : FAILED
  } catch (error) {
    // An error that nobody foresaw is no answer either.
    const message = error instanceof CannotRun ? error.message : error instanceof Error ? error.stack ?? error.message : String(error)
    process.stderr.write(`Could not run: ${message}\n`)
    return COULD_NOT_RUN
  }
}

async function prove (options: Arguments): Promise<Report> {
  const startedAt = new Date()
  const tell = (text: string): void => { if (!options.json) process.stdout.write(text) }
  const target = await findTarget(options, process.env)
  try {
    tell(`Validating ${target.description}\n\n`)
    const findings = new Findings(options.require, (check) => { tell(lineOf(check)) })
    await validate(options, target, findings)
    return { ok: findings.ok, target: target.description, startedAt: startedAt.toISOString(), durationMs: Date.now() - startedAt.getTime(), checks: findings.checks }
  } finally {
    await target.stop()
  }
}

// What was started ends with us.
process.once('SIGINT', () => process.exit(COULD_NOT_RUN))
process.once('SIGTERM', () => process.exit(COULD_NOT_RUN))
process.exitCode = await main()
