/** The option `webhooks`. */
import type { KeyObject } from 'node:crypto'
import type { FastifyRequest } from 'fastify'
import { OptionProblems, readOptions, type OptionsSchema } from '../core/options.ts'
import { readOutboundPolicy, type OutboundPolicy, type ResolvedOutboundPolicy } from '../core/outbound-policy.ts'
import { isWebhookSecret, PRIVATE_KEY_RULE, readPrivateKey, SECRET_RULE } from '../core/webhook-signature.ts'
import { DELIVERY_QUEUE } from '../events/webhook-catalogue.ts'
import { QUEUE_NAME } from '../jobs/compile-definition.ts'
import { refusalOfUrl } from './webhook-sender.ts'

/** Finds the secrets that are shared with the receiver of a webhook; `undefined`: there are none. */
export type WebhookSecrets = (owner: string | undefined, origin: string) =>
  string | readonly string[] | undefined | Promise<string | readonly string[] | undefined>

/** Decides whether a client may choose this URL. */
export type WebhookAllows = (url: URL, request: FastifyRequest) => boolean | Promise<boolean>

/** Options of the webhooks that are called when jobs have ended. */
export interface WebhooksOptions {
  /**
   * What messages are signed with (`v1`, HMAC-SHA256): `whsec_` and 24 to 64 random bytes in base64, as
   * `openssl rand -base64 32` makes them. With several secrets, each adds a signature: give the new and the old one
   * while receivers change over. A function gives each receiver secrets of its own.
   */
  secret?: string | readonly string[] | WebhookSecrets | undefined
  /**
   * Signs messages to receivers with which no secret is shared (`v1a`, ed25519): `whsk_` and 32 random bytes in base64.
   * Publish its public key; `webhookPublicKey()` makes it.
   */
  privateKey?: string | undefined
  /**
   * Which URLs clients may choose: a list of origins such as `https://hooks.example.com`, or a function. URLs that the
   * application chooses itself need no entry.
   *
   * @defaultValue clients may choose none
   */
  allow?: readonly string[] | WebhookAllows | undefined
  /** The request header of endpoints with `webhook: { from: 'header' }`. @defaultValue 'Webhook-URL' */
  header?: string | undefined
  /** The queue in which deliveries wait. Its `concurrency` is set as that of any other. @defaultValue 'webhooks' */
  queue?: string | undefined
  /** How many milliseconds one attempt may take, with the resolution of the host name. @defaultValue 15000 */
  attemptTimeoutMs?: number | undefined
  /**
   * The pauses before each attempt, in milliseconds: its length is the number of attempts. `Retry-After` of the
   * receiver may lengthen a pause, to a day at most.
   *
   * @defaultValue at once, then after 5 s, 5 min, 30 min, 2 h, 5 h, 10 h and 10 h
   */
  scheduleMs?: readonly number[] | undefined
  /** By which share a pause is longer or shorter at random, 0 to 1. @defaultValue 0.2 */
  jitter?: number | undefined
  /** How many messages are on their way to one origin at a time, in one process. @defaultValue 2 */
  maxPerOrigin?: number | undefined
  /** Where messages may go beside public addresses by `https:`. */
  outbound?: OutboundPolicy | undefined
}

const SECOND = 1_000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE

const DEFAULTS = Object.freeze({
  header: 'Webhook-URL',
  queue: DELIVERY_QUEUE,
  attemptTimeoutMs: 15 * SECOND,
  // That of Svix: 27.6 hours, so that a receiver may be away for a day.
  scheduleMs: Object.freeze([0, 5 * SECOND, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 10 * HOUR]) as readonly number[],
  jitter: 0.2,
  maxPerOrigin: 2
})

