import type { AddressInfo } from 'node:net'
import type { FastifyInstance } from 'fastify'
import { buildServer } from './server.ts'
import { readSettings, type Settings } from './settings.ts'

/**
 * Reads the environment, serves, and leaves in good order on SIGTERM or SIGINT: not ready → a moment for the load
 * balancer → close, which lets running jobs end or hands them back. A second signal does not wait.
 */
async function main (): Promise<void> {
  const settings = readSettings(process.env)
  const app = await buildServer(settings)
  let leaving = false
  const leave = (signal: NodeJS.Signals): void => {
    if (leaving) process.exit(1)
    leaving = true
    shutDown(app, signal).catch((error: unknown) => {
      app.log.error({ err: error }, 'the shutdown failed')
      process.exitCode = 1
    })
  }
  process.on('SIGTERM', leave)
  process.on('SIGINT', leave)
  if (process.env['npm_lifecycle_event'] !== undefined) watchParent(leave)
  try {
    await app.listen({ port: settings.port, host: settings.host })
  } catch (error) {
    // A port that is taken: the store and the worker are open already, and would keep the process alive.
    await app.close()
    throw error
  }
  if (settings.redisUrl === undefined && settings.role !== 'all') {
    app.log.warn(`ROLE=${settings.role} without REDIS_URL: jobs live in this process alone, no other process sees them`)
  }
  process.stdout.write(welcome(settings, urlOf(app, settings)))
}

/** Whoever stops `npm start` stops npm and its shell, and neither passes it on: the server would stay behind, unseen. */
function watchParent (leave: (signal: NodeJS.Signals) => void): void {
  const parent = process.ppid
  const timer = setInterval(() => {
    if (process.ppid === parent) return
    clearInterval(timer)
    leave('SIGTERM')
  }, 500)
  // The server keeps the process alive, not this.
  timer.unref()
}

async function shutDown (app: FastifyInstance, signal: NodeJS.Signals): Promise<void> {
  app.log.info({ signal }, 'shutting down')
  await app.health.drain()
  await app.close()
}

function urlOf (app: FastifyInstance, { host }: Settings): string {
  // Not a pipe: it listens on a port.
  const { port } = app.server.address() as AddressInfo
  const name = host === '0.0.0.0' || host === '::' ? 'localhost' : host
  return `http://${name.includes(':') ? `[${name}]` : name}:${port}`
}

function welcome ({ role, redisUrl }: Settings, url: string): string {
  const lines = [
    `listening on ${url} (role ${role}, jobs in ${redisUrl === undefined ? 'memory' : 'Redis'})`,
    ...(role === 'worker'
      ? []
      : [
          '  submit a job     ' + `curl -i -X POST ${url}/reports -H 'content-type: application/json' -d '{"year":2026,"rows":1000}'`,
          `  look at it       curl ${url}/jobs/<id>          and its result: curl ${url}/jobs/<id>/result`,
          `  other jobs       POST ${url}/exports, POST ${url}/demo/sleep`,
          `  OpenAPI          ${url}/documentation/json`
        ]),
    `  metrics          ${url}/metrics`,
    `  health           ${url}/health, ${url}/health/ready, ${url}/health/live`
  ]
  return `${lines.join('\n')}\n`
}

main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
  process.exitCode = 1
})
