import { createHmac } from 'node:crypto'
import t from 'tap'
import { LinkSigner, sigsOf } from '../../lib/http/capability.ts'
import { echo, testApp, type TestApp } from './support.ts'

const secret = 's'.repeat(32)
const keys = [{ id: 'k1', secret }]
const UNKNOWN = '0b5e9f6e-6a4e-4d0c-9f7e-2f5b0f0c8a11'

/** Changes one character of a text. */
const flip = (text: string, at: number): string => text.slice(0, at) + (text[at] === 'A' ? 'B' : 'A') + text.slice(at + 1)

t.test('a link opens its job until it expires, with the scope that it has', async (t) => {
  let now = 1_700_000_000_000
  const signer = new LinkSigner({ keys, ttlMs: 80_000, scopes: ['read', 'cancel'] }, () => now)
  const sig = signer.sign('a', 'read') ?? ''
  t.match(sig, /^k1\.\d+\.read\.[\w-]{43}$/)
  const grant = signer.verify(sig, 'a')
  t.match(grant, { jobId: 'a', scope: 'read', sig })
  t.ok((grant?.until ?? 0) - now > 70_000 - 1_000 && (grant?.until ?? 0) - now <= 80_000, 'at least seven eighths of its time')
  t.equal(signer.verify(signer.sign('a', 'cancel') ?? '', 'a')?.scope, 'cancel')
  t.equal(signer.verify(sig, 'b'), undefined, 'of another job')
  now = grant?.until ?? 0
  t.equal(signer.verify(sig, 'a'), undefined, 'expired')
  t.equal(new LinkSigner({ keys }, () => now).sign('a', 'cancel'), undefined, 'read only, if nothing else is said')
})

t.test('links that are made one after the other are the same', async (t) => {
  let now = 1_700_000_000_000
  const signer = new LinkSigner({ keys, ttlMs: 80_000 }, () => now)
  const made = new Set<unknown>()
  for (const end = now + 80_000; now < end; now += 100) made.add(signer.sign('a', 'read'))
  t.ok(made.size <= 9, `${made.size} in 80 s`)
})

t.test('nothing else is a link', async (t) => {
  const now = 1_700_000_000_000
  const signer = new LinkSigner({ keys: [...keys, { id: 'k2', secret: new Uint8Array(32).fill(7) }] }, () => now)
  const sig = signer.signFor('a', 'read')
  const [, seconds = '', , mac = ''] = sig.split('.')
  const wrong = [
    '', '.', '...', 'x', `${sig}.`, `.${sig}`, ` ${sig}`, `${sig}\n`, sig.slice(0, -1), `${sig}A`, `${sig}=`, sig.toUpperCase(),
    `k2.${seconds}.read.${mac}`, `k3.${seconds}.read.${mac}`, `__proto__.${seconds}.read.${mac}`, `constructor.${seconds}.read.${mac}`,
    `k1.${Number(seconds) + 1}.read.${mac}`, `k1.0${seconds}.read.${mac}`, `k1.${seconds}.cancel.${mac}`, `k1.${seconds}.admin.${mac}`, `k1.-1.read.${mac}`,
    `k1.9e9.read.${mac}`, `k1.999999999999.read.${mac}`, `k1.${seconds}.read.${'A'.repeat(43)}`, `k1.${seconds}.read.${'é'.repeat(43)}`, 'a'.repeat(100_000)
  ]
  t.same(wrong.filter((text) => signer.verify(text, 'a') !== undefined), [])
  const start = sig.length - mac.length
  t.same([...mac].map((_, at) => flip(sig, start + at)).filter((text) => signer.verify(text, 'a') !== undefined), [], 'no character of the signature may differ')
  t.ok(signer.verify(sig, 'a'))
  const foreign = createHmac('sha256', secret).update(`a\nread\n${seconds}`).digest('base64url')
  t.equal(signer.verify(`k1.${seconds}.read.${foreign}`, 'a'), undefined, 'the same secret used for something else')
})

t.test('keys are rotated, and revoked by their id', async (t) => {
  const now = (): number => 1_700_000_000_000
  const [older, newer] = [{ id: 'old', secret }, { id: 'new', secret: 'n'.repeat(40) }]
  const before = new LinkSigner({ keys: [older] }, now).signFor('a', 'read')
  const both = new LinkSigner({ keys: [newer, older] }, now)
  t.match(both.signFor('a', 'read'), /^new\./)
  t.ok(both.verify(before, 'a'))
  t.equal(new LinkSigner({ keys: [newer] }, now).verify(before, 'a'), undefined)
})

