/** What a full store leaves in the log: it refuses very many submissions, and each must cost one line only. */
import { Writable } from 'node:stream'
import Fastify from 'fastify'
import t from 'tap'
import asyncEndpoints, { memoryStore } from '../../plugins/async-endpoints.ts'

t.test('a submission that a full store refuses has one log line of its own', async (t) => {
  const lines: Array<{ msg: string, level: number }> = []
  const stream = new Writable({
    write (chunk: Buffer, _encoding, done) {
      lines.push(JSON.parse(chunk.toString()))
      done()
    }
  })
  const app = Fastify({ disableRequestLogging: true, logger: { level: 'info', stream } })
  t.teardown(() => app.close())
  await app.register(asyncEndpoints, { store: memoryStore({ maxBytes: 4_000 }), worker: false, health: false, http: { access: 'open' } })
  app.asyncEndpoint({ method: 'POST', url: '/reports', name: 'report', handler: async () => undefined })
  const submit = async (): Promise<number> => (await app.inject({ method: 'POST', url: '/reports', payload: { text: 'x'.repeat(500) } })).statusCode
  let status = 202
  for (let times = 0; times < 10 && status === 202; times++) status = await submit()
  t.equal(status, 503)
  lines.length = 0
  t.equal(await submit(), 503)
  t.match(lines.map(({ msg }) => msg), [/^submission of report failed after .* \(FAE_STORE_FULL\)/])
  t.equal(lines.length, 1)
  const huge = await app.inject({ method: 'POST', url: '/reports', payload: { text: 'x'.repeat(5_000) } })
  t.equal(huge.statusCode, 413)
  t.match(huge.json(), { code: 'FAE_JOB_TOO_LARGE' })
  t.equal(huge.headers['retry-after'], undefined, 'trying again is of no use')
})
