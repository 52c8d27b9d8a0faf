import t from 'tap'
import { HIDDEN_NAMES } from '../../lib/core/redact-names.ts'
import { CIRCULAR, TOO_DEEP, TOO_MANY, UNREADABLE } from '../../lib/core/redact-fields.ts'
import { readRedactOptions } from '../../lib/core/redact.ts'

const MEGABYTE = 1 << 20
const redaction = readRedactOptions()
const { hides, text, fields } = redaction

t.test('options: refused by name, and the mask is one\'s own', async (t) => {
  t.throws(() => readRedactOptions({ keys: [''], mask: 5, extra: 1 } as unknown as { mask: string }), { code: 'FAE_INVALID_OPTIONS', message: /extra is not an option.*keys.*mask|keys.*mask.*extra|extra.*keys.*mask/s })
  t.equal(redaction.mask, '[FILTERED]')
  const own = readRedactOptions({ mask: '***' })
  t.equal(own.text('password=a'), 'password=***')
  t.same(own.fields({ password: 'a' }), { password: '***' })
})

t.test('names that are hidden, however they are written', async (t) => {
  for (const name of HIDDEN_NAMES) t.ok(hides(name), name)
  for (const name of [
    'Authorization', 'SET-COOKIE', 'Set-Cookie2', 'x-api-key', 'X_API_KEY', 'apiKey', 'APIKey', 'APIKEY', 'accessToken', 'access_token', 'refresh-token', 'idToken', 'DB_PASSWORD', 'user.password', 'req.headers.authorization',
    'user[password]', 'stripeSecretKey', 'client_secret', 'ClientSecret', 'privateKey', 'connectionString', 'CONNECTION_STRING', 'session', 'session_id', 'creditCardNumber', 'card-number', 'cvv', 'customerSSN', 'IBAN',
    'password2', 'new_password_1', 'passwordConfirmation', 'x-amz-signature', 'connect.sid', 'proxy-authorization', 'api key'
  ]) t.ok(hides(name), name)
})

t.test('ordinary words are not', async (t) => {
  for (const name of [
    'author', 'authors', 'authorized', 'authority', 'authorizationStatus', 'tokens', 'tokens_used', 'token_count', 'maxTokens', 'nextPageToken', 'page_token', 'secretary', 'sessions', 'sessionCount', 'passenger', 'password_min_length',
    'keyboard', 'key', 'primary_key', 'idempotency_key', 'cookie_policy', 'ssno', 'pin', 'name', 'id', 'job_id', 'correlation_id', '', '...', 'card', 'number', 'string'
  ]) t.notOk(hides(name), name)
})

t.test('names of the application: as they are written, as a whole or behind a dot', async (t) => {
  const own = readRedactOptions({ keys: ['E-Mail', 'tax_id', '...', 'Geburtsdatum', 'größe'] })
  for (const name of ['email', 'eMail', 'e_mail', 'customer.email', 'customer[e-mail]', 'TaxId', 'TAX-ID', 'geburtsdatum', 'GRÖSSE'.replace('SS', 'ß'), 'password']) t.ok(own.hides(name), name)
  for (const name of ['customer_email', 'emails', 'tax', '', '...', 'id']) t.notOk(own.hides(name), name)
  t.equal(own.text('email: a@b.c, tax_id=1'), 'email: [FILTERED], tax_id=[FILTERED]')
})

t.test('the memory of names is bounded, and a name may be of any length', async (t) => {
  const own = readRedactOptions()
  for (let index = 0; index < 10_000; index++) own.hides(`name_${index}x`)
  t.ok(own.hides(`${'x'.repeat(MEGABYTE)}.password`))
  t.notOk(own.hides(`password.${'x'.repeat(MEGABYTE)}`))
})

