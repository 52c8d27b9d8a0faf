/** Streams behind nginx with the buffering that it has by default. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, writeFileSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import Fastify from 'fastify'
import t from 'tap'
import { asyncEndpoints } from '../../plugins/async-endpoints.ts'
import { EventClient } from '../support/event-client.ts'
import { needs } from '../support/programs.ts'
import { portOf } from '../support/socket-client.ts'

const nginx = needs(['nginx'], 'apt-get install nginx-light')

async function freePort (): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

/** A progress comes by itself, or in a document. */
async function shows (client: EventClient, done: number): Promise<boolean> {
  for (;;) {
    const { data: { progress } } = await client.next()
    if (Reflect.get(Object(progress), 'done') === done) return true
  }
}

t.test('each event arrives when it is sent, and not when a buffer is full', nginx.options, async (t) => {
  const app = Fastify()
  t.teardown(async () => { await app.close() })
  const gates: Array<() => void> = []
  const next = async (): Promise<void> => { await new Promise<void>((resolve) => { gates.push(resolve) }) }
  await app.register(asyncEndpoints, { observability: false })
  app.asyncEndpoint({
    url: '/gated',
    name: 'gated',
    handler: async (job) => {
      for (let done = 1; done <= 3; done++) {
        await next()
        await job.progress({ done, total: 3 })
      }
      await next()
    }
  })
  const upstream = await portOf(app)
  const port = await freePort()
  const folder = t.testdir()
  mkdirSync(`${folder}/logs`)
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${folder}/${name};`).join(' ')
  writeFileSync(`${folder}/nginx.conf`, `
    daemon off; pid ${folder}/pid; error_log ${folder}/logs/error.log; worker_processes 1;
    events {}
    http {
      access_log off; gzip on; ${temporary}
      server { listen 127.0.0.1:${port}; location / { proxy_pass http://127.0.0.1:${upstream}; } }
    }`)
  const server = spawn(nginx.path, ['-p', folder, '-c', `${folder}/nginx.conf`], { stdio: 'ignore' })
  t.teardown(async () => {
    server.kill('SIGQUIT')
    if (server.exitCode === null) await once(server, 'exit')
  })
  const end = performance.now() + 10_000
  while (await fetch(`http://127.0.0.1:${port}/health/live`).then(({ ok }) => !ok, () => true)) {
    if (performance.now() > end) throw new Error('nginx did not begin to answer')
    await sleep(20)
  }
  const go = async (): Promise<void> => {
    while (gates.length === 0) await sleep(5)
    gates.shift()?.()
  }

  const { id } = await app.jobs.submit('gated', {})
  const one = new EventClient(port, { path: `/jobs/${id}`, headers: { 'accept-encoding': 'gzip' } })
  const several = new EventClient(port, { path: `/jobs/events?id=${id}&id=unknown` })
  t.teardown(() => { one.leave(); several.leave() })
  t.match((await one.answered()).headers, { 'content-type': 'text/event-stream' })
  await one.nextOf('status')
  t.match(await several.nextOf('gone'), { data: { id: 'unknown' } })
  await several.nextOf('status')
  for (let done = 1; done <= 3; done++) {
    await go()
    t.ok(await shows(one, done), 'before the next one is reported')
    t.ok(await shows(several, done))
  }
  await go()
  t.match((await one.ended()).at(-1), { type: 'end', data: { status: 'completed' } })
  t.match((await several.ended()).at(-1), { type: 'end' })
  t.equal((await new EventClient(port, { path: `/jobs/${id}`, headers: { 'last-event-id': one.parser.lastEventId } }).answered()).status, 204)
})
