/** The EventSource of a real browser, while the processes that it listens to are replaced. */
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import Fastify, { type FastifyInstance } from 'fastify'
import { chromium } from 'playwright-core'
import t from 'tap'
import { asyncEndpoints, redisStore, type AsyncEndpointsOptions } from '../../plugins/async-endpoints.ts'
import { needs } from '../support/programs.ts'
import { sharedRedis } from '../support/redis.ts'
import { portOf } from '../support/socket-client.ts'

const browser = needs(['chromium-headless-shell', 'chromium'], 'apt-get install chromium-headless-shell')

const PAGE = `<!doctype html><title>Jobs</title><script>
  const heard = [], states = new Set()
  const source = new EventSource('/jobs/events' + location.search)
  for (const type of ['status', 'progress', 'end', 'gone', 'bye']) source.addEventListener(type, ({ data }) => heard.push({ type, ...JSON.parse(data) }))
  source.onerror = () => states.add(source.readyState)
</script>`

t.test('a rolling restart: the browser comes back by itself, hears the end, and stays away after that', browser.options, async (t) => {
  const { url, prefix, stop } = await sharedRedis()
  t.teardown(stop)
  let open = (): void => {}
  const gate = new Promise<void>((resolve) => { open = resolve })
  const answers: number[] = []
  const make = async (options: AsyncEndpointsOptions): Promise<FastifyInstance> => {
    const app = Fastify({ return503OnClosing: false })
    t.teardown(async () => { open(); await app.close() })
    app.addHook('onSend', async (request, reply) => { if (request.url.startsWith('/jobs/events')) answers.push(reply.statusCode) })
    await app.register(asyncEndpoints, { store: redisStore({ url, prefix }), observability: false, health: { shutdownDelayMs: 0 }, ...options })
    app.asyncEndpoint({ url: '/gated', name: 'gated', handler: async () => { await gate } })
    app.get('/', async (_, reply) => await reply.type('text/html').send(PAGE))
    return app
  }
  const api = async (): Promise<FastifyInstance> => {
    const app = await make({ worker: false })
    await portOf(app)
    return app
  }
  const worker = await make({ http: false })
  await worker.ready()
  const [first, second, third] = [await api(), await api(), await api()]

  // The one address: a load balancer that leads new connections to the process that is ready.
  let target = await portOf(first)
  const sockets = new Set<Socket>()
  const front = createServer((socket) => {
    const behind = connect(target, '127.0.0.1')
    for (const one of [socket, behind]) {
      sockets.add(one)
      one.on('error', () => { /* the other side is ended below */ })
    }
    socket.pipe(behind).on('close', () => { socket.destroy() })
    behind.pipe(socket).on('close', () => { behind.destroy() })
  })
  front.listen(0, '127.0.0.1')
  await once(front, 'listening')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    front.close()
  })

  const job = await first.jobs.submit('gated', {})
  const other = await first.jobs.submit('gated', {})
  const shell = await chromium.launch({ executablePath: browser.path, args: ['--no-sandbox'] })
  t.teardown(async () => { await shell.close() })
  const page = await shell.newPage()
  await page.goto(`http://127.0.0.1:${(front.address() as AddressInfo).port}/?id=${job.id}&id=${other.id}`)
  const heard = async (condition: string): Promise<void> => { await page.waitForFunction(condition, undefined, { timeout: 20_000 }) }
  await heard('heard.filter(({ type }) => type === "status").length >= 2')

  target = await portOf(second)
  await first.jobHealth.drain()
  await heard('heard.some(({ reason }) => reason === "draining") && source.readyState === 1 && heard.at(-1).type !== "bye"')
  await first.close()
  target = await portOf(third)
  await second.close()
  await heard('heard.some(({ reason }) => reason === "closing") && source.readyState === 1 && heard.at(-1).type !== "bye"')
  t.same(await page.evaluate('[...states]'), [0], 'it never gave up')
  open()
  await heard('heard.filter(({ type }) => type === "end").length === 2')
  await heard('source.readyState === 2')
  const all = await page.evaluate('heard.filter(({ type }) => type === "end").map(({ id, status }) => [id, status])')
  t.same((all as string[][]).sort(), [[job.id, 'completed'], [other.id, 'completed']].sort(), 'each end once')
  t.same(answers, [204], 'after the end it has asked once more, and not again')
})
