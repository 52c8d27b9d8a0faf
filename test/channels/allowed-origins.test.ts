import t from 'tap'
import { AllowedOrigins, originProblems } from '../../lib/channels/allowed-origins.ts'

const allows = (listed: readonly string[] | undefined, origin: string | undefined, host = 'api.example'): boolean =>
  new AllowedOrigins(listed).allow({ host, headers: { origin } })

t.test('without a list: pages of the same host, and programs that are no browsers', async (t) => {
  t.ok(allows(undefined, undefined), 'no Origin')
  t.ok(allows(undefined, 'https://api.example'))
  t.ok(allows(undefined, 'http://api.example'), 'the scheme of the page is not that of the proxied request')
  t.ok(allows(undefined, 'https://api.example', 'api.example:443'), 'the default port may be written')
  t.ok(allows(undefined, 'https://API.example', 'Api.Example'), 'host names have no case')
  t.ok(allows(undefined, 'http://localhost:3000', 'localhost:3000'))
  t.ok(allows(undefined, 'http://[::1]:3000', '[::1]:3000'))
  for (const origin of [
    'https://evil.example', 'https://api.example.evil.example', 'https://evilapi.example', 'https://api.example:8443', 'https://sub.api.example', 'null', '', 'file://', 'api.example',
    'https://api.example@evil.example', 'https://evil.example/api.example', 'https://evil.example?api.example', 'chrome-extension://api.example', 'javascript:api.example', 'https://', '//api.example', 'https://api.example.'
  ]) t.notOk(allows(undefined, origin), JSON.stringify(origin))
  for (const host of ['', ' ', '/', '@', 'a b', ':443']) t.notOk(allows(undefined, 'https://api.example', host), `host ${JSON.stringify(host)}`)
})

t.test('with a list: these, exactly', async (t) => {
  const listed = ['https://shop.example', 'https://Admin.Example', 'http://localhost:5173', 'app://desktop']
  for (const origin of ['https://shop.example', 'https://admin.example', 'http://localhost:5173', 'app://desktop']) t.ok(allows(listed, origin), origin)
  for (const origin of ['http://shop.example', 'https://shop.example:8443', 'https://a.shop.example', 'https://api.example', 'null', '', '*', 'http://localhost', 'app://other']) t.notOk(allows(listed, origin), origin)
  t.ok(allows(listed, undefined))
  t.ok(allows(['*'], 'https://anybody.example'))
  t.ok(allows(['*'], 'null'))
  t.notOk(allows([], 'https://api.example'), 'an empty list allows no page')
})

t.test('a list with bad entries', async (t) => {
  t.same(originProblems('origins', ['https://shop.example', 'http://localhost:5173', 'app://desktop', '*']), [])
  for (const bad of ['shop.example', 'https://shop.example/', 'https://shop.example/path', 'https://shop.example:443', 'https://*.shop.example/', 'https://u@shop.example', 'null', '', 1, null, 'mailto:a@b']) {
    t.match(originProblems('origins', [bad]), [/^origins: .* is not an origin/], JSON.stringify(bad))
  }
})