t.test('where a request may have its link', async (t) => {
  const request = (query: unknown, authorization?: string): Parameters<typeof sigsOf>[0] => ({ query, headers: { authorization } }) as Parameters<typeof sigsOf>[0]
  const sig = new LinkSigner({ keys }, () => 0).signFor('a', 'read')
  t.same(sigsOf(request({})), [])
  t.same(sigsOf(request({ sig: 'x' }, `Bearer ${sig}`)), ['x', sig])
  t.same(sigsOf(request({ sig: ['x', 'y'] }, 'Bearer header.payload.signature')), ['x', 'y'], 'a token of somebody else')
  t.same(sigsOf(request({ sig: { a: 1 } }, `bearer ${sig}`)), [sig])
})

async function linked (http: Parameters<typeof testApp>[0] = {}): Promise<TestApp> {
  const test = await testApp({ ...http, http: { links: { keys }, ...http?.http } })
  test.app.asyncEndpoint({ url: '/a', name: 'a', handler: echo })
  return test
}

interface Document { readonly id: string, readonly links: Record<string, string> }

t.test('the links of an answer work as they are, and nothing else does', async (t) => {
  const { app, store } = await linked()
  const submitted = await app.inject({ method: 'POST', url: '/a' })
  const { id, links } = submitted.json<Document>()
  t.match(submitted.headers, { location: /\?sig=k1\./, 'referrer-policy': 'no-referrer', 'cache-control': 'no-store' })
  t.equal(links.self, submitted.headers.location)
  t.match(links.result, new RegExp(`^/jobs/${id}/result\\?sig=k1\\.`))
  t.equal(links.cancel, undefined, 'this client has nothing but its links, and they are to read')
  const status = await app.inject(links.self ?? '')
  t.match(status, { statusCode: 200, headers: { 'referrer-policy': 'no-referrer' } })
  t.same(status.json<Document>().links, { self: links.self, result: links.result, events: links.events }, 'what this link can do')
  t.match(links.events, new RegExp(`^/jobs/events\\?id=${id}&sig=k1\\.`))
  t.equal((await app.inject({ url: links.self ?? '', headers: { 'if-none-match': String(status.headers.etag) } })).statusCode, 304)
  const bearer = { authorization: `Bearer ${new URL(links.self ?? '', 'http://x').searchParams.get('sig') ?? ''}` }
  t.equal((await app.inject({ url: `/jobs/${id}`, headers: bearer })).statusCode, 200, 'as a token')
  t.equal((await app.inject({ method: 'HEAD', url: links.self ?? '' })).statusCode, 200)
  t.equal((await app.inject(links.result ?? '')).statusCode, 409)
  store.complete(id, { rows: 1 })
  t.same((await app.inject(links.result ?? '')).json(), { rows: 1 })
})

