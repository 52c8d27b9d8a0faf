import type { AddressInfo } from 'node:net'
import type { FastifyInstance } from 'fastify'
import { buildServer } from './server.ts'
import { readSettings, type Settings } from './settings.ts'
import { welcome } from './welcome.ts'

/**
 * Reads the environment, starts the server, and shuts down gracefully on SIGTERM or SIGINT: it becomes unready, waits
 * until load balancers have noticed, and closes, which lets running jobs end or hands them back. A second signal ends
 * the process at once.
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
    // If the port is in use, the store and the worker are already open and would keep the process alive.
    await app.close()
    throw error
  }
  if (settings.redisUrl === undefined && settings.role !== 'all') {
    app.log.warn(`ROLE=${settings.role} without REDIS_URL: jobs are kept in this process, and no other process sees them`)
  }
  process.stdout.write(welcome(settings, urlOf(app, settings)))
}

/**
 * Stops the server when its parent is gone: stopping `npm start` stops npm and its shell, but neither forwards the
 * signal to the server.
 */
function watchParent (leave: (signal: NodeJS.Signals) => void): void {
  const parent = process.ppid
  const timer = setInterval(() => {
    if (process.ppid === parent) return
    clearInterval(timer)
    leave('SIGTERM')
  }, 500)
  // The server keeps the process alive, not this timer.
  timer.unref()
}

async function shutDown (app: FastifyInstance, signal: NodeJS.Signals): Promise<void> {
  app.log.info({ signal }, 'shutting down')
  await app.jobHealth.drain()
  await app.close()
}

function urlOf (app: FastifyInstance, { host }: Settings): string {
  // The server listens on a port, not on a pipe, so the address is an object.
  const { port } = app.server.address() as AddressInfo
  const name = host === '0.0.0.0' || host === '::' ? 'localhost' : host
  return `http://${name.includes(':') ? `[${name}]` : name}:${port}`
}

main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
  process.exitCode = 1
})
