/** Every link in every document works for the client that got the document, whatever protects the job routes. */
import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { asyncEndpoints, memoryStore, type HttpOptions } from '../../plugins/async-endpoints.ts'
import { EventClient } from '../support/event-client.ts'
import { SocketClient, portOf } from '../support/socket-client.ts'

const keys = [{ id: 'k1', secret: 's'.repeat(32) }]
const owner: HttpOptions['owner'] = (request) => request.headers['x-user'] as string | undefined
type Links = Record<string, string> & { readonly signals?: Readonly<Record<string, string>> }
interface Document { readonly id: string, readonly name: string, readonly status: string, readonly links: Links }
type Headers = Record<string, string>

const ALICE: Headers = { 'x-user': 'alice' }
const SUPPORT: Headers = { 'x-user': 'support' }
const NOBODY: Headers = {}

/** `support` may read every job and do nothing else. Others may do what the owner function says. */
const readOnly: HttpOptions['authorize'] = (request, { action, job }) => {
  if (request.headers['x-user'] !== 'support') return action === 'list' ? { owner: owner?.(request) as string | undefined } : true
  return action === 'list' ? true : action === 'read' ? { owner: job?.owner } : false
}

/** What may be set in `http`, and the links that a client without an owner gets in the 202. */
const CASES: ReadonlyArray<readonly [name: string, http: HttpOptions, anonymous: string]> = [
  ['nothing', {}, 'cancel events result self socket'],
  ['access open', { access: 'open' }, 'cancel events result self socket'],
  ['access open with links', { access: 'open', links: { keys } }, 'cancel events result self socket'],
  ['links', { links: { keys } }, 'events result self socket'],
  ['links to cancel', { links: { keys, scopes: ['read', 'cancel'] } }, 'cancel events result self socket'],
  ['links to cancel only', { links: { keys, scopes: ['cancel'] } }, 'cancel events result self socket'],
  ['links that no answer has', { links: { keys, scopes: [] } }, 'self'],
  ['owner', { owner }, 'cancel events result self socket'],
  ['access owner', { owner, access: 'owner' }, 'cancel events result self socket'],
  ['owner and links', { owner, links: { keys } }, 'events result self socket'],
  ['owner and links to cancel', { owner, links: { keys, scopes: ['read', 'cancel'] } }, 'cancel events result self socket'],
  ['owner and readers', { owner, authorize: readOnly }, 'cancel events result self socket'],
  ['owner, readers and links to cancel', { owner, authorize: readOnly, links: { keys, scopes: ['read', 'cancel'] } }, 'cancel events result self socket'],
  ['authorize alone', { authorize: (_, { action }) => action !== 'cancel' }, 'events result self socket'],
  ['authorize that throws', { authorize: () => { throw Object.assign(new Error('sign in'), { statusCode: 401 }) } }, 'self']
]

async function serve (t: Test, http: HttpOptions): Promise<{ app: FastifyInstance, port: number }> {
  const app = Fastify()
  let open = (): void => {}
  const gate = new Promise<void>((resolve) => { open = resolve })
  t.teardown(async () => { open(); await app.close() })
  await app.register(asyncEndpoints, {
    store: memoryStore(), observability: false, health: false, http, listening: { webSocket: true }, worker: { concurrency: 50 }
  })
  app.asyncEndpoint({ url: '/waits', name: 'waits', handler: async () => { await gate } })
  app.asyncEndpoint({ url: '/done', name: 'done', handler: async () => 1 })
  app.asyncEndpoint({ url: '/fails', name: 'fails', retry: { attempts: 1 }, handler: async () => { throw new Error('no') } })
  app.saga({ url: '/saga', name: 'saga', steps: (s) => s.signal('go', {}).returns(() => 1) })
  return { app, port: await portOf(app) }
}

class Client {
  readonly #t: Test
  readonly #app: FastifyInstance
  readonly #port: number
  readonly #headers: Headers

  constructor (t: Test, { app, port }: { app: FastifyInstance, port: number }, headers: Headers) {
    this.#t = t
    this.#app = app
    this.#port = port
    this.#headers = headers
  }

  async ask (url: string, method: 'GET' | 'POST' = 'GET', headers: Headers = {}): Promise<{ status: number, document: Document }> {
    const payload = method === 'POST' ? { payload: {} } : {}
    const answer = await this.#app.inject({ url, method, headers: { ...this.#headers, ...headers }, ...payload })
    const json = String(answer.headers['content-type']).includes('json')
    return { status: answer.statusCode, document: (json ? answer.json() : {}) as Document }
  }

