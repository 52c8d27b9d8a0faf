#!/usr/bin/env node
import { systemClock } from '../core/context.ts'
import { readRedactOptions } from '../core/redact.ts'
import { SCOPE_VERSION } from '../telemetry/version.ts'
import { HELP, readArguments, UsageError } from './arguments.ts'
import { examine } from './doctor.ts'
import { jsonReport, summarize, textReport } from './report.ts'

const COULD_NOT_RUN = 2
/** A host name look-up can take half a minute and cannot be cancelled. The process exits without it. */
const LEAVE_MS = 500

async function main (): Promise<void> {
  const request = readArguments(process.argv.slice(2), process.env)
  if (request.kind === 'help') return say(HELP)
  if (request.kind === 'version') return say(`${SCOPE_VERSION}\n`)
  const findings = await examine(request, { cwd: process.cwd(), env: process.env, clock: systemClock })
  say(request.json ? jsonReport(findings, request.strict) : textReport(findings, request.strict))
  process.exitCode = summarize(findings, request.strict).exitCode
}

function say (text: string): void {
  process.stdout.write(text)
}

// The reader of a pipe may close it early (`| head`).
process.stdout.on('error', () => {})

main().catch((error: unknown) => {
  process.exitCode = COULD_NOT_RUN
  const usage = error instanceof UsageError
  // A usage error never repeats a value; redaction would only hide the examples in its text.
  const message = !(error instanceof Error) ? 'unknown error' : usage ? error.message : readRedactOptions().text(error.message)
  process.stderr.write(usage ? `${message}\nTry: fastify-async-endpoints --help\n` : `the doctor could not finish: ${message}\n`)
}).finally(() => {
  setTimeout(() => { process.exit() }, LEAVE_MS).unref()
})
