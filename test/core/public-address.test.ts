import { isIP } from 'node:net'
import t from 'tap'
import { AsyncEndpointsError } from '../../lib/core/errors.ts'
import { operatorPolicy, readOutboundPolicy, rangeProblems, type OutboundPolicy } from '../../lib/core/outbound-policy.ts'
import { assertPublicPeer, assertPublicUrl, checkedLookup, isAddressAllowed, operatorUrlProblem, refusalOf, type ResolveHost } from '../../lib/core/public-address.ts'
import { HOSTILE_URLS } from './hostile-urls.ts'

const STRICT = readOutboundPolicy('webhooks', undefined)

function refusal (url: string, policy: OutboundPolicy = {}): string {
  try {
    return assertPublicUrl(url, readOutboundPolicy('webhooks', policy)).href
  } catch (error) {
    return refusalOf(error) ?? String(error)
  }
}

/** What `net.connect` would get from the lookup. */
function lookedUp (
  addresses: readonly string[] | Error, options: object = { all: true }, policy = STRICT
): Promise<{ error: unknown, address: unknown, family: unknown }> {
  const resolver: ResolveHost = (_, callback) => {
    if (addresses instanceof Error) callback(addresses, [])
    else callback(null, addresses.map((address) => ({ address, family: isIP(address) })))
  }
  return new Promise((resolve) => {
    checkedLookup(policy, resolver)('hooks.example.com', options, (error, address, family) => { resolve({ error, address, family }) })
  })
}

t.test('no hostile URL passes: each is refused for its own reason, by its text or by its addresses', async (t) => {
  t.ok(HOSTILE_URLS.length >= 80)
  t.equal(new Set(HOSTILE_URLS.map(({ url, answers }) => JSON.stringify([url, answers]))).size, HOSTILE_URLS.length, 'no row twice')
  for (const { url, reason, answers } of HOSTILE_URLS) {
    const label = `${JSON.stringify(url).slice(0, 80)} ${answers?.join() ?? ''}`.slice(0, 150)
    if (answers === undefined) {
      t.equal(refusal(url), reason, label)
    } else {
      t.match(refusal(url), /^https:/, `${label}: nothing is wrong with its text`)
      t.equal(refusalOf((await lookedUp(answers)).error), reason, label)
    }
  }
})

t.test('URLs that may be called, as they are called', async (t) => {
  for (const [url, href] of [
    ['https://example.com', 'https://example.com/'],
    ['HTTPS://Example.COM:8443/a?b=c#d', 'https://example.com:8443/a?b=c'],
    ['https://example.com./hook', 'https://example.com/hook'],
    ['https://example.com.:8443/', 'https://example.com:8443/'],
    ['https://münchen.example/ä', 'https://xn--mnchen-3ya.example/%C3%A4'],
    ['https://a_b.example.com/@user', 'https://a_b.example.com/@user'],
    ['https://internal.example.com/', 'https://internal.example.com/'],
    ['https://localhost.example.com/', 'https://localhost.example.com/'],
    [`https://example.com/${'a'.repeat(2_028)}`, `https://example.com/${'a'.repeat(2_028)}`]
  ] as const) t.equal(refusal(url), href, url.slice(0, 60))
})

t.test('the error has a code, a reason and a status, and shows nothing of the URL', async (t) => {
  const error = t.throws(() => assertPublicUrl('https://hunter2:x@10.0.0.1/hunter2', STRICT)) as unknown as AsyncEndpointsError
  t.match(error, { code: 'FAE_URL_REFUSED', statusCode: 400, details: { reason: 'user-info' }, message: 'The URL is refused: it holds a user or a password' })
  t.notMatch(JSON.stringify([error, error.message, error.stack]), 'hunter2')
  t.equal(refusalOf(new Error('x')), undefined)
  t.equal(refusalOf(new AsyncEndpointsError('FAE_CLOSED', 'x')), undefined)
})

t.test('a policy allows more, and only what it says', async (t) => {
  t.equal(refusal('http://example.com/', { allowHttp: true }), 'http://example.com/')
  t.equal(refusal('http://example.com:8080/', { allowHttp: true }), 'http://example.com:8080/')
  t.equal(refusal('http://example.com:81/', { allowHttp: true }), 'port')
  t.equal(refusal('http://127.0.0.1/', { allowHttp: true }), 'ip-literal')
  t.equal(refusal('ftp://example.com/', { allowHttp: true }), 'not-https')
  t.equal(refusal('https://example.com:9091/', { ports: [9091] }), 'https://example.com:9091/')
  t.equal(refusal('https://example.com/', { ports: [9091] }), 'port')
  t.equal(refusal('https://example.com:22/', { ports: 'any' }), 'https://example.com:22/')
  t.equal(refusal('https://example.com:0/', { ports: 'any' }), 'port')
  t.equal(refusal('https://[::1]/', { allowPrivate: true }), 'https://[::1]/')
  t.equal(refusal('https://2130706433/', { allowPrivate: true }), 'https://127.0.0.1/')
  t.equal(refusal('https://redis/', { allowPrivate: true }), 'https://redis/')
  t.equal(refusal('https://printer.local./', { allowPrivate: ['10.0.0.0/8'] }), 'https://printer.local/')
  t.equal(refusal('https://10.9.8.7/', { allowPrivate: ['10.0.0.0/8'] }), 'https://10.9.8.7/')
  t.equal(refusal('https://127.0.0.1/', { allowPrivate: ['10.0.0.0/8'] }), 'not-public')
  t.equal(refusal('https://10.0.0.1/', { allowPrivate: [] }), 'ip-literal')
  for (const host of ['169.254.169.254', '168.63.129.16', '[fd00:ec2::254]', '100.100.100.200', '0.0.0.0', '255.255.255.255', '[fe80::1]', '[64:ff9b::7f00:1]']) {
    t.equal(refusal(`https://${host}/`, { allowPrivate: true }), 'not-public', host)
  }
  for (const allowPrivate of [true, ['169.254.0.0/16', 'fd00:ec2::/32']]) {
    t.equal(refusal('https://169.254.169.254/', { allowPrivate }), 'not-public', 'credentials of a cloud are out of reach in any case')
    t.equal(refusal('https://metadata.google.internal/', { allowPrivate }), 'host')
  }
})