  /** Reads what can be read, and reports what links are there. */
  async read (where: string, { id, links, status }: Document): Promise<void> {
    const works = async (name: string, url = links[name]): Promise<void> => {
      if (url === undefined) return
      const { status: code } = await this.ask(url)
      this.#t.ok(code < 400 || code === 409, `${where}: ${name} is answered ${code}`)
    }
    if (links['self'] !== undefined && Object.keys(links).length > 1) await works('self')
    await works('result')
    if (links['events'] !== undefined) {
      const stream = new EventClient(this.#port, { path: links['events'], headers: this.#headers })
      const { type } = await stream.next()
      this.#t.not(type, 'gone', `${where}: events begin with ${type}`)
      stream.leave()
    }
    if (links['socket'] !== undefined) {
      const socket = await new SocketClient(this.#port, { path: links['socket'], headers: this.#headers }).opened()
      const sig = new URL(links['self'] ?? '', 'http://x').searchParams.get('sig') ?? undefined
      socket.say({ type: 'subscribe', jobs: [{ id, sig }] })
      const { type } = await socket.next()
      this.#t.not(type, 'gone', `${where}: the socket begins with ${type}`)
      socket.ws.terminate()
    }
    if (links['cancel'] === undefined && (status === 'queued' || status === 'in-progress')) {
      // As the link would be.
      const { status: code } = await this.ask(`/jobs/${id}/cancel`, 'POST')
      this.#t.ok(code === 404 || code === 401, `${where}: what is not linked is answered ${code}`)
    }
  }

  /** Uses the links that change the job. */
  async change (where: string, { links: { signals = {}, ...links } }: Document): Promise<void> {
    for (const name of ['redrive', 'cancel']) {
      const url = links[name]
      if (url === undefined || Object.keys(signals).length > 0) continue
      const { status } = await this.ask(url, 'POST')
      // A job may have ended in the meantime.
      this.#t.ok(status < 300 || status === 409, `${where}: ${name} is answered ${status}`)
    }
    for (const [name, url] of Object.entries(signals)) {
      const { status, document } = await this.ask(url, 'POST')
      this.#t.ok(status < 300, `${where}: signal ${name} is answered ${status}`)
      await this.read(`${where}, after the signal`, { ...document, status: '' })
    }
  }
}

for (const [name, http, anonymous] of CASES) {
  t.test(name, async (t) => {
    const served = await serve(t, http)
    for (const [who, headers] of [['nobody', NOBODY], ['alice', ALICE], ['support', SUPPORT]] as const) {
      const client = new Client(t, served, headers)
      for (const url of ['/waits', '/done', '/fails', '/saga']) {
        const submitted = await client.ask(url, 'POST')
        t.equal(submitted.status, 202, `${who} submits ${url}`)
        const { document } = submitted
        if (who === 'nobody') t.equal(Object.keys(document.links).sort().join(' '), anonymous, `${url} without an owner`)
        await client.read(`${who} ${url} 202`, document)
        if (url !== '/waits' && url !== '/saga') await served.app.jobs.waitFor(document.id)
        // The holder of a link, the client by its id, and somebody else.
        for (const [as, reader] of [['itself', client], ['support', new Client(t, served, SUPPORT)], ['nobody', new Client(t, served, NOBODY)]] as const) {
          for (const at of new Set([document.links['self'] ?? '', `/jobs/${document.id}`])) {
            const { status, document: shown } = await reader.ask(at)
            if (status === 200) await reader.read(`${who} ${url} status for ${as}`, shown)
          }
        }
        const last = await client.ask(document.links['self'] ?? '')
        await client.change(`${who} ${url}`, last.status === 200 ? last.document : document)
      }
    }
    for (const [who, headers] of [['nobody', NOBODY], ['alice', ALICE], ['support', SUPPORT]] as const) {
      for (const url of ['/waits', '/saga', '/fails']) await new Client(t, served, ALICE).ask(url, 'POST')
      const client = new Client(t, served, headers)
      const { status, document } = await client.ask('/jobs?limit=100')
      if (status !== 200) continue
      const { jobs } = document as unknown as { jobs: readonly Document[] }
      for (const job of jobs) {
        t.notMatch(JSON.stringify(job.links), /sig=/)
        if (job.links['self'] !== undefined) t.equal((await client.ask(job.links['self'])).status, 200, `${who}, in the list: self`)
        await client.read(`${who}, in the list`, job)
        await client.change(`${who}, in the list`, job)
      }
    }
  })
}

t.test('a job that fails while its submission waits has the links of its submitter', async (t) => {
  const served = await serve(t, { links: { keys } })
  const client = new Client(t, served, NOBODY)
  const { status, document } = await client.ask('/fails', 'POST', { prefer: 'wait=10' })
  t.equal(status, 202)
  t.match(document, { status: 'failed', links: { self: /sig=/ } })
  t.same(Object.keys(document.links), ['self'], 'a link never allows a redrive')
})

t.test('who may only read a job gets no signature to cancel it', async (t) => {
  const served = await serve(t, { owner, authorize: readOnly, links: { keys, scopes: ['read', 'cancel'] } })
  const { document } = await new Client(t, served, ALICE).ask('/waits', 'POST')
  const { status, document: seen } = await new Client(t, served, SUPPORT).ask(`/jobs/${document.id}`)
  t.equal(status, 200)
  t.equal(seen.links['cancel'], undefined)
  const { document: own } = await new Client(t, served, ALICE).ask(`/jobs/${document.id}`)
  t.match(own.links['cancel'], /\/cancel\?sig=/)
})
