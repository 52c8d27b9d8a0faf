import Fastify, { type FastifyInstance } from 'fastify'
import t from 'tap'
import { asyncEndpoints, redisStore, type AsyncEndpointsOptions } from '../../plugins/async-endpoints.ts'
import { startRedis, uniquePrefix } from '../support/redis.ts'
import { portOf, SocketClient, type Heard } from '../support/socket-client.ts'

t.test('sockets on Redis: the job runs in another process, and the server goes away meanwhile', async (t) => {
  const redis = await startRedis({ durable: true })
  t.teardown(() => redis.stop())
  const prefix = uniquePrefix()
  let open = (): void => {}
  const gate = new Promise<void>((resolve) => { open = resolve })
  const make = async (options: AsyncEndpointsOptions): Promise<FastifyInstance> => {
    const app = Fastify()
    t.teardown(async () => { open(); await app.close() })
    await app.register(asyncEndpoints, { store: redisStore({ url: redis.url, prefix }), observability: false, health: false, ...options })
    app.asyncEndpoint({ url: '/quick', name: 'quick', handler: async () => 1 })
    app.asyncEndpoint({
      url: '/gated',
      name: 'gated',
      handler: async (job) => {
        await job.progress({ done: 1, total: 2 })
        await gate
        return 2
      }
    })
    return app
  }
  const api = await make({ worker: false, listening: { webSocket: true } })
  const worker = await make({ http: false })
  await worker.ready()
  const socket = await new SocketClient(await portOf(api)).opened()

  const submit = async (name: string): Promise<string> => (await api.inject({ method: 'POST', url: `/${name}` })).json().id
  const quick = await submit('quick')
  const gated = await submit('gated')
  socket.subscribe(quick, gated)
  t.match(await socket.nextOf('end', quick), { job: { status: 'completed' } })
  while (!showsProgress(await socket.next(), gated)) { /* it is not running yet */ }

  await redis.kill()
  socket.subscribe(quick)
  t.match(await socket.nextOf('error'), { ids: [quick], problem: { code: 'FAE_STORE_UNAVAILABLE', status: 503 }, retryAfterSeconds: Number })
  await redis.start()
  open()
  t.match(await socket.nextOf('end', gated), { job: { status: 'completed' } }, 'nothing was lost')
  socket.ws.close()
  await socket.closed()
})

/** By itself, or in a document. */
function showsProgress ({ id, job, progress = job }: Heard, wanted: string): boolean {
  return id === wanted && /"done":1/.test(JSON.stringify(progress))
}
