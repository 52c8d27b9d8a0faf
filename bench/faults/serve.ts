/** One process under fault: an API or a worker, built as an application would. It writes down what it runs before and after. */
import { openSync, writeSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import Fastify from 'fastify'
import asyncEndpoints, { redisStore } from '../../plugins/async-endpoints.ts'

export interface ServeOptions {
  readonly role: 'api' | 'worker'
  readonly port: number
  readonly redisUrl: string
  /** Where it writes what it does: appended, so that a kill takes nothing of it away. */
  readonly ledger: string
  readonly leaseMs: number
  readonly stalledIntervalMs: number
  readonly shutdownDelayMs: number
  readonly drainTimeoutMs: number
}

const options = JSON.parse(process.argv[2] ?? '{}') as ServeOptions

const ledger = openSync(options.ledger, 'a')
const note = (kind: 'started' | 'ended' | 'completed', jobId: string): void => { writeSync(ledger, `${kind} ${jobId} ${Date.now()}\n`) }

// A machine that is busy with starting the others is no reason to give up.
const app = Fastify({ pluginTimeout: 120_000 })
await app.register(asyncEndpoints, {
  store: redisStore({
    url: options.redisUrl,
    leaseMs: options.leaseMs,
    stalledIntervalMs: options.stalledIntervalMs,
    // Every job is asked for at the end.
    retention: { maxCount: 1_000_000 }
  }),
  worker: options.role === 'api' ? false : { concurrency: 20, drainTimeoutMs: options.drainTimeoutMs },
  http: options.role === 'api',
  health: { shutdownDelayMs: options.shutdownDelayMs }
})
app.asyncEndpoint({
  method: 'POST',
  url: '/work',
  name: 'work',
  handler: async (job) => {
    note('started', job.id)
    await sleep(20 + Math.random() * 30, undefined, { signal: job.signal })
    note('ended', job.id)
  }
})
app.jobEvents.on('job.completed', ({ jobId }) => { note('completed', jobId) })

process.once('SIGTERM', () => {
  app.jobHealth.drain().then(() => app.close()).catch((error: unknown) => {
    process.stderr.write(`${options.role}: the shutdown failed: ${String(error)}\n`)
    process.exitCode = 1
  })
})
await app.listen({ port: options.port, host: '127.0.0.1' })
