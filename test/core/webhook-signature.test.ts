import { createPublicKey, verify } from 'node:crypto'
import { Webhook } from 'standardwebhooks'
import t from 'tap'
import { isWebhookSecret, readPrivateKey, signWebhook, signWithKey, webhookPublicKey } from '../../lib/core/webhook-signature.ts'

const NEW = `whsec_${Buffer.alloc(32, 1).toString('base64')}`
const OLD = `whsec_${Buffer.alloc(24, 2).toString('base64')}`
const BODY = '{"test": "ünïcode"}'

t.test('signatures of each secret, as the library of the standard verifies them', async (t) => {
  const timestamp = Math.floor(Date.now() / 1_000)
  const signature = signWebhook([NEW, OLD], 'msg_1', timestamp, BODY)
  const headers = { 'webhook-id': 'msg_1', 'webhook-timestamp': String(timestamp), 'webhook-signature': signature }
  for (const secret of [NEW, OLD]) t.ok(new Webhook(secret).verify(BODY, headers))
  t.throws(() => new Webhook(NEW).verify(`${BODY} `, headers))
  t.throws(() => new Webhook(NEW).verify(BODY, { ...headers, 'webhook-id': 'msg_2' }))
  t.throws(() => new Webhook(NEW).verify(BODY, { ...headers, 'webhook-timestamp': String(timestamp + 1) }))
})

t.test('what is a secret', async (t) => {
  t.ok(isWebhookSecret(NEW))
  for (const wrong of ['', 'whsec_', NEW.slice(6), `whsec_${Buffer.alloc(23).toString('base64')}`, `whsec_${Buffer.alloc(65).toString('base64')}`, 'whsec_not base64!', 7, undefined]) {
    t.notOk(isWebhookSecret(wrong), String(wrong))
  }
})

t.test('a private key: ed25519, with and without its public key behind it', async (t) => {
  const seed = Buffer.alloc(32, 3)
  const privateKey = `whsk_${seed.toString('base64')}`
  const key = readPrivateKey(privateKey)
  t.ok(key)
  if (key === undefined) return
  const signature = signWithKey(key, 'msg_1', 1_700_000_000, BODY)
  const text = webhookPublicKey(privateKey)
  t.match(text, /^whpk_[A-Za-z0-9+/]{43}=$/)
  const spki = Buffer.concat([Buffer.from('302a300506032b6570032100', 'hex'), Buffer.from(text.slice(5), 'base64')])
  const publicKey = createPublicKey({ key: spki, format: 'der', type: 'spki' })
  const bytes = Buffer.from(signature.slice('v1a,'.length), 'base64')
  t.ok(verify(undefined, Buffer.from(`msg_1.1700000000.${BODY}`), publicKey, bytes))
  t.notOk(verify(undefined, Buffer.from(`msg_2.1700000000.${BODY}`), publicKey, bytes))
  const whole = Buffer.concat([seed, Buffer.from(text.slice(5), 'base64')]).toString('base64')
  t.equal(webhookPublicKey(`whsk_${whole}`), text)
  t.throws(() => webhookPublicKey('whsk_short'), { code: 'FAE_INVALID_OPTIONS' })
  for (const wrong of ['', 'whsk_', NEW, `whsk_${Buffer.alloc(31).toString('base64')}`, 7]) t.equal(readPrivateKey(wrong), undefined)
})
