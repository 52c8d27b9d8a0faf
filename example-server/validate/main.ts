/** `npm run validate`: checks that metrics, Prometheus and traces show what happened. See docs/monitoring.md. */
import { command, COULD_NOT_RUN } from './command.ts'

const interruption = new AbortController()
// What was started ends with us. A second signal does not wait for that.
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    if (interruption.signal.aborted) process.exit(COULD_NOT_RUN)
    interruption.abort()
  })
}

const exitCode = await command(process.argv.slice(2), {
  env: process.env,
  out: (text) => { process.stdout.write(text) },
  err: (text) => { process.stderr.write(text) },
  signal: interruption.signal
})
// What was under way when it was interrupted goes on asking until its time is up, and nobody wants its answers any
// more.
if (interruption.signal.aborted) process.exit(exitCode)
process.exitCode = exitCode