const TEXTS: ReadonlyArray<readonly [text: string, shown: string]> = [
  ['nothing to hide here', 'nothing to hide here'],
  ['connect ECONNREFUSED 127.0.0.1:6379', 'connect ECONNREFUSED 127.0.0.1:6379'],
  ['at load (file:///srv/app/session.js:12:5)', 'at load (file:///srv/app/session.js:12:5)'],
  ['connect failed redis://user:pass@host:6379/0', 'connect failed redis://[FILTERED]@host:6379/0'],
  ['Invalid URL redis://:pa/ss@host/1 given', 'Invalid URL redis://[FILTERED]@host/1 given'],
  ['https://ghp_token@github.com/a', 'https://[FILTERED]@github.com/a'],
  ['a text that was cut: redis://user:pas', 'a text that was cut: redis://[FILTERED]'],
  ['https://example.com/users/@me https://x.y:80/@a https://[::1]:80/', 'https://example.com/users/@me https://x.y:80/@a https://[::1]:80/'],
  ['password=hunter2 next', 'password=[FILTERED] next'],
  ['password = "a b c" x', 'password = "[FILTERED]" x'],
  ['{"password":"a\\"b","user":"x"}', '{"password":"[FILTERED]","user":"x"}'],
  ['{"pwd" : "a\\\\", "user":"x"}', '{"pwd" : "[FILTERED]", "user":"x"}'],
  ['{\\"password\\":\\"a\\\\\\"b\\",\\"u\\":1}', '{\\"password\\":\\"[FILTERED]\\",\\"u\\":1}'],
  ["{ user: 'x', password: 'a b' }", "{ user: 'x', password: '[FILTERED]' }"],
  ['"secret": {"a": "b}", "c": [1]}, "d": 1', '"secret": [FILTERED], "d": 1'],
  ['"token":12,"n":1', '"token":[FILTERED],"n":1'],
  ['"password":"never closed', '"password":"[FILTERED]'],
  ['apiKey: abc, retry', 'apiKey: [FILTERED], retry'],
  ['Incorrect API key: sk-123.', 'Incorrect API key: [FILTERED].'],
  ['credit card number: 4111 1111 1111 1111 refused', 'credit card number: [FILTERED] refused'],
  ['Authorization: Digest username="x", response="y"\nHost: a', 'Authorization: [FILTERED]\nHost: a'],
  ['Cookie: a=b; c=d\r\nHost: a', 'Cookie: [FILTERED]\r\nHost: a'],
  ['GET "/x?access_token=abc&user=1" 200', 'GET "/x?access_token=[FILTERED]&user=1" 200'],
  ['Server=x;Password=abc;User=y', 'Server=x;Password=[FILTERED];User=y'],
  ['sent Bearer eyJabc.def-ghi ok', 'sent Bearer [FILTERED] ok'],
  ['sent Basic dXNlcjpwYXNz', 'sent Basic [FILTERED]'],
  ['Bearer token missing; a basic understanding of Basic HTTP', 'Bearer token missing; a basic understanding of Basic HTTP'],
  ['password => x, token := y, --secret=z', 'password => [FILTERED], token := [FILTERED], --secret=[FILTERED]'],
  ['Unexpected token: }', 'Unexpected token: }'],
  ['std::token::parse', 'std::token::parse'],
  ['tokens_used: 5, author: bob, max_tokens=3', 'tokens_used: 5, author: bob, max_tokens=3'],
  ['password: ', 'password: '],
  ['"password":""', '"password":""'],
  ['-----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY----- and -----BEGIN CERTIFICATE-----', '[FILTERED] and -----BEGIN CERTIFICATE-----'],
  ['-----BEGIN PRIVATE KEY-----\nnever closed', '[FILTERED]']
]

t.test('texts lose their credentials and nothing else, and a second time changes nothing', async (t) => {
  for (const [given, shown] of TEXTS) {
    t.equal(text(given), shown, JSON.stringify(given))
    t.equal(text(shown), shown, `twice: ${JSON.stringify(given)}`)
  }
})

t.test('a megabyte of anything is walked through once', async (t) => {
  const pieces = [
    'a', ' ', '=', ':', '://', ':: ', '@', '://@', '://:a/', '://a:b', '\\', '"', '{', 'Bearer ', 'basic\t', 'password=', 'password="', '"password":"', '\\"password\\":\\"', 'secret:{', "secret:['", 'key : ', 'api key:', 'a b c key=',
    '-----BEGIN ', '-----BEGIN PRIVATE KEY', 'https://u:p@h ', 'authorization:', 'token: 1 2 ', `secret=${' '.repeat(1_000)}`, `password=${'\\'.repeat(1_000)}`
  ]
  // Quadratic time would be many minutes here.
  for (const piece of pieces) {
    const given = piece.repeat(Math.ceil(MEGABYTE / piece.length))
    for (const end of ['', '@', ' @', '"']) t.type(text(given + end), 'string')
  }
  t.equal(text(`password=${'x'.repeat(MEGABYTE)}`), 'password=[FILTERED]')
})

