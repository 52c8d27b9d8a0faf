/** Signatures of webhooks after Standard Webhooks 1.0.0: `v1` with a shared secret, `v1a` with a private key. */
import { createHmac, createPrivateKey, createPublicKey, sign, type KeyObject } from 'node:crypto'
import { invalidOptions } from './options.ts'

const SECRET = /^whsec_[A-Za-z0-9+/]+={0,2}$/
const MIN_SECRET_BYTES = 24
const MAX_SECRET_BYTES = 64
const PRIVATE_KEY = /^whsk_[A-Za-z0-9+/]+={0,2}$/
/** An ed25519 private key in PKCS #8 (RFC 8410 §7) without its 32 bytes. */
const PKCS8 = Buffer.from('302e020100300506032b657004220420', 'hex')
const ED25519_BYTES = 32

/** What a secret must be, for messages. */
export const SECRET_RULE =
  `"whsec_" and ${MIN_SECRET_BYTES} to ${MAX_SECRET_BYTES} random bytes in base64, for example from: openssl rand -base64 32`

export function isWebhookSecret (secret: unknown): secret is string {
  if (typeof secret !== 'string' || !SECRET.test(secret)) return false
  const { length } = bytesOf(secret)
  return length >= MIN_SECRET_BYTES && length <= MAX_SECRET_BYTES
}

/** What a private key must be, for messages. */
export const PRIVATE_KEY_RULE = '"whsk_" and 32 random bytes in base64 (64 with the public key after them), ' +
  'for example from: openssl rand -base64 32'

/** Reads a private key; `undefined` if it is none. The 32 bytes of its public key may follow its own. */
export function readPrivateKey (text: unknown): KeyObject | undefined {
  if (typeof text !== 'string' || !PRIVATE_KEY.test(text)) return undefined
  const bytes = bytesOf(text)
  if (bytes.length !== ED25519_BYTES && bytes.length !== 2 * ED25519_BYTES) return undefined
  const key = Buffer.concat([PKCS8, bytes.subarray(0, ED25519_BYTES)])
  return createPrivateKey({ key, format: 'der', type: 'pkcs8' })
}

/** The public key to a private one. */
function publicKeyText (key: KeyObject): string {
  const der = createPublicKey(key).export({ format: 'der', type: 'spki' })
  return `whpk_${der.subarray(der.length - ED25519_BYTES).toString('base64')}`
}

/**
 * The public key to `webhooks.privateKey`, for receivers that verify `v1a` signatures: `whpk_` and 32 bytes in base64.
 * Publish it where your clients look for it.
 *
 * @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS`; its message does not show the key
 */
export function webhookPublicKey (privateKey: string): string {
  const key = readPrivateKey(privateKey)
  if (key === undefined) throw invalidOptions('webhookPublicKey', [`the key must be ${PRIVATE_KEY_RULE}`])
  return publicKeyText(key)
}

/**
 * The value of the header `webhook-signature`: one signature per secret. `body` must be exactly what is sent.
 *
 * @param timestamp seconds since the epoch, as in `webhook-timestamp`
 */
export function signWebhook (secrets: readonly string[], id: string, timestamp: number, body: string): string {
  const signed = `${id}.${timestamp}.${body}`
  return secrets.map((secret) => `v1,${createHmac('sha256', bytesOf(secret)).update(signed).digest('base64')}`).join(' ')
}

/** The same with a private key, for receivers with which no secret is shared. */
export function signWithKey (key: KeyObject, id: string, timestamp: number, body: string): string {
  return `v1a,${sign(undefined, Buffer.from(`${id}.${timestamp}.${body}`), key).toString('base64')}`
}

function bytesOf (text: string): Buffer { return Buffer.from(text.slice(text.indexOf('_') + 1), 'base64') }