t.test('addresses', async (t) => {
  for (const address of ['8.8.8.8', '1.1.1.1', '::ffff:8.8.8.8', '2606:4700:4700::1111', '2a00:1450:4001::1']) t.ok(isAddressAllowed(address, STRICT), address)
  const own = readOutboundPolicy('webhooks', { deny: ['8.8.8.0/24', '2606:4700::/32', '::ffff:1.1.1.0/120'] })
  for (const address of ['8.8.8.8', '::ffff:8.8.8.8', '2606:4700:4700::1111', '1.1.1.1']) t.notOk(isAddressAllowed(address, own), address)
  t.ok(isAddressAllowed('8.8.4.4', own))
  const inside = readOutboundPolicy('webhooks', { allowPrivate: ['10.0.0.0/8'], deny: ['10.0.0.1/32'] })
  t.ok(isAddressAllowed('10.0.0.2', inside))
  t.notOk(isAddressAllowed('10.0.0.1', inside), 'what is denied is denied')
  t.notOk(isAddressAllowed('192.168.0.1', inside))
  for (const peer of [undefined, '', '127.0.0.1', '::ffff:127.0.0.1']) t.throws(() => { assertPublicPeer(peer, STRICT) }, { code: 'FAE_URL_REFUSED' })
  t.doesNotThrow(() => { assertPublicPeer('::ffff:8.8.8.8', STRICT) })
})

t.test('the lookup answers with what it has checked', async (t) => {
  const both = [{ address: '8.8.8.8', family: 4 }, { address: '2606:4700:4700::1111', family: 6 }]
  const addresses = both.map(({ address }) => address)
  t.strictSame(await lookedUp(addresses), { error: null, address: both, family: undefined })
  t.strictSame(await lookedUp(addresses, {}), { error: null, address: '8.8.8.8', family: 4 })
  t.strictSame(await lookedUp(addresses, { family: 6 }), { error: null, address: '2606:4700:4700::1111', family: 6 })
  t.strictSame(await lookedUp(addresses, { family: 'IPv4', all: true }), { error: null, address: both.slice(0, 1), family: undefined })
  t.equal(refusalOf((await lookedUp(['8.8.8.8'], { family: 6 })).error), 'unresolvable')
  t.equal(refusalOf((await lookedUp(['8.8.8.8', '::1'], { family: 4 })).error), 'not-public', 'also by an address that would not be used')
  const away = Object.assign(new Error('getaddrinfo'), { code: 'ENOTFOUND' })
  t.match((await lookedUp(away)).error, { code: 'FAE_URL_REFUSED', details: { reason: 'unresolvable' }, cause: away })
})

t.test('the resolver of the system is the default', async (t) => {
  const found = await new Promise((resolve) => { checkedLookup(STRICT)('localhost', { all: true }, resolve) })
  t.equal(refusalOf(found), 'not-public')
})

t.test('options: one message lists every bad one', async (t) => {
  const bad = { allowHttp: 'yes', allowPrivate: 1, ports: [0], deny: [7], agent: 'x', allowhttp: true } as unknown as OutboundPolicy
  const error = t.throws(() => readOutboundPolicy('webhooks', bad)) as unknown as Error
  for (const key of ['allowHttp', 'allowPrivate', 'ports', 'deny', 'agent', 'allowhttp']) t.match(error.message, key)
  const ranges = ['10.0.0.0', '10.0.0.0/33', '::/129', '0x7f.1/8', '127.1/8', 'localhost/8', 'fe80::1%lo/64', '10.0.0.0/8/8', '10.0.0.0/', '::ffff:0:0/95', '']
  t.equal(rangeProblems('deny', ranges).length, ranges.length)
  t.throws(() => readOutboundPolicy('webhooks', { allowPrivate: ['10.0.0.0/8', 'x'], deny: ['y'] }), {
    code: 'FAE_INVALID_OPTIONS', message: /allowPrivate\.1 must be a range .*; deny\.0 must be a range/
  })
  t.strictSame([rangeProblems('x', true), rangeProblems('x', ['10.0.0.0/8', 'fd00::/8', '::ffff:10.0.0.0/104'])], [[], []])
})

t.test('what the operator chose: plain HTTP and any port, and a message that names the option', async (t) => {
  const problem = (url: string, allowPrivate: boolean | readonly string[] = false) => operatorUrlProblem(new URL(url), allowPrivate)
  for (const url of ['https://example.com/', 'http://example.com:9091/metrics']) t.equal(problem(url), undefined, url)
  for (const url of ['http://localhost:9091/', 'http://pushgateway:9091/', 'http://10.0.0.1/', 'http://[::1]:9091/', 'http://gateway.internal/']) {
    t.match(problem(url), /^its host is .*; if the receiver is in a private network, set allowPrivate to true, or to its ranges$/, url)
    t.equal(problem(url, true), undefined, url)
  }
  t.match(problem('http://10.0.0.1/', ['192.168.0.0/16']), /not public; if the receiver is in a private network, set allowPrivate/)
  t.equal(problem('http://169.254.169.254/', true), 'its host has an address that is not public')
  t.equal(operatorPolicy(false).allowed.length, 0)
})