t.test('fields: the same object when nothing is hidden, a copy when something is', async (t) => {
  const plain = { rows: 3, nested: { a: [1, { b: null }], at: new Date(0), bytes: Buffer.from('x') }, nothing: undefined, password: undefined, token: null }
  t.equal(fields(plain), plain)
  const given = { user: 'x', password: 'a', nested: { list: [{ apiKey: 'k', n: 1 }], headers: { Authorization: 'Bearer x', host: 'h' } }, session: { id: 1 } }
  const before = structuredClone(given)
  t.same(fields(given), { user: 'x', password: '[FILTERED]', nested: { list: [{ apiKey: '[FILTERED]', n: 1 }], headers: { Authorization: '[FILTERED]', host: 'h' } }, session: '[FILTERED]' })
  t.same(given, before, 'what was given is untouched')
  const list = [{ password: 1 }, 'x']
  t.same(fields(list), [{ password: '[FILTERED]' }, 'x'])
})

t.test('fields: circles, depth and breadth have bounds', async (t) => {
  const circle: Record<string, unknown> = { password: 'a', name: 'n' }
  circle.self = circle
  t.same(fields(circle), { password: '[FILTERED]', name: 'n', self: CIRCULAR })
  let deep: Record<string, unknown> = { password: 'a' }
  for (let index = 0; index < 50; index++) deep = { deep }
  const shown = JSON.stringify(fields(deep))
  t.match(shown, TOO_DEEP)
  t.notMatch(shown, 'password')
  const wide = fields({ rows: Array.from({ length: 100_000 }, () => ({ password: 'a' })) })
  t.equal(wide.rows.length, 1_001)
  t.equal(wide.rows.at(-1), TOO_MANY)
  t.notMatch(JSON.stringify(wide), '"a"')
  const many = fields(Object.fromEntries(Array.from({ length: 20_000 }, (_, index) => [`k${index}`, index])))
  t.equal(Object.keys(many).length, 5_001)
  t.equal(many[TOO_MANY], TOO_MANY)
})

t.test('fields: what throws at a touch harms nobody', async (t) => {
  const hostile = { name: 'n', get secretPlan (): string { throw new Error('x') } }
  t.same(fields(hostile), { name: 'n', secretPlan: UNREADABLE })
  const proxy = new Proxy({}, { ownKeys: () => { throw new Error('x') }, get: () => { throw new Error('x') }, getPrototypeOf: () => { throw new Error('x') } })
  t.same(fields(proxy), { value: UNREADABLE })
  t.same(fields({ a: 1, proxy }), { value: UNREADABLE })
  const poisoned = JSON.parse('{"__proto__": {"admin": true}, "password": "a"}') as object
  const copy = fields(poisoned)
  t.same(copy, { password: '[FILTERED]' })
  t.notOk('admin' in copy)
})

class Account {
  readonly name = 'n'
  readonly password = 'a'
  get label (): string { return `account ${this.name}` }
}

class Guarded {
  readonly password = 'a'
  toJSON (): object { return { shown: true } }
}

t.test('fields: of an instance its own fields, unless it says itself what is shown', async (t) => {
  const account = new Account()
  const shown = fields({ account }).account
  t.ok(shown instanceof Account)
  t.same({ ...shown }, { name: 'n', password: '[FILTERED]' })
  t.equal(shown.label, 'account n')
  t.equal(account.password, 'a')
  const guarded = { guarded: new Guarded(), map: new Map([['password', 'a']]) }
  t.equal(fields(guarded), guarded)
})

