/** The script of the runbook, as it stands in docs/monitoring.md, against a Redis with failed jobs. */
import Fastify from 'fastify'
import t from 'tap'
import asyncEndpoints, { redisStore } from '../../plugins/async-endpoints.ts'
import { PATIENCE_MS } from '../example-server/support.ts'
import { startRedis } from '../support/redis.ts'
import { compile, runToItsEnd, snippetsOf } from './snippets.ts'

const FAILED = 230

t.test('every failed job of the name runs again, and no other', async (t) => {
  const server = await startRedis()
  const app = Fastify()
  t.teardown(async () => {
    await app.close()
    await server.stop()
  })
  await app.register(asyncEndpoints, { store: redisStore({ url: server.url }), worker: { concurrency: 50 }, observability: false })
  for (const name of ['report', 'other']) app.defineJob({ name, retry: { attempts: 1 }, handler: async () => { throw new Error('as asked') } })
  await app.ready()
  const submitted = await Promise.all([...Array.from({ length: FAILED }, () => 'report'), 'other'].map((name) => app.jobs.submit(name)))
  await Promise.all(submitted.map(({ id }) => app.jobs.waitFor(id, { timeoutMs: PATIENCE_MS })))
  // So that a job that was run again stays where it is.
  await app.jobWorker.pause()

  const script = snippetsOf('docs/monitoring.md').filter(({ code }) => code.includes('redrive.ts'))
  t.equal(script.length, 1)
  const [file] = (await compile(t, script)).values()
  t.equal(await runToItsEnd(file ?? '', { args: ['report'], env: { REDIS_URL: server.url } }), `${FAILED} jobs of report run again\n`)
  t.match(await app.jobs.counts(), [{ states: { queued: FAILED, failed: 1 } }])
})
