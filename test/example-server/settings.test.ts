import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { readSettings } from '../../example-server/settings.ts'

const SECRET = `whsec_${Buffer.alloc(32, 7).toString('base64')}`

t.test('nothing set: the defaults', async (t) => {
  const defaults = { port: 3_000, host: '127.0.0.1', redisUrl: undefined, redisPrefix: '{fae}', role: 'all', logLevel: 'info', shutdownDelayMs: 250, drainTimeoutMs: 20_000, filesDir: join(tmpdir(), 'async-endpoints-example'), alertWebhook: undefined }
  t.strictSame(readSettings({}), defaults)
  t.strictSame(readSettings({ PORT: '', HOST: ' ', REDIS_URL: '', REDIS_PREFIX: '', ROLE: '', LOG_LEVEL: '', SHUTDOWN_DELAY_MS: '', DRAIN_TIMEOUT_MS: '', FILES_DIR: '', ALERT_WEBHOOK_URL: '', ALERT_WEBHOOK_SECRET: '' }), defaults, 'empty counts as not set')
})

t.test('everything set', async (t) => {
  t.strictSame(
    readSettings({
      PORT: '8080',
      HOST: '0.0.0.0',
      REDIS_URL: 'rediss://user:secret@redis.example:6380/1',
      REDIS_PREFIX: '{shop}',
      ROLE: 'worker',
      LOG_LEVEL: 'debug',
      SHUTDOWN_DELAY_MS: '5000',
      DRAIN_TIMEOUT_MS: '7000',
      FILES_DIR: '/srv/files',
      ALERT_WEBHOOK_URL: 'https://ops.example.com/hook',
      ALERT_WEBHOOK_SECRET: SECRET
    }),
    {
      port: 8_080,
      host: '0.0.0.0',
      redisUrl: 'rediss://user:secret@redis.example:6380/1',
      redisPrefix: '{shop}',
      role: 'worker',
      logLevel: 'debug',
      shutdownDelayMs: 5_000,
      drainTimeoutMs: 7_000,
      filesDir: '/srv/files',
      alertWebhook: { url: 'https://ops.example.com/hook', secret: SECRET }
    }
  )
})

t.test('whatever cannot be used is named, all of it in one message', async (t) => {
  for (const PORT of ['abc', '-1', '65536', '1.5', '0x10', '1e3', '99999999999']) t.throws(() => readSettings({ PORT }), /PORT must be a whole number/, PORT)
  for (const ROLE of ['both', 'API', 'all,worker']) t.throws(() => readSettings({ ROLE }), /ROLE must be one of all, api, worker/, ROLE)
  for (const LOG_LEVEL of ['verbose', 'INFO']) t.throws(() => readSettings({ LOG_LEVEL }), /LOG_LEVEL must be one of/, LOG_LEVEL)
  for (const REDIS_URL of ['localhost:6379', 'http://localhost', 'redis://', 'nonsense']) t.throws(() => readSettings({ REDIS_URL }), /REDIS_URL must be a URL/, REDIS_URL)
  for (const ALERT_WEBHOOK_URL of ['ops.example.com', 'ftp://ops.example.com', 'nonsense']) t.throws(() => readSettings({ ALERT_WEBHOOK_URL, ALERT_WEBHOOK_SECRET: SECRET }), /ALERT_WEBHOOK_URL must be a URL/, ALERT_WEBHOOK_URL)
  for (const ALERT_WEBHOOK_SECRET of ['hunter2', 'whsec_short', SECRET.slice(6)]) t.throws(() => readSettings({ ALERT_WEBHOOK_URL: 'https://x', ALERT_WEBHOOK_SECRET }), /ALERT_WEBHOOK_SECRET must be whsec_ followed/, ALERT_WEBHOOK_SECRET)
  t.throws(() => readSettings({ ALERT_WEBHOOK_URL: 'https://x' }), /must be set together/)
  t.throws(() => readSettings({ ALERT_WEBHOOK_ALLOW_PRIVATE: 'true' }), /ALERT_WEBHOOK_ALLOW_PRIVATE has no effect without ALERT_WEBHOOK_URL/)
  t.throws(() => readSettings({ ALERT_WEBHOOK_SECRET: SECRET }), /must be set together/)
  for (const REDIS_PREFIX of ['a:b', 'a b', 'x'.repeat(101)]) t.throws(() => readSettings({ REDIS_PREFIX }), /REDIS_PREFIX may only contain/, REDIS_PREFIX)
  t.throws(() => readSettings({ PORT: 'x', ROLE: 'y', SHUTDOWN_DELAY_MS: 'z' }), /PORT .*; ROLE .*; SHUTDOWN_DELAY_MS /)
})

t.test('an alert webhook in a private network', async (t) => {
  const webhook = { ALERT_WEBHOOK_URL: 'http://10.0.0.5/hook', ALERT_WEBHOOK_SECRET: SECRET }
  const allowed = (ALERT_WEBHOOK_ALLOW_PRIVATE: string): unknown => readSettings({ ...webhook, ALERT_WEBHOOK_ALLOW_PRIVATE }).alertWebhook?.allowPrivate
  t.strictSame([allowed(''), allowed('true'), allowed('10.0.0.0/8, fd00::/8')], [undefined, true, ['10.0.0.0/8', 'fd00::/8']])
})

t.test('a password is not repeated', async (t) => {
  t.throws(() => readSettings({ REDIS_URL: 'http://user:hunter2@host' }), { message: /^((?!hunter2).)*$/ })
  t.throws(() => readSettings({ ALERT_WEBHOOK_URL: 'ftp://user:hunter2@host', ALERT_WEBHOOK_SECRET: 'hunter2' }), { message: /^((?!hunter2).)*$/ })
})