t.test('forged, foreign, expired links and wrong scopes are answered as an unknown id is', async (t) => {
  const test = await linked()
  const { app, http: { signer } } = test
  const { id } = (await app.inject({ method: 'POST', url: '/a' })).json<Document>()
  const other = (await app.inject({ method: 'POST', url: '/a' })).json<Document>()
  const read = signer?.signFor(id, 'read') ?? ''
  const past = new LinkSigner({ keys }, () => Date.now() - 100_000).signFor(id, 'cancel', 50_000)
  const cases: Array<readonly [name: string, sig: string]> = [
    ['forged', flip(read, read.length - 3)], ['foreign', signer?.signFor(other.id, 'cancel') ?? ''], ['expired', past], ['none', ''], ['another key', read.replace('k1', 'k2')]
  ]
  const ask = async (method: string, url: string): Promise<string> => {
    const { statusCode, body, headers: { date: _, 'x-correlation-id': __, ...headers } } = await app.inject({ method: method as 'GET', url })
    return JSON.stringify([statusCode, body, headers]).replaceAll(id, 'ID').replaceAll(UNKNOWN, 'ID')
  }
  const ways = (at: string): ReadonlyArray<readonly [string, string]> => [['GET', `/jobs/${at}`], ['GET', `/jobs/${at}/result`], ['DELETE', `/jobs/${at}`], ['POST', `/jobs/${at}/cancel`], ['POST', `/jobs/${at}/redrive`], ['POST', `/jobs/${at}/signals/go`]]
  for (const [name, sig] of cases) {
    for (const [at, [method, url]] of ways(id).entries()) {
      const answer = await ask(method, `${url}?sig=${sig}`)
      t.match(answer, /^\[404,/, `${name}: ${method} ${url}`)
      t.equal(answer, await ask(method, `${ways(UNKNOWN)[at]?.[1] ?? ''}?sig=${sig}`), 'as for an unknown id')
      t.notOk(sig !== '' && answer.includes(sig), 'the link is not repeated')
    }
  }
  for (const [method, url] of ways(id).slice(2)) t.match(await ask(method, `${url}?sig=${read}`), /^\[404,/, `a link to read: ${method} ${url}`)
  t.equal((await app.inject(`/jobs/${id}?sig=${read}`)).statusCode, 200)
  for (const [method, url] of ways(id).slice(4)) t.match(await ask(method, `${url}?sig=${signer?.signFor(id, 'cancel') ?? ''}`), /^\[404,/, `a link to cancel: ${method} ${url}`)
})

t.test('a link to cancel', async (t) => {
  const { app } = await linked({ http: { links: { keys, scopes: ['read', 'cancel'] } } })
  const { links } = (await app.inject({ method: 'POST', url: '/a' })).json<Document>()
  const sig = links.cancel?.split('?sig=')[1] ?? ''
  t.same((await app.inject(`${links.self?.split('?')[0] ?? ''}?sig=${sig}`)).json<Document>().links.cancel, links.cancel)
  t.match((await app.inject({ method: 'POST', url: links.cancel ?? '' })).json(), { status: 'cancelled' })
})

t.test('a job with an owner is read by the owner, or by its link; one without is nobody\'s', async (t) => {
  const owner = (request: { headers: Record<string, unknown> }): string | undefined => request.headers['x-user'] as string | undefined
  const { app } = await linked({ http: { owner, access: 'link' } })
  const alice = (await app.inject({ method: 'POST', url: '/a', headers: { 'x-user': 'alice' } })).json<Document>()
  const nobody = (await app.inject({ method: 'POST', url: '/a' })).json<Document>()
  const status = async (url: string, user?: string): Promise<number> => (await app.inject({ url, headers: user === undefined ? {} : { 'x-user': user } })).statusCode
  t.equal(await status(`/jobs/${alice.id}`, 'alice'), 200)
  t.equal(await status(`/jobs/${alice.id}`, 'bob'), 404)
  t.equal(await status(alice.links.self ?? '', 'bob'), 200)
  t.equal(await status(`/jobs/${nobody.id}`), 404)
  t.equal(await status(`/jobs/${nobody.id}`, 'alice'), 404)
  t.equal(await status(nobody.links.self ?? ''), 200)
  const seen = (await app.inject({ url: alice.links.self ?? '', headers: { 'x-user': 'alice' } })).json<Document>()
  t.ok(seen.links.cancel, 'the owner may do more than the link that is in the address')
})

t.test('a link works where the owner function wants everybody to sign in', async (t) => {
  const owner = (): string => { throw Object.assign(new Error('sign in'), { statusCode: 401 }) }
  const { app, store, http: { signer } } = await linked({ http: { owner } })
  await app.ready()
  const { id } = await app.jobs.submit('a', {}, { owner: 'alice' })
  t.equal((await app.inject(`/jobs/${id}`)).statusCode, 401)
  t.equal((await app.inject(`/jobs/${UNKNOWN}?sig=${signer?.signFor(id, 'read') ?? ''}`)).statusCode, 401)
  t.equal((await app.inject(`/jobs/${id}?sig=${signer?.signFor(id, 'read') ?? ''}`)).statusCode, 200)
  t.ok(store.jobs.has(id))
})

t.test('options', async (t) => {
  const refused = async (links: object, message: RegExp): Promise<void> => {
    await t.rejects(testApp({ http: { links: links as { keys: [] } } }), { code: 'FAE_INVALID_OPTIONS', message })
  }
  await refused({}, /links.*keys/)
  await refused({ keys: [] }, /links\.keys/)
  await refused({ keys: [{ id: 'a b', secret }] }, /links\.keys.*id/)
  await refused({ keys: [{ id: 'a', secret: 'short and secret' }] }, /links\.keys\[0\]\.secret must have at least 32 bytes/)
  await refused({ keys: [{ id: 'a', secret: 42 }] }, /links\.keys\[0\]\.secret must be a string or a Uint8Array/)
  await refused({ keys: [{ id: 'a', secret }, { id: 'a', secret }] }, /links\.keys\[1\]\.id is that of another key/)
  await refused({ keys, ttlMs: 1 }, /links\.ttlMs/)
  await refused({ keys, scopes: ['admin'] }, /links\.scopes/)
  await refused({ keys, more: 1 }, /links.*more/)
  const error: unknown = await testApp({ http: { links: { keys: [{ id: 'a b', secret: 'short and secret' }], ttlMs: 1 } } }).catch((thrown: unknown) => thrown)
  t.notOk(JSON.stringify([String(error), error]).includes('short and secret'), 'no message has the secret')
  const test = await testApp({ http: { links: { keys: [{ id: 'a', secret: Buffer.alloc(32, 1) }] } } })
  t.equal(test.http.options.access, 'link')
})