const secretText = { type: 'string', minLength: 1 }
export const webhooksProperties = {
  secret: { anyOf: [secretText, { type: 'array', items: secretText, minItems: 1, maxItems: 5 }, { isFunction: true }] },
  privateKey: { type: 'string' },
  allow: { anyOf: [{ type: 'array', items: { type: 'string' }, maxItems: 1_000 }, { isFunction: true }] },
  header: {
    type: 'string', pattern: '^[A-Za-z][A-Za-z0-9-]{0,99}$', description: 'a name of a header: letters, digits and "-"'
  },
  queue: {
    type: 'string', pattern: QUEUE_NAME,
    description: '1 to 64 letters, digits, "_", "." or "-", the first a letter or digit'
  },
  attemptTimeoutMs: { type: 'number', minimum: 100, maximum: 60_000 },
  scheduleMs: { type: 'array', items: { type: 'number', minimum: 0, maximum: 604_800_000 }, minItems: 1, maxItems: 50 },
  jitter: { type: 'number', minimum: 0, maximum: 1 },
  maxPerOrigin: { type: 'integer', minimum: 1, maximum: 1_000 },
  // Checked by its own reader.
  outbound: {}
} as const satisfies Record<keyof WebhooksOptions, unknown>

const webhooksSchema: OptionsSchema = { type: 'object', additionalProperties: false, properties: webhooksProperties }

/** {@link WebhooksOptions}, read and complete. */
export interface ResolvedWebhooksOptions extends Readonly<Required<Omit<WebhooksOptions, 'secret' | 'privateKey' | 'allow' | 'outbound'>>> {
  readonly outbound: ResolvedOutboundPolicy
  readonly secretsOf: WebhookSecrets
  readonly privateKey: KeyObject | undefined
  /** Origins, or the application's function; `undefined`: clients may choose no URL. */
  readonly allow: ReadonlySet<string> | WebhookAllows | undefined
}

/** What to set for an origin that would be refused. */
const REMEDIES: Readonly<Partial<Record<string, string>>> = {
  'not-https': 'set outbound.allowHttp',
  port: 'add the port to outbound.ports',
  'ip-literal': 'set outbound.allowPrivate',
  host: 'set outbound.allowPrivate',
  'not-public': 'add its range to outbound.allowPrivate'
}

/** @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS`; its message shows no secret and no URL */
export function readWebhooks (given: WebhooksOptions): ResolvedWebhooksOptions {
  const { secret, privateKey: keyText, allow, outbound, ...options } =
    readOptions<WebhooksOptions, typeof DEFAULTS>('webhooks', webhooksSchema, DEFAULTS, given)
  const found = new OptionProblems()
  const policy = found.collect('outbound.', () => readOutboundPolicy('webhooks', outbound))
  const problems: string[] = []
  if (secret === undefined && keyText === undefined) {
    problems.push('secret and privateKey are missing: receivers could not know who has sent a message; give one of them')
  }
  const texts = typeof secret === 'function' || secret === undefined ? [] : [secret].flat() as readonly string[]
  if (!texts.every(isWebhookSecret)) problems.push(`secret must be ${SECRET_RULE}`)
  const privateKey = readPrivateKey(keyText)
  if (keyText !== undefined && privateKey === undefined) problems.push(`privateKey must be ${PRIVATE_KEY_RULE}`)
  const origins = Array.isArray(allow) ? allow as readonly string[] : []
  origins.forEach((origin, index) => {
    if (!isOrigin(origin)) {
      problems.push(`allow.${index} must be an origin such as "https://hooks.example.com", without a path`)
      return
    }
    // Otherwise every submission that names it would be refused, by the rule that this entry seems to lift.
    const refusal = policy === undefined ? undefined : refusalOfUrl(`${origin}/`, policy)
    if (refusal !== undefined) problems.push(`allow.${index} has no effect: ${refusal.sentence}; ${REMEDIES[refusal.reason] ?? 'outbound says what may be called'}`)
  })
  found.add(...problems)
  found.throwIfAny('webhooks')
  if (policy === undefined) throw new Error('reading the options gave neither a result nor a problem')
  return Object.freeze({
    ...options,
    outbound: policy,
    scheduleMs: Object.freeze([...options.scheduleMs]),
    secretsOf: typeof secret === 'function' ? secret : () => texts,
    privateKey,
    allow: typeof allow === 'function' ? allow : allow === undefined ? undefined : new Set(origins.map((origin) => new URL(origin).origin))
  })
}

function isOrigin (text: string): boolean {
  if (!/^https?:\/\//.test(text) || !URL.canParse(text)) return false
  const { origin, href } = new URL(text)
  return href === `${origin}/` && !text.endsWith('/')
}