t.test('fields: errors keep what they are and lose what must not be shown', async (t) => {
  const plain = new Error('no answer', { cause: new TypeError('x') })
  t.equal(fields(plain), plain, 'nothing to hide')
  const request = { config: { headers: { Authorization: 'Bearer x', accept: '*/*' } }, code: 'ERR_BAD_REQUEST' }
  const error = Object.assign(new RangeError('redis://u:p@h refused', { cause: new Error('password=x') }), request)
  const { err } = fields({ err: error })
  t.ok(err instanceof RangeError)
  t.equal(err.message, 'redis://[FILTERED]@h refused')
  t.match(err.stack, /redis:\/\/\[FILTERED\]@h/)
  t.equal((err.cause as Error).message, 'password=[FILTERED]')
  t.same({ ...err }, { config: { headers: { Authorization: '[FILTERED]', accept: '*/*' } }, code: 'ERR_BAD_REQUEST' })
  t.equal(error.message, 'redis://u:p@h refused')
  t.equal(error.config.headers.Authorization, 'Bearer x')

  const circle = new Error('a')
  circle.cause = circle
  t.equal(fields(circle).cause, CIRCULAR)
  const several = fields(new AggregateError([new Error('token=x')], 'both'))
  t.equal(several.errors[0].message, 'token=[FILTERED]')
  t.equal(fields(new Error('x'.repeat(10 * MEGABYTE))).message.length, 16_385)
  const unreadable = new Error('x')
  Object.defineProperty(unreadable, 'message', { get () { throw new Error('y') } })
  t.doesNotThrow(() => fields(unreadable))
})

class Client {
  readonly endpoint = 'https://u:s3cret@h/'
  readonly options = { retries: 3 }
}

t.test('fields: texts lose their credentials, wherever they stand', async (t) => {
  const cases: Readonly<Record<string, unknown>> = {
    text: 'https://user:s3cret@host/path',
    bearer: 'Bearer s3cret',
    query: 'https://api.example.com/v1?apikey=s3cret&page=2',
    url: new URL('https://u:s3cret@h/'),
    list: ['--verbose', '--password=s3cret'],
    nested: { deep: [{ line: 'token: s3cret' }] },
    instance: new Client(),
    headers: { toJSON: () => ({ Authorization: 'Bearer s3cret' }) },
    spoken: { toJSON: () => 'redis://u:s3cret@h' },
    err: Object.assign(new Error('x', { cause: 'password=s3cret' }), { url: 'https://u:s3cret@h', response: { body: '{"password":"s3cret"}' } }),
    errors: new AggregateError(['token=s3cret'], 'several')
  }
  for (const [name, value] of Object.entries(cases)) {
    const given = { [name]: value }
    const shown = fields(given)
    const copy: unknown = shown[name]
    const text = copy instanceof Error ? JSON.stringify([copy, copy.cause, Reflect.get(copy, 'errors')]) : JSON.stringify(copy)
    t.match(text, '[FILTERED]', name)
    t.notMatch(text, 's3cret', name)
    t.equal(given[name], value, 'what was given is untouched')
  }
  t.ok(fields({ client: new Client() }).client instanceof Client)
})

t.test('fields: texts without credentials are the same object, names of jobs among them', async (t) => {
  for (const given of [
    { at: '2026-01-01T10:00:00Z', url: new URL('https://h/a?b=1'), rows: ['a b', 'c=d'], when: new Date(0), bytes: Buffer.from('password=x') },
    { job_name: 'password:reset', queue: 'token' },
    { nobody: { toJSON: () => { throw new Error('x') } }, self: { toJSON (): object { return this } }, nothing: { toJSON: () => undefined } }
  ]) t.equal(fields(given), given)
  t.same(fields({ job_name: 'password=x' }), { job_name: 'password=[FILTERED]' }, 'what cannot be the name of a job is searched')
})

t.test('fields: huge texts are cut, and a circle of toJSON ends', async (t) => {
  const [small, huge] = ['a'.repeat(MEGABYTE), `${'a'.repeat(MEGABYTE)} password=x`]
  t.equal(fields({ small }).small, small)
  t.equal(fields({ huge }).huge.length, 16_385)
  t.equal(fields({ line: `password=x ${'a '.repeat(200_000)}` }).line.slice(0, 30), 'password=[FILTERED] a a a a a ')
  const endless = { toJSON: (): object => ({ next: endless, password: 'a' }) }
  t.notMatch(JSON.stringify(fields({ plain: 'password=b' })), 'b')
  t.doesNotThrow(() => fields({ endless }))
})
